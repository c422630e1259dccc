"""Scored segments -> moments: neighbours joined, ends refined, the same content shown once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from savecli import fold
from savecli.datatypes import MediaSpec, Moment, Terms, Utterance
from savecli.media.volumes import Volumes, absent
from savecli.search.snippet import Snippet
from savecli.store import Store, StoredSegment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from savecli.search.exact import Place

JOIN_SHARE = 0.6  # a neighbour belongs to a moment if its evidence is at least this share of the best's
MOST_LOOKED_AT = 25
"""Drafts for each that is shown: copies of copies have an end."""
NO_SEGMENT = -1
"""The number of what is said outside of all segments."""
SAME_SEEN = 0.98
"""From this cosine of what is seen on, two segments show the same (benchmarks/RESULTS.md)."""
SAME_SAID = 0.7
"""And say the same, if they share this much of their words."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """A segment with its score, and where in it the query is met best.

    Attributes:
        why: what each modality adds to the score, which is their sum.
        evidence: beyond what the middle of the library has.
        kept: 0..1, what is left of the score for what should not be there.
        best_utterance: which of `utterances` fits best, None for none.
    """

    segment: StoredSegment
    why: Mapping[str, float]
    evidence: float
    kept: float
    best_s: float
    utterances: tuple[Utterance, ...]
    best_utterance: int | None

    @property
    def score(self) -> float:
        """0..1."""
        return sum(self.why.values())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """A moment before it is known whether it will be shown.

    Attributes:
        segments: that it lies in, in order of time; `best` is the one that answers best.
        place: where exact words are said in it, if that is why it is one: no threshold applies.
        copies: see `Moment`.
    """

    segments: tuple[StoredSegment, ...]
    best: StoredSegment
    start_s: float
    end_s: float
    best_s: float
    why: Mapping[str, float]
    snippet: Snippet = field(default_factory=lambda: Snippet(""))
    scored: Scored | None = None
    place: Place | None = None
    copies: int = 0
    terms: tuple[Terms, ...] = ()

    @property
    def score(self) -> float:
        """0..1."""
        return sum(self.why.values())

    @property
    def order(self) -> tuple[float, str, float]:
        """Best first; ties by path and time."""
        return (-self.score, str(self.best.paths[0]) if self.best.paths else "", self.start_s)


def joined(scored: Sequence[Scored]) -> list[Draft]:
    """Each best segment with the neighbours that answer the query nearly as well."""
    by_video: defaultdict[str, list[Scored]] = defaultdict(list)
    for item in scored:
        by_video[item.segment.video_id].append(item)
    drafts = []
    for items in by_video.values():
        items.sort(key=lambda item: item.segment.start_s)
        free = set(range(len(items)))
        for best in sorted(free, key=lambda i: -items[i].score):
            if best not in free:
                continue
            first, last = _reach(items, best, free, -1), _reach(items, best, free, +1)
            free -= set(range(first, last + 1))
            drafts.append(_draft(items[first : last + 1]))
    return drafts


def _reach(items: Sequence[Scored], best: int, free: set[int], step: int) -> int:
    """How far the moment of `best` goes in one direction."""
    least = JOIN_SHARE * items[best].evidence
    at = best
    while (beside := at + step) in free:
        earlier, later = sorted((at, beside))
        touching = items[earlier].segment.end_s == items[later].segment.start_s
        if not touching or items[beside].evidence < least:
            break
        at = beside
    return at


def _draft(group: Sequence[Scored]) -> Draft:
    best = max(group, key=lambda item: item.score)
    return Draft(
        segments=tuple(item.segment for item in group),
        best=best.segment,
        start_s=group[0].segment.start_s,
        end_s=group[-1].segment.end_s,
        best_s=best.best_s,
        why=best.why,
        scored=best,
    )


def best_s(
    segment: StoredSegment,
    why: Mapping[str, float],
    places: Mapping[str, int],
    times_s: NDArray[np.float64],
    utterances: Sequence[Utterance],
    spec: MediaSpec,
) -> float:
    """When the modality that speaks most for the segment does so."""
    times = {
        "seen": times_s,
        "heard": segment.start_s + spec.sound_hop_s * np.arange(segment.n_heard),
        "said": np.array([u.start_s for u in utterances]),
    }
    kinds = {"seen": "frames", "heard": "heard", "said": "said"}
    for name in sorted(why, key=lambda name: -why[name]):
        place = min(places.get(kinds[name], -1), len(times[name]) - 1)
        if place >= 0:
            # What is said may have begun in the segment before.
            return max(segment.start_s, float(times[name][place]))
    return segment.start_s


def chosen(
    drafts: Sequence[Draft],
    refine: Callable[[Draft], Draft],
    *,
    store: Store,
    top_k: int,
    per_video: int | None,
    copies: bool,
) -> list[Draft]:
    """The drafts that are shown.

    Args:
        drafts: best first.
        refine: gives a draft its ends. What lies in a better one then, is a part of it.
        store: open, in a snapshot.
        top_k: how many, or where `per_video` is given, of how many videos.
        per_video: how many of one video, each video's together.
        copies: also shows those that repeat a better one of another video; else that one counts them.
    """
    kept: list[Draft] = []
    groups: dict[str, int] = {}
    looks = _Looks(store)
    for rough in drafts[: MOST_LOOKED_AT * top_k]:
        same = None if copies else next((i for i, one in enumerate(kept) if looks.same(one, rough)), None)
        if same is not None:
            kept[same] = replace(kept[same], copies=kept[same].copies + 1)
            continue
        video_id = rough.best.video_id
        if per_video is None and len(kept) == top_k:
            break
        if per_video and (
            groups.get(video_id, 0) == per_video or (len(groups) == top_k and video_id not in groups)
        ):
            continue
        draft = beside(refine(rough), kept)
        if draft is None:
            continue
        kept.append(draft)
        groups[video_id] = groups.get(video_id, 0) + 1
    if per_video is None:
        return kept
    return [draft for video_id in groups for draft in kept if draft.best.video_id == video_id]


def beside(draft: Draft, others: Iterable[Draft]) -> Draft | None:
    """The draft as far as others of its video leave room; None where its best lies in one of them."""
    for other in others:
        if other.best.video_id != draft.best.video_id:
            continue
        if other.start_s <= draft.best_s < other.end_s:
            return None
        if other.end_s <= draft.best_s:
            draft = replace(draft, start_s=max(draft.start_s, other.end_s))
        else:
            draft = replace(draft, end_s=min(draft.end_s, other.start_s))
    return draft


class _Looks:
    """What segments show and say, read from the store once each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, tuple[NDArray[np.float32], frozenset[str]]] = {}

    def same(self, one: Draft, other: Draft) -> bool:
        """Whether two drafts of different videos are copies of one another."""
        if one.best.video_id == other.best.video_id or NO_SEGMENT in (
            one.best.segment_id,
            other.best.segment_id,
        ):
            return False
        (seen, said), (seen2, said2) = self._of(one.best), self._of(other.best)
        if len(seen) != len(seen2) or not (len(seen) or said):
            return False
        if len(seen) and float(seen[0] @ seen2[0]) < SAME_SEEN:
            return False
        return len(said & said2) >= SAME_SAID * len(said | said2)

    def _of(self, segment: StoredSegment) -> tuple[NDArray[np.float32], frozenset[str]]:
        key = segment.segment_id
        if key not in self._known:
            spoken = self._store.utterances([key])[key]
            words = frozenset(word for u in spoken for word in fold.words(u.text))
            self._known[key] = (self._store.rows("seen", [key])[key], words)
        return self._known[key]


def moment(draft: Draft, store: Store, look: Callable[[], Volumes], below: Sequence[Path]) -> Moment:
    """A draft as it is shown, by the copy of its file that can be played, `below` if any copy is."""
    paths = [p for p in draft.best.paths if _lies_below(p, below)] or draft.best.paths
    path, is_there = _path(paths)
    found = Moment(
        path=path,
        video_id=draft.best.video_id,
        start_s=draft.start_s,
        end_s=draft.end_s,
        score=draft.score,
        why=draft.why,
        snippet=draft.snippet.text,
        marks=draft.snippet.marks,
        best_s=draft.best_s,
        mounted=is_there,
        copies=draft.copies,
        terms=draft.terms,
    )
    return found if is_there else _located(found, store, look)


def _lies_below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path == folder or path.is_relative_to(folder) for folder in folders)


def _located(found: Moment, store: Store, look: Callable[[], Volumes]) -> Moment:
    """The moment with the drive that its video is on, if that is why it cannot be played."""
    video = store.named(found.video_id)
    files = store.files(video.paths if video else ())
    away = absent({path: file.volume for path, file in files.items()}, look())
    path, drive = next(((path, drive) for path, drive in away.items() if drive), (found.path, ""))
    return replace(found, path=path, drive=drive)


def _path(paths: Sequence[Path]) -> tuple[Path, bool]:
    """The copy that can be played now, or the first."""
    present = next((path for path in paths if path.exists()), None)
    return present or paths[0], present is not None
