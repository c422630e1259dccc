"""An archive into a store that may have some of it already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from savecli.errors import StoreError
from savecli.store import whole as wholes
from savecli.store.archive import Archive, Content
from savecli.store.catalog import Catalog
from savecli.store.outcomes import Added, Joined, Kept, Left, Merging
from savecli.store.records import KINDS, Headway, Kind
from savecli.store.vectors import append
from savecli.store.views import Views
from savecli.store.whole import File, Whole

_BATCH_BYTES = 1 << 24
_BATCH_VIDEOS = 64
_REPORT_BYTES = 1 << 24


def merge(catalog: Catalog, views: Views, archive: Archive, *, dry_run: bool) -> Iterator[Merging]:
    """Takes what a store does not have out of an archive that was checked, many videos in one commit.

    Args:
        catalog: of the store; open for writing, but for a `dry_run`, which changes nothing.
        views: of the same store.
        archive: of the same identity, see `require_identity`.
        dry_run: only tells what would happen.

    Raises:
        StoreError: the disk is full, or the archive has changed meanwhile.
    """
    batch = _Batch(catalog=catalog, views=views, dim=archive.manifest.dim)
    total = 2 * archive.manifest.dim * sum(archive.manifest.n_rows.values())
    done = told = 0
    for whole, content in archive.contents():
        yield from _decide(catalog, whole, content, batch)
        done += sum(rows.nbytes for rows in content.values())
        if done - told >= _REPORT_BYTES:
            told = done
            yield Headway(part="import", done=done, total=total)
        if not dry_run and batch.is_full:
            batch.commit()
        elif dry_run:
            batch.clear()
    if not dry_run:
        batch.settings = archive.manifest.settings
        batch.commit()
    yield Headway(part="import", done=total, total=total)


def plan_for_nothing(archive: Archive) -> Iterator[Added]:
    """What merging an archive into an empty store would do."""
    for whole, _ in archive.contents():
        paths = tuple(Path(os.fsdecode(file.path)) for file in whole.files)
        yield Added(video_id=whole.fingerprint, paths=paths)


def require_identity(archive: Archive, identity: Mapping[str, str]) -> None:
    """Compares what made the embeddings in an archive with what makes them here.

    Raises:
        StoreError: they differ: rows of two models must not meet in one ranking.
    """
    theirs = archive.manifest.identity
    keys = [key for key in sorted(theirs | dict(identity)) if theirs.get(key) != identity.get(key)]
    if keys:
        made = ", ".join(f"{key} {theirs.get(key, 'unknown')}" for key in keys)
        here = ", ".join(f"{key} {identity.get(key, 'unknown')}" for key in keys)
        raise StoreError(
            f"{archive.path} was made with {made}; here it is {here}",
            hint="import it where the same model is used; nothing was imported",
        )


@dataclass(slots=True, kw_only=True)
class _Batch:
    """Videos and paths that go into the store with one commit."""

    catalog: Catalog
    views: Views
    dim: int
    videos: list[tuple[Whole, Content]] = field(default_factory=list)
    files: list[tuple[File, str]] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        n_bytes = sum(rows.nbytes for _, content in self.videos for rows in content.values())
        return n_bytes >= _BATCH_BYTES or len(self.videos) + len(self.files) >= _BATCH_VIDEOS

    def clear(self) -> None:
        self.videos, self.files, self.settings = [], [], {}

    def commit(self) -> None:
        """The rows first, on disk; then the catalog, by which they count."""
        if self.videos:
            self._settle_dim()
        starts = {kind: self._append(kind) for kind in KINDS} if self.videos else {}
        with self.catalog.writing():
            for whole, _ in self.videos:
                wholes.write(self.catalog, whole, starts)
                for kind, span in whole.spans.items():
                    starts[kind] += span.n_rows
            for kind, end in starts.items():
                self.catalog.run("UPDATE vectors SET n_rows = ? WHERE kind = ?", end, kind)
            for file, fingerprint in self.files:
                wholes.write_file(self.catalog, file, fingerprint)
            self.catalog.run_many("INSERT OR IGNORE INTO settings VALUES (?, ?)", self.settings.items())
        self.clear()

    def _settle_dim(self) -> None:
        stored = self.catalog.rows("SELECT dim FROM state")[0][0]
        if self.dim and stored not in (0, self.dim):
            raise StoreError(
                f"the store's rows have {stored} numbers, those of the export {self.dim}",
                hint="import it where the same model is used",
            )
        if not stored and self.dim:
            with self.catalog.writing():
                self.catalog.run("UPDATE state SET dim = ?", self.dim)

    def _append(self, kind: Kind) -> int:
        with self.views.snapshot():
            path, n_rows = self.views.end_of(kind)
        parts = [content[kind] for _, content in self.videos if kind in content]
        append(path, n_rows, np.concatenate([np.empty((0, self.dim), np.float16), *parts]))
        return n_rows


def _decide(catalog: Catalog, whole: Whole, content: Content, batch: _Batch) -> Iterator[Merging]:
    """What becomes of one video."""
    is_known = bool(catalog.rows("SELECT 1 FROM videos WHERE fingerprint = ?", whole.fingerprint))
    taken = []
    for file in whole.files:
        path = Path(os.fsdecode(file.path))
        known = catalog.rows("SELECT fingerprint, size_bytes, mtime_ns FROM files WHERE path = ?", file.path)
        here = known[0] if known else None
        if here and here[0] == whole.fingerprint:
            continue
        # A file that failed here, and is the same there, is known by now.
        if here and (here[0] is not None or here[1:] != (file.size_bytes, file.mtime_ns)):
            yield Kept(video_id=whole.fingerprint, path=path)
            continue
        taken.append(file)
        if is_known:
            yield Joined(video_id=whole.fingerprint, path=path)
    if not is_known and taken:
        batch.videos.append((whole, content))
        paths = tuple(Path(os.fsdecode(file.path)) for file in taken)
        yield Added(video_id=whole.fingerprint, paths=paths)
    elif not is_known:
        yield Left(video_id=whole.fingerprint)
    batch.files += [(file, whole.fingerprint) for file in taken]
