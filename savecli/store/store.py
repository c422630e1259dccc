"""The store: a folder that keeps videos, what is said in them, and the rows to search them by.

The catalog is the truth. A video's rows are written and synced first, and count from the catalog's
commit on; a killed run loses at most the video in work. Graphs are a cache over the rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Embedding, Segment, Transcript, Video, Volume
from savecli.errors import StoreError
from savecli.store import folder
from savecli.store.catalog import Catalog
from savecli.store.lock import WriteLock
from savecli.store.reader import Reader
from savecli.store.writer import Writer

if TYPE_CHECKING:
    from savecli.store.archive import Archive
    from savecli.store.outcomes import Merging


class Store(Reader):
    """An open store. Use `Store.open`, and `with`: a store belongs to the thread that opened it.

    A video is named by its fingerprint, `video_id`: copies of a file are one video with several paths.
    All methods raise `StoreError` where the files on disk cannot be trusted.

    What can be read is in `Reader`.
    """

    def __init__(self, home: Path, catalog: Catalog, lock: WriteLock | None) -> None:
        super().__init__(home, catalog)
        self._lock = lock
        self._writer = Writer(home, catalog, self._views, self._shelf) if lock else None

    @classmethod
    def open(cls, home: Path, *, identity: Mapping[str, str] | None, mode: Literal["write", "read"]) -> Self:
        """Opens the store in `home`; writing makes it where there is none.

        Args:
            home: the folder.
            identity: what makes the embeddings (model, weights, dim, media spec): the first writer's is
                kept, any later one must be equal. None skips the comparison, and makes no store.
            mode: "write" takes the one write lock; "read" leaves the folder as it is,
                but for the two files that SQLite shares between readers and writers.

        Raises:
            StoreError: nothing is indexed yet, somebody else is writing, the store was made by another
                model or a newer version, or it is damaged.
        """
        home = home.absolute()
        if not folder.exists(home) and (mode == "read" or identity is None):
            raise folder.not_indexed(home)
        with contextlib.ExitStack() as undo:
            lock = None
            if mode == "write":
                lock = WriteLock.take(home)
                undo.callback(lock.release)
            if folder.exists(home):
                folder.check_format(home)
            catalog = Catalog(home / folder.CATALOG_NAME, writable=mode == "write")
            undo.callback(catalog.close)
            if identity is not None:
                folder.settle_identity(catalog, home, identity, writable=mode == "write")
            store = cls(home, catalog, lock)
            if store._writer:
                store._writer.tidy()
            if not folder.exists(home):
                folder.mark(home)
            undo.pop_all()
        return store

    def close(self) -> None:
        """Closes the files and gives the write lock back."""
        self._catalog.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add(
        self,
        video: Video,
        segments: Sequence[Segment],
        embeddings: Sequence[Embedding],
        transcript: Transcript,
        *,
        asr: str,
        frame_times: Sequence[NDArray[np.float64]],
        notes: Sequence[str] = (),
        partial: bool = False,
        volume: Volume | None = None,
    ) -> None:
        """Stores a video; it is on disk, whole, when this returns.

        It replaces what was stored at its path, and what was stored of the same content.

        Args:
            video: the file.
            segments: its segments, in order of time.
            embeddings: one for each segment, all of the store's D.
            transcript: of the whole video; each utterance goes to the segment that holds its middle.
            asr: the transcriber's name, "off" where none ran.
            frame_times: for each segment the time of each row of its `frames`, (F,) float64.
            notes: what a reader of this video should know.
            partial: whether the file was indexed only as far as it decodes.
            volume: what the file lies on.

        Raises:
            ValueError: the sequences do not fit each other, or a row is not of unit norm.
        """
        self._writing.add(
            video,
            segments,
            embeddings,
            transcript,
            frame_times,
            asr=asr,
            notes=notes,
            partial=partial,
            volume=volume,
        )

    def touch(
        self, found: Iterable[tuple[Path, int, int, str, Volume | None]], *, gone: Iterable[Path] = ()
    ) -> None:
        """Links many paths, each (path, size_bytes, mtime_ns, fingerprint, volume), in one commit.

        It also forgets the paths of `gone`, as `unlink` would.
        """
        self._writing.touch(found, gone)

    def link(
        self, path: Path, size_bytes: int, mtime_ns: int, fingerprint: str, volume: Volume | None = None
    ) -> None:
        """Adds or refreshes a path of a stored video; what was stored there before goes."""
        self._writing.touch([(path, size_bytes, mtime_ns, fingerprint, volume)])

    def unlink(self, *paths: Path) -> int:
        """Forgets paths, and each video with its last path, in one commit; returns how many were known."""
        return self._writing.unlink(paths)

    def relink(self, moves: Mapping[Path, tuple[Path, int, int, Volume]]) -> None:
        """Moves known files to other paths, in one commit.

        Args:
            moves: known path -> path, size_bytes, mtime_ns and volume now. What else was known at a new path
                goes, and its video, if that was its last path.
        """
        self._writing.relink(moves)

    def fail(
        self,
        path: Path,
        size_bytes: int,
        mtime_ns: int,
        reason: str,
        hint: str,
        *,
        passing: bool = False,
        volume: Volume | None = None,
    ) -> None:
        """Remembers that a file could not be indexed, until it is.

        A video that is stored for the path stays if the file's size and mtime are what they were. `passing`
        tells whether the failure may have been the machine's and not the file's.
        """
        self._writing.fail(path, size_bytes, mtime_ns, reason, hint, passing=passing, volume=volume)

    def survey(
        self, *, seen: Mapping[Path, Volume], missing: Iterable[Path], now: float, afresh: bool = False
    ) -> None:
        """Notes what a look at the disks found of files that are known, in one commit.

        Args:
            seen: files that are there, and the volumes that they lie on.
            missing: files that are gone from their volumes.
            now: seconds since the epoch; `missing_since` of what was not missing before.
            afresh: whether all missing files count as missing since `now`, as after a leap of the clock.
        """
        self._writing.survey(seen, missing, now, afresh=afresh)

    def merge(self, archive: Archive) -> Iterator[Merging]:
        """Takes what is not stored yet out of an archive that was checked, as it is iterated.

        What is known stays as it is: a video, and a path at which another content is known.
        """
        return self._writing.merge(archive)

    def compact(self) -> None:
        """Rewrites the vector files without dead rows; graphs go with the old ones. Readers go on."""
        self._writing.compact()

    def rebuild_graphs(self, engine: str = "usearch") -> None:
        """Builds the graphs over all rows, with "usearch" or "hnswlib"."""
        self._writing.rebuild_graphs(engine)

    def maybe_rebuild(self, engine: str = "usearch") -> bool:
        """Builds the graphs that pay and are out of date; for the end of an index run."""
        return self._writing.maybe_rebuild(engine)

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreError(
                f"the store {self.home} is open for reading only", hint="open it with mode='write'"
            )
        return self._writer
