"""The teacher: what it is fed, that it is the whole network or refused, and its features on disk."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from savecli.errors import SaveError, WeightsError
from savecli.model import teacher as room
from savecli.model import weights
from savecli.model.fbank import FLOOR
from savecli.model.inputs import normalise
from savecli.model.teacher import HUGE, MEAN, STD, ImageBind, audio_clips
from savecli.model.teacher_file import Parts, TeacherFeatures, merged, read_teacher, write_teacher

RATE_HZ = 16_000
FILLED_ROWS = 198  # 1 + (32000 - 400) // 160
SILENCE = (np.log(float(FLOOR)) - MEAN) / STD
PADDING = -MEAN / STD
SMALL = {
    "out_embed_dim": 1024,
    **{f"{tower}_embed_dim": 8 for tower in ("vision", "text", "audio", "depth", "thermal", "imu")},
    **{f"{tower}_num_blocks": 1 for tower in ("vision", "text", "audio", "depth", "thermal", "imu")},
    **{f"{tower}_num_heads": 2 for tower in ("vision", "text", "audio", "depth", "thermal", "imu")},
}
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("imagebind") is None, reason=f"needs the teacher's code: {room.INSTALL}"
)


def noise(n_samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(n_samples).standard_normal(n_samples)).astype(np.float32)


def pictures(n: int = 3) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 224, 224, 3), np.uint8)


# What the audio tower reads


def test_silence_and_padding_by_hand():
    clips = audio_clips(np.zeros(2 * RATE_HZ, np.float32))
    assert clips.shape == (3, 128, 204)
    assert clips.dtype == np.float32
    np.testing.assert_allclose(clips[:, :, :FILLED_ROWS], SILENCE, rtol=1e-6)  # (-15.942 + 4.268) / 9.138
    np.testing.assert_allclose(clips[:, :, FILLED_ROWS:], PADDING, rtol=1e-6)  # 4.268 / 9.138
    assert pytest.approx([-1.277565, 0.467061], abs=1e-6) == [SILENCE, PADDING]


def test_one_row_by_hand():
    # The 25 ms from 10 ms on, in float64 and one filter at a time.
    waveform = noise(2 * RATE_HZ)
    window = waveform[160:560].astype(np.float64) - waveform.mean(dtype=np.float64)
    window -= window.mean()
    emphasised = window - 0.97 * np.concatenate([window[:1], window[:-1]])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    power = np.abs(np.fft.rfft(emphasised * hann, 512)) ** 2
    low, high = (1127 * np.log(1 + hz / 700) for hz in (20, 8000))
    width = (high - low) / 129
    for number in (0, 40, 127):
        mel = 1127 * np.log(1 + np.arange(256) * 31.25 / 700)
        triangle = np.maximum(0, 1 - np.abs(mel - (low + (number + 1) * width)) / width)
        expected = (np.log(max(triangle @ power[:256], 2.0**-23)) + 4.268) / 9.138
        assert audio_clips(waveform)[0, number, 1] == pytest.approx(expected, abs=2e-5)


def test_short_sound_is_padded_and_read_three_times():
    clips = audio_clips(noise(RATE_HZ))
    n_rows = 1 + (RATE_HZ - 400) // 160
    assert (clips[0] == clips[1]).all()
    assert (clips[0] == clips[2]).all()
    assert np.abs(clips[:, :, n_rows:] - PADDING).max() < 1e-6
    assert np.abs(clips[:, :, n_rows - 1] - PADDING).max() > 0.01


@pytest.mark.parametrize("n_samples", [2 * RATE_HZ + 250, 3 * RATE_HZ, 7 * RATE_HZ + 125, 31 * RATE_HZ])
def test_long_sound_is_read_at_its_start_middle_and_end(n_samples):
    waveform = noise(n_samples)
    clips = audio_clips(waveform)
    spare = n_samples - 2 * RATE_HZ
    for clip, start in zip(clips, (0, spare // 2, spare), strict=True):
        assert (clip == audio_clips(waveform[start : start + 2 * RATE_HZ])[0]).all()


def test_no_sound_is_silence():
    silence = audio_clips(np.zeros(2 * RATE_HZ, np.float32))
    assert (audio_clips(None) == silence).all()
    assert (audio_clips(noise(399)) == silence).all()
    assert (audio_clips(np.zeros(0, np.float32)) == silence).all()
    assert np.isfinite(audio_clips(noise(400))).all()


def test_the_waveform_is_left_as_it_was():
    waveform = noise(3 * RATE_HZ)
    before = waveform.copy()
    audio_clips(waveform)
    assert (waveform == before).all()


@pytest.mark.parametrize("odd", [np.zeros((2, RATE_HZ), np.float32), np.zeros(RATE_HZ)])
def test_another_waveform_is_refused(odd):
    with pytest.raises(ValueError, match="waveform"):
        audio_clips(odd)


# The network


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small ImageBind with random weights, and its file."""
    torch.manual_seed(0)
    network = room._network_class()(**SMALL).eval()
    path = tmp_path_factory.mktemp("teacher") / "small.pth"
    torch.save(network.state_dict(), path)
    return network, path


@pytest.fixture(scope="module")
def teacher(small):
    return ImageBind(small[1], "cpu", sizes=SMALL)


@needs_package
def test_the_whole_network_gives_the_same(small, teacher):
    network, _ = small
    waveform, frames = noise(5 * RATE_HZ), pictures()
    with torch.inference_mode():
        clips = torch.from_numpy(audio_clips(waveform))[None, :, None]
        expected = network({"vision": normalise(frames), "audio": clips})
    audio, video = teacher.embed_audio(waveform), teacher.embed_video(frames)
    assert audio.shape == video.shape == (1024,)
    assert audio.dtype == video.dtype == np.float32
    np.testing.assert_allclose(audio, expected["audio"][0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(video, expected["vision"].mean(0), rtol=1e-5, atol=1e-6)


@needs_package
def test_means_of_vectors_of_fixed_length(teacher):
    assert np.linalg.norm(teacher.embed_audio(None)) == pytest.approx(20, rel=1e-5)
    assert np.linalg.norm(teacher.embed_video(pictures(1))) == pytest.approx(1, rel=1e-5)
    one, other = pictures(2)
    mean = (teacher.embed_video(one[None]) + teacher.embed_video(other[None])) / 2
    np.testing.assert_allclose(teacher.embed_video(np.stack([one, other])), mean, atol=1e-6)


@needs_package
def test_equal_every_time(small, teacher):
    again = ImageBind(small[1], "cpu", sizes=SMALL)
    assert again.identity == teacher.identity
    waveform, frames = noise(RATE_HZ), pictures()
    for one in (teacher, again):
        assert (one.embed_audio(waveform) == teacher.embed_audio(waveform)).all()
        assert (one.embed_video(frames) == teacher.embed_video(frames)).all()


@needs_package
def test_other_weights_have_another_identity(small, teacher, tmp_path):
    state = dict(small[0].state_dict())
    state["modality_heads.audio.2.weight"] = state["modality_heads.audio.2.weight"] + 1
    torch.save(state, tmp_path / "other.pth")
    assert ImageBind(tmp_path / "other.pth", "cpu", sizes=SMALL).identity != teacher.identity


@needs_package
@pytest.mark.parametrize("odd", [pictures()[:0], pictures()[:, :200], pictures().astype(np.float32)])
def test_other_pictures_are_refused(teacher, odd):
    with pytest.raises(ValueError, match="frames"):
        teacher.embed_video(odd)


@needs_package
def test_only_what_is_used_is_loaded(teacher):
    names = {name.split(".")[1] for name in teacher._network.state_dict()}
    assert names == {"vision", "audio"}
    assert not any(tensor.is_meta for tensor in [*teacher._network.parameters(), *teacher._network.buffers()])


@needs_package
def test_it_is_loaded_without_the_packages_own_init():
    room._network_class.cache_clear()
    before = set(sys.modules)
    room._network_class()
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert loaded.isdisjoint({"imagebind", "pkg_resources", "torchaudio", "pytorchvideo", "decord"})


@needs_package
def test_the_huge_one_has_the_published_size():
    state = room._empty_network(HUGE).state_dict()
    [file] = weights.manifest()["imagebind-huge"].files
    n_bytes = sum(tensor.numel() * 4 for tensor in state.values())
    assert 0 < file.size_bytes - n_bytes < 400 * len(state)  # a zip file's entries


@needs_package
def test_a_tensor_too_few_too_many_or_too_large(small, tmp_path):
    state = dict(small[0].state_dict())
    state["modality_heads.text.new"] = state.pop("modality_heads.text.proj.1.weight")
    state["modality_heads.audio.2.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match="1 tensors are missing, 1 unknown, 1 of another shape") as caught:
        ImageBind(tmp_path / "odd.pth", "cpu", sizes=SMALL)
    for told in (
        "missing: modality_heads.text.proj.1.weight [1024, 8]",
        "unknown: modality_heads.text.new [1024, 8]",
        "shape: modality_heads.audio.2.weight is [3, 3], not [1024, 8]",
    ):
        assert told in caught.value.hint


@needs_package
@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>", [1, 2], {"model": {}}])
def test_what_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "odd.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeightsError) as caught:
        ImageBind(path, "cpu", sizes=SMALL)
    assert "odd.pth" in caught.value.message
    assert caught.value.hint == "save model pull imagebind-huge"


@needs_package
def test_half_precision_and_the_old_format_are_read(small, tmp_path):
    state = {name: tensor.half() for name, tensor in small[0].state_dict().items()}
    torch.save(state, tmp_path / "half.pth", _use_new_zipfile_serialization=False)
    assert ImageBind(tmp_path / "half.pth", "cpu", sizes=SMALL).embed_audio(None).dtype == np.float32


def test_without_the_package_the_hint_is_how_to_install_it(monkeypatch, tmp_path):
    room._network_class.cache_clear()
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", [])
    before = dict(sys.modules)
    with pytest.raises(WeightsError, match="cannot be loaded") as caught:
        ImageBind(tmp_path / "x.pth", "cpu")
    assert "--no-deps imagebind-unofficial==" in caught.value.hint
    assert "imagebind" not in sys.modules
    assert set(before) <= set(sys.modules)


def test_a_package_that_breaks_leaves_nothing_behind(monkeypatch, tmp_path):
    (tmp_path / "imagebind" / "models").mkdir(parents=True)
    (tmp_path / "imagebind" / "__init__.py").write_text("raise RuntimeError('never run')")
    (tmp_path / "imagebind" / "models" / "__init__.py").write_text("")
    (tmp_path / "imagebind" / "models" / "imagebind_model.py").write_text("import no_such_thing")
    room._network_class.cache_clear()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match="no_such_thing"):
        room._network_class()
    assert not [name for name in sys.modules if name.partition(".")[0] == "imagebind"]


# Its features on disk


def features(*video_ids: str, seed: int = 0, teacher: str = "fake") -> TeacherFeatures:
    rng = np.random.default_rng(seed)
    audio, video = rng.standard_normal((2, len(video_ids), 1024)).astype(np.float32)
    sources = tuple(f"file of {video_id}" for video_id in video_ids)
    return TeacherFeatures(video_ids=video_ids, sources=sources, audio=audio, video=video, teacher=teacher)


def test_written_and_read(tmp_path):
    given = features("b", "a", "ä/\n")
    write_teacher(tmp_path / "new" / "teacher.safetensors", given)
    found = read_teacher(tmp_path / "new" / "teacher.safetensors")
    assert (found.video_ids, found.sources, found.teacher) == (given.video_ids, given.sources, "fake")
    assert (found.audio == given.audio).all()
    assert (found.video == given.video).all()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["teacher.safetensors"]


def good():
    rows = np.ones((2, 1024), np.float32)
    ids = json.dumps(["a", "b"])
    return {"audio": rows, "video": rows}, {
        "format": "save-teacher",
        "teacher": "x",
        "video_ids": ids,
        "sources": ids,
    }


@pytest.mark.parametrize(
    ("tensors", "metadata", "told"),
    [
        ({}, {"format": "other"}, "another kind"),
        ({"more": np.ones(1, np.float32)}, {}, "audio, more, video"),
        ({"audio": np.ones((3, 1024), np.float32)}, {}, r"float32\[3, 1024\]"),
        ({"video": np.ones((2, 512), np.float32)}, {}, r"float32\[2, 512\]"),
        ({"video": np.ones((2, 1024))}, {}, "float64"),
        ({"video": np.full((2, 1024), np.nan, np.float32)}, {}, "not finite"),
        ({"audio": np.full((2, 1024), np.inf, np.float32)}, {}, "not finite"),
        ({}, {"video_ids": '["a", "a"]'}, "a row for each"),
        ({}, {"sources": '["a"]'}, "a row for each"),
        ({}, {"video_ids": "[1, 2]"}, "strings"),
        ({}, {"video_ids": "a, b"}, "Expecting value"),
        ({}, {"video_ids": "7"}, "not iterable"),
    ],
)
def test_other_files_are_refused(tmp_path, tensors, metadata, told):
    good_tensors, good_metadata = good()
    save_file(good_tensors | tensors, tmp_path / "odd", good_metadata | metadata)
    with pytest.raises(WeightsError, match=told) as caught:
        read_teacher(tmp_path / "odd")
    assert caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"no tensors", b"\xff" * 100])
def test_what_is_no_file_of_features(tmp_path, content):
    if content is not None:
        (tmp_path / "odd").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot read teacher features"):
        read_teacher(tmp_path / "odd")


def test_no_numbers_are_never_written(tmp_path):
    given = features("a")
    given.audio[0, 5] = np.nan
    with pytest.raises(WeightsError, match="no usable features"):
        write_teacher(tmp_path / "x", given)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="cannot write"):
        write_teacher(tmp_path / "file" / "teacher.safetensors", features("a"))


def test_the_last_row_of_a_video_counts_and_rows_are_in_order():
    old, new = features("c", "a"), features("b", "a", seed=1)
    both = merged([old, new])
    assert both.video_ids == ("a", "b", "c")
    assert (both.audio == np.stack([new.audio[1], new.audio[0], old.audio[0]])).all()
    assert (both.video == np.stack([new.video[1], new.video[0], old.video[0]])).all()
    with pytest.raises(ValueError, match="one teacher"):
        merged([old, replace(new, teacher="other")])
    with pytest.raises(ValueError, match="one teacher"):
        merged([])


def test_parts_survive_and_damaged_ones_do_not(tmp_path):
    parts = Parts(tmp_path / "teacher.safetensors")
    assert parts.read() == {}
    for video_id in ("../a", "b" * 500, "c"):
        parts.add(features(video_id))
    found = Parts(tmp_path / "teacher.safetensors").read()
    assert {one.video_ids[0] for one in found.values()} == {"../a", "b" * 500, "c"}
    victim = next(iter(found))
    victim.write_bytes(victim.read_bytes()[:-10])
    assert len(parts.read()) == 2
    assert not victim.exists()
    parts.remove(list(parts.read()))
    assert list(tmp_path.iterdir()) == []
