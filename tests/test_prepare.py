"""What SAVE reads of a video: the frames and the sound that the spec names, decoded once and kept."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from threading import Event

import av
import numpy as np
import pytest

from savecli import prepare as module
from savecli.datatypes import MediaSpec
from savecli.errors import MediaError, SaveError
from savecli.media.footage import Timeline, Track
from savecli.model.fbank import log_mel
from savecli.prepare import Kept, Prepared, Shelf, frame_times, prepare, prepare_all

PX, N_BITS, RATE_HZ, TICKS = 64, 8, 16_000, 30_000
SPEC = MediaSpec(n_frames=4, resize_px=PX, size_px=PX, sample_rate_hz=RATE_HZ, resampler="pillow")
CELL = PX // 4


def picture(number: int) -> np.ndarray:
    """A frame that carries its number as black and white cells, four in a row."""
    bits = [255 * (number >> bit & 1) for bit in range(N_BITS)]
    cells = np.array([*bits, *[128] * (16 - N_BITS)], np.uint8).reshape(4, 4)
    return np.repeat(cells.repeat(CELL, 0).repeat(CELL, 1)[..., None], 3, axis=2)


def number(image: np.ndarray) -> int:
    """What `picture` wrote."""
    centres = image[CELL // 2 :: CELL, CELL // 2 :: CELL].mean(axis=-1).ravel()[:N_BITS]
    return sum(1 << bit for bit, level in enumerate(centres) if level > 127)


@pytest.fixture
def make(tmp_path):
    """Writes numbered pictures at these times (or 1 / fps apart), and 16-bit sound at 16 kHz."""

    def make_(name, n=None, *, fps=10, times_s=None, sound=None, sound_at_s=0.0):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as out:
            streams = []
            if times_s is None and n:
                times_s = [Fraction(i) / Fraction(fps) for i in range(n)]
            if times_s is not None:
                video = out.add_stream("mpeg4", rate=Fraction(fps), options={"g": "7"})
                video.bit_rate = 2_000_000
                video.width = video.height = PX
                video.pix_fmt = "yuv420p"
                video.codec_context.time_base = Fraction(1, TICKS)
                streams.append((video, times_s))
            if sound is not None:
                audio = out.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
            for stream, times in streams:
                for i, time_s in enumerate(times):
                    frame = av.VideoFrame.from_ndarray(picture(i)).reformat(format="yuv420p")
                    frame.pts, frame.time_base = round(time_s * TICKS), Fraction(1, TICKS)
                    out.mux(stream.encode(frame))
                out.mux(stream.encode(None))
            if sound is not None:
                heard = av.AudioFrame.from_ndarray(sound[None], "s16", "mono")
                heard.sample_rate, heard.pts = RATE_HZ, round(sound_at_s * RATE_HZ)
                heard.time_base = Fraction(1, RATE_HZ)
                out.mux([*audio.encode(heard), *audio.encode(None)])
        return path

    return make_


def tone(n):
    return (9000 * np.sin(np.arange(n) / 7)).astype(np.int16)


def decoded(path):
    """Numbers of all frames, by a plain decode from start to end."""
    with av.open(str(path)) as container:
        return [number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def of_the_spec(n, fps, wanted):
    """Every int(fps)-th of n frames; of too many, positions floor(i (c - 1) / (K - 1))."""
    candidates = list(range(0, n, int(fps)))
    if len(candidates) <= wanted:
        return candidates
    return [candidates[i * (len(candidates) - 1) // (wanted - 1)] for i in range(wanted)]


# -- which frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize(
    ("n", "fps"), [(1, 10), (9, 10), (11, 10), (40, 10), (95, 10), (120, Fraction(30000, 1001)), (60, 12.5)]
)
def test_frames_are_those_that_the_spec_names(make, decoder, name, n, fps):
    path = make(name, n, fps=fps)
    assert decoded(path) == list(range(n))
    found = [number(image) for image in prepare(path, SPEC, decoder).frames]
    assert found == of_the_spec(n, fps, SPEC.n_frames)


def test_frames_are_counted_from_the_first_picture_where_sound_begins_before(make, decoder):
    path = make("late.mkv", times_s=[3 + i / 10 for i in range(35)], sound=tone(6 * RATE_HZ))
    prepared = prepare(path, SPEC, decoder)
    assert [number(image) for image in prepared.frames] == [0, 10, 20, 30]
    assert prepared.fbank is not None


def test_a_variable_rate_is_read_by_the_clock(make, decoder):
    """40 frames in 4 s, half of them in the first second: a second of the mean rate is a second."""
    times_s = [*(i / 20 for i in range(20)), *(1 + i * 3 / 20 for i in range(20))]
    path = make("variable.mkv", times_s=times_s)
    shown_at = [times_s[number(image)] for image in prepare(path, SPEC, decoder).frames]
    assert shown_at[0] == 0
    assert np.allclose(np.diff(shown_at), 1, atol=0.2)


def test_less_than_a_frame_a_second_is_every_frame_once(make, decoder):
    path = make("slow.mkv", times_s=[0, 2, 4, 6], fps=Fraction(1, 2))
    assert decoder.probe(path).fps < 1
    found = [number(image) for image in prepare(path, SPEC, decoder).frames]
    assert found == sorted(set(found))
    assert found[0] == 0


def timeline(length_s, fps, start_s=0.0):
    track = Track(index=0, codec="x", start_s=start_s, end_s=start_s + length_s)
    return Timeline(
        path=Path("/x"), container="x", duration_s=length_s, origin_s=0, video=track, audio=(), fps=fps
    )


@pytest.mark.parametrize("fps", [0.0, 0.5])
@pytest.mark.parametrize("start_s", [0.0, 5.0])
def test_an_unknown_rate_is_a_frame_a_second_and_none_after_the_end(fps, start_s):
    times_s = frame_times(timeline(3.4, fps, start_s), 12)
    assert [int(time_s - start_s) for time_s in times_s] == [0, 1, 2]
    assert len(frame_times(timeline(0.4, fps, start_s), 12)) == 1


def test_no_pictures_no_times():
    without = Timeline(path=Path("/x"), container="x", duration_s=1, origin_s=0, video=None, audio=(), fps=0)
    assert frame_times(without, 12) == ()


# -- sound -------------------------------------------------------------------------------------------------


def test_sound_is_log_mel_of_the_16_bit_waveform(make, decoder):
    levels = tone(2 * RATE_HZ)
    levels[:3] = [-32768, 32767, -1]
    prepared = prepare(make("loud.mkv", 20, sound=levels), SPEC, decoder)
    assert prepared.fbank is not None
    assert prepared.fbank.dtype == np.float32
    assert np.array_equal(prepared.fbank, log_mel(levels.astype(np.float32) / 32768))


def test_what_lies_between_16_bit_levels_was_never_there():
    exact = np.linspace(-0.5, 0.5, 5000, dtype=np.float32)
    levels = (np.round(exact * 32768) / 32768).astype(np.float32)
    assert np.array_equal(module._fbank([exact]), log_mel(levels))
    # A sum of channels may leave the range; a file of 16 bits cannot.
    assert np.array_equal(module._fbank([3 * exact]), module._fbank([np.clip(3 * exact, -1, 32767 / 32768)]))


def test_no_sound_or_too_little_of_it_is_none(make, decoder):
    assert prepare(make("mute.mkv", 20), SPEC, decoder).fbank is None
    assert prepare(make("click.mkv", 20, sound=tone(900)), SPEC, decoder).fbank is None
    assert prepare(make("short.mkv", 20, sound=tone(1100)), SPEC, decoder).fbank is not None


def test_a_file_of_sound_replaces_the_video_s_own(make, decoder, tmp_path):
    wav, mute = make("a.wav", sound=tone(RATE_HZ)[::-1].copy()), make("mute.mkv", 20)
    heard = prepare(mute, SPEC, decoder, sound=wav)
    assert np.array_equal(
        heard.fbank, prepare(make("b.mkv", 20, sound=tone(RATE_HZ)[::-1].copy()), SPEC, decoder).fbank
    )
    other = make("c.mkv", 20, sound=tone(2 * RATE_HZ))
    same(
        prepare(other, SPEC, decoder, sound=wav),
        Prepared(frames=prepare(other, SPEC, decoder).frames, fbank=heard.fbank),
    )
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    for bad in (tmp_path / "broken.wav", tmp_path / "gone.wav", mute):
        with pytest.raises(MediaError, match=f"its sound {bad.name}"):
            prepare(other, SPEC, decoder, sound=bad)


# -- what is kept ------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "cache", SPEC)


def same(one, other):
    assert np.array_equal(one.frames, other.frames)
    assert (one.fbank is None) == (other.fbank is None)
    assert one.fbank is None or np.array_equal(one.fbank, other.fbank)


def entries(tmp_path):
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


@pytest.mark.parametrize("sound", [None, tone(RATE_HZ)])
def test_what_is_kept_is_what_is_decoded(make, decoder, shelf, sound):
    path = make("a.mkv", 30, sound=sound)
    assert shelf.load(path) is None
    same(shelf.prepare(path, decoder), prepare(path, SPEC, decoder))
    same(shelf.load(path), prepare(path, SPEC, decoder))
    same(shelf.prepare(path, None), shelf.load(path))  # nobody is asked to decode again


def test_a_file_that_changes_or_another_wish_is_another_entry(make, decoder, shelf, tmp_path):
    path = make("a.mkv", 30)
    shelf.prepare(path, decoder)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert not shelf.has(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert shelf.has(path)
    with path.open("ab") as file:
        file.write(b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not shelf.has(path)
    os.truncate(path, stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert shelf.has(path)
    wider = MediaSpec(n_frames=5, resize_px=PX, size_px=PX, sample_rate_hz=RATE_HZ, resampler="pillow")
    assert not Shelf(tmp_path / "cache", wider).has(path)
    moved = path.rename(path.with_name("b.mkv"))
    assert not shelf.has(moved)


def test_what_is_heard_beside_is_part_of_the_entry(make, decoder, shelf, tmp_path):
    video, wav = make("a.mkv", 20), make("a.wav", sound=tone(RATE_HZ))
    beside = Shelf(tmp_path / "cache", SPEC, sounds={video: wav})
    shelf.prepare(video, decoder)
    assert not beside.has(video)
    same(beside.prepare(video, decoder), prepare(video, SPEC, decoder, sound=wav))
    assert shelf.load(video).fbank is None
    stat = wav.stat()
    os.utime(wav, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert not beside.has(video)


def test_a_file_that_is_gone_is_nothing_kept(shelf, tmp_path):
    assert not shelf.has(tmp_path / "gone.mp4")
    assert shelf.load(tmp_path / "gone.mp4") is None


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_a_damaged_entry_is_decoded_again(make, decoder, shelf, tmp_path, damage):
    from safetensors.numpy import save

    path = make("a.mkv", 30)
    whole = shelf.prepare(path, decoder)
    (entry,) = entries(tmp_path)
    entry.write_bytes(save({"other": np.zeros(3)}) if damage is None else damage)
    assert shelf.load(path) is None
    assert not shelf.has(path)
    same(shelf.prepare(path, decoder), whole)


def test_arrays_are_kept_however_they_lie_in_memory(tmp_path):
    kept, wide = Kept(tmp_path / "cache", needs_mb=1), np.arange(12, dtype=np.float32).reshape(3, 4)
    given = {"turned": wide.T, "every other": wide[::2, ::-1], "one": np.array(5), "none": wide[:0]}
    kept.store("key", given)
    found = kept.load("key", needs=tuple(given))
    assert found is not None
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
    assert kept.load("key", needs=("another",)) is None
    assert not kept.has("key")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_cache_that_is_read_only_is_told(make, decoder, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(SaveError, match="cannot keep"):
        Shelf(tmp_path / "cache", SPEC).prepare(make("a.mkv", 3), decoder)


def test_a_cache_that_is_a_file_or_full_is_told_and_leaves_nothing(make, decoder, tmp_path, monkeypatch):
    path = make("a.mkv", 3)
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="cannot keep"):
        list(prepare_all([path], Shelf(tmp_path / "file", SPEC), n_workers=1))

    def full(self, data):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SaveError, match="No space left") as told:
        Shelf(tmp_path / "cache", SPEC).prepare(path, decoder)
    assert "--cache" in told.value.hint
    assert entries(tmp_path) == []


# -- many --------------------------------------------------------------------------------------------------


def test_several_workers_give_what_one_gives(make, decoder, shelf, tmp_path):
    paths = [make(f"{i}.mkv", 10 + i, sound=tone(RATE_HZ + i)) for i in range(5)]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    asked = [paths[0], broken, tmp_path / "gone.mp4", *paths, paths[0], make("song.mkv", sound=tone(RATE_HZ))]
    told = list(prepare_all(asked, shelf, n_workers=3))
    assert [path for path, _ in told] == asked
    failed = {path.name: error for path, error in told if error}
    assert failed.keys() == {"broken.mp4", "gone.mp4", "song.mkv"}
    assert "not a video" in failed["broken.mp4"].message
    assert all(isinstance(error, MediaError) and error.hint for error in failed.values())
    for path in paths:
        same(shelf.load(path), prepare(path, SPEC, decoder))
    assert len(entries(tmp_path)) == len(paths)


def test_stopped_early_it_begins_nothing_more_and_leaves_no_process(monkeypatch, tmp_path):
    begun, decoders, gate = [], [], Event()

    class Fake:
        def __init__(self, stall_s):
            self.closed = False
            decoders.append(self)

        def close(self):
            self.closed = True

    class Slow:
        def has(self, path):
            return False

        def prepare(self, path, decoder):
            begun.append(path)
            if path != paths[0]:
                assert gate.wait(30)
            assert not decoder.closed

    class Pool(ThreadPoolExecutor):
        def shutdown(self, *args, **given):
            gate.set()  # only now does any video but the first get ready
            super().shutdown(*args, **given)

    monkeypatch.setattr(module, "Decoder", Fake)
    monkeypatch.setattr(module, "ThreadPoolExecutor", Pool)
    before = threading.active_count()
    paths = [tmp_path / str(i) for i in range(5000)]
    going = prepare_all(paths, Slow(), n_workers=2)
    assert next(going) == (paths[0], None)
    going.close()
    assert len(begun) < len(paths)
    assert [decoder.closed for decoder in decoders] == [True, True]
    assert threading.active_count() == before
