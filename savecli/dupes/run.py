"""Which videos, and which scenes of videos, does the store hold more than once?

Copies of a file have its fingerprint. All else is found in three steps: pooled rows propose pairs of segments
(`propose`), frames in order say where they overlap (`align`), and pictures decide (`look`). Where the files
are not there, the rows alone must be a good deal more alike. Nothing is written or deleted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from savecli.dupes.align import Overlap, Track, overlaps
from savecli.dupes.groups import Pair, grouped
from savecli.dupes.look import LEAST, N_CALM, Eye
from savecli.dupes.propose import Library, Space, propose, sift
from savecli.media.scan import whole
from savecli.media.worker import Decoder
from savecli.model.words import content
from savecli.store import Store, StoredVideo
from savecli.twins import Copies, Dupes, Options, Stage

LEAST_UNSEEN = 0.6
"""The mean cosine of aligned frames that tells without a look at the pictures."""
N_PAIRS = 20_000
_LEAST_SIFTED = 0.25
_N_TRACKS = 64
_LEAST_WORDS = 8
_SAME_WORDS = 0.4

Videos = Mapping[str, StoredVideo]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Two videos, and where they seem to overlap.

    Attributes:
        same_words: whether the same is said in both there; None where too little is said to tell.
    """

    first: StoredVideo
    second: StoredVideo
    overlap: Overlap
    same_words: bool | None


def find(
    store: Store, options: Options, decoder: Callable[[], Decoder] = Decoder
) -> Generator[Stage, None, Dupes]:
    """Yields how far it is; returns what was found.

    Args:
        store: open for reading or writing.
        options: what to look for.
        decoder: opens what reads pictures, where there is something to look at.
    """
    with store.snapshot():
        videos = {video.video_id: video for video in store.videos()}
        wanted = _wanted(videos, options.below)
        matches = yield from candidates(store, videos, wanted, least_s=options.least_s)
    pairs, n_unlooked = yield from _decide(matches, options.n_looks, decoder)
    n_seen = sum(video.has_video for video in videos.values())
    return Dupes(
        copies=tuple(
            Copies(video_id=video.video_id, paths=video.paths)
            for video in sorted(videos.values(), key=lambda v: [str(path) for path in v.paths])
            if len(video.paths) > 1 and video.video_id in wanted
        ),
        twins=grouped(pairs, videos),
        n_videos=n_seen,
        n_blind=len(videos) - n_seen,
        n_unlooked=n_unlooked,
    )


def _wanted(videos: Videos, below: Sequence[Path]) -> set[str]:
    if not below:
        return set(videos)
    roots = [whole(path) for path in below]
    return {
        video_id
        for video_id, video in videos.items()
        if any(root == path or root in path.parents for path in video.paths for root in roots)
    }


def candidates(
    store: Store, videos: Videos, wanted: set[str], *, least_s: float, n_pairs: int = N_PAIRS
) -> Generator[Stage, None, list[Match]]:
    """Where two videos seem to overlap, the most alike first; to be called inside a snapshot.

    In a large library only the likeliest `n_pairs` of videos are aligned.
    """
    segments = [
        (number, segment)
        for number, video_id in enumerate(videos)
        for segment in store.stored_segments(video_id)
        if segment.n_seen
    ]
    names = list(videos)
    library = Library(
        ids=np.array([segment.segment_id for _, segment in segments], np.int64),
        videos=np.array([number for number, _ in segments], np.int64),
        asked=np.array([names[number] in wanted for number, _ in segments], np.bool_),
    )
    space = Space.of(store)
    pairs = yield from _told(propose(store, space, library), "compare")
    alike = yield from _told(sift(store, space, library, pairs), "sift")
    hints: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for place in np.argsort(-alike, kind="stable")[: int((alike >= _LEAST_SIFTED).sum())].tolist():
        (a, ours), (b, theirs) = (segments[int(side[place])] for side in pairs)
        hints.setdefault((names[a], names[b]), []).append((ours.start_s, theirs.start_s))
    tracks = _Tracks(store, space, videos)
    found = []
    chosen = sorted(islice(hints.items(), n_pairs))
    for done, ((a_id, b_id), at_s) in enumerate(chosen, 1):
        for overlap in overlaps(tracks(a_id), tracks(b_id), at_s, least_s=least_s, n_calm=N_CALM):
            same = _same_words(store, a_id, b_id, overlap)
            found.append(Match(first=videos[a_id], second=videos[b_id], overlap=overlap, same_words=same))
        yield Stage(name="align", done=done, total=len(chosen))
    return sorted(found, key=lambda match: -match.overlap.likeness)


def _told(
    working: Generator[tuple[int, int], None, T], name: Literal["compare", "sift"]
) -> Generator[Stage, None, T]:
    """The same work, whose headway is that of a stage."""
    while True:
        try:
            done, total = next(working)
        except StopIteration as end:
            result: T = end.value
            return result
        yield Stage(name=name, done=done, total=total)


class _Tracks:
    """The frames of videos in the space of the library, the last few kept."""

    def __init__(self, store: Store, space: Space, videos: Videos) -> None:
        self._store = store
        self._space = space
        self._videos = videos
        self._held: OrderedDict[str, Track] = OrderedDict()

    def __call__(self, video_id: str) -> Track:
        if video_id in self._held:
            self._held.move_to_end(video_id)
            return self._held[video_id]
        ids = [s.segment_id for s in self._store.stored_segments(video_id) if s.n_frames]
        rows, times = self._store.rows("frames", ids), self._store.frame_times(ids)
        track = Track(
            rows=self._space(np.concatenate([rows[i] for i in ids])),
            times_s=np.concatenate([times[i] for i in ids]),
            duration_s=self._videos[video_id].duration_s,
        )
        self._held[video_id] = track
        if len(self._held) > _N_TRACKS:
            self._held.popitem(last=False)
        return track


def _same_words(store: Store, first: str, second: str, overlap: Overlap) -> bool | None:
    start_s, end_s, shift_s = overlap.start_s, overlap.end_s, overlap.shift_s
    spans = ((first, start_s, end_s), (second, start_s - shift_s, end_s - shift_s))
    said = [
        {
            word
            for utterance in store.transcript(video_id).within(from_s - 1, to_s + 1)
            for word in content(utterance.text)
        }
        for video_id, from_s, to_s in spans
    ]
    fewest = min(map(len, said))
    return len(said[0] & said[1]) >= _SAME_WORDS * fewest if fewest >= _LEAST_WORDS else None


def _decide(
    matches: Sequence[Match], n_looks: int, decoder: Callable[[], Decoder]
) -> Generator[Stage, None, tuple[list[Pair], int]]:
    """Those that show the same, and how many were judged by their rows alone."""
    pairs: list[Pair] = []
    files = [(_there(match.first), _there(match.second)) for match in matches]
    total = min(n_looks, sum(None not in both for both in files))
    n_looked = 0
    with ExitStack() as stack:
        eye: Eye | None = None
        for match, (ours, theirs) in zip(matches, files, strict=True):
            if ours is None or theirs is None or n_looked >= n_looks:
                if match.overlap.likeness >= LEAST_UNSEEN and match.same_words is not False:
                    pairs.append(_pair(match, match.overlap.likeness, looked=False))
                continue
            eye = eye or Eye(stack.enter_context(decoder()))
            likeness = eye.likeness(ours, theirs, match.overlap)
            other = match.same_words is False
            # One picture under a voice, as in an audio book: other words are another video.
            if (
                likeness is not None
                and likeness >= LEAST
                and not (other and eye.is_still(ours, match.overlap))
            ):
                pairs.append(_pair(match, likeness, looked=True, other_words=other))
            n_looked += 1
            yield Stage(name="look", done=n_looked, total=total)
    return pairs, len(matches) - n_looked


def _pair(match: Match, likeness: float, *, looked: bool, other_words: bool = False) -> Pair:
    start_s, end_s, shift_s = match.overlap.start_s, match.overlap.end_s, match.overlap.shift_s
    return Pair(
        first=(match.first.video_id, start_s, end_s),
        second=(match.second.video_id, max(0.0, start_s - shift_s), end_s - shift_s),
        likeness=likeness,
        looked=looked,
        other_words=other_words,
    )


def _there(video: StoredVideo) -> Path | None:
    return next((path for path in video.paths if path.is_file()), None)
