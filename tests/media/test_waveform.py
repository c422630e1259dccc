import numpy as np
import pytest

from savecli.media.decode import probe, waveform

from ..load import clips

RATE = 48_000


def tone(length_s: float, hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(length_s * RATE)) / RATE)[:, None]


def test_mono_at_the_rate(make_video) -> None:
    timeline = probe(make_video(sound=tone(2)))
    [block] = waveform(timeline)
    assert block.waveform.dtype == np.float32
    assert len(block.waveform) == pytest.approx(32_000, abs=40)
    spectrum = np.abs(np.fft.rfft(block.waveform))
    assert np.argmax(spectrum) * 16_000 / len(block.waveform) == pytest.approx(440, abs=1)
    assert np.sqrt((block.waveform**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_a_late_sound_is_late(make_video) -> None:
    blocks = list(waveform(probe(make_video(sound=tone(1), sound_starts_s=0.7))))
    assert blocks[0].start_s == pytest.approx(0.7, abs=0.002)


def test_blocks_are_short_and_follow_each_other(make_video) -> None:
    blocks = list(waveform(probe(make_video(sound=tone(2))), block_s=0.5))
    assert all(len(b.waveform) <= 8000 for b in blocks)
    ends = [b.start_s + len(b.waveform) / 16_000 for b in blocks]
    assert [b.start_s for b in blocks[1:]] == pytest.approx(ends[:-1])


def test_channels_that_cancel_out(make_video) -> None:
    left = tone(1)
    [block] = waveform(probe(make_video(sound=np.hstack([left, -left]))))
    assert np.sqrt((block.waveform**2).mean()) > 0.3
    [silent_right] = waveform(probe(make_video("b.mkv", sound=np.hstack([left, 0 * left]))))
    assert np.sqrt((silent_right.waveform**2).mean()) == pytest.approx(0.25 / np.sqrt(2), rel=0.05)


def test_numbers_that_are_none(make_video) -> None:
    sound = tone(1)
    sound[1000:1010], sound[2000], sound[3000] = np.nan, np.inf, -np.inf
    blocks = list(waveform(probe(make_video(sound=sound))))
    heard = np.concatenate([b.waveform for b in blocks])
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1
    assert np.sqrt((heard[8000:] ** 2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_no_sound_no_blocks(make_video) -> None:
    timeline = probe(make_video())
    assert not timeline.has_audio
    assert list(waveform(timeline)) == []


@pytest.mark.parametrize("n_channels", [(1, 2), (2, 1), (2, 1, 2)])
def test_channels_that_change_midway(tmp_path, n_channels) -> None:
    path, parts = tmp_path / "joined.ts", []
    for number, n in enumerate(n_channels):
        part = clips.write_clip(tmp_path / f"{number}.ts", seed=number, seconds=2, n_channels=n)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    stream = waveform(probe(path))
    blocks = list(stream)
    assert stream.n_bad_packets == 0
    assert sum(len(b.waveform) for b in blocks) / 16_000 == pytest.approx(2 * len(n_channels), abs=0.2)
    assert all(np.abs(b.waveform).max() > 0.1 for b in blocks if len(b.waveform) > 1600)


def test_streams_that_turn_up_midway(tmp_path) -> None:
    first = clips.write_clip(tmp_path / "a.flv", seconds=2)
    other = clips.write_clip(tmp_path / "b.flv", seconds=2, kind=("flv", "libx264", "yuv420p", "aac"))
    path = tmp_path / "joined.flv"
    path.write_bytes(first.read_bytes() + other.read_bytes()[13:])  # its tags, in which codecs differ
    timeline = probe(path)
    assert timeline.duration_s == pytest.approx(2, abs=0.2)
    assert sum(len(b.waveform) for b in waveform(timeline)) / 16_000 == pytest.approx(2, abs=0.2)
