"""The vector files as of one revision of the catalog, mapped again when it has moved on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from savecli.store import runs
from savecli.store.catalog import Catalog
from savecli.store.records import Kind
from savecli.store.vectors import Rows, RowView, map_rows, vector_path

_TRIES = 3


class Views:
    """The rows of each kind, consistent with the catalog that is read beside them.

    Args:
        home: the store's folder.
        catalog: tells generation, length and living rows of each file.

    Attributes:
        dim: D of the rows, 0 before the first one is stored. Read it inside `snapshot`.
        revision: another number after each change. Read it inside `snapshot`.
    """

    def __init__(self, home: Path, catalog: Catalog) -> None:
        self._home = home
        self._catalog = catalog
        self.revision = -1
        self._mapped: dict[Kind, tuple[Path, int, Rows]] = {}
        self._views: dict[Kind, RowView] = {}
        self.dim = 0

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside belongs to one revision; may be nested."""
        with contextlib.ExitStack() as stack:
            for _ in range(_TRIES):
                stack.enter_context(self._catalog.reading())
                # A file is missing where a writer has just put another generation in its place.
                if self._refresh():
                    break
                stack.close()
            yield

    def of(self, kind: Kind) -> RowView:
        """The rows of a kind. Only inside `snapshot`."""
        if kind not in self._views:
            path, n_rows, rows = self._mapped[kind]
            starts, ends = runs.living(self._catalog, kind)
            self._views[kind] = RowView(path=path, rows=rows, n_rows=n_rows, starts=starts, ends=ends)
        return self._views[kind]

    def end_of(self, kind: Kind) -> tuple[Path, int]:
        """The file of a kind and its committed rows, to write behind them. Only inside `snapshot`.

        Raises:
            StoreError: the file has lost living rows.
        """
        path, n_rows, rows = self._mapped[kind]
        if len(rows) < n_rows:  # else nothing is lost, and a look at the rows of each video is spared
            self.of(kind).require(self.of(kind).end)
        return path, n_rows

    def paths(self) -> list[Path]:
        """The current vector files."""
        rows = self._catalog.rows("SELECT kind, generation FROM vectors")
        return [vector_path(self._home, kind, generation) for kind, generation in rows]

    def _refresh(self) -> bool:
        revision, self.dim = self._catalog.rows("SELECT revision, dim FROM state")[0]
        if revision == self.revision:
            return True
        self._views.clear()
        for kind, generation, n_rows in self._catalog.rows("SELECT kind, generation, n_rows FROM vectors"):
            path = vector_path(self._home, kind, generation)
            self._mapped[kind] = (path, n_rows, map_rows(path, n_rows, self.dim))
        complete = all(path.exists() for path, _, _ in self._mapped.values())
        self.revision = revision if complete else -1
        return complete
