"""What can be read from an open store."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Run, Transcript, Utterance, Where
from savecli.store import folder, queries, words
from savecli.store.catalog import Catalog
from savecli.store.check import check_store
from savecli.store.records import (
    Counts,
    Headway,
    Hit,
    Kind,
    KnownFile,
    Problem,
    SearchKind,
    StoredGraph,
    StoredSegment,
    StoredVideo,
)
from savecli.store.searcher import Searcher
from savecli.store.select import Selection, select
from savecli.store.settings import Settings
from savecli.store.shelf import Shelf
from savecli.store.views import Views
from savecli.store.words import Spoken

if TYPE_CHECKING:
    from savecli.store.archive import Archive
    from savecli.store.outcomes import Exported, Merging


class Reader:
    """The half of `Store` that changes nothing.

    Attributes:
        home: the folder.
        settings: text by key, kept in the catalog.
    """

    def __init__(self, home: Path, catalog: Catalog) -> None:
        self.home = home
        self.settings = Settings(catalog)
        self._catalog = catalog
        self._views = Views(home, catalog)
        self._shelf = Shelf(home, catalog)
        self._searcher = Searcher(catalog, self._views, self._shelf)

    def snapshot(self) -> contextlib.AbstractContextManager[None]:
        """Several reads inside see one state, whatever a writer does meanwhile."""
        return self._views.snapshot()

    def known(self, below: Iterable[Path] | None = None) -> dict[Path, KnownFile]:
        """Every file that was indexed, or failed to be, in order of path.

        Args:
            below: only files that are named here, or lie below what is named here.
        """
        with self._catalog.reading():
            return queries.known(self._catalog, below)

    def files(self, paths: Iterable[Path]) -> dict[Path, KnownFile]:
        """Those of `paths` that are known."""
        with self._catalog.reading():
            return queries.files(self._catalog, paths)

    def without_speech(self) -> set[str]:
        """Fingerprints of the videos with sound that were indexed with speech turned off."""
        return queries.without_speech(self._catalog)

    @property
    def clock(self) -> float | None:
        """What the clock said when a run last looked after missing files; None where none is missing."""
        with self._catalog.reading():
            return queries.clock(self._catalog)

    def named(self, video_id: str) -> StoredVideo | None:
        """The video of this fingerprint, or None."""
        with self._catalog.reading():
            return next(iter(queries.videos(self._catalog, "WHERE fingerprint = ?", video_id)), None)

    def videos(self) -> list[StoredVideo]:
        """All videos."""
        with self._catalog.reading():
            return queries.videos(self._catalog)

    def video(self, path: Path) -> StoredVideo | None:
        """The video at a path, or None."""
        with self._catalog.reading():
            return queries.video_at(self._catalog, path)

    def transcript(self, video_id: str) -> Transcript:
        """All that is said in a video, with word times."""
        with self._catalog.reading():
            return queries.transcript(self._catalog, video_id)

    def stored_segments(self, video_id: str) -> list[StoredSegment]:
        """The segments of a video in order of time; none where there is no such video."""
        with self._catalog.reading():
            return queries.segments_of(self._catalog, video_id)

    def segments(self, ids: Iterable[int]) -> list[StoredSegment]:
        """These segments in the order given, without those that are gone."""
        with self._catalog.reading():
            return queries.segments(self._catalog, ids)

    def sample(self, n: int) -> tuple[list[int], int]:
        """Up to `n` segments, spread evenly over the store; and how many it holds in all."""
        with self._catalog.reading():
            return queries.sample(self._catalog, n)

    def utterances(
        self, segment_ids: Iterable[int], *, timed: bool = True
    ) -> dict[int, tuple[Utterance, ...]]:
        """What is said in each of these segments; every id given is a key.

        Args:
            segment_ids: of the segments.
            timed: with the times of its words, which take most of the time that this takes.
        """
        return queries.utterances(self._catalog, segment_ids, timed=timed)

    def texts_by_segment(self, segment_ids: Iterable[int]) -> dict[int, list[str]]:
        """The texts of what is said in each of these segments, in order of time; every id given is a key."""
        return queries.texts_by_segment(self._catalog, segment_ids)

    @property
    def revision(self) -> int:
        """Another number after each change. Read it inside `snapshot`."""
        return self._views.revision

    def saying(
        self, runs: Sequence[Run], limit: int, *, among: Collection[int] | None = None
    ) -> Iterator[Spoken]:
        """Videos in which all of `runs` are said, one by one; see `words.saying`. Only inside `snapshot`."""
        return words.saying(self._catalog, runs, limit, among=among)

    def speaking(self, *, among: Collection[int] | None = None) -> list[str]:
        """Ids of the videos in which anything is said."""
        return words.speaking(self._catalog, among=among)

    def texts(self, video_id: str) -> list[str]:
        """What is said in a video, by utterance in order of time."""
        return words.texts(self._catalog, video_id)

    def segments_within(self, video_id: str, start_s: float, end_s: float) -> list[StoredSegment]:
        """The segments of a video that a span touches, in order of time."""
        return queries.segments_within(self._catalog, video_id, start_s, end_s)

    def segment_of_utterance(self, video_id: str, number: int) -> int | None:
        """The segment that an utterance of a video belongs to, by its number in order of time."""
        return queries.segment_of_utterance(self._catalog, video_id, number)

    def keys(self, video_ids: Iterable[str]) -> list[int]:
        """The keys of these videos, for the arguments that take some."""
        return queries.keys(self._catalog, video_ids)

    def near_words(self, word: str, edits: int) -> list[str]:
        """See `words.near`."""
        return words.near(self._catalog, word, edits)

    def utterances_from(self, video_id: str, first: int, n: int) -> tuple[Utterance, ...]:
        """Up to `n` utterances of a video, from number `first` on, counted from 0 in order of time."""
        return queries.utterances_from(self._catalog, video_id, first, n)

    def frame_times(self, segment_ids: Iterable[int]) -> dict[int, NDArray[np.float64]]:
        """For each of these segments that is stored, the time of each of its frames, (F,) in seconds."""
        return queries.frame_times(self._catalog, segment_ids)

    def rows(self, kind: Kind, segment_ids: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        """For each of these segments that is stored, its rows (N, D) float32, in the order of the file."""
        return self._searcher.rows(kind, segment_ids)

    def stacks(
        self, kinds: Sequence[Kind], segment_ids: Sequence[int]
    ) -> dict[Kind, tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """By kind, (R, D) rows of these segments on one another, in their order; (n,) how many each has."""
        return self._searcher.stacks(kinds, segment_ids)

    def nearest(
        self,
        kind: SearchKind,
        query: NDArray[np.float32],
        k: int,
        *,
        within: Collection[int] | None = None,
        videos: Collection[int] | None = None,
    ) -> list[Hit]:
        """The `k` segments nearest to `query`, best first, fewer where fewer are stored.

        A segment counts once, by its best row. Scores are exact also where a graph proposed the rows.

        Args:
            kind: "seen", "heard", "said" or "fused".
            query: (D,) float32 of unit norm.
            k: how many.
            within: ids of the only segments to look at.
            videos: keys of the only videos to look at, see `select`; all their rows are looked at.
        """
        return self._searcher.nearest(kind, query, k, within=within, videos=videos)

    def nearest_each(
        self,
        asks: Sequence[tuple[SearchKind, NDArray[np.float32]]],
        k: int,
        *,
        videos: Collection[int] | None = None,
    ) -> list[list[Hit]]:
        """`nearest` for each of several kinds and queries, whose graphs are searched side by side."""
        return self._searcher.nearest_each(asks, k, videos=videos)

    def warm(self) -> None:
        """Reads the graphs through now, for a store that stays open: else its fourth search does."""
        self._searcher.warm()

    def select(self, where: Where) -> Selection:
        """The videos that pass a filter."""
        with self._catalog.reading():
            return select(self._catalog, where)

    @property
    def last_search_exact(self) -> bool:
        """Whether the last search for the nearest looked at every row, not at what a graph proposed."""
        return self._searcher.last_search_exact

    @property
    def last_search_lacked_graph(self) -> bool:
        """Whether it looked at every row of a kind because no graph fits them, though one would pay."""
        return self._searcher.last_search_lacked_graph

    def graphs(self) -> list[StoredGraph]:
        """The graphs on disk, the newest first."""
        return self._shelf.listed()

    def counts(self) -> Counts:
        """How much is stored."""
        with self._views.snapshot():
            counted = queries.count(self._catalog)
            total = self._catalog.rows("SELECT total(n_rows) FROM vectors")[0][0]
        dead_share = 1 - sum(counted["n_rows"].values()) / total if total else 0.0
        return Counts(**counted, dead_share=dead_share, size_bytes=folder.size_bytes(self.home))

    @property
    def identity(self) -> dict[str, str]:
        """What made the embeddings."""
        return dict(self._catalog.rows("SELECT key, value FROM identity"))

    def export(self, target: Path, *, force: bool = False) -> Iterator[Headway | Exported]:
        """Writes all videos into one file; see `savecli.store.export`."""
        from savecli.store.export import export  # not for a search, which it would delay

        return export(self._catalog, self._views, target, force=force)

    def merge_plan(self, archive: Archive) -> Iterator[Merging]:
        """What `Store.merge` would do."""
        from savecli.store.merge import merge

        return merge(self._catalog, self._views, archive, dry_run=True)

    def check(self) -> list[Problem]:
        """Reads every file of the store through and compares lengths and checksums."""
        return check_store(self._catalog, self._views, self._shelf)
