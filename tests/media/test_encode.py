"""What is written is what is read back."""

from __future__ import annotations

import av
import numpy as np
import pytest

from savecli.errors import MediaError
from savecli.media.encode import SAMPLE_RATE_HZ, narrate, read_photo, read_recording, to_jpeg, write_video


def _flat(value: int, height: int = 48, width: int = 64):
    return np.full((height, width, 3), value, np.uint8)


def _tone(length_s: float):
    return (0.5 * np.sin(np.arange(round(length_s * SAMPLE_RATE_HZ)) * 0.05)).astype(np.float32)


def _pictures(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_frames_keep_their_order_time_and_look(tmp_path):
    write_video(tmp_path / "a.mp4", (_flat(v) for v in (40, 120, 200)), fps=10)
    pictures = _pictures(tmp_path / "a.mp4")
    assert [time for time, _ in pictures] == pytest.approx([0.0, 0.1, 0.2])
    assert [pixels.mean() for _, pixels in pictures] == pytest.approx([40, 120, 200], abs=3)


def test_later_frames_are_scaled_to_the_first_and_odd_sides_are_cut(tmp_path):
    write_video(tmp_path / "a.mp4", [_flat(9, 49, 65), _flat(200, 30, 20)], fps=10)
    assert [pixels.shape for _, pixels in _pictures(tmp_path / "a.mp4")] == [(48, 64, 3)] * 2


def test_sound_is_kept(tmp_path):
    waveform = _tone(1.5)
    write_video(tmp_path / "a.mp4", [_flat(9)] * 15, fps=10, waveform=waveform)
    heard = read_recording(tmp_path / "a.mp4")
    assert heard.dtype == np.float32
    assert len(heard) == pytest.approx(len(waveform), abs=2048)
    assert np.sqrt((heard**2).mean()) == pytest.approx(np.sqrt((waveform**2).mean()), rel=0.05)


def test_a_photo_is_read_as_rgb(tmp_path):
    with av.open(str(tmp_path / "a.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        red = _flat(0)
        red[..., 0] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        container.mux(stream.encode(None))
    assert np.array_equal(read_photo(tmp_path / "a.png"), red)


@pytest.mark.parametrize("length_s", [0.7, 3.2])
def test_footage_is_cut_or_repeated_to_the_recording(tmp_path, length_s):
    levels = [40, 80, 120, 160, 200] * 2  # one second
    write_video(tmp_path / "footage.mp4", map(_flat, levels), fps=10, waveform=_tone(1))
    write_video(tmp_path / "recording.mp4", [_flat(9)], fps=10, waveform=_tone(length_s))
    narrate(tmp_path / "out.mp4", tmp_path / "footage.mp4", tmp_path / "recording.mp4")
    pictures = _pictures(tmp_path / "out.mp4")
    times_s = np.array([time for time, _ in pictures])
    assert times_s[-1] + 0.1 == pytest.approx(length_s, abs=0.35)
    for time_s, pixels in pictures:
        assert pixels.mean() == pytest.approx(levels[round(time_s * 10) % 10], abs=4)
    assert len(read_recording(tmp_path / "out.mp4")) == pytest.approx(length_s * SAMPLE_RATE_HZ, abs=4096)


def test_no_frame_is_a_mistake_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", [], fps=10)


def test_what_cannot_be_read_or_written_is_named(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    write_video(tmp_path / "silent.mp4", [_flat(9)], fps=10)
    write_video(tmp_path / "sound.mp4", [_flat(9)], fps=10, waveform=_tone(0.5))
    with pytest.raises(MediaError, match=r"text\.png"):
        read_photo(tmp_path / "text.png")
    with pytest.raises(MediaError, match=r"cannot read .*text\.png"):
        narrate(tmp_path / "a.mp4", tmp_path / "text.png", tmp_path / "sound.mp4")
    with pytest.raises(MediaError, match=r"silent\.mp4"):
        read_recording(tmp_path / "silent.mp4")
    with pytest.raises(MediaError, match="cannot write") as caught:
        write_video(tmp_path / "absent" / "a.mp4", [_flat(9)], fps=10)
    assert caught.value.hint


def test_a_jpeg_shows_the_picture(tmp_path):
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, 32:] = (250, 20, 30)
    (tmp_path / "a.jpg").write_bytes(to_jpeg(image))
    shown = read_photo(tmp_path / "a.jpg")
    assert shown.shape == image.shape
    assert np.abs(shown[:, 40:].astype(int) - image[:, 40:]).max() < 25
    assert shown[:, :24].max() < 25
