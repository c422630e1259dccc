"""Timelines read back by the library that editors share carry the spans that were written."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree

import opentimelineio
import pytest
from lxml import etree

from savecli.errors import QueryError

from .. import counted

NTSC = Fraction(30_000, 1001)
APPLES = os.environ.get("FCPXML_DTD", "")  # a copy of Apple's DTD 1.10, which is not ours to distribute


def clips(timeline, kind="Video"):
    tracks = [track for track in timeline.tracks if track.kind == kind]
    return [clip for track in tracks for clip in track if isinstance(clip, opentimelineio.schema.Clip)]


def spans_s(timeline, kind="Video"):
    """(start, end) of each clip in its file."""
    ranges = [clip.source_range for clip in clips(timeline, kind)]
    return [(r.start_time.to_seconds(), r.end_time_exclusive().to_seconds()) for r in ranges]


def assert_carries(found, wanted, rate):
    """Each span is there, and no more than a frame on either side."""
    assert len(found) == len(wanted)
    for (start_s, end_s), (asked_s, until_s) in zip(found, wanted, strict=True):
        assert asked_s - 1 / rate <= start_s <= asked_s + 0.002
        assert until_s - 0.002 <= end_s <= until_s + 1 / rate + 0.002


@pytest.fixture
def videos(tmp_path):
    """Three files: of one rate with sound, of the same rate without, of another rate, with a hard name."""
    return (
        counted.make(tmp_path / "first.mp4", fps=25, sound=counted.beeps(4), n=100),
        counted.make(tmp_path / "mute.mp4", fps=25, n=100),
        counted.make(tmp_path / "an ö & <other>#1?.mp4", fps=NTSC, n=120, sound=counted.beeps(4)),
    )


WANTED = [(0.52, 1.9), (1.0, 2.0), (2.013, 3.517)]


@pytest.fixture
def moments(videos, moment):
    return [moment(path, *span, snippet='say "x" & <y>') for path, span in zip(videos, WANTED, strict=True)]


def test_otio_reads_back(tmp_path, write, moments, videos):
    path = write(tmp_path / "out.otio", *moments, title="a dog")
    timeline = opentimelineio.adapters.read_from_file(str(path))
    assert timeline.name == "a dog"
    assert_carries(spans_s(timeline), WANTED, 25)
    assert [clip.source_range.start_time.rate for clip in clips(timeline)] == [25, 25, float(NTSC)]
    urls = [clip.media_reference.target_url for clip in clips(timeline)]
    assert [Path(unquote(urlparse(url).path)) for url in urls] == list(videos)
    for clip in clips(timeline):
        whole = clip.media_reference.available_range
        assert whole.contains(clip.source_range)
    assert clips(timeline)[0].metadata["save"]["snippet"] == 'say "x" & <y>'
    assert [clip.name for clip in clips(timeline, "Audio")] == ["first", "an ö & <other>#1?"]
    # Pictures and sound lie at the same times.
    assert timeline.tracks[0].duration().to_seconds() == pytest.approx(
        timeline.tracks[1].duration().to_seconds(), abs=0.001
    )


def test_edl_reads_back(tmp_path, write, moments):
    path = write(tmp_path / "out.edl", *moments, title="a dog")
    timeline = opentimelineio.adapters.read_from_file(str(path), rate=25)
    assert timeline.name == "a dog"
    assert_carries(spans_s(timeline), WANTED, 25)
    assert [clip.name for clip in clips(timeline)] == ["first.mp4", "mute.mp4", "an ö & <other>#1?.mp4"]
    assert len(clips(timeline, "Audio")) == 2
    text = path.read_bytes().decode()
    assert text.startswith("TITLE: a dog\r\nFCM: NON-DROP FRAME\r\n")
    assert "\n* SOURCE FRAME RATE: 29.970\r\n" in text
    records = re.findall(r"(\S+) (\S+)\r\n\* FROM", text)
    assert records[0][0] == "01:00:00:00"
    assert [end for _, end in records[:-1]] == [start for start, _ in records[1:]]


@pytest.mark.parametrize(
    "rate", [Fraction(24_000, 1001), Fraction(24), Fraction(25), NTSC, Fraction(50), Fraction(60)]
)
def test_edl_has_the_rate_of_its_video(tmp_path, write, moment, rate):
    video = counted.make(tmp_path / "a.mp4", fps=rate, n=200)
    # Exactly picture 40 to 90.
    path = write(tmp_path / "out.edl", moment(video, float(40 / rate), float(90 / rate)))
    timeline = opentimelineio.adapters.read_from_file(str(path), rate=float(rate))
    found = clips(timeline)[0].source_range
    assert (found.start_time.value, found.duration.value) == (40, 50)


@pytest.mark.parametrize(("timecode", "frame"), [("01:00:00:00", 108_000), ("10:00:00;00", 1_078_920)])
def test_a_timecode_in_the_file_is_where_its_frames_begin(tmp_path, write, moment, timecode, frame):
    video = counted.make(tmp_path / "a.mov", fps=NTSC, n=150, metadata={"timecode": timecode})
    found = moment(video, float(30 / NTSC), float(60 / NTSC))
    text = write(tmp_path / "out.edl", found).read_text("utf-8")
    assert ("FCM: DROP FRAME" in text) == (";" in timecode)
    edl = opentimelineio.adapters.read_from_file(str(tmp_path / "out.edl"), rate=float(NTSC))
    otio = opentimelineio.adapters.read_from_file(str(write(tmp_path / "out.otio", found)))
    for timeline in (edl, otio):
        span = clips(timeline)[0].source_range
        assert (span.start_time.value, span.duration.value) == (frame + 30, 30)
    root = ElementTree.parse(write(tmp_path / "out.fcpxml", found)).getroot()
    start = Fraction(root.find(".//asset-clip").get("start").removesuffix("s"))
    assert start == (frame + 30) / NTSC
    assert root.find(".//asset-clip").get("tcFormat") == ("DF" if ";" in timecode else "NDF")


def test_an_edl_numbers_so_many_events(tmp_path, write, moment):
    video = counted.make(tmp_path / "a.mp4", n=30)
    with pytest.raises(QueryError, match="999"):
        write(tmp_path / "out.edl", *[moment(video, 0, 1)] * 1000)
    assert not (tmp_path / "out.edl").exists()


def test_fcpxml_reads_back(tmp_path, write, moments, videos):
    path = write(tmp_path / "out.fcpxml", *moments, title="a dog & more")
    timeline = opentimelineio.adapters.read_from_file(str(path))
    timeline = timeline[0] if isinstance(timeline, opentimelineio.schema.SerializableCollection) else timeline
    assert timeline.name == "a dog & more"
    assert_carries(spans_s(timeline), WANTED, 25)
    root = ElementTree.parse(path).getroot()
    urls = [rep.get("src") for rep in root.iter("media-rep")]
    assert [Path(unquote(urlparse(url).path)) for url in urls] == list(videos)


@pytest.mark.parametrize(
    "dtd",
    [
        Path(__file__).with_name("fcpxml.dtd"),
        pytest.param(APPLES, marks=pytest.mark.skipif(not APPLES, reason="set FCPXML_DTD")),
    ],
)
def test_fcpxml_is_valid(tmp_path, write, moments, videos, moment, dtd):
    alone = counted.make(tmp_path / "slow.mp4", fps=10, n=40, turned=90)
    for chosen in (moments, moments[::-1], [moment(alone, 0.5, 1.5)]):
        path = write(tmp_path / "out.fcpxml", *chosen, force=True)
        with open(dtd, "rb") as file:
            rules = etree.DTD(file)
        assert rules.validate(etree.parse(str(path))), rules.error_log


def test_times_in_fcpxml_are_on_frames_and_within_their_files(tmp_path, write, moments):
    root = ElementTree.parse(write(tmp_path / "out.fcpxml", *moments, pad_s=0.7)).getroot()

    def time(element, name):
        return Fraction(element.get(name).removesuffix("s"))

    by_id = {element.get("id"): element for element in root.find("resources")}
    sequence = root.find(".//sequence")
    frame = time(by_id[sequence.get("format")], "frameDuration")
    at = Fraction(0)
    for clip in root.iter("asset-clip"):
        asset = by_id[clip.get("ref")]
        own = time(by_id[asset.get("format")], "frameDuration")
        assert time(clip, "offset") == at
        assert (time(clip, "start") / own).denominator == 1
        assert (time(clip, "duration") / frame).denominator == 1
        assert time(clip, "start") + time(clip, "duration") <= time(asset, "start") + time(asset, "duration")
        at += time(clip, "duration")
    assert time(sequence, "duration") == at
