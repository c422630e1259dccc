"""The toy can be won: its layout is read, its queries have one answer each, its sounds are heard."""

from __future__ import annotations

import csv
import importlib.util
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from savecli import toy
from savecli.bench.datasets import load
from savecli.errors import ConfigError, MediaError, SaveError
from savecli.media.encode import SAMPLE_RATE_HZ, read_recording
from savecli.toy import CAPTIONS, MAX_TEST, SOUNDS, kind_of, make_toy

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="needs extra toy")
KINDS = list(CAPTIONS)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "new" / "toy"
    make_toy(folder, n_train=5, n_test=3, seed=7)
    return folder


def queries(folder: Path) -> list[dict[str, str]]:
    with (folder / "toy_queries.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_it_is_read_as_msrvtt(made):
    found = load("msrvtt", made, n_val=1)
    assert (len(found.train), len(found.val), len(found.test), found.notes) == (4, 1, 3, ())
    clips = found.train + found.val + found.test
    assert all(clip.path and clip.speech for clip in clips)
    for clip in found.train:
        assert [kind_of(caption) for caption in clip.captions] == [kind for kind in KINDS for _ in range(2)]
    assert [kind_of(clip.captions[0]) for clip in found.test] == KINDS
    assert len(load("csv", made / "toy_queries.csv").test[0].captions) == 3


def test_there_is_a_query_of_each_kind_for_each_test_video(made):
    test = load("msrvtt", made).test
    assert [(row["video_id"], row["kind"]) for row in queries(made)] == [
        (clip.video_id, kind) for clip in test for kind in KINDS
    ]
    assert all(kind_of(row["sentence"]) == row["kind"] for row in queries(made))


def test_what_is_said_names_the_words_of_its_captions(made):
    for clip in load("msrvtt", made, n_val=0).train:
        words = clip.captions[4].removeprefix("a person says something about the ").split(" and the ")
        assert all(f" {word}" in clip.speech for word in words)


def test_a_seed_gives_the_same_bytes_and_another_seed_others(made, tmp_path):
    make_toy(tmp_path / "again", n_train=5, n_test=3, seed=7)
    assert files(tmp_path / "again") == files(made)
    make_toy(tmp_path / "other", n_train=5, n_test=3, seed=8)
    assert files(tmp_path / "other") != files(made)


def test_speech_and_sounds_are_audible(made):
    for path in sorted((made / "videos").iterdir()):
        waveform = read_recording(path)
        for start_s, end_s in ((0, 0.9), (0.9, 1.8), (1.95, 3.2)):
            part = waveform[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)]
            assert np.sqrt((part**2).mean()) > 0.01


def spectrum(name: str, seed: int) -> np.ndarray:
    """Loudness in 18 stretches of time and 24 bands of pitch, in decibels above a floor."""
    waveform = toy._sound(name, np.random.default_rng(seed))
    stretches = abs(np.fft.rfft(waveform.reshape(18, -1), axis=1)) ** 2
    bands = np.add.reduceat(stretches, np.unique(np.geomspace(1, 600, 24).astype(int)), axis=1)
    return np.log10(bands / bands.max() + 1e-4)


def test_a_sound_is_most_like_another_rendering_of_itself():
    named = [(name, spectrum(name, seed).ravel()) for name in SOUNDS for seed in range(6)]
    for i, (name, one) in enumerate(named):
        others = named[:i] + named[i + 1 :]
        assert min(others, key=lambda pair: float(abs(pair[1] - one).mean()))[0] == name


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("n_test", [1, 24, MAX_TEST])
def test_a_test_caption_has_one_answer_and_known_words_but_is_new(n_test, seed):
    scenes = toy._scenes(24, n_test, np.random.default_rng(seed), novel=True)
    train, test = scenes[:24], scenes[24:]
    assert len(test) == n_test
    # What tells test videos apart leaves out motion and order, which a model may fail to learn.
    for told_apart in (
        {scene.seen[:2] for scene in test},
        {frozenset(scene.heard) for scene in test},
        {scene.said for scene in test},
    ):
        assert len(told_apart) == n_test
    for kind in KINDS:
        held_out = {getattr(scene, kind) for scene in test}
        trained = {getattr(scene, kind) for scene in train}
        assert not held_out & trained
        assert {w for words in held_out for w in enumerate(words)} <= {
            w for words in trained for w in enumerate(words)
        }


@pytest.mark.parametrize("seed", range(5))
def test_unless_novel_every_tested_combination_is_trained_with_other_company(seed):
    scenes = toy._scenes(48, 24, np.random.default_rng(seed), novel=False)
    train, test = scenes[:48], scenes[48:]
    for kind in KINDS:
        assert {getattr(scene, kind) for scene in test} == {getattr(scene, kind) for scene in train}
    assert not {(s.seen, s.heard, s.said) for s in test} & {(s.seen, s.heard, s.said) for s in train}


def test_what_is_seen_heard_and_said_do_not_give_each_other_away():
    scenes = toy._scenes(2000, 1, np.random.default_rng(0), novel=True)[:2000]
    for one, other in combinations(KINDS, 2):
        together = defaultdict(set)
        for scene in scenes:
            together[getattr(scene, one)[0]].add(getattr(scene, other)[0])
        everything = set.union(*together.values())
        assert all(found == everything for found in together.values())


def test_a_word_is_of_one_kind():
    words = {
        kind: {w for s in toy._scenes(300, 1, np.random.default_rng(0), novel=True) for w in getattr(s, kind)}
        for kind in KINDS
    }
    assert all(not words[one] & words[other] for one, other in combinations(KINDS, 2))


def test_another_caption_is_of_no_kind():
    with pytest.raises(ValueError, match="not a caption"):
        kind_of("two dogs play")


@pytest.mark.parametrize(
    "numbers", [{"n_train": 0}, {"n_test": 0}, {"n_test": MAX_TEST + 1}, {"seed": -1}], ids=str
)
def test_numbers_out_of_range_are_refused(tmp_path, numbers):
    with pytest.raises(ConfigError):
        make_toy(tmp_path / "toy", **{"n_train": 1, "n_test": 1, "seed": 0, **numbers})


def test_it_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise MediaError("no")

    monkeypatch.setattr(toy, "write_video", fail)
    with pytest.raises(MediaError):
        make_toy(tmp_path / "toy", n_train=1, n_test=1, seed=0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").write_text("kept", "utf-8")
    for taken in (tmp_path, tmp_path / "mine"):
        with pytest.raises(SaveError):
            make_toy(taken, n_train=1, n_test=1, seed=0)
    assert (tmp_path / "mine").read_text("utf-8") == "kept"


def test_without_a_voice_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SaveError) as caught:
        make_toy(tmp_path / "toy", n_train=1, n_test=1, seed=0)
    assert "savecli[toy]" in caught.value.hint
