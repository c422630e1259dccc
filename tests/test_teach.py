"""Videos -> the teacher's features: which frames, what a kill costs, what is done again, what is skipped."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from savecli.bench.records import Clip
from savecli.errors import DatasetError, WeightsError
from savecli.events import Preparing, Taught
from savecli.media.encode import write_video
from savecli.media.footage import Timeline, Track
from savecli.model.teacher_file import read_teacher
from savecli.teach import N_FRAMES, frame_times, teach

RATE_HZ = 16_000


class FakeTeacher:
    """Knows how bright each frame is and how long a sound is; fails, or is killed, when told to."""

    def __init__(self, identity: str = "fake", *, dies_at: int = 10**9) -> None:
        self.identity = identity
        self.n_seen = 0
        self.brightness: list[np.ndarray] = []
        self.sounds: list[np.ndarray | None] = []
        self._dies_at = dies_at

    def embed_audio(self, waveform: np.ndarray | None) -> np.ndarray:
        self.sounds.append(waveform)
        return np.full(1024, 0 if waveform is None else len(waveform), np.float32)

    def embed_video(self, frames: np.ndarray) -> np.ndarray:
        if self.n_seen == self._dies_at:
            raise KeyboardInterrupt
        self.n_seen += 1
        assert frames.shape == (N_FRAMES, 224, 224, 3)
        assert frames.dtype == np.uint8
        self.brightness.append(frames.mean(axis=(1, 2, 3)))
        return np.full(1024, self.brightness[-1].mean(), np.float32)


@pytest.fixture
def clips(tmp_path, colour_video) -> list[Clip]:
    made = {"a": ("red", 0.5), "b": ("green", None), "c": ("blue", 0.5)}
    return [
        Clip(
            video_id=name,
            path=colour_video(tmp_path / "videos" / f"{name}.mp4", colour, loudness=loudness),
            captions=("a colour",),
        )
        for name, (colour, loudness) in made.items()
    ]


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "features" / "teacher.safetensors"


def reasons(events) -> dict[str, str]:
    return {e.path.stem if e.path else "": e.reason for e in events if isinstance(e, Preparing) and e.reason}


def timeline(length_s: float, fps: float, start_s: float = 0.0) -> Timeline:
    track = Track(index=0, codec="x", start_s=start_s, end_s=start_s + length_s)
    return Timeline(
        path=Path("/x"), container="x", duration_s=length_s, origin_s=0, video=track, audio=(), fps=fps
    )


@pytest.mark.parametrize(
    ("n_frames", "fps"), [(300, 30), (301, 30000 / 1001), (33, 25), (32, 12.5), (750, 25)]
)
def test_frames_are_evenly_spread_from_first_to_last(n_frames, fps):
    times = frame_times(timeline(n_frames / fps, fps, start_s=0.5))
    numbers = [int((time_s - 0.5) * fps) for time_s in times]
    assert numbers == [int(i * (n_frames - 1) / 31 + 1e-9) for i in range(32)]
    assert (numbers[0], numbers[-1]) == (0, n_frames - 1)


def test_few_frames_are_seen_again_and_none_have_no_time():
    numbers = [int(time_s * 10) for time_s in frame_times(timeline(0.3, 10))]
    assert numbers == [0] * 16 + [1] * 15 + [2]
    assert len(set(frame_times(timeline(5, 0)))) == 1
    assert (
        frame_times(Timeline(path=Path("/x"), container="x", duration_s=1, origin_s=0, video=None, audio=()))
        == ()
    )


def test_the_frames_are_those_asked_for(tmp_path, decoder, out):
    # Each frame's brightness is its number.
    frames = [np.full((48, 64, 3), 20 + 2 * number, np.uint8) for number in range(100)]
    write_video(tmp_path / "x.mp4", frames, fps=25)
    teacher = FakeTeacher()
    list(teach([Clip(video_id="x", path=tmp_path / "x.mp4", captions=("x",))], decoder, teacher, out))
    expected = [20 + 2 * int(i * 99 / 31) for i in range(32)]
    assert np.abs(teacher.brightness[0] - expected).max() < 1.5  # the next frame is 2 brighter


def test_a_video_of_two_frames(tmp_path, decoder, out):
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (50, 200)]
    write_video(tmp_path / "x.mp4", frames, fps=10)
    teacher = FakeTeacher()
    list(teach([Clip(video_id="x", path=tmp_path / "x.mp4", captions=("x",))], decoder, teacher, out))
    assert (teacher.brightness[0] > 125).tolist() == [False] * 31 + [True]


def test_every_video_has_its_row(clips, decoder, out):
    teacher = FakeTeacher()
    events = list(teach(clips, decoder, teacher, out))
    assert events == [
        *(Preparing(n_done=number, n_videos=3) for number in (1, 2, 3)),
        Taught(path=out, n_videos=3, n_new=3, n_failed=0),
    ]
    found = read_teacher(out)
    assert found.video_ids == ("a", "b", "c")
    assert found.teacher == "fake"
    assert found.audio[:, 0] == pytest.approx([2 * RATE_HZ, 0, 2 * RATE_HZ], rel=0.05)
    assert found.video[:, 0] == pytest.approx([levels.mean() for levels in teacher.brightness])
    heard = [sound for sound in teacher.sounds if sound is not None]
    assert len(heard) == 2
    assert all(sound.dtype == np.float32 and sound.ndim == 1 for sound in heard)
    assert list(out.parent.iterdir()) == [out]


def test_a_killed_run_goes_on_where_it_stopped(clips, decoder, out):
    with pytest.raises(KeyboardInterrupt):
        list(teach(clips, decoder, FakeTeacher(dies_at=2), out))
    assert not out.exists()
    parts = sorted(out.with_name("teacher.safetensors.parts").iterdir())
    assert len(parts) == 2
    second = FakeTeacher()
    events = list(teach(clips, decoder, second, out))
    assert second.n_seen == 1
    assert events[-1] == Taught(path=out, n_videos=3, n_new=1, n_failed=0)
    assert list(out.parent.iterdir()) == [out]
    pieced = read_teacher(out)
    out.unlink()
    list(teach(clips, decoder, FakeTeacher(), out))
    at_once = read_teacher(out)
    assert (pieced.video_ids, pieced.sources) == (at_once.video_ids, at_once.sources)
    assert (pieced.audio == at_once.audio).all()
    assert (pieced.video == at_once.video).all()


def test_a_reader_that_stops_loses_nothing(clips, decoder, out):
    events = teach(clips, decoder, FakeTeacher(), out)
    next(events)
    events.close()
    second = FakeTeacher()
    list(teach(clips, decoder, second, out))
    assert second.n_seen == 2


def test_a_kill_between_the_whole_and_the_parts(clips, decoder, out, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("savecli.teach.Parts.remove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            list(teach(clips, decoder, FakeTeacher(), out))
    teacher = FakeTeacher()
    assert list(teach(clips, decoder, teacher, out))[-1] == Taught(path=out, n_videos=3, n_new=0, n_failed=0)
    assert teacher.n_seen == 0
    assert list(out.parent.iterdir()) == [out]


def test_a_damaged_part_is_made_again(clips, decoder, out):
    with pytest.raises(KeyboardInterrupt):
        list(teach(clips, decoder, FakeTeacher(dies_at=2), out))
    victim = next(out.with_name("teacher.safetensors.parts").iterdir())
    victim.write_bytes(victim.read_bytes()[:100])
    second = FakeTeacher()
    list(teach(clips, decoder, second, out))
    assert second.n_seen == 2
    assert len(read_teacher(out).video_ids) == 3


def test_nothing_is_done_twice_and_what_changed_is_done_again(clips, decoder, out, colour_video):
    list(teach(clips, decoder, FakeTeacher(), out))
    stamp = out.stat().st_mtime_ns
    again = FakeTeacher()
    assert list(teach(clips, decoder, again, out))[-1] == Taught(path=out, n_videos=3, n_new=0, n_failed=0)
    assert again.n_seen == 0
    assert out.stat().st_mtime_ns == stamp
    before = read_teacher(out)
    colour_video(clips[1].path, "blue", "red")
    third = FakeTeacher()
    list(teach(clips, decoder, third, out))
    assert third.n_seen == 1
    after = read_teacher(out)
    assert (after.video[[0, 2]] == before.video[[0, 2]]).all()
    assert (after.video[1] != before.video[1]).all()


def test_another_split_is_added(clips, decoder, out):
    list(teach(clips[:2], decoder, FakeTeacher(), out))
    teacher = FakeTeacher()
    list(teach(clips[2:], decoder, teacher, out))
    assert teacher.n_seen == 1
    assert read_teacher(out).video_ids == ("a", "b", "c")


def test_one_id_is_one_video(clips, decoder, out):
    twice = [*clips, Clip(video_id="a", path=clips[2].path, captions=("again",))]
    teacher = FakeTeacher()
    events = list(teach(twice, decoder, teacher, out))
    assert teacher.n_seen == 3
    assert events[-2] == Preparing(n_done=3, n_videos=3)


def test_what_cannot_be_read_is_told_and_tried_again(clips, decoder, out, colour_video, tmp_path):
    broken, gone = tmp_path / "videos" / "broken.mp4", tmp_path / "videos" / "gone.mp4"
    broken.write_bytes(b"no video at all")
    odd = [
        Clip(video_id="broken", path=broken, captions=("x",)),
        Clip(video_id="gone", path=gone, captions=("x",)),
        Clip(video_id="never", path=None, captions=("x",)),
    ]
    events = list(teach([*odd, *clips], decoder, FakeTeacher(), out))
    found = reasons(events)
    assert found.keys() == {"broken", "gone", ""}
    assert found["gone"] == "gone has no file"
    assert found[""] == "never has no file"
    assert events[-1] == Taught(path=out, n_videos=3, n_new=3, n_failed=3)
    colour_video(broken, "red")
    teacher = FakeTeacher()
    events = list(teach([*odd, *clips], decoder, teacher, out))
    assert events[-1] == Taught(path=out, n_videos=4, n_new=1, n_failed=2)
    assert teacher.n_seen == 1


def test_real_broken_files_are_events(shared_media, decoder, out):
    names = ("s01.mp4", "s31.mp4")  # pictures and sound; sound alone
    clips = [Clip(video_id=name, path=shared_media / name, captions=("x",)) for name in names]
    events = list(teach(clips, decoder, FakeTeacher(), out))
    assert reasons(events) == {"s31": "no picture in it can be decoded"}
    assert read_teacher(out).video_ids == ("s01.mp4",)


def test_a_video_that_went_away_keeps_its_row(clips, decoder, out):
    list(teach(clips, decoder, FakeTeacher(), out))
    clips[0].path.unlink()
    events = list(teach(clips, decoder, FakeTeacher(), out))
    assert reasons(events) == {}
    assert events[-1] == Taught(path=out, n_videos=3, n_new=0, n_failed=0)


def test_another_teacher_is_not_mixed_in(clips, decoder, out):
    list(teach(clips, decoder, FakeTeacher(), out))
    whole = out.read_bytes()
    with pytest.raises(WeightsError, match="another teacher") as caught:
        list(teach(clips, decoder, FakeTeacher("other"), out))
    assert "another file" in caught.value.hint
    assert out.read_bytes() == whole


def test_nothing_is_overwritten_that_is_no_file_of_features(clips, decoder, out):
    out.parent.mkdir()
    out.write_text("my thesis")
    with pytest.raises(WeightsError, match="cannot read teacher features"):
        list(teach(clips, decoder, FakeTeacher(), out))
    assert out.read_text() == "my thesis"


def test_not_one_video(clips, decoder, out):
    for clip in clips:
        clip.path.unlink()
    with pytest.raises(DatasetError, match="no video could be read"):
        list(teach(clips, decoder, FakeTeacher(), out))
    assert not out.exists()


def test_weights_that_give_no_numbers_stop_the_run(clips, decoder, out):
    class Broken(FakeTeacher):
        def embed_video(self, frames: np.ndarray) -> np.ndarray:
            return super().embed_video(frames) * np.float32(np.nan)

    with pytest.raises(WeightsError, match="no usable features"):
        list(teach(clips, decoder, Broken(), out))


def test_a_file_of_sound_is_heard_in_place_of_the_videos_own(tmp_path, clips, decoder, out):
    teacher = FakeTeacher()
    list(teach(clips[:2], decoder, teacher, out))
    sound = tmp_path / "a.wav"
    for length_s in (1, 3):
        with wave.open(str(sound), "wb") as file:
            file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
            file.writeframes(b"\1\0" * (length_s * RATE_HZ))
        given = [replace(clip, sound=sound) for clip in clips[:2]]
        # It is another source than the video alone, and than the file that was there before.
        assert list(teach(given, decoder, teacher, out))[-1].n_new == 2
        assert read_teacher(out).audio[:, 0] == pytest.approx([length_s * RATE_HZ] * 2, rel=0.01)
        assert list(teach(given, decoder, teacher, out))[-1].n_new == 0
