"""What a tuning tries and chooses; how fast anything is here is nobody's business."""

from __future__ import annotations

import numpy as np
import pytest

from savecli import config, machine, tune
from savecli.errors import WeightsError
from savecli.media.decode import probe
from savecli.tuned import LEAST_X


@pytest.fixture
def settings(tmp_path):
    return config.load(home=tmp_path / "home", device="cpu")


def told(work):
    """The tries, and what the generator returns."""
    tried = []
    while True:
        try:
            tried.append(next(work))
        except StopIteration as end:
            return tried, end.value


@pytest.fixture
def jobs(settings, monkeypatch):
    """Tries numbers of jobs with made-up speeds: what was tried, and what was chosen."""

    def try_(most, speeds):
        left = {number: list(own) for number, own in speeds.items()}
        monkeypatch.setattr(tune, "_pass_x", lambda clips, config: left[config.jobs].pop(0))
        tried, chosen = told(tune._try_jobs([], settings, most))
        return [int(one.value) for one in tried], chosen

    return try_


def test_one_core_leaves_nothing_to_choose(jobs):
    assert jobs(1, {1: [5]}) == ([1], 1)


def test_what_is_near_the_best_is_tried_again_and_the_better_try_counts(jobs):
    assert jobs(2, {2: [10, 10], 1: [9, 12]}) == ([2, 1, 2, 1], 1)
    assert jobs(2, {2: [8, 12], 1: [10, 10]}) == ([2, 1, 2, 1], 2)


def test_one_for_each_core_stays_where_the_difference_is_hardly_any(jobs):
    assert jobs(2, {2: [10, 10], 1: [10.4, 10.4]})[1] == 2


def test_fewer_are_not_tried_once_they_are_much_slower(jobs):
    assert jobs(8, {8: [20], 4: [12]}) == ([8, 4], 8)
    assert jobs(8, {8: [20, 20], 4: [21, 25], 2: [11]}) == ([8, 4, 2, 8, 4], 4)


class Transcriber:
    """Takes note of how much it was played."""

    def __init__(self):
        self.n_samples = []

    def listen(self, blocks):
        self.n_samples.append(sum(len(block.waveform) for block in blocks))
        yield 0.0


@pytest.fixture
def there(monkeypatch):
    """The models of these names are there."""
    made = {}

    def have(*names):
        def make(config):
            if config.asr not in names:
                raise WeightsError("not pulled", hint="")
            return made.setdefault(config.asr, Transcriber())

        monkeypatch.setattr(tune, "make_transcriber", make)
        return made

    return have


SPEECH = np.zeros(35 * 16_000, np.float32)


def test_every_model_that_is_there_listens_the_smallest_first(settings, there):
    made = there("base", "tiny.en", "small")
    tried = list(tune._try_models(SPEECH, settings, 100.0))
    assert [(one.setting, one.value) for one in tried] == [
        ("asr", name) for name in ("tiny.en", "base", "small")
    ]
    assert all(one.x > 0 for one in tried)
    assert made["base"].n_samples == [10 * 16_000, len(SPEECH)], "the first is to get warm"


def test_larger_models_are_not_tried_once_one_is_hopeless(settings, there, monkeypatch):
    there("tiny.en", "base", "small", "medium")
    monkeypatch.setattr(tune, "talk_x", lambda *_: LEAST_X / 2 - 1)
    assert [one.value for one in tune._try_models(SPEECH, settings, 100.0)] == ["tiny.en", "base"]


@pytest.fixture
def small(monkeypatch):
    """Little to watch and to hear."""
    pytest.importorskip("espeakng_loader")
    for name, value in {"WIDTH_PX": 96, "HEIGHT_PX": 64, "LOOP_S": 1, "CLIP_S": 3.0}.items():
        monkeypatch.setattr(tune, name, value)
    monkeypatch.setattr(machine, "n_cores", lambda: 1)


def test_the_clips_differ_and_somebody_talks_in_each(small, tmp_path):
    clips, speech = tune._material(tmp_path, 3)
    assert len({clip.read_bytes() for clip in clips}) == 3
    for clip in clips:
        timeline = probe(clip)
        assert timeline.duration_s == pytest.approx(3, abs=0.2)
        assert timeline.has_audio
        assert timeline.has_video
    assert speech.dtype == np.float32
    assert len(speech) == 3 * 3 * 16_000
    assert np.abs(speech).max() > 0.1


def test_a_tuning_tries_everything_and_writes_nothing_at_home(small, settings):
    tried, found = told(tune.tune(settings))
    assert {(one.setting, one.value) for one in tried} >= {
        ("jobs", "1"),
        ("asr", "off"),
        ("asr", "tiny.en"),
        ("asr", "base"),
    }
    assert found.machine == machine.fingerprint()
    assert found.device == "cpu"
    assert found.jobs == 1
    assert found.without_speech_x > 0
    assert found.speech_x["tiny.en"] > 0
    assert not settings.home.exists()
