"""One's own table where it is not as expected: what to change is told, and nothing is cut unsaid."""

from __future__ import annotations

import pytest

from savecli.bench.datasets import load
from savecli.errors import DatasetError

from .layouts import ids, noted


def own(bench, text: str, *videos: str, parts=("test",)):
    bench.text("own.csv", text).videos(*videos)
    return load("csv", bench.root / "own.csv", parts=parts)


@pytest.mark.parametrize(
    ("heading", "held"), [("file,caption", "file, caption"), ("Video,Caption", "Video, Caption")]
)
def test_a_table_without_the_columns_is_told_what_they_are(bench, heading, held):
    with pytest.raises(DatasetError, match=f"no column video or video_id, only {held}") as caught:
        own(bench, f"{heading}\na.mp4,x\n")
    assert 'heading "video,caption"' in caught.value.hint
    assert "fetch" not in caught.value.hint


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_caption_that_breaks_at_a_separator_is_told(bench, delimiter):
    rows = [("video", "caption"), ("a.mp4", "a dog", " running"), ("b.mp4", "a cat", "", "")]
    text = "".join(f"{delimiter.join(row)}\n" for row in rows)
    found = own(bench, text, "a.mp4", "b.mp4")
    assert found.test[0].captions == ("a dog",)
    assert noted(found, "1 rows of own.csv", "NOT READ", "in quotes")
    whole = own(bench, 'video,caption\na.mp4,"a dog, running"\n')
    assert whole.test[0].captions == ("a dog, running",)
    assert not noted(whole, "NOT READ")


def test_a_file_under_several_names_is_one_video(bench):
    text = "video,caption\nsub/a.mp4,one\na,two\n./sub/a.mp4,three\nb.mp4,four\ngone.mp4,five\ngone,six\n"
    found = own(bench, text, "sub/a.mp4", "b.mp4", "other/b.mp4")
    assert ids(found.test) == ["sub/a.mp4", "b.mp4", "gone.mp4", "gone"]
    assert found.test[0].captions == ("one", "two", "three")
    assert noted(found, "2 rows of own.csv", "the same")


def test_two_files_of_one_name_are_two_videos(bench):
    found = own(bench, "video,caption\nx/a.mp4,one\ny/a.mp4,two\n", "x/a.mp4", "y/a.mp4")
    assert ids(found.test) == ["x/a.mp4", "y/a.mp4"]


@pytest.mark.parametrize("name", ["a.mts", "a.M2TS", "a.mxf", "a.vob"])
def test_files_of_cameras_and_discs_are_videos(bench, name):
    assert own(bench, f"video,caption\n{name},x\na,y\n", name).test[0].path == bench.root / name


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "a\0.mp4"])
def test_a_name_that_no_file_can_have_is_missing(bench, name):
    found = own(bench, f"video,caption\n{name},x\nb.mp4,y\n", "b.mp4")
    assert [clip.path for clip in found.test] == [None, bench.root / "b.mp4"]


def test_half_a_character_is_replaced_and_two_halves_are_whole(bench):
    # JSON may hold halves of a pair, which no encoding of a text can.
    bench.text("own.jsonl", '{"video": "a.mp4", "caption": "\\ud83d here, \\ud83d\\ude00 there"}\n').videos(
        "a.mp4"
    )
    bench.json("asr.json", [{"key": "a.wav", "text": "said \udc00"}])
    (clip,) = load("csv", bench.root / "own.jsonl", parts=("test",)).test
    assert clip.captions == ("\ufffd here, \U0001f600 there",)
    assert clip.speech == "said \ufffd"


@pytest.mark.parametrize("splits", [("test", "test"), ("train", "test"), ("", "")])
def test_a_table_without_validation_rows_is_told_which_column_makes_them(bench, splits):
    text = "video,caption,split\n" + "".join(f"v{i}.mp4,x,{split}\n" for i, split in enumerate(splits))
    with pytest.raises(DatasetError, match="no validation video of csv") as caught:
        own(bench, text, "v0.mp4", "v1.mp4", parts=("val",))
    assert "needs rows of val" in caught.value.hint
    assert "column split" in caught.value.hint
    assert "fetch" not in caught.value.hint


def test_a_table_of_training_rows_alone_has_no_test(bench):
    with pytest.raises(DatasetError, match="no test video of csv") as caught:
        own(bench, "video,caption,split\na.mp4,x,train\n", "a.mp4")
    assert "needs rows of test" in caught.value.hint
    assert "held out" not in caught.value.hint


def test_transcripts_of_other_videos_are_told(bench):
    bench.json("asr.json", [{"key": "other.wav", "text": "hello"}])
    assert noted(own(bench, "video,caption\na.mp4,x\n", "a.mp4"), "not one test video", "asr.json")
    bench.json("asr.json", [{"key": "a.wav", "text": None}])
    assert not noted(own(bench, "video,caption\na.mp4,x\n"), "asr.json")


def test_an_unknown_split_is_told_which_there_are(bench):
    with pytest.raises(DatasetError, match="'dev' is no split") as caught:
        own(bench, "video,caption,split\na,x,dev\n")
    assert "train, val or test" in caught.value.hint
