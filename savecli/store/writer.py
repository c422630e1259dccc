"""Writes a store: rows first, then the catalog's commit that makes them count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Embedding, Segment, Transcript, Video, Volume
from savecli.errors import StoreError
from savecli.store import changes, searcher, words
from savecli.store.catalog import Catalog
from savecli.store.changes import Appended
from savecli.store.records import KINDS, SEARCH_KINDS, Kind
from savecli.store.shelf import Shelf
from savecli.store.vectors import append, copy_live, sweep, truncate, vector_path
from savecli.store.views import Views

if TYPE_CHECKING:
    from savecli.store.archive import Archive
    from savecli.store.outcomes import Merging

_TAIL_SHARE = 0.2
_NORM_TOLERANCE = 1e-2


class Writer:
    """Changes one store, whose write lock the caller holds.

    Args:
        home: the store's folder.
        catalog: opened for writing.
        views, shelf: of the same store.
    """

    def __init__(self, home: Path, catalog: Catalog, views: Views, shelf: Shelf) -> None:
        self._home = home
        self._catalog = catalog
        self._views = views
        self._shelf = shelf

    def tidy(self) -> None:
        """Removes what an earlier writer left half done."""
        dim = self._catalog.rows("SELECT dim FROM state")[0][0]
        rows = self._catalog.rows("SELECT kind, generation, n_rows FROM vectors")
        for kind, generation, n_rows in rows:
            truncate(vector_path(self._home, kind, generation), n_rows, dim)
        sweep(self._home, self._views.paths())
        self._shelf.sweep()

    def add(
        self,
        video: Video,
        segments: Sequence[Segment],
        embeddings: Sequence[Embedding],
        transcript: Transcript,
        frame_times: Sequence[NDArray[np.float64]],
        *,
        asr: str,
        notes: Sequence[str],
        partial: bool,
        volume: Volume | None,
    ) -> None:
        """See `Store.add`."""
        _check_parallel(segments, embeddings, frame_times)
        self._settle_dim(embeddings)
        appended = {kind: self._append(kind, [getattr(e, kind) for e in embeddings]) for kind in KINDS}
        with self._catalog.writing():
            video_key = changes.add_video(
                self._catalog,
                video,
                transcript,
                n_segments=len(segments),
                asr=asr,
                notes=notes,
                partial=partial,
            )
            changes.add_spans(self._catalog, video_key, appended)
            starts = {kind: span.start for kind, span in appended.items()}
            ids = changes.add_segments(self._catalog, video_key, segments, embeddings, frame_times, starts)
            changes.add_utterances(self._catalog, video_key, transcript, segments, ids)
            changes.point(
                self._catalog, video.path, video.size_bytes, video.mtime_ns, video.fingerprint, volume
            )

    def touch(
        self, found: Iterable[tuple[Path, int, int, str, Volume | None]], gone: Iterable[Path] = ()
    ) -> None:
        """See `Store.touch`."""
        with self._catalog.writing():
            for path, size_bytes, mtime_ns, fingerprint, volume in found:
                if not self._catalog.rows("SELECT 1 FROM videos WHERE fingerprint = ?", fingerprint):
                    raise StoreError(f"no video {fingerprint} in the store", hint=f"save index {path}")
                changes.point(self._catalog, path, size_bytes, mtime_ns, fingerprint, volume)
            for path in gone:
                changes.remove_path(self._catalog, path)

    def relink(self, moves: Mapping[Path, tuple[Path, int, int, Volume]]) -> None:
        """See `Store.relink`."""
        with self._catalog.writing():
            changes.relink(self._catalog, moves)

    def survey(
        self, seen: Mapping[Path, Volume], missing: Iterable[Path], now: float, *, afresh: bool
    ) -> None:
        """See `Store.survey`."""
        with self._catalog.writing():
            changes.place(self._catalog, seen)
            changes.miss(self._catalog, missing, now, afresh=afresh)

    def unlink(self, paths: Iterable[Path]) -> int:
        """See `Store.unlink`."""
        with self._catalog.writing():
            before = self._n_videos()
            n_known = sum(changes.remove_path(self._catalog, path) for path in paths)
            if self._n_videos() < before:
                words.scrub(self._catalog)
        if n_known:
            self._catalog.drop_backups()
        return n_known

    def fail(
        self,
        path: Path,
        size_bytes: int,
        mtime_ns: int,
        reason: str,
        hint: str,
        *,
        passing: bool,
        volume: Volume | None,
    ) -> None:
        """See `Store.fail`."""
        with self._catalog.writing():
            changes.remember_failure(
                self._catalog, path, size_bytes, mtime_ns, reason, hint, passing=passing, volume=volume
            )

    def merge(self, archive: Archive) -> Iterator[Merging]:
        """See `Store.merge`."""
        from savecli.store.merge import merge

        return merge(self._catalog, self._views, archive, dry_run=False)

    def compact(self) -> None:
        """See `Store.compact`."""
        generation = 1 + self._catalog.rows("SELECT max(generation) FROM vectors")[0][0]
        with self._views.snapshot():
            n_rows = {kind: self._views.of(kind).n_live for kind in KINDS}
            for kind in KINDS:
                copy_live(self._views.of(kind), vector_path(self._home, kind, generation))
        with self._catalog.writing():
            for kind in KINDS:
                changes.move_rows(self._catalog, kind, generation, n_rows[kind])
            self._catalog.run("DELETE FROM graphs")
            words.rebuild(self._catalog)
        self._catalog.fold_log()
        self._catalog.drop_backups()  # they count on the files that go now
        self.tidy()

    def rebuild_graphs(self, engine: str) -> None:
        """See `Store.rebuild_graphs`."""
        with self._views.snapshot():
            views = {kind: self._views.of(kind) for kind in SEARCH_KINDS}
        for kind, view in views.items():
            if view.n_live:
                self._shelf.build(kind, view, engine)

    def maybe_rebuild(self, engine: str) -> bool:
        """See `Store.maybe_rebuild`."""
        with self._views.snapshot():
            views = {kind: self._views.of(kind) for kind in SEARCH_KINDS}
        covered = {entry.kind: entry.n_rows for entry in reversed(self._shelf.listed())}
        stale = [
            kind
            for kind, view in views.items()
            if view.n_live >= searcher.GRAPH_MIN_ROWS
            and view.n_rows - covered.get(kind, 0) > _TAIL_SHARE * view.n_rows
        ]
        for kind in stale:
            self._shelf.build(kind, views[kind], engine)
        return bool(stale)

    def _n_videos(self) -> int:
        return int(self._catalog.rows("SELECT count(*) FROM videos")[0][0])

    def _settle_dim(self, embeddings: Sequence[Embedding]) -> None:
        dims = {embedding.frames.shape[1] for embedding in embeddings}
        stored: int = self._catalog.rows("SELECT dim FROM state")[0][0]
        if len(dims | {stored} - {0}) > 1:
            raise StoreError(
                f"the store's rows have {stored} numbers, these have {sorted(dims)}",
                hint="use the model that the store was made with",
            )
        if dims and not stored:
            with self._catalog.writing():
                self._catalog.run("UPDATE state SET dim = ?", dims.pop())

    def _append(self, kind: Kind, parts: Sequence[NDArray[np.float32]]) -> Appended:
        with self._views.snapshot():
            path, n_rows = self._views.end_of(kind)
            dim = self._views.dim
        rows = np.concatenate([np.empty((0, dim), dtype=np.float32), *parts])
        _check_norms(kind, rows)
        crc32 = append(path, n_rows, rows.astype(np.float16))
        return Appended(start=n_rows, n_rows=len(rows), crc32=crc32)


def _check_norms(kind: Kind, rows: NDArray[np.float32]) -> None:
    norms = np.linalg.norm(rows, axis=1)
    if kind == "parts":
        # A sum has no say in the norm of what it is made of, but float16 ends somewhere.
        if not np.all(norms < np.finfo(np.float16).max):
            raise ValueError(f"parts: all rows must be finite in float16, found norms up to {norms.max()}")
    elif not np.all(np.abs(norms - 1) < _NORM_TOLERANCE):
        raise ValueError(f"{kind}: all rows must have unit norm, found {norms.min()} to {norms.max()}")


def _check_parallel(
    segments: Sequence[Segment],
    embeddings: Sequence[Embedding],
    frame_times: Sequence[NDArray[np.float64]],
) -> None:
    n_frames = [len(embedding.frames) for embedding in embeddings]
    if not len(segments) == len(embeddings) == len(frame_times):
        raise ValueError(
            f"{len(segments)} segments, {len(embeddings)} embeddings, {len(frame_times)} frame_times"
        )
    if n_frames != [len(times) for times in frame_times]:
        raise ValueError("each frame needs its time")
