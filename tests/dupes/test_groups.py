"""Pairs become groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from savecli.dupes.groups import Pair, grouped
from savecli.store import StoredVideo


def video(name: str, duration_s: float) -> StoredVideo:
    return StoredVideo(
        video_id=name,
        paths=(Path(f"/v/{name}.mp4"),),
        duration_s=duration_s,
        has_audio=False,
        has_video=True,
        n_segments=1,
        speech_s=0.0,
        language="",
        asr="off",
        notes=(),
        partial=False,
        indexed_at=0.0,
    )


VIDEOS = {name: video(name, length_s) for name, length_s in (("a", 60), ("b", 60), ("c", 100), ("d", 10))}


def pair(first, second, likeness=0.9, **options):
    return Pair(first=first, second=second, likeness=likeness, looked=options.pop("looked", True), **options)


def members(twins):
    return [(m.video_id, m.start_s, m.end_s) for m in twins.members]


def test_what_is_alike_through_a_third_is_one_group():
    pairs = [pair(("a", 0, 60), ("b", 0, 58)), pair(("b", 1, 60), ("c", 40, 99), 0.8, looked=False)]
    (group,) = grouped(pairs, VIDEOS)
    assert members(group) == [("a", 0, 60), ("b", 0, 60), ("c", 40, 99)]
    assert (group.kind, group.likeness, group.looked) == ("video", 0.8, False)


def test_different_scenes_of_one_video_are_different_groups():
    pairs = [
        pair(("c", 0, 10), ("a", 20, 30)),
        pair(("c", 50, 58), ("b", 0, 8)),
        pair(("c", 8, 20), ("d", 0, 10)),
    ]
    groups = grouped(pairs, VIDEOS)
    assert [members(g)[0][0] for g in groups] == ["c", "a", "b"]
    assert [g.kind for g in groups] == ["video", "scene", "scene"], "all of d is found again"
    assert {len(g.members) for g in groups} == {2}


def test_a_scene_seen_twice_in_one_video_is_one_member_that_reaches_over_both():
    pairs = [pair(("a", 0, 10), ("b", 0, 10)), pair(("a", 2, 12), ("c", 0, 10))]
    (group,) = grouped(pairs, VIDEOS)
    assert members(group)[0] == ("a", 0, 12)


def test_a_pair_with_other_words_marks_its_group():
    (group,) = grouped([pair(("a", 0, 60), ("b", 0, 60), other_words=True)], VIDEOS)
    assert group.other_words
    assert group.members[0].share == pytest.approx(1)
    assert grouped([], VIDEOS) == ()
