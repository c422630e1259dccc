"""Cuts decode, begin on the picture that was asked for, and keep sound and picture together."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from savecli.errors import MediaError
from savecli.media.copy import copy
from savecli.media.cut import Span, bounds, cut

from .. import counted

RATES = [
    Fraction(25),
    Fraction(30),
    Fraction(30_000, 1001),
    Fraction(24_000, 1001),
    Fraction(60),
    Fraction(25, 2),
]


@pytest.fixture
def span(decoder):
    def make(path, start_s, end_s):
        return Span(source=decoder.look(path), start_s=start_s, end_s=end_s)

    return make


def shape(path):
    with av.open(str(path)) as container:
        video = container.streams.video[0] if container.streams.video else None
        audio = container.streams.audio[0] if container.streams.audio else None
        return (
            video and (video.width, video.height, video.average_rate),
            audio and audio.layout.name,
        )


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_cut_has_the_very_pictures_of_its_span(tmp_path, span, rate, suffix):
    path = counted.make(tmp_path / f"a.{suffix}", fps=rate, n=150)
    first, last = 37, 92
    # In the middle of a picture's time on show, exactly when it begins, and just before the next.
    for into in (0.5, 0.0, 0.9):
        start_s = float((first + into) / rate)
        cut(tmp_path / "out.mp4", [span(path, start_s, start_s + float((last - first) / rate))])
        assert counted.numbers(tmp_path / "out.mp4") == list(range(first, last)), into
        times_s = counted.times_s(tmp_path / "out.mp4")
        assert times_s == pytest.approx([float(i / rate) for i in range(last - first)], abs=2e-3)


@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 0.4), (0.013, 0.02), (3.7, 4.0), (3.9, 9.0)])
def test_cuts_at_the_ends_of_a_file(tmp_path, span, start_s, end_s):
    path = counted.make(tmp_path / "a.mp4", n=100)
    cut(tmp_path / "out.mp4", [span(path, start_s, end_s)])
    seen = counted.numbers(tmp_path / "out.mp4")
    assert seen[0] == int(start_s * 25)
    assert len(seen) == max(1, round((end_s - start_s) * 25))
    # After the last picture of the file, it stays.
    assert seen == [min(99, seen[0] + i) for i in range(len(seen))]


def test_a_variable_rate_becomes_a_constant_one_that_keeps_time(tmp_path, span):
    rng = np.random.default_rng(3)
    steps_s = rng.choice([1 / 30, 1 / 30, 1 / 30, 2 / 30, 0.5], size=120)
    times_s = np.cumsum(steps_s) - steps_s[0]
    path = counted.make(tmp_path / "a.mp4", times_s=times_s.tolist(), fps=30)
    start_s = float(times_s[40]) + 0.3 * float(times_s[41] - times_s[40])
    part = span(path, start_s, start_s + 6)
    assert part.source.is_variable
    cut(tmp_path / "out.mp4", [part])
    seen, rate = counted.numbers(tmp_path / "out.mp4"), part.source.rate
    assert seen[0] == 40
    for i, shown in enumerate(seen):
        now_s = start_s + i / rate
        # What is on show lasts from its own time to the next one's, give or take a picture of the cut.
        assert times_s[shown] <= now_s + 1 / rate + 1e-3
        assert times_s[min(shown + 1, 119)] >= now_s - 1 / rate - 1e-3


@pytest.mark.parametrize("turned", [90, 180, -90])
def test_what_was_filmed_on_its_side_is_upright(tmp_path, span, turned):
    path = counted.make(tmp_path / "a.mp4", turned=turned, n=60)
    cut(tmp_path / "out.mp4", [span(path, 1.0, 1.4)])
    assert counted.numbers(tmp_path / "out.mp4") == list(range(25, 35))
    assert shape(tmp_path / "out.mp4")[0][:2] == (128, 96)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv422p10le", "yuvj420p", "gray"])
def test_odd_pictures_become_ordinary_ones_of_the_same_look(tmp_path, span, pix_fmt):
    codec = "libx264" if pix_fmt != "yuvj420p" else "mjpeg"
    path = counted.make(tmp_path / "a.mkv", pix_fmt=pix_fmt, codec=codec, n=60)
    cut(tmp_path / "out.mp4", [span(path, 1.0, 1.4)])
    assert counted.numbers(tmp_path / "out.mp4") == list(range(25, 35))
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == "yuv420p"
        image = frame.to_ndarray(format="rgb24")
    assert image[60:].mean() == pytest.approx(110, abs=4)
    if pix_fmt != "gray":  # whose range no header tells
        assert image[2:12, 4:12].mean() == pytest.approx(16, abs=8)


def test_wide_pixels_become_square_ones(tmp_path, span):
    path = counted.make(tmp_path / "a.mp4", aspect=Fraction(2), n=30)
    cut(tmp_path / "out.mp4", [span(path, 0.2, 0.6)])
    assert shape(tmp_path / "out.mp4")[0][:2] == (256, 96)
    assert counted.numbers(tmp_path / "out.mp4") == list(range(5, 15))


@pytest.mark.parametrize("offset_s", [0.0, 0.7, -0.5])
def test_sound_and_pictures_stay_together(tmp_path, span, offset_s):
    """The file's clock starts anywhere, and its sound before, with or after its pictures."""
    path = counted.make(
        tmp_path / "a.mkv",
        n=150,
        starts_s=3.0,
        sound=counted.beeps(6),
        sound_starts_s=3.0 + offset_s,
    )
    part = span(path, 2.21, 4.6)
    # Of the first picture, and of the first beep, on our clock; AAC's run-in may come before.
    pictures_s = 3.0 - part.source.timeline.origin_s
    beeps_s = pictures_s + offset_s
    assert min(pictures_s, beeps_s) == pytest.approx(0, abs=0.022)
    cut(tmp_path / "out.mp4", [part])
    assert counted.numbers(tmp_path / "out.mp4")[0] == int((2.21 - pictures_s) * 25 + 1e-6)
    wanted = [beeps_s + k - 2.21 for k in range(6) if 2.21 <= beeps_s + k < 4.5]
    assert counted.onsets_s(tmp_path / "out.mp4") == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(("n_channels", "layout"), [(1, "mono"), (2, "stereo"), (6, "5.1")])
def test_the_channels_of_the_sound_are_kept(tmp_path, span, n_channels, layout):
    path = counted.make(tmp_path / "a.mp4", sound=counted.beeps(4, n_channels), layout=layout)
    cut(tmp_path / "out.mp4", [span(path, 0.5, 2.5)])
    assert shape(tmp_path / "out.mp4")[1] == layout
    assert counted.onsets_s(tmp_path / "out.mp4") == pytest.approx([0.5, 1.5], abs=0.01)


def test_a_silent_file_stays_without_sound(tmp_path, span):
    path = counted.make(tmp_path / "a.mp4")
    cut(tmp_path / "out.mp4", [span(path, 0.5, 1.5)])
    assert shape(tmp_path / "out.mp4")[1] is None


def test_joined_spans_take_the_size_and_rate_of_the_first(tmp_path, span):
    wide = counted.make(tmp_path / "wide.mp4", size=(256, 96), fps=25, n=100)
    mute = counted.make(tmp_path / "tall.mp4", size=(128, 256), fps=50, n=200, turned=90)
    mono = counted.make(tmp_path / "mono.mp4", sound=counted.beeps(4), fps=25)
    surround = counted.make(tmp_path / "5.mkv", sound=counted.beeps(4, 6), layout="5.1", sound_codec="ac3")
    spans = [span(wide, 1, 2), span(mute, 1, 2), span(mono, 0.8, 2.32), span(surround, 1.8, 3)]
    cut(tmp_path / "out.mp4", spans)
    assert shape(tmp_path / "out.mp4") == ((256, 96, 25), "5.1")
    with av.open(str(tmp_path / "out.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 25 + 25 + round(2.72 * 25)
    assert [counted.number(image) for image in images[:25]] == list(range(25, 50))
    fitted = images[30][:, 104:152]  # 128x256 within 256x96 is 48 wide
    assert images[30][:, :100].mean() < 20
    assert images[30][:, 156:].mean() < 20
    assert fitted.mean() > 60
    # As many pictures again as the joined file shows, so every second one is left out.
    assert [counted.number(image[:, 104:152]) for image in images[30:40]] == list(range(60, 80, 2))
    assert counted.onsets_s(tmp_path / "out.mp4") == pytest.approx([2.2, 3.2, 3.72], abs=0.012)


def test_many_spans_do_not_drift(tmp_path, span):
    path = counted.make(tmp_path / "a.mp4", fps=Fraction(30_000, 1001), n=200, sound=counted.beeps(6))
    part = span(path, 0.95, 1.283)
    cut(tmp_path / "out.mp4", [part] * 12)
    onsets_s = counted.onsets_s(tmp_path / "out.mp4")
    assert onsets_s == pytest.approx([0.05 + 0.333 * i for i in range(12)], abs=0.025)
    assert len(counted.numbers(tmp_path / "out.mp4")) == round(12 * 0.333 * 30_000 / 1001)


def test_a_span_is_at_least_one_picture_long(span, tmp_path):
    path = counted.make(tmp_path / "a.mp4", n=30)
    spans = [span(path, 0.1, 0.1001), span(path, 0.1, 0.1001)]
    assert bounds(spans, Fraction(25)) == [0, 1, 2]


def test_sound_alone_is_cut_too(tmp_path, span):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(counted.beeps(4), "fltp", "mono")
        frame.sample_rate, frame.pts = 48_000, 0
        out.mux([*stream.encode(frame), *stream.encode(None)])
    cut(tmp_path / "out.mp4", [span(tmp_path / "a.m4a", 0.7, 2.5)])
    assert shape(tmp_path / "out.mp4") == (None, "mono")
    assert counted.onsets_s(tmp_path / "out.mp4") == pytest.approx([0.3, 1.3], abs=0.01)


@pytest.mark.parametrize(
    ("name", "codec", "sound_codec"), [("a.mpg", "mpeg2video", "mp2"), ("a.ts", "mpeg2video", "mp2")]
)
def test_streams_that_are_jumped_into_by_guessing(tmp_path, span, name, codec, sound_codec):
    path = counted.make(
        tmp_path / name, n=200, codec=codec, sound=counted.beeps(8), sound_codec=sound_codec, key_every=12
    )
    part = span(path, 3.3, 5.3)
    first_s = part.source.timeline.video.start_s
    cut(tmp_path / "out.mp4", [part])
    seen = counted.numbers(tmp_path / "out.mp4")
    assert abs(seen[0] - (3.3 - first_s) * 25) <= 1
    assert all(later == earlier + 1 for earlier, later in pairwise(seen))


def test_fast_copies_from_the_key_frame_before(tmp_path, span):
    path = counted.make(tmp_path / "a.mp4", n=200, key_every=20, sound=counted.beeps(8))
    spans = [span(path, 1.9, 2.7), span(path, 4.0, 4.5), span(path, 0.3, 0.5)]
    early_s = copy(tmp_path / "out.mp4", spans)
    seen = counted.numbers(tmp_path / "out.mp4")
    starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(seen)) if b != a + 1)]
    # x264 sets key frames where it likes within the limit: each span begins on one, at or before its start.
    assert len(starts) == 3
    for begin, part, late_s in zip(starts, spans, early_s, strict=True):
        assert seen[begin] / 25 == pytest.approx(part.start_s - late_s, abs=0.002)
        assert 0 <= late_s <= 0.8
    assert early_s[1] == pytest.approx(0, abs=0.002)
    assert seen[: starts[1]][-1] / 25 == pytest.approx(2.7, abs=0.13)
    onset_s = counted.onsets_s(tmp_path / "out.mp4")[0]
    assert onset_s == pytest.approx(2.0 - seen[0] / 25, abs=0.03)
    stored = {round(f, 3) for f in np.diff(counted.times_s(tmp_path / "out.mp4"))}
    assert min(stored) > 0


def test_fast_keeps_the_note_that_turns_a_picture(tmp_path, span):
    path = counted.make(tmp_path / "a.mp4", n=60, turned=90)
    copy(tmp_path / "out.mp4", [span(path, 0, 1)])
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 90


def test_fast_refuses_what_it_cannot_copy_or_join(tmp_path, span):
    small = counted.make(tmp_path / "small.mp4", n=30)
    large = counted.make(tmp_path / "large.mp4", n=30, size=(256, 96))
    flash = counted.make(tmp_path / "old.avi", n=30, codec="mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(MediaError, match="another codec, size or sound") as caught:
        copy(tmp_path / "out.mp4", [span(small, 0, 1), span(large, 0, 1)])
    assert "--fast" in caught.value.hint
    with pytest.raises(MediaError, match="holds no mjpeg"):
        copy(tmp_path / "out.mp4", [span(flash, 0, 1)])
    assert not (tmp_path / "out.mp4").exists()


def test_headway_is_told(tmp_path, span):
    path = counted.make(tmp_path / "a.mp4")
    told = []
    cut(tmp_path / "out.mp4", [span(path, 0, 2)], tell=told.append)
    assert told[-1] == pytest.approx(2, abs=0.2)
    assert told == sorted(told)


def test_nothing_to_cut_is_a_mistake_of_the_caller(tmp_path):
    for way in (cut, copy):
        with pytest.raises(ValueError, match="nothing"):
            way(tmp_path / "out.mp4", [])


def test_every_shared_clip_can_be_cut(shared_media, tmp_path, span):
    """Real files: a second from each, in one piece; and each alone begins on the picture shown there."""
    for path in sorted(shared_media.glob("s[0-3]*.*")):
        part = span(path, 1.0, 2.0)
        cut(tmp_path / "out.mp4", [part])
        kinds = shape(tmp_path / "out.mp4")
        assert (kinds[0] is not None) == part.source.timeline.has_video
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert float(container.duration / 1e6) == pytest.approx(1, abs=0.12)
            for stream in container.streams:
                container.seek(0)
                assert sum(1 for _ in container.decode(stream)) > 0
