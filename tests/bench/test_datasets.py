"""Files as they come: encodings, damage, gaps, transcripts, one's own tables, and what is held out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.bench.datasets import Clip, load
from savecli.bench.splits import hold_out
from savecli.errors import ConfigError, DatasetError

from .layouts import ids, noted


def test_msrvtt(bench):
    bench.msrvtt().json(
        "msrvtt10k_asr_text.json", [{"key": "video0.wav", "text": " hi "}, {"key": "video1.wav", "text": ""}]
    )
    found = load("msrvtt", bench.root, n_val=0)
    assert (found.name, found.split, found.val) == ("msrvtt", "9k", ())
    assert ids(found.train) == [f"video{i}" for i in range(6)]
    assert found.train[0] == Clip(
        video_id="video0",
        path=bench.root / "videos/all/video0.mp4",
        captions=("one of video0", "two of video0"),
        speech=" hi ",
    )
    assert [clip.speech for clip in found.train[1:3]] == ["", None]
    assert [(clip.video_id, clip.captions) for clip in found.test] == [
        ("video6", ("sentence of video6",)),
        ("video7", ("sentence of video7",)),
    ]
    assert [note for note in found.notes if "NOT COMPARABLE" not in note] == []


def test_msrvtt_7k_has_a_list_of_its_own(bench):
    bench.msrvtt().text("annotations/MSRVTT_train.7k.csv", "video_id\nvideo3\n")
    assert ids(load("msrvtt", bench.root, split="7k", n_val=0).train) == ["video3"]


def test_msrvtt_official_validation_is_used_only_where_it_is_not_trained_on(bench):
    bench.msrvtt(validate=(1, 4))
    found = load("msrvtt", bench.root)
    assert (ids(found.val), ids(found.train)) == (
        ["video1", "video4"],
        ["video0", "video2", "video3", "video5"],
    )
    bench.text("MSRVTT_train.9k.csv", "video_id\n" + "".join(f"video{i}\n" for i in range(6)))
    held_out = load("msrvtt", bench.root, n_val=1)
    assert len(held_out.val) == 1
    assert sorted(ids(held_out.val + held_out.train)) == [f"video{i}" for i in range(6)]


def test_msrvtt_of_the_first_release(bench):
    bench.msrvtt()
    whole = json.loads((bench.root / "MSRVTT_data.json").read_text("utf-8"))
    (bench.root / "MSRVTT_data.json").unlink()
    bench.json("train_val_videodatainfo.json", whole)
    assert len(load("msrvtt", bench.root, n_val=0).train) == 6


def test_a_semicolon_a_mark_and_crlf_do_not_matter(bench):
    bench.msrvtt()
    plain = load("msrvtt", bench.root)
    for name in ("MSRVTT_JSFUSION_test.csv", "MSRVTT_train.9k.csv"):
        text = (bench.root / name).read_text("utf-8")
        bench.data(name, b"\xef\xbb\xbf" + text.replace(",", ";").replace("\n", "\r\n").encode())
    whole = (bench.root / "MSRVTT_data.json").read_bytes()
    bench.data("MSRVTT_data.json", b"\xef\xbb\xbf" + whole)
    assert load("msrvtt", bench.root) == plain


def test_utf_16_is_read(bench):
    bench.msrvtt()
    plain = load("msrvtt", bench.root)
    bench.text("MSRVTT_train.9k.csv", (bench.root / "MSRVTT_train.9k.csv").read_text("utf-8"), "utf-16")
    assert load("msrvtt", bench.root) == plain


def test_a_comma_within_quotes_is_no_border(bench):
    bench.msrvtt(n_test=1).text("MSRVTT_JSFUSION_test.csv", 'video_id,sentence\nvideo6,"one, ""two"""\n')
    assert load("msrvtt", bench.root).test[0].captions == ('one, "two"',)


@pytest.mark.parametrize(("data", "caption"), [(b"caf\xe9", "café"), (b"caf\xe9 \x81", "café \x81")])
def test_text_that_is_not_utf_8_is_read_and_noted(bench, data, caption):
    bench.msrvtt().data("MSRVTT_JSFUSION_test.csv", b"video_id,sentence\nvideo6," + data + b" .\n")
    found = load("msrvtt", bench.root)
    assert found.test[0].captions == (f"{caption} .",)
    assert noted(found, "MSRVTT_JSFUSION_test.csv", "not UTF-8")


def test_repeated_ids_empty_captions_and_short_rows_are_noted(bench):
    rows = "video_id,sentence\nvideo6,first\nvideo6,second\nvideo7,  \nvideo5\n"
    bench.msrvtt().text("MSRVTT_JSFUSION_test.csv", rows)
    found = load("msrvtt", bench.root, n_val=0)
    assert [(clip.video_id, clip.captions) for clip in found.test] == [("video6", ("first",))]
    assert noted(found, "1 ids of MSRVTT_JSFUSION_test.csv")
    assert noted(found, "1 captions of test videos are empty")
    assert noted(found, "1 test videos have no caption", "video7")
    assert noted(found, "1 rows of MSRVTT_JSFUSION_test.csv are too short")


def test_no_video_is_in_two_splits(bench):
    bench.msrvtt().text("MSRVTT_train.9k.csv", "video_id\nvideo0\nvideo7\nvideo1\n")
    found = load("msrvtt", bench.root, n_val=0)
    assert ids(found.train) == ["video0", "video1"]
    assert noted(found, "1 videos are in two splits")


def test_missing_files_are_all_named_with_where_to_get_them(bench):
    with pytest.raises(DatasetError) as caught:
        load("msrvtt", bench.root)
    for name in ("MSRVTT_data.json", "MSRVTT_train.9k.csv", "MSRVTT_JSFUSION_test.csv"):
        assert name in caught.value.message
    assert "msrvtt_data.zip" in caught.value.hint
    with pytest.raises(DatasetError, match=r"train_list.txt.*val_list.txt.*test_list.txt.*ref_captions.json"):
        load("vatex", bench.root)
    with pytest.raises(DatasetError, match=r"Charades_v1_train.csv, Charades_v1_test.csv"):
        load("charades", bench.root)
    bench.msrvtt()
    with pytest.raises(DatasetError, match=r": MSRVTT_train.7k.csv$"):
        load("msrvtt", bench.root, split="7k")
    with pytest.raises(DatasetError, match="not a folder"):
        load("msrvtt", bench.root / "nowhere")


def test_a_missing_video_is_noted_and_no_video_is_an_error(bench):
    bench.msrvtt()
    (bench.root / "videos/all/video0.mp4").unlink()
    found = load("msrvtt", bench.root, n_val=0)
    assert found.train[0].path is None
    assert noted(found, "1 of 6 training videos have no file")
    for path in bench.root.glob("videos/all/*"):
        path.unlink()
    with pytest.raises(DatasetError, match="none of the 8 videos"):
        load("msrvtt", bench.root)


def test_videos_are_found_anywhere_by_stem_in_their_case(bench):
    bench.msrvtt(n=3, n_test=1)
    for path in bench.root.glob("videos/all/*"):
        path.unlink()
    bench.videos(
        "TrainValVideo/video0.webm", "TrainValVideo/Video1.mp4", "Test/deep/video3.AVI", ".trash/video2.mp4"
    )
    found = load("msrvtt", bench.root, n_val=0)
    places = [clip.path and clip.path.relative_to(bench.root).as_posix() for clip in found.train + found.test]
    assert places == ["TrainValVideo/video0.webm", None, None, "Test/deep/video3.AVI"]


def test_of_two_files_for_a_video_one_is_taken_and_noted(bench):
    bench.msrvtt().videos("a/video0.webm")
    found = load("msrvtt", bench.root, n_val=0)
    assert found.train[0].path == bench.root / "videos/all/video0.mp4"
    assert noted(found, "1 video files have the name of another one")


def test_linked_folders_are_followed_but_not_in_circles(bench, tmp_path):
    bench.msrvtt()
    (bench.root / "videos").rename(tmp_path / "elsewhere")
    (bench.root / "videos").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(bench.root)
    assert all(clip.path for clip in load("msrvtt", bench.root).train)


@pytest.mark.parametrize(
    "held",
    [
        b'{"videos": [',
        b"[]",
        b'{"videos": []}',
        b'{"videos": {}, "sentences": [{"video_id": "video0", "caption": 3}]}',
        b'{"videos": [1], "sentences": []}',
        b'{"videos": [{"video_id": []}], "sentences": []}',
        b'{"videos": [], "sentences": [{"video_id": [], "caption": "x"}]}',
        b'{"annotations": [{"video_id": "video0", "caption": "x"}]}',
        b"[" * 100_000,
        b"\x80\x02}q\x00.",
        b"",
    ],
)
def test_a_damaged_json_is_named(bench, held):
    bench.msrvtt().data("MSRVTT_data.json", held)
    with pytest.raises(DatasetError, match=r"MSRVTT_data.json"):
        load("msrvtt", bench.root)


@pytest.mark.parametrize("text", ["", "video\nvideo0\n", 'video_id\n"video0\nvideo1\n'])
def test_a_damaged_table_is_named(bench, text):
    bench.msrvtt().text("MSRVTT_train.9k.csv", text)
    with pytest.raises(DatasetError, match=r"MSRVTT_train.9k.csv"):
        load("msrvtt", bench.root)


def test_unknown_names_and_splits_are_refused(bench):
    for name, split in (("msvd", None), ("msrvtt", "1k"), ("vatex", "9k")):
        with pytest.raises(ConfigError):
            load(name, bench.root, split=split)


# Transcripts


def test_transcripts_in_all_their_forms(bench, tmp_path):
    bench.msrvtt()
    assert noted(load("msrvtt", bench.root), "no file with transcripts")
    entries = [
        {"key": "audio/video0.WAV", "text": "a"},
        {"key": "video0", "text": "b"},
        {"key": "video1", "text": None},
    ]
    bench.json("speech/MSRVTT_ASR.json", entries)
    found = load("msrvtt", bench.root, n_val=0)
    assert [clip.speech for clip in found.train[:3]] == ["a", "", None]
    assert noted(found, "1 entries of MSRVTT_ASR.json repeat an id")
    own = tmp_path / "mine.json"
    own.write_text('{"video2": "c"}', "utf-8")
    assert load("msrvtt", bench.root, asr=own, n_val=0).train[2].speech == "c"


def test_of_several_transcripts_the_one_with_the_benchmarks_name_is_taken(bench):
    bench.msrvtt().json("charades_vad_text.json", []).json("x_asr.json", [])
    with pytest.raises(DatasetError, match=r"charades_vad_text.json.*x_asr.json"):
        load("msrvtt", bench.root)
    bench.json("msrvtt10k_asr_text.json", [{"key": "video0.wav", "text": "right"}])
    assert load("msrvtt", bench.root, n_val=0).train[0].speech == "right"


@pytest.mark.parametrize("held", ["[", "3", "[3]", '[{"text": "a"}]', '[{"key": 1}]', '{"video0": ["a"]}'])
def test_damaged_transcripts_are_named(bench, held):
    bench.msrvtt().text("msrvtt_asr.json", held)
    with pytest.raises(DatasetError, match=r"msrvtt_asr.json"):
        load("msrvtt", bench.root)


# One's own


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own.csv", "video,caption\na.mp4,one\nsub/b.mp4,two\na.mp4,three\n,four\n"),
        ("own.tsv", "video_id\tsentence\na.mp4\tone\nsub/b.mp4\ttwo\na.mp4\tthree\n\tfour\n"),
        (
            "own.jsonl",
            '{"video": "a.mp4", "caption": "one"}\n\n{"video": "sub/b.mp4", "caption": "two"}\r\n'
            '{"video_id": "a.mp4", "sentence": "three", "n": 1}\n{"video": "", "caption": "four"}\n',
        ),
    ],
)
def test_ones_own_table(bench, name, text):
    bench.text(name, text).videos("a.mp4", "sub/b.mp4", "other/b.mp4")
    for root in (bench.root / name, bench.root):
        found = load("csv", root)
        assert [(c.path, c.captions) for c in found.test] == [
            (bench.root / "a.mp4", ("one", "three")),
            (bench.root / "sub/b.mp4", ("two",)),
        ]
        assert noted(found, "1 rows", "no video")


def test_ones_own_splits(bench):
    bench.text("own.csv", "video,caption,split\na,x,train\nb,x,validate\nc,x,test\na,y,test\nd,z,\n").videos(
        "a.mp4"
    )
    found = load("csv", bench.root / "own.csv")
    assert [ids(some) for some in (found.train, found.val, found.test)] == [["a"], ["b"], ["c", "d"]]
    assert noted(found, "second split")
    bench.text("own.csv", "video,caption,split\na,x,dev\n")
    with pytest.raises(DatasetError, match="'dev' is no split"):
        load("csv", bench.root)


@pytest.mark.parametrize("line", ["{", "3", '{"video": "a"}', '{"video": "a", "caption": 3}'])
def test_a_damaged_line_is_named(bench, line):
    bench.text("own.jsonl", f"\n{line}\n")
    with pytest.raises(DatasetError, match=r"line 2 of .*own.jsonl"):
        load("csv", bench.root / "own.jsonl")


def test_which_table_must_be_clear(bench):
    with pytest.raises(DatasetError, match="0 tables"):
        load("csv", bench.root)
    with pytest.raises(DatasetError, match="does not exist"):
        load("csv", bench.root / "none.csv")
    bench.text("a.csv", "").text("b.csv", "")
    with pytest.raises(DatasetError, match="2 tables"):
        load("csv", bench.root)


# Validation


def clips(names) -> list[Clip]:
    return [Clip(video_id=name, path=None, captions=("x",)) for name in names]


@given(st.lists(st.text(), unique=True, min_size=2, max_size=30), st.integers(0, 9), st.data())
def test_what_is_held_out_depends_on_ids_and_seed_alone(names, seed, data):
    n_val = data.draw(st.integers(0, len(names) - 1))
    train, val = hold_out(clips(names), n_val, seed)
    assert len(val) == n_val
    assert sorted(clip.video_id for clip in train + val) == sorted(names)
    shuffled = data.draw(st.permutations(names))
    _, again = hold_out(clips(shuffled), n_val, seed)
    assert {clip.video_id for clip in again} == {clip.video_id for clip in val}


def test_another_seed_holds_others_out():
    names = [f"video{i}" for i in range(1000)]
    one, two = (hold_out(clips(names), 100, seed)[1] for seed in (1, 2))
    assert len({clip.video_id for clip in one} & {clip.video_id for clip in two}) < 30


def test_how_many_are_held_out():
    assert len(hold_out(clips(map(str, range(9000))), None, 1)[1]) == 500
    assert len(hold_out(clips(map(str, range(200))), None, 1)[1]) == 20
    assert hold_out([], 5, 1) == ([], [])
    for n_val in (-1, 10, 11):
        with pytest.raises(DatasetError):
            hold_out(clips(map(str, range(10))), n_val, 1)


def test_held_out_videos_do_not_depend_on_what_is_on_disk(bench):
    bench.msrvtt(n=30)
    before = ids(load("msrvtt", bench.root, n_val=5, seed=3).val)
    for path in list(bench.root.glob("videos/all/*"))[::2]:
        path.unlink()
    assert ids(load("msrvtt", bench.root, n_val=5, seed=3).val) == before
