"""From files on disk to groups: rows of colours propose, the pictures decide."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from savecli.datatypes import Utterance
from savecli.dupes.run import find
from savecli.index import Options as IndexOptions
from savecli.index import index
from savecli.media.encode import write_video
from savecli.pipeline import Pipeline
from savecli.twins import Dupes, Options

FPS = 10
RED, GREEN, BLUE = (1.0, 0.1, 0.1), (0.1, 1.0, 0.1), (0.1, 0.1, 1.0)


def shot(seed: int, colour: tuple[float, float, float], length_s: float = 4.0) -> list[np.ndarray]:
    """Soft shapes in one colour that drift to the side."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:72, :96] / 72
    waves = [(rng.uniform(0.5, 3), rng.uniform(0.5, 3), rng.uniform(0, 6)) for _ in range(4)]
    frames = []
    for i in range(int(length_s * FPS)):
        grey = 130 + 22 * sum(np.sin(2 * np.pi * (a * (x + i / 400) + b * y) + c) for a, b, c in waves)
        frames.append((grey.clip(30, 230)[..., None] * np.array(colour)).astype(np.uint8))
    return frames


def smaller(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [np.ascontiguousarray(frame[::2, ::2]) // 4 * 3 for frame in frames]


@pytest.fixture
def shelf(tmp_path, colour_store, encoder, decoder, parrot):
    """Writes videos, indexes them, and finds what is there twice."""
    folder = tmp_path / "videos"
    folder.mkdir()

    class Shelf:
        root = folder

        def write(self, name: str, *shots: list[np.ndarray], said: str = "", sound: bool = False) -> Path:
            frames = [frame for one in shots for frame in one]
            tone = (
                np.sin(np.arange(4800 * len(frames)) / 20).astype(np.float32) / 3 if sound or said else None
            )
            write_video(folder / name, frames, fps=FPS, waveform=tone)
            return self.index(name, None, said=said, length_s=len(frames) / FPS)

        def index(self, name: str, content: bytes | None, said: str = "", length_s: float = 0) -> Path:
            if content is not None:
                (folder / name).write_bytes(content)
            utterances = [Utterance(start_s=0.1, end_s=length_s - 0.1, text=said)] if said else []
            pipeline = Pipeline(decoder, encoder, parrot(*utterances))
            list(index(IndexOptions(paths=(folder / name,)), colour_store, lambda: nullcontext(pipeline)))
            return folder / name

        def find(self, **options) -> Dupes:
            stages = find(colour_store, Options(**options))
            self.told = []
            while True:
                try:
                    self.told.append(next(stages))
                except StopIteration as end:
                    return end.value

    return Shelf()


def groups(found: Dupes) -> list[set[str]]:
    return [{member.paths[0].name for member in twins.members} for twins in found.twins]


A = [shot(1, RED), shot(2, GREEN), shot(3, BLUE)]
B = [shot(4, GREEN), shot(5, RED), shot(6, BLUE)]


def test_a_smaller_darker_shorter_version_is_found_and_others_are_not(shelf):
    shelf.write("whole.mp4", *A)
    shelf.write("later.mp4", smaller([frame for one in A for frame in one][25:]))
    shelf.write("other.mp4", *B)
    shelf.write("like.mp4", shot(7, RED), shot(8, GREEN), shot(9, BLUE))
    found = shelf.find()
    assert groups(found) == [{"whole.mp4", "later.mp4"}]
    (twins,) = found.twins
    assert (twins.kind, twins.looked, twins.other_words) == ("video", True, False)
    spans = {member.paths[0].name: (member.start_s, member.end_s) for member in twins.members}
    assert spans["whole.mp4"] == pytest.approx((2.5, 12), abs=1)
    assert spans["later.mp4"] == pytest.approx((0, 9.5), abs=1)
    assert twins.likeness > 0.9
    assert [stage.name for stage in shelf.told if stage.done == stage.total] == [
        "compare",
        "sift",
        "align",
        "look",
    ]


def test_a_scene_that_two_videos_share_is_told_with_its_times(shelf):
    shelf.write("first.mp4", shot(10, GREEN, 6), shot(1, RED), shot(11, GREEN, 6))
    shelf.write("second.mp4", shot(12, BLUE, 3), shot(1, RED), shot(13, BLUE, 7))
    (twins,) = shelf.find().twins
    assert twins.kind == "scene"
    spans = {member.paths[0].name: (member.start_s, member.end_s) for member in twins.members}
    assert spans["first.mp4"] == pytest.approx((6, 10), abs=1)
    assert spans["second.mp4"] == pytest.approx((3, 7), abs=1)
    assert shelf.find(least_s=6).twins == ()


def test_copies_are_listed_apart(shelf):
    one = shelf.write("one.mp4", *A)
    two = shelf.index("two.mp4", one.read_bytes())
    shelf.write("other.mp4", *B)
    found = shelf.find()
    assert [copies.paths for copies in found.copies] == [(one, two)]
    assert found.twins == ()
    assert shelf.find(below=(shelf.root / "other.mp4",)).copies == ()


def test_without_files_rows_alone_must_be_more_alike(shelf):
    shelf.write("one.mp4", *A)
    shelf.write("two.mp4", smaller([frame for one in A for frame in one]))
    for name in ("one.mp4", "two.mp4"):
        (shelf.root / name).unlink()
    found = shelf.find()
    assert groups(found) == [{"one.mp4", "two.mp4"}]
    assert not found.twins[0].looked
    assert found.n_unlooked == 1


def test_no_looks_is_to_judge_by_rows(shelf):
    shelf.write("one.mp4", *A)
    shelf.write("like.mp4", shot(7, RED), shot(8, GREEN), shot(9, BLUE))
    assert groups(shelf.find()) == [], "the pictures tell them apart"
    assert groups(shelf.find(n_looks=0)) == [{"one.mp4", "like.mp4"}], "their colours do not"


def test_one_picture_under_other_words_is_another_video(shelf):
    still = [shot(1, RED)[0]] * 120
    shelf.write("one.mp4", still, said="a red house stands near the river behind seven old willow trees")
    shelf.write(
        "two.mp4", still[:-5], said="the captain counted ships while gulls cried over his empty harbour"
    )
    assert shelf.find().twins == ()
    shelf.write(
        "three.mp4", still[:-9], said="a red house stands near the river behind seven old willow trees"
    )
    assert groups(shelf.find()) == [{"one.mp4", "three.mp4"}]


def test_moving_pictures_under_other_words_are_told_as_such(shelf):
    shelf.write("one.mp4", *A, said="a red house stands near the river behind seven old willow trees")
    dubbed = smaller([frame for one in A for frame in one])
    shelf.write("two.mp4", dubbed, said="ein rotes haus steht am fluss hinter sieben alten weidenbaeumen")
    (twins,) = shelf.find().twins
    assert twins.other_words


def test_only_what_has_a_part_below_a_path_is_told(shelf):
    shelf.write("one.mp4", *A)
    shelf.write("two.mp4", smaller([frame for one in A for frame in one]))
    shelf.write("third.mp4", *B)
    shelf.write("fourth.mp4", smaller([frame for one in B for frame in one]))
    assert len(shelf.find().twins) == 2
    assert groups(shelf.find(below=(shelf.root / "third.mp4",))) == [{"third.mp4", "fourth.mp4"}]
    assert len(shelf.find(below=(shelf.root,)).twins) == 2
    assert shelf.find(below=(shelf.root / "none",)).twins == ()


def test_an_empty_store_has_nothing_twice(shelf):
    found = shelf.find()
    assert (found.twins, found.copies, found.n_videos) == ((), (), 0)
