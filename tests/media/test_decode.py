import dataclasses
import shutil
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest

from savecli.errors import MediaError, UnseekableError
from savecli.media.decode import frames, probe
from savecli.media.decode.container import options
from savecli.media.decode.picture import Scaler
from savecli.media.footage import Tally, Timeline

SIZES = {"resize_px": 64, "size_px": 56}


def sequential(path: Path) -> list[tuple[float, av.VideoFrame]]:
    """Every picture of the best stream with its time, by plain decoding: what must come out."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        return [(frame.time, frame) for frame in container.decode(stream)]


def shown_at(times_s: list[float], target_s: float) -> float:
    return max((t for t in times_s if t <= target_s + 1e-4), default=times_s[0])


CLIPS = [
    "s01.mp4",
    "s02.webm",
    "s14.mpg",
    "s15.ts",
    "s18.avi",
    "s24.mp4",
    "s26.mp4",
    "s28.mp4",
    "s32.wmv",
    "s11.mkv",
]


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("spacing_s", [0.2, 3.1])
def test_frames_are_those_shown(shared_media: Path, name: str, spacing_s: float) -> None:
    timeline = probe(shared_media / name)
    origin_s = timeline.origin_s
    truth = sequential(shared_media / name)
    times_s = [t - origin_s for t, _ in truth]
    targets = list(np.arange(spacing_s / 2, timeline.video_end_s, spacing_s))
    expected = [shown_at(times_s, t) for t in targets]
    true, got = (list(frames(timeline, targets, **SIZES, exact=exact)) for exact in (True, False))
    assert {round(f.time_s, 2) for f in true} == {round(t, 2) for t in expected}
    for frame in true:
        assert abs(frame.time_s - expected[frame.index]) < 2e-3
    for found in (true, got):
        assert all(a.time_s < b.time_s and a.index < b.index for a, b in pairwise(found))
    keys = timeline.key_frame_times_s
    gap_s = max(b - a for a, b in pairwise((0.0, *keys, timeline.video_end_s)))
    if gap_s <= 1.5 * spacing_s and len(targets) > 1:
        assert all(min(abs(f.time_s - k) for k in keys) < 2e-3 for f in got)
        assert all(abs(f.time_s - targets[f.index]) <= 0.76 * gap_s for f in got)
        return
    assert len(got) == len(true)
    for frame in got:
        assert min(abs(frame.time_s - t) for t in times_s) < 2e-3
        assert -2e-3 < expected[frame.index] - frame.time_s <= spacing_s / 2


def n_decoded(timeline: Timeline, times_s: Sequence[float], *, exact: bool) -> tuple[list[float], int]:
    tally = Tally()
    found = frames(timeline, times_s, **SIZES, exact=exact, tally=tally)
    return [frame.time_s for frame in found], tally.n_decoded


def test_pictures_that_no_other_refers_to_are_not_decoded(shared_media: Path) -> None:
    timeline = probe(shared_media / "s16.mp4")
    times_s = list(np.arange(0.5, timeline.video_end_s, 1.0))
    (near, n_less), (true, n_all) = (n_decoded(timeline, times_s, exact=exact) for exact in (False, True))
    assert n_less < 0.6 * n_all
    assert np.abs(np.subtract(near, true)).max() < 0.1


@pytest.mark.parametrize("fps", [25, 4])
def test_where_these_are_most_of_what_is_shown_they_are_decoded(tmp_path: Path, fps: int) -> None:
    path = tmp_path / "b.mp4"
    with av.open(str(path), "w") as out:
        settings = {"bf": "16", "x264-params": "b-adapt=0:b-pyramid=none:bframes=16:scenecut=0"}
        stream = out.add_stream("libx264", rate=fps, options=settings)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(12 * fps):
            picture = np.full((64, 64, 3), 20 + number * 200 // (12 * fps), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(stream.encode(None))
    timeline = probe(path)
    times_s = [0.9 + 2 * i for i in range(6)]  # every 17th picture is one that others refer to
    (near, n_less), (true, n_all) = (n_decoded(timeline, times_s, exact=exact) for exact in (False, True))
    if fps == 4:
        assert near == true
    else:
        assert n_less < n_all / 5
        assert 0 < np.abs(np.subtract(near, true)).max() < 1


def test_pictures_match_plain_decoding(shared_media: Path) -> None:
    truth = dict(sequential(shared_media / "s21.mp4"))
    timeline = probe(shared_media / "s21.mp4")
    for frame in frames(timeline, [0.5, 4.2, 9.9], **SIZES):
        plain = truth[min(truth, key=lambda t: abs(t - frame.time_s))]
        scaled = plain.reformat(round(plain.width * 64 / plain.height), 64, "rgb24", interpolation="BICUBIC")
        left = (scaled.width - 56) // 2
        expected = scaled.to_ndarray()[4:60, left : left + 56].astype(int)
        assert np.abs(frame.image - expected).mean() < 1.5


def test_exact_pictures_are_those_of_plain_decoding(shared_media: Path) -> None:
    truth = dict(sequential(shared_media / "s21.mp4"))
    timeline = probe(shared_media / "s21.mp4")
    times_s = [0.3 * i for i in range(20)]
    scaler = Scaler(**SIZES, pixel_aspect=None)
    for frame in frames(timeline, times_s, **SIZES, exact=True):
        plain = truth[min(truth, key=lambda t: abs(t - frame.time_s))]
        assert np.array_equal(frame.image, scaler(plain))


@pytest.mark.parametrize(("name", "turns"), [("s06.mp4", 2), ("s30.mp4", 3)])
def test_rotation(shared_media: Path, name: str, turns: int) -> None:
    stored = sequential(shared_media / name)[0][1]
    upright = np.rot90(stored.to_ndarray(format="rgb24"), turns).astype(int)
    height, width, _ = upright.shape
    scaled = av.VideoFrame.from_ndarray(np.ascontiguousarray(upright, np.uint8)).reformat(
        round(64 * width / min(width, height)), round(64 * height / min(width, height))
    )
    top, left = (scaled.height - 56) // 2, (scaled.width - 56) // 2
    expected = scaled.to_ndarray()[top : top + 56, left : left + 56].astype(int)
    [frame] = frames(probe(shared_media / name), [0.0], **SIZES)
    assert np.abs(frame.image - expected).mean() < 6
    assert np.abs(np.rot90(frame.image, 2) - expected).mean() > 20


def test_late_start_is_time_zero(shared_media: Path) -> None:
    timeline = probe(shared_media / "broken" / "late_start.mkv")
    assert timeline.origin_s == pytest.approx(3600)
    assert timeline.duration_s == pytest.approx(5, abs=0.05)
    assert [f.time_s for f in frames(timeline, [0, 2.0], **SIZES)] == pytest.approx([0, 2.0], abs=0.041)


@pytest.mark.parametrize(
    ("name", "fps", "n_frames"),
    [
        ("s02.webm", 30000 / 1001, 150),  # its header counts no frames
        ("s08.mp4", 12.5, 377),
        ("s14.mpg", 25, 75),
        ("s18.avi", 30, 496),
        ("s26.mp4", 3628800 / 502589, 63),  # every picture as long as it likes
        ("s31.mp4", 0, 0),  # sound alone
    ],
)
def test_how_many_pictures_in_a_second(shared_media: Path, name: str, fps: float, n_frames: int) -> None:
    timeline = probe(shared_media / name)
    assert timeline.fps == pytest.approx(fps)
    assert timeline.n_frames == n_frames


def test_one_picture_is_a_frame(make_video) -> None:
    assert probe(make_video(times_s=(0.0,))).n_frames == 1
    assert probe(make_video("two.mkv", times_s=(0.0, 0.04))).n_frames == 2


def test_each_frame_once(make_video) -> None:
    timeline = probe(make_video(times_s=(0.0, 1.0, 2.0, 10.0), key_every=100))
    got = list(frames(timeline, [0.1, 0.5, 1.5, 1.9, 5, 9, 10, 11], **SIZES))
    assert [(f.index, f.time_s) for f in got] == [(0, 0.0), (2, 1.0), (4, 2.0), (6, 10.0)]


def test_key_frames_alone(make_video) -> None:
    timeline = probe(make_video(times_s=[i / 25 for i in range(250)], key_every=25))
    stream = frames(timeline, [i + 0.5 for i in range(10)], **SIZES)
    assert len(list(stream)) >= 9
    assert stream.n_decoded <= 10
    assert stream.n_bad_packets == 0


def write_h264(path: Path, times_s: Sequence[float], settings: str, **container: str) -> Timeline:
    """A grey picture at each time; x264's settings are a key frame's distance, open GOPs and the like."""
    with av.open(str(path), "w", options=container) as out:
        settings = f"scenecut=0:b-adapt=0:{settings}"
        stream = out.add_stream("libx264", rate=25, options={"x264-params": settings})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time_s in enumerate(times_s):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 + number % 200, np.uint8))
            picture.pts, picture.time_base = round(1000 * time_s), Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return probe(path)


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_key_frames_of_an_open_gop_are_shown_in_order_and_none_is_lost(
    tmp_path: Path, container: str
) -> None:
    path = tmp_path / f"open.{container}"
    shown_s = [i / 25 for i in range(500)]
    timeline = write_h264(path, shown_s, "keyint=12:min-keyint=12:open-gop=1:bframes=3")
    times_s = [i + 0.5 for i in range(20)]
    stream = frames(timeline, times_s, **SIZES)
    got = [(frame.index, frame.time_s) for frame in stream]
    assert [index for index, _ in got] == list(range(20))
    assert np.abs([time_s - times_s[index] for index, time_s in got]).max() < 0.25
    assert stream.n_decoded == 20
    truth = [picture.to_ndarray(format="gray").mean() for _, picture in sequential(path)]
    shades = [frame.image.mean() for frame in frames(timeline, times_s, **SIZES)]
    shown = [truth[round(time_s * 25)] for _, time_s in got]
    assert np.corrcoef(shades, shown)[0, 1] > 0.99


def test_exact_is_no_neighbouring_key_frame(make_video) -> None:
    timeline = probe(make_video(times_s=[i / 25 for i in range(250)], key_every=25))
    targets = [i + 0.5 for i in range(10)]
    stream = frames(timeline, targets, **SIZES, exact=True)
    shown = [(f.index, f.time_s) for f in stream]
    assert [index for index, _ in shown] == list(range(10))
    assert [time_s for _, time_s in shown] == pytest.approx([t - 0.02 for t in targets], abs=0.001)
    assert stream.n_decoded < 160


def test_jumps_skip_what_nobody_asked_for(make_video) -> None:
    timeline = probe(make_video(times_s=[i / 25 for i in range(1000)], key_every=50))
    stream = frames(timeline, [1.0, 37.9], **SIZES)
    assert [f.time_s for f in stream] == pytest.approx([1.0, 37.88])
    assert stream.n_decoded < 120


def test_unsorted_times() -> None:
    with pytest.raises(ValueError, match="increase"):
        frames(None, [2.0, 1.0], **SIZES)


def test_one_wild_stamp_makes_no_ten_hours(make_video) -> None:
    def wild(packet: av.Packet) -> None:
        if packet.pts == 1000:
            packet.pts += 36_000_000

    timeline = probe(make_video("wild.mkv", stamp=wild))
    assert timeline.duration_s < 3
    assert len(list(frames(timeline, [0.5, 1.5, 1.9], **SIZES))) == 3


def test_pixel_aspect_and_ribbons(make_video) -> None:
    for size in ((64, 48), (48, 64), (640, 16), (16, 640)):
        [frame] = frames(probe(make_video(times_s=(0,), size=size, codec="mjpeg")), [0], **SIZES)
        assert frame.image.shape == (56, 56, 3)


def test_picture_limit(make_video) -> None:
    path = make_video(size=(640, 480))
    with pytest.raises(MediaError, match="640x480") as caught:
        probe(path, max_pixels=100_000)
    assert caught.value.hint
    stream = frames(probe(path), [0.5], **SIZES, max_pixels=100_000)
    assert list(stream) == []
    assert stream.n_bad_packets > 0


def test_cover_art_is_no_video(shared_media: Path) -> None:
    timeline = probe(shared_media / "s31.mp4")
    assert not timeline.has_video
    assert timeline.has_audio


@pytest.mark.parametrize("to_hear", [False, True])
@pytest.mark.parametrize("name", ["playlist_renamed.mp4", "ffconcat_renamed.mp4"])
def test_lists_open_no_other_file(shared_media: Path, name: str, to_hear: bool, tmp_path: Path) -> None:
    path = Path(shutil.copy(shared_media / "broken" / name, tmp_path))
    opened = []
    with pytest.raises(MediaError, match=r"playlist|list of other files"):
        probe(path, to_hear=to_hear)

    def spy(url, flags, options):
        opened.append(url)
        return Path(url).open("rb")

    with pytest.raises(av.FFmpegError):
        av.open(str(path), container_options=options(to_hear=to_hear), io_open=spy)
    assert opened == [str(path)]


def test_permission_is_blamed_only_where_it_is_missing(make_video, monkeypatch) -> None:
    # FFmpeg says so of some ASF files whose header has a flipped bit.
    path = make_video()
    monkeypatch.setattr(av, "open", refuse := Mock(side_effect=av.error.PermissionError(1, "no")))
    with pytest.raises(MediaError, match="missing or damaged"):
        probe(path)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MediaError, match="no permission"):
        probe(path)


def parted(timeline: Timeline, times_s: Sequence[float], first: int) -> list[tuple[int, float, np.ndarray]]:
    """What is shown from number `first` on, found by a seek, with the time before it to tell what is new."""
    found = frames(timeline, times_s[first - 1 :], **SIZES, seek=True)
    return [(f.index + first - 1, f.time_s, f.image) for f in found if f.index]


@pytest.mark.parametrize(
    "name",
    ["s09.mp4", "s16.mp4", "s18.avi", "s19.webm", "s20.mp4", "s23.mp4", "s25.mp4"],
)
@pytest.mark.parametrize("spacing_s", [0.4, 2.5])
def test_what_a_seek_finds_is_what_is_found_from_the_start_on(
    shared_media: Path, name: str, spacing_s: float
) -> None:
    timeline = probe(shared_media / name)
    times_s = list(np.arange(spacing_s / 2, min(timeline.video_end_s, 30.0), spacing_s))
    whole = [(f.index, f.time_s, f.image) for f in frames(timeline, times_s, **SIZES)]
    for first in (len(times_s) // 3, len(times_s) // 2 + 1, len(times_s) - 1):
        expected = [one for one in whole if one[0] >= first]
        got = parted(timeline, times_s, first)
        assert [one[:2] for one in got] == [one[:2] for one in expected]
        for one, other in zip(got, expected, strict=True):
            assert np.array_equal(one[2], other[2])


@pytest.mark.parametrize("container", ["ts", "mkv", "flv"])
def test_a_seek_leads_to_a_key_frame_in_other_containers(
    shared_media: Path, tmp_path: Path, container: str
) -> None:
    path = tmp_path / f"a.{container}"
    with av.open(str(shared_media / "s_long.mp4")) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None and packet.dts * packet.time_base < 20:
                packet.stream = stream
                out.mux(packet)
    timeline = probe(path)
    times_s = [i + 0.5 for i in range(18)]
    whole = [(f.index, f.time_s) for f in frames(timeline, times_s, **SIZES)]
    for first in (9, 14):
        got = parted(timeline, times_s, first)
        assert [one[:2] for one in got] == [one for one in whole if one[0] >= first]


def test_a_seek_reads_little_of_what_lies_before_and_nothing_of_what_lies_behind(make_video) -> None:
    for key_every, spacing_s in ((25, 1.0), (50, 0.5)):
        path = make_video(f"{key_every}.mkv", times_s=[i / 25 for i in range(1000)], key_every=key_every)
        timeline = probe(path)
        tally = Tally()
        times_s = [20.0 + spacing_s * i for i in range(10)]
        assert len(list(frames(timeline, times_s, **SIZES, seek=True, tally=tally))) == 10
        assert tally.n_decoded < 200
        assert tally.reached_s < 20 + 10 * spacing_s + 3


@pytest.mark.parametrize("exact", [True, False])
def test_where_no_seek_leads_there_it_is_told_and_nothing_is_read_from_the_start(
    tmp_path: Path, exact: bool
) -> None:
    path = tmp_path / "one.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=5, options={"x264-params": "keyint=9999:scenecut=0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(250):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), number, np.uint8))))
        out.mux(stream.encode(None))
    known = probe(path)
    assert known.key_frame_times_s == (0.0,)
    wrong = dataclasses.replace(known, key_frame_times_s=tuple(10.0 * i for i in range(5)))
    tally = Tally()
    for timeline in (known, wrong, dataclasses.replace(wrong, key_frame_times_s=())):
        with pytest.raises(UnseekableError, match=r"45\.2 s of .*one\.mp4"):
            list(frames(timeline, [45.2, 45.7, 46.2], **SIZES, seek=True, exact=exact, tally=tally))
        assert tally.n_decoded == 0
        assert len(list(frames(timeline, [45.2, 45.7, 46.2], **SIZES, exact=exact))) == 3


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("spacing_s", [1.0, 3.0])
def test_where_a_seek_leads_past_its_key_frame_no_picture_is_lost(
    tmp_path: Path, exact: bool, spacing_s: float
) -> None:
    # Two pictures a second in a transport stream: decoding times lie more than a second before those shown.
    shown_s = [i / 2 for i in range(120)]
    timeline = write_h264(tmp_path / "slow.ts", shown_s, "keyint=12:min-keyint=12:open-gop=1:bframes=3")
    times_s = list(np.arange(0.5, 59.0, spacing_s))
    whole = [(f.index, f.time_s) for f in frames(timeline, times_s, **SIZES, exact=exact)]
    assert [index for index, _ in whole] == list(range(len(times_s)))
    for first in range(2, len(times_s)):
        with suppress(UnseekableError):
            found = list(frames(timeline, times_s[first:], **SIZES, exact=exact, seek=True))
            assert [(f.index + first, f.time_s) for f in found] == whole[first:]


def test_a_change_of_the_way_far_from_a_key_frame_is_no_failed_seek(tmp_path: Path) -> None:
    with_pause_s = [i / 10 + 2 * (i >= 720) for i in range(1200)]
    timeline = write_h264(tmp_path / "pause.mkv", with_pause_s, "keyint=400:min-keyint=400:bframes=0")
    assert timeline.key_frame_times_s == pytest.approx((0.0, 40.0, 82.0))
    times_s = [41.5 + i for i in range(36)]
    got, whole = (list(frames(timeline, times_s, **SIZES, seek=seek)) for seek in (True, False))
    assert [(f.index, f.time_s) for f in got] == [(f.index, f.time_s) for f in whole]
    assert len(got) >= 34


@pytest.mark.parametrize(
    ("name", "container", "is_told"),
    [
        ("a.mkv", {}, True),
        ("a.mkv", {"live": "1"}, False),
        ("a.flv", {"flvflags": "add_keyframe_index"}, True),
        ("a.flv", {}, False),
    ],
)
def test_no_seek_is_tried_that_would_read_all_that_lies_before(
    tmp_path: Path, name: str, container: dict[str, str], is_told: bool
) -> None:
    shown_s = [i / 5 for i in range(400)]
    timeline = write_h264(tmp_path / name, shown_s, "keyint=20:min-keyint=20", **container)
    times_s = [60.5 + i for i in range(10)]
    assert len(list(frames(timeline, times_s, **SIZES))) == 10
    stream = frames(timeline, times_s, **SIZES, seek=True)
    if is_told:
        assert len(list(stream)) == 10
    else:
        with pytest.raises(UnseekableError):
            list(stream)
