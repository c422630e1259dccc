"""Pairs of spans -> groups: what shows the same, in however many videos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from savecli.store import StoredVideo
from savecli.twins import Member, Twins

_SAME_SHARE = 0.5
_WHOLE = 0.8

Span = tuple[str, float, float]
"""A video's id, and ``[start_s, end_s)`` of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two spans that show the same; see `Twins` for the rest."""

    first: Span
    second: Span
    likeness: float
    looked: bool
    other_words: bool = False


def grouped(pairs: Sequence[Pair], videos: Mapping[str, StoredVideo]) -> tuple[Twins, ...]:
    """Groups of spans that are linked by pairs: whole videos before scenes, the longest first.

    Two spans of one video are the same where they share half of the shorter.
    """
    spans = [span for pair in pairs for span in (pair.first, pair.second)]
    union = _Union(len(spans))
    for number in range(len(pairs)):
        union.join(2 * number, 2 * number + 1)
    by_video: defaultdict[str, list[int]] = defaultdict(list)
    for place, (video_id, _, _) in enumerate(spans):
        by_video[video_id].append(place)
    for places in by_video.values():
        places.sort(key=lambda place: spans[place][1])
        for number, place in enumerate(places):
            for other in places[number + 1 :]:
                if spans[other][1] >= spans[place][2]:
                    break
                if _are_one(spans[place], spans[other]):
                    union.join(place, other)
    linked: defaultdict[int, list[Pair]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        linked[union.root(2 * number)].append(pair)
    groups = [_twins(members, videos) for members in linked.values()]
    return tuple(sorted(groups, key=lambda g: (g.kind != "video", -_length_s(g), str(g.members[0].paths[0]))))


class _Union:
    """Which of n things are joined, directly or through others."""

    def __init__(self, n: int) -> None:
        self._parents = list(range(n))

    def root(self, place: int) -> int:
        parents = self._parents
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    def join(self, one: int, other: int) -> None:
        self._parents[self.root(one)] = self.root(other)


def _are_one(span: Span, other: Span) -> bool:
    shared_s = min(span[2], other[2]) - max(span[1], other[1])
    return shared_s >= _SAME_SHARE * min(span[2] - span[1], other[2] - other[1])


def _twins(linked: Sequence[Pair], videos: Mapping[str, StoredVideo]) -> Twins:
    reach: dict[str, tuple[float, float]] = {}
    for video_id, start_s, end_s in (span for pair in linked for span in (pair.first, pair.second)):
        before = reach.get(video_id, (start_s, end_s))
        reach[video_id] = (min(before[0], start_s), max(before[1], end_s))
    members = [
        Member(
            video_id=video_id,
            paths=videos[video_id].paths,
            start_s=start_s,
            end_s=end_s,
            duration_s=videos[video_id].duration_s,
        )
        for video_id, (start_s, end_s) in reach.items()
    ]
    members.sort(key=lambda m: (m.start_s - m.end_s, str(m.paths[0])))
    return Twins(
        kind="video" if any(m.share >= _WHOLE for m in members) else "scene",
        members=tuple(members),
        likeness=min(pair.likeness for pair in linked),
        looked=all(pair.looked for pair in linked),
        other_words=any(pair.other_words for pair in linked),
    )


def _length_s(group: Twins) -> float:
    return max(member.end_s - member.start_s for member in group.members)
