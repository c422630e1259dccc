"""A new catalog in the place of a damaged one: the newest good copy, and whatever videos can still be read.

The damaged file is kept beside it under another name. Nothing is taken from it that does not fit: a video
counts only if its record makes sense and its rows have the checksums that it says.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from savecli.errors import StoreError
from savecli.store import backup, rules, seal
from savecli.store import whole as wholes
from savecli.store.catalog import Catalog
from savecli.store.durable import copy_of, sync_file, sync_folder
from savecli.store.outcomes import Repaired
from savecli.store.records import KINDS, Kind
from savecli.store.vectors import Rows, map_rows, vector_path
from savecli.store.whole import File, NotWholeError

REASON = "what was stored of it was damaged"
HINT = "run `save index` on it again"
_MOST_TRIED = 1_000_000
_LOG = "-wal"
_BEGIN_ANEW = "put back a copy of the folder, or index again into another --home"
_FILE = "path, size_bytes, mtime_ns, volume, mount, label, fingerprint"


def restore(path: Path, identity: Mapping[str, str] | None) -> Iterator[Repaired]:
    """Puts a new catalog in the place of the one at `path`. The caller holds the write lock.

    Args:
        path: of `catalog.db`, damaged or gone.
        identity: what would make the embeddings now, for a store that cannot tell what did.

    Raises:
        StoreError: nothing can be restored; everything is as it was.
    """
    new = path.with_name(path.name + ".new")
    try:
        yield from _restore(path, new, identity)
    finally:
        _discard(new)


def _restore(path: Path, new: Path, identity: Mapping[str, str] | None) -> Iterator[Repaired]:
    expected = _revision_at_rest(path)
    copied = _newest_copy(path, new)
    if copied is not None:
        yield Repaired(subject=str(path), message=f"restored from {copied.name}")
    with contextlib.closing(Catalog(new, writable=True, trusted=False)) as catalog:
        revision = catalog.rows("SELECT revision FROM state")[0][0]
        if copied is None or revision != expected:
            with _Salvage(path, catalog) as salvage:
                if copied is None:
                    yield from salvage.begin(identity)
                yield from salvage.run()
        with catalog.writing():
            # Whoever reads must notice that this is another state.
            catalog.run("UPDATE state SET revision = max(revision, ?) + 1", expected or 0)
            catalog.run(
                "DELETE FROM videos WHERE fingerprint NOT IN"
                " (SELECT fingerprint FROM files WHERE fingerprint IS NOT NULL)"
            )
        if faults := list(rules.broken(catalog)):
            raise StoreError(f"the catalog {path} cannot be restored: {faults[0]}", hint=_BEGIN_ANEW)
    kept = _exchange(path, new)
    if kept:
        yield Repaired(subject=str(kept), message="is the damaged catalog, kept aside")


def mark_lost(catalog: Catalog, path: bytes) -> None:
    """Makes a path one that is read again by the next `save index`. Only inside `Catalog.writing`."""
    catalog.run(
        "INSERT OR REPLACE INTO files (path, size_bytes, mtime_ns, reason, hint, passing)"
        " VALUES (?, -1, -1, ?, ?, 1)",
        path,
        REASON,
        HINT,
    )


def _revision_at_rest(path: Path) -> int | None:
    """The revision that the catalog had when it was last sealed, if it was not opened since."""
    try:
        found = seal.find(path)
    except StoreError:
        return None
    return found.revision if found else None


def _newest_copy(path: Path, new: Path) -> Path | None:
    """Copies the newest backup that is whole, and whose vector files are still there, to `new`."""
    whole = [copy.path for copy in backup.kept(path) if copy.is_intact()]
    for candidate in (*whole, *backup.before_migration(path)):
        _discard(new)
        try:
            copy_of(candidate, new)
            with contextlib.closing(Catalog(new, writable=True, trusted=False)) as catalog:
                if not list(rules.broken(catalog)) and _has_its_rows(catalog, path.parent):
                    return candidate
        except StoreError:
            continue
    _discard(new)
    return None


def _has_its_rows(catalog: Catalog, home: Path) -> bool:
    rows = catalog.rows("SELECT kind, generation, n_rows FROM vectors")
    return all(vector_path(home, kind, generation).exists() for kind, generation, n in rows if n)


def _discard(new: Path) -> None:
    for path in new.parent.glob(f"{new.name}*"):
        path.unlink()


def _exchange(path: Path, new: Path) -> Path | None:
    """Gives the new catalog its name; returns where the old one is, if there was one."""
    number = 1
    while os.path.lexists(kept := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    sync_file(new)
    seal.break_(path)
    # An old log beside a new catalog would be written into it: it goes first.
    log, index = path.with_name(path.name + _LOG), path.with_name(path.name + "-shm")
    if log.exists():
        log.replace(kept.with_name(kept.name + _LOG))
    index.unlink(missing_ok=True)
    is_there = path.exists()
    if is_there:
        path.replace(kept)
    sync_folder(path.parent)
    new.replace(path)
    sync_folder(path.parent)
    backup.drop(path)
    return kept if is_there else None


class _Salvage:
    """What can still be read out of a damaged catalog, into a new one. Use `with`."""

    def __init__(self, path: Path, into: Catalog) -> None:
        self._path = path
        self._home = path.parent
        self._into = into
        self._damaged: Catalog | None = None
        # A catalog that is gone may have been set aside by a repair that was interrupted.
        aside = sorted(path.parent.glob(f"{path.name}.damaged-*[0-9]"), key=lambda p: p.stat().st_mtime_ns)
        source = path if path.exists() else aside[-1] if aside else None
        if source is not None:
            with contextlib.suppress(StoreError):
                self._damaged = Catalog(source, writable=False, trusted=False)

    def __enter__(self) -> _Salvage:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._damaged:
            self._damaged.close()

    def begin(self, identity: Mapping[str, str] | None) -> Iterator[Repaired]:
        """What a catalog must know before it can have videos.

        Raises:
            StoreError: it is lost.
        """
        stored = dict(self._rows("SELECT key, value FROM identity"))
        made_by = stored or dict(identity or {})
        dims = [dim for (dim,) in self._rows("SELECT dim FROM state WHERE dim > 0")]
        dim = dims[0] if dims else made_by.get("dim", "")
        if not made_by or not str(dim).isdecimal() or not self._rows("SELECT video_key FROM videos LIMIT 1"):
            raise StoreError(
                f"nothing can be read out of {self._home}, and there is no good copy of its catalog",
                hint=_BEGIN_ANEW,
            )
        generations = dict(self._rows("SELECT kind, generation FROM vectors"))
        with self._into.writing():
            self._into.run_many("INSERT INTO identity VALUES (?, ?)", sorted(made_by.items()))
            self._into.run_many(
                "INSERT OR IGNORE INTO settings VALUES (?, ?)", self._rows("SELECT key, value FROM settings")
            )
            self._into.run("UPDATE state SET dim = ?", int(dim))
            for kind in KINDS:
                generation = generations.get(kind) or self._newest_generation(kind)
                self._into.run("UPDATE vectors SET generation = ? WHERE kind = ?", generation, kind)
        if not stored:
            names = ", ".join(f"{key} {value}" for key, value in sorted(made_by.items()))
            message = f"which model made it is lost; taken to be the one in use: {names}"
            yield Repaired(subject=str(self._path), message=message)

    def run(self) -> Iterator[Repaired]:
        """Takes over every video that is whole, and notes the paths of all others."""
        dim = self._into.rows("SELECT dim FROM state")[0][0]
        generations = dict(self._into.rows("SELECT kind, generation FROM vectors"))
        mapped = {k: map_rows(vector_path(self._home, k, generations[k]), 1 << 62, dim) for k in KINDS}
        n_saved = 0
        for video_key in self._keys():
            with contextlib.suppress(StoreError, NotWholeError):
                n_saved += self._take(video_key, mapped)
        if n_saved:
            yield Repaired(subject=str(self._path), message=f"{n_saved} videos read out of the damaged one")
        n_lost = self._take_files()
        if n_lost:
            yield Repaired(subject=str(self._path), message=f"{n_lost} files are to be indexed again")

    def _take(self, video_key: int, mapped: Mapping[Kind, Rows]) -> bool:
        """Takes over one video, if it is whole and not there yet."""
        assert self._damaged is not None  # noqa: S101 - it had keys
        whole = wholes.read(self._damaged, video_key)
        starts = dict(self._damaged.rows("SELECT kind, start FROM spans WHERE video_key = ?", video_key))
        if self._into.rows("SELECT 1 FROM videos WHERE fingerprint = ?", whole.fingerprint):
            return False
        for kind, (n_rows, crc32) in whole.spans.items():
            start = starts[kind]
            rows = mapped[kind][start : start + n_rows] if start >= 0 else mapped[kind][:0]
            if (
                len(rows) != n_rows
                or zlib.crc32(rows.tobytes()) != crc32
                or self._is_taken(kind, start, n_rows)
            ):
                return False
        with self._into.writing():
            wholes.write(self._into, whole, starts)
            for kind, (n_rows, _) in whole.spans.items():
                end = starts[kind] + n_rows
                self._into.run("UPDATE vectors SET n_rows = max(n_rows, ?) WHERE kind = ?", end, kind)
            # Its paths come with the others; until then it needs none.
        return True

    def _is_taken(self, kind: Kind, start: int, n_rows: int) -> bool:
        sql = "SELECT 1 FROM spans WHERE kind = ? AND start < ? AND start + n_rows > ?"
        return bool(n_rows and self._into.rows(sql, kind, start + n_rows, start))

    def _take_files(self) -> int:
        """Takes over all paths that can be read; returns how many lead to a video that is lost."""
        n_lost = 0
        with self._into.writing():
            for path, size_bytes, mtime_ns, volume, mount, label, fingerprint in self._files():
                known = self._into.rows("SELECT 1 FROM videos WHERE fingerprint = ?", fingerprint)
                if fingerprint is not None and known:
                    file = File(path, size_bytes, mtime_ns, volume, mount, label)
                    wholes.write_file(self._into, file, fingerprint)
                else:  # also what failed before: it is tried again
                    mark_lost(self._into, path)
                    n_lost += fingerprint is not None
        return n_lost

    def _files(self) -> list[tuple[bytes, int, int, str | None, bytes | None, str | None, str | None]]:
        types = (bytes, int, int, str | None, bytes | None, str | None, str | None)
        found = {}
        for order in ("", " DESC"):
            for row in self._rows(f"SELECT {_FILE} FROM files ORDER BY path{order}"):  # noqa: S608
                if all(isinstance(value, kind) for value, kind in zip(row, types, strict=True)) and row[0]:
                    found[row[0]] = row
        return list(found.values())

    def _keys(self) -> list[int]:
        """Every number that a video may have, whichever table still tells it."""
        keys: set[int] = set()
        for table in ("videos", "spans", "segments"):
            for order in ("", " DESC"):
                sql = f"SELECT DISTINCT video_key FROM {table} ORDER BY video_key{order}"  # noqa: S608
                keys |= {key for (key,) in self._rows(sql) if isinstance(key, int) and key > 0}
        return sorted(keys | set(range(1, min(max(keys, default=0), _MOST_TRIED) + 1)))

    def _newest_generation(self, kind: Kind) -> int:
        """Of the vector files of a kind that are there."""
        numbers = [int(path.stem.rpartition("-g")[2]) for path in self._home.glob(f"{kind}-g*.f16")]
        return max(numbers, default=1)

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query gives before it meets damage."""
        found: list[tuple[Any, ...]] = []
        if self._damaged:
            with contextlib.suppress(StoreError):
                for row in self._damaged.each(sql):
                    found.append(row)
        return found
