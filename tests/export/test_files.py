"""What is written where: clips, playlists, tables, subtitles, a page; and nothing where that fails."""

from __future__ import annotations

import base64
import csv
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import av
import pytest

from savecli.errors import ConfigError, MediaError, QueryError
from savecli.export.options import Options
from savecli.export.run import export
from savecli.export.target import target

from .. import counted


@pytest.fixture
def video(tmp_path):
    return counted.make(tmp_path / "videos" / "dog.mp4", n=100, sound=counted.beeps(4))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "videos")


def test_clips_are_joined_in_the_order_given(tmp_path, write, video, moment):
    path = write(tmp_path / "out.mp4", moment(video, 2.0, 2.4), moment(video, 0.4, 0.8))
    assert counted.numbers(path) == [*range(50, 60), *range(10, 20)]
    assert left(tmp_path) == ["out.mp4"]


def test_clips_are_padded_as_far_as_the_video_goes(tmp_path, write, video, moment):
    path = write(tmp_path / "out.mp4", moment(video, 0.4, 0.8), moment(video, 3.4, 3.8), pad_s=0.5)
    assert counted.numbers(path) == [*range(32), *range(72, 100)]


@pytest.mark.parametrize(
    ("name", "each", "names"),
    [
        ("out.mp4", True, ["out-1.mp4", "out-2.mp4"]),
        ("clip {n}.mp4", False, ["clip 1.mp4", "clip 2.mp4"]),
        ("words.srt", True, ["words-1.srt", "words-2.srt"]),
    ],
)
def test_each_moment_gets_a_file(tmp_path, facts, video, moment, name, each, names):
    facts.texts[video] = [(0.5, "one two three four five six")]
    found = [(1, moment(video, 0.4, 0.8)), (2, moment(video, 2.0, 2.4))]
    done = export(found, target(tmp_path / name, each=each), Options(each=each), facts)
    assert [path.name for path in done.paths] == names == left(tmp_path)
    if name.endswith("mp4"):
        assert [counted.numbers(path)[0] for path in done.paths] == [10, 50]
    else:
        assert "00:00:00,100 --> 00:00:00,400\none\n" in done.paths[0].read_text()


def test_a_folder_gets_clips_that_are_named_by_moment(tmp_path, facts, moment):
    strange = counted.make(tmp_path / "videos" / "a:b*ö?.mp4", n=100)
    found = [(3, moment(strange, 0.4, 0.8)), (12, moment(strange, 2.0, 2.4))]
    done = export(found, target(tmp_path / "clips", each=False, named_as_folder=True), Options(), facts)
    assert [path.name for path in done.paths] == ["03 a_b_ö_ 0.00.mp4", "12 a_b_ö_ 0.02.mp4"]
    assert [counted.numbers(path)[0] for path in done.paths] == [10, 50]


def test_fast_clips_tell_how_early_they_begin(tmp_path, facts, moment):
    video = counted.make(tmp_path / "dog.mp4", n=100, key_every=50)
    found = [(1, moment(video, 1.0, 1.5)), (7, moment(video, 2.0, 2.5))]
    done = export(found, target(tmp_path / "out.mp4", each=False), Options(fast=True), facts)
    assert done.notes == ("moment 1 begins 1.0 s early, at a key frame",)
    assert counted.numbers(done.paths[0])[0] == 0


def test_headway_goes_from_nothing_to_all(tmp_path, facts, video, moment):
    told = []
    found = [(1, moment(video, 0, 1)), (2, moment(video, 1, 2))]
    export(found, target(tmp_path / "out-{n}.mp4", each=False), Options(), facts, tell=told.append)
    assert told == sorted(told)
    assert told[0] < 0.2
    assert 0.9 < told[-1] <= 1


@pytest.mark.parametrize(
    ("name", "match"),
    [("out.xyz", "no format"), ("out", "no suffix"), ("out-{n}.edl", "all moments in one")],
)
def test_a_name_that_asks_for_nothing_known(tmp_path, name, match):
    with pytest.raises(ConfigError, match=match) as caught:
        target(tmp_path / name, each=False)
    assert ".mp4" in caught.value.hint


def test_what_is_there_stays_unless_forced(tmp_path, write, video, moment):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(ConfigError, match="there already") as caught:
        write(tmp_path / "out.csv", moment(video, 0, 1))
    assert "--force" in caught.value.hint
    assert (tmp_path / "out.csv").read_text() == "mine"
    write(tmp_path / "out.csv", moment(video, 0, 1), force=True)
    assert "dog.mp4" in (tmp_path / "out.csv").read_text()
    assert left(tmp_path) == ["out.csv"]


def test_a_video_is_never_written_over(tmp_path, write, video, moment):
    before = video.read_bytes()
    (tmp_path / "link.mp4").symlink_to(video)
    for path in (video, tmp_path / "link.mp4"):
        with pytest.raises(ConfigError, match="one of the videos"):
            write(path, moment(video, 0, 1), force=True)
    assert video.read_bytes() == before


@pytest.mark.parametrize("suffix", ["mp4", "edl", "fcpxml", "otio"])
def test_a_file_out_of_reach_is_named_with_its_drive_and_nothing_is_written(
    tmp_path, write, video, moment, suffix
):
    gone = tmp_path / "trip" / "gone.mp4"
    with pytest.raises(MediaError, match=r"gone\.mp4 is not there now") as caught:
        write(
            tmp_path / f"out.{suffix}",
            moment(video, 0, 1),
            moment(gone, 0, 1, drive="Trip-2019", mounted=False),
        )
    assert "Trip-2019" in caught.value.hint
    assert left(tmp_path) == []


@pytest.mark.parametrize("suffix", ["csv", "srt", "m3u", "html"])
def test_what_needs_no_file_is_written_without_it(tmp_path, write, moment, suffix):
    path = write(tmp_path / f"out.{suffix}", moment(tmp_path / "gone.mp4", 0, 1))
    assert suffix == "srt" or "gone.mp4" in path.read_text("utf-8")


def test_a_video_that_breaks_off_leaves_nothing_behind(tmp_path, write, moment, video):
    broken = tmp_path / "videos" / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        write(tmp_path / "out.mp4", moment(video, 0, 1), moment(broken, 0, 1))
    assert left(tmp_path) == []


def test_a_moment_past_the_end(tmp_path, write, moment, video):
    with pytest.raises(QueryError, match=r"moment 1 begins at 9\.00 s"):
        write(tmp_path / "out.mp4", moment(video, 9.0, 10.0))
    assert left(tmp_path) == []


def test_no_moment_at_all(tmp_path, write):
    with pytest.raises(QueryError, match="no moment"):
        write(tmp_path / "out.mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path, write, moment, video):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="cannot write"):
        write(tmp_path / "locked" / "out.csv", moment(video, 0, 1))


def test_a_folder_that_is_missing(tmp_path, write, moment, video):
    with pytest.raises(ConfigError, match="cannot write"):
        write(tmp_path / "no" / "out.csv", moment(video, 0, 1))
    assert left(tmp_path) == []


def test_an_interrupted_export_leaves_nothing(tmp_path, facts, moment, video):
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(
            [(1, moment(video, 0, 1))],
            target(tmp_path / "clips", each=False, named_as_folder=True),
            Options(),
            facts,
            tell=stop,
        )
    assert left(tmp_path) == []


def test_a_table_has_the_moments(tmp_path, write, moment, video):
    risky = moment(video, 1.5, 2.25, snippet='=HYPERLINK("x")', best_s=1.75)
    with open(write(tmp_path / "out.csv", risky), encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == str(video)
    assert (float(row["start_s"]), float(row["end_s"]), float(row["best_s"])) == (1.5, 2.25, 1.75)
    assert (float(row["seen"]), float(row["heard"]), float(row["said"])) == (0.4, 0, 0.2)
    assert row["snippet"] == '\'=HYPERLINK("x")'


@pytest.mark.parametrize("relative", [False, True])
def test_a_playlist_has_files_and_spans(tmp_path, write, moment, video, relative):
    odd = tmp_path / "videos" / "#1\nnew.mp4"
    text = write(
        tmp_path / "out.m3u", moment(video, 1.5, 2.25), moment(odd, 3, 4), relative=relative
    ).read_text()
    rows = text.splitlines()
    assert rows[0] == "#EXTM3U"
    entries = [row for row in rows if not row.startswith("#")]
    assert len(entries) == 2
    assert (tmp_path / entries[0]).resolve() == video
    assert (not Path(entries[0]).is_absolute()) == relative
    assert unquote(entries[1].removeprefix("file://")) == str(odd)
    assert re.findall(r"(start|stop)-time=([\d.]+)", text) == [
        ("start", "1.500"),
        ("stop", "2.250"),
        ("start", "3.000"),
        ("stop", "4.000"),
    ]


def cues(text: str) -> list[tuple[float, float, str]]:
    found = []
    for block in re.split(r"\n\n+", text.strip()):
        number, times, *lines = block.split("\n")
        assert int(number) == len(found) + 1
        start, end = (
            int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000
            for h, m, s, ms in re.findall(r"(\d\d):(\d\d):(\d\d),(\d{3})", times)
        )
        found.append((start, end, "\n".join(lines)))
    return found


def test_subtitles_are_on_the_clock_of_the_joined_clips(tmp_path, write, facts, moment, video):
    facts.texts[video] = [(0.0, "zero one two three"), (2.5, "five six --> \x1b[31m seven")]
    found = (moment(video, 2.0, 4.0), moment(video, 0.6, 1.4))
    told = cues(write(tmp_path / "out.srt", *found).read_text("utf-8"))
    assert told[0] == (0.5, 2.0, "five six →")
    # The second clip begins at 2; of "one" (0.5-1.0) it has the end, of "two" (1.0-1.5) the beginning.
    assert told[1] == (pytest.approx(2.0), pytest.approx(2.8), "one two")
    assert len(told) == 2


def test_where_nothing_is_said_that_is_told(tmp_path, facts, moment, video):
    facts.texts[video] = [(0.0, "zero")]
    found = [(1, moment(video, 0.0, 0.4)), (2, moment(video, 2.0, 3.0)), (3, moment(video, 3.0, 4.0))]
    each = export(found, target(tmp_path / "a.srt", each=True), Options(each=True), facts)
    assert each.notes == ("nothing is said in moment 2", "nothing is said in moment 3")
    silent = export(found[1:], target(tmp_path / "b.srt", each=False), Options(), facts)
    assert silent.notes == ("nothing is said in moment 2, moment 3",)


def test_subtitles_are_short_enough_to_read(tmp_path, write, facts, moment, video):
    facts.texts[video] = [(0.0, " ".join(f"word{i}" for i in range(60)))]
    told = cues(write(tmp_path / "out.srt", moment(video, 0, 30)).read_text())
    assert " ".join(text.replace("\n", " ") for _, _, text in told) == facts.texts[video][0][1]
    for (start_s, end_s, text), (later_s, _, _) in zip(told, [*told[1:], (99, 0, "")], strict=True):
        assert end_s - start_s <= 7
        assert end_s <= later_s
        assert len(text.split("\n")) <= 3
        assert max(map(len, text.split("\n"))) <= 42


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links, self.images, self.text, self.tags, self.policies = [], [], "", [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        if tag == "a":
            self.links.append(given["href"])
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(given["content"])
        if tag == "img":
            self.images.append(given["src"])
        assert not [value for name, value in attrs if name.startswith("on") or str(value).startswith("http")]

    def handle_data(self, data):
        self.text += data


def test_a_page_stands_alone(tmp_path, write, moment, video):
    odd = counted.make(tmp_path / "videos" / "a b<i>#?.mp4", n=50, turned=90)
    found = (
        moment(video, 1.5, 2.25, best_s=2.0, snippet="<script>x</script> & \x1b"),
        moment(odd, 0, 1),
        moment(tmp_path / "gone.mp4", 0, 1),
    )
    text = write(tmp_path / "out.html", *found, title="a <dog>").read_text("utf-8")
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert "<script>x</script> &" in page.text
    assert "\x1b" not in text
    assert "a <dog>" in page.text
    assert "default-src 'none'" in page.policies[0]
    assert "prefers-color-scheme: dark" in text
    assert page.links[0] == page.links[1] == f"file://{video}#t=1.500,2.250"
    assert unquote(page.links[2].removeprefix("file://").partition("#t=")[0]) == str(odd)
    assert len(page.images) == 2
    assert "no picture" in page.text
    jpeg = base64.b64decode(page.images[0].partition("base64,")[2])
    (tmp_path / "one.jpg").write_bytes(jpeg)
    with av.open(str(tmp_path / "one.jpg")) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert counted.number(image) == 50
    assert image.shape[:2] == (270, 360)
