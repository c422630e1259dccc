"""Settings that travel with a store: text by key."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from savecli.store.catalog import Catalog


class Settings(MutableMapping[str, str]):
    """The store's settings; each change is a commit of its own."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __getitem__(self, key: str) -> str:
        rows = self._catalog.rows("SELECT value FROM settings WHERE key = ?", key)
        if not rows:
            raise KeyError(key)
        return str(rows[0][0])

    def __setitem__(self, key: str, value: str) -> None:
        with self._catalog.writing():
            self._catalog.run("INSERT OR REPLACE INTO settings VALUES (?, ?)", key, value)

    def __delitem__(self, key: str) -> None:
        self[key]  # raises where there is none
        with self._catalog.writing():
            self._catalog.run("DELETE FROM settings WHERE key = ?", key)

    def __iter__(self) -> Iterator[str]:
        return iter([row[0] for row in self._catalog.rows("SELECT key FROM settings ORDER BY key")])

    def __len__(self) -> int:
        return int(self._catalog.rows("SELECT count(*) FROM settings")[0][0])
