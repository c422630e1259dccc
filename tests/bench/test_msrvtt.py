"""Every layout of MSR-VTT gives the same videos and captions, and what is damaged or missing is named."""

from __future__ import annotations

import json
import sys

import pytest

from savecli.bench.datasets import load
from savecli.bench.parquet import shards
from savecli.errors import DatasetError

from .layouts import TEST, TRAIN, VALIDATE, Benchmark, captions, ids, noted, sentence

ONE_K = [(video, (sentence(video),)) for video in TEST]
FULL = [(video, tuple(captions(video))) for video in TEST]


def pairs(clips):
    return [(clip.video_id, clip.captions) for clip in clips]


def with_jsfusion(bench):
    return bench.official().jsfusion().all_videos()


# The test set of 1,000


@pytest.mark.parametrize(
    "write",
    [
        with_jsfusion,
        lambda bench: with_jsfusion(bench).jsfusion(delimiter=";", end="\r\n", mark="\ufeff"),
        Benchmark.ruc,
        Benchmark.text_data,
        Benchmark.mmaction2,
        Benchmark.hub_json,
        Benchmark.vindlu,
        Benchmark.hub_parquet,
        lambda bench: bench.embedded_parquet(*TEST, n_shards=1).all_videos(),
    ],
    ids=["csv", "semicolons", "ruc", "text-data", "mmaction2", "hub", "vindlu", "parquet", "embedded"],
)
@pytest.mark.parametrize("split", ["9k", "7k"])
def test_the_test_set_alone_is_the_same_in_every_layout(bench, write, split):
    write(bench).without(*(f"**/{video}.mp4" for video in TRAIN))
    found = load("msrvtt", bench.root, split=split, parts=("test",))
    assert sorted(pairs(found.test)) == sorted(ONE_K)
    assert all(clip.path for clip in found.test)
    assert (found.train, found.val, found.split, found.n_published) == ((), (), split, 1000)
    assert not noted(found, "training")


def test_the_order_is_that_of_the_list(bench):
    for write in (with_jsfusion, Benchmark.hub_json, Benchmark.hub_parquet):
        write(bench)
        assert pairs(load("msrvtt", bench.root, parts=("test",)).test) == ONE_K
        bench.without("*.csv", "*.json")


def test_of_two_lists_the_csv_is_read(bench):
    with_jsfusion(bench.mmaction2()).json("test_JSFUSION.json", {"video0.mp4": ["x"]})
    assert pairs(load("msrvtt", bench.root, parts=("test",)).test) == ONE_K


@pytest.mark.parametrize(
    ("write", "part"),
    [
        (Benchmark.mmaction2, "test_JSFUSION.json"),
        (Benchmark.hub_json, "msrvtt_test_1k.json"),
    ],
)
@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"3",
        b"[3]",
        b'[{"video_id": "video7"}]',
        b'[{"caption": "x"}]',
        b'[{"video_id": 7, "caption": "x"}]',
        b'[{"video_id": "video7", "caption": 3}]',
        b'[{"video_id": "video7", "caption": ["x", 3]}]',
        b'{"video7.mp4": {"a": 1}}',
        b"\x80\x02}q\x00.",
    ],
)
def test_a_damaged_list_is_named(bench, write, part, held):
    write(bench).data(part, held)
    with pytest.raises(DatasetError, match=part):
        load("msrvtt", bench.root, parts=("test",))


def test_rows_without_a_name_or_a_caption_are_left_out(bench):
    rows = [
        {"video_id": "video7", "caption": "a"},
        {"video_id": "", "caption": "b"},
        {"video_id": None, "caption": "c"},
        {"video_id": "video7", "caption": ["", " d "]},
        {"video_id": "video5", "caption": None},
    ]
    bench.json("msrvtt_test_1k.json", rows).all_videos()
    found = load("msrvtt", bench.root, parts=("test",))
    assert pairs(found.test) == [("video7", ("a", "d"))]
    assert noted(found, "2 rows of msrvtt_test_1k.json name no video")
    assert noted(found, "1 test videos have no caption", "video5")
    assert noted(found, "captions of test videos are empty")


def test_a_caption_line_must_say_whose_it_is(bench):
    bench.ruc().lines("msrvtt/QuerySet/msrvtt1k-test-query.txt", "video7#enc#0\ta", "video5 b")
    with pytest.raises(DatasetError, match="line 2"):
        load("msrvtt", bench.root, parts=("test",))


def test_caption_lines_may_be_empty_crlf_and_not_utf_8(bench):
    data = b"video7.mp4#enc#0\tcaf\xe9 \x85 x\r\n\r\nvideo5#enc#0\r\nvideo7#enc#1 b\r\n"
    bench.ruc().data("msrvtt/QuerySet/msrvtt1k-test-query.txt", data)
    found = load("msrvtt", bench.root, parts=("test",))
    assert pairs(found.test) == [("video7", ("café … x", "b"))]
    assert noted(found, "not UTF-8")
    assert noted(found, "no caption", "video5")


# Parquet


def test_shards_are_read_in_their_order(bench):
    bench.embedded_parquet(*TEST, n_shards=2).all_videos()
    assert ids(load("msrvtt", bench.root, parts=("test",)).test) == [TEST[0], TEST[2], TEST[1]]


def test_a_missing_shard_is_named(bench):
    bench.embedded_parquet(*TEST, n_shards=3).all_videos().without("data/test-00001-of-00003.parquet")
    with pytest.raises(DatasetError, match=r"2 of the 3 parts of test-00000-of-00003.parquet"):
        load("msrvtt", bench.root, parts=("test",))


def test_videos_within_a_parquet_file_are_not_found_and_it_says_so(bench):
    bench.embedded_parquet(*TEST)
    with pytest.raises(DatasetError, match="none of the 3 videos") as caught:
        load("msrvtt", bench.root, parts=("test",))
    assert "test-00000-of-00002.parquet is found once it is unpacked" in caught.value.hint.replace(
        ", test-00001-of-00002.parquet", ""
    )


@pytest.mark.parametrize("cut", [0, 3, 4, 100, -4, -9])
def test_a_truncated_parquet_file_is_named(bench, cut):
    bench.hub_parquet()
    path = bench.root / "test_1k/test/0000.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DatasetError, match=r"0000\.parquet"):
        load("msrvtt", bench.root, parts=("test",))


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"video_id": ["video7"], "text": ["x"]}, "no column caption"),
        ({"name": ["video7"], "caption": ["x"]}, "no column video_id"),
        ({"video": [{"bytes": b"x"}], "caption": ["x"]}, "does not name the videos"),
        ({"video_id": [7], "caption": ["x"]}, "row 1 holds other things"),
        ({"video_id": ["video7"], "caption": [b"caf\xe9"]}, "row 1 holds other things"),
    ],
)
def test_a_parquet_file_with_other_columns_is_named(bench, columns, problem):
    bench.parquet("test_1k/test/0000.parquet", columns).all_videos()
    with pytest.raises(DatasetError, match=rf"0000\.parquet.*{problem}"):
        load("msrvtt", bench.root, parts=("test",))


def test_parquet_text_that_is_not_utf_8_is_named(bench):
    import pyarrow

    wrong = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\4\0\0\0"), pyarrow.py_buffer(b"caf\xe9")]
    )
    bench.parquet("test/0.parquet", {"video_id": ["video7"], "caption": wrong}).all_videos()
    with pytest.raises(DatasetError, match=r"0\.parquet"):
        load("msrvtt", bench.root, parts=("test",))


def test_without_pyarrow_the_hint_says_how_to_get_it(bench, monkeypatch):
    bench.hub_parquet()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DatasetError, match="takes pyarrow") as caught:
        load("msrvtt", bench.root, parts=("test",))
    assert "savecli[parquet]" in caught.value.hint
    bench.mmaction2()
    assert sorted(pairs(load("msrvtt", bench.root, parts=("test",)).test)) == sorted(ONE_K)


def test_what_parquet_files_are_for_is_read_off_their_paths(bench):
    from savecli.bench.files import Folder

    names = (
        "data/test-00000-of-00001.parquet",
        "deep/down/test_1k/test-00000-of-00001.parquet",
        "train_9k/train/0000.parquet",
        "train_9k/train/0001.parquet",
        "msrvtt_10k/validation.parquet",
        "latest/other.parquet",
    )
    for name in names:
        bench.data(name, b"")
    folder = Folder(bench.root)

    def of(part, *sizes):
        return [path.relative_to(bench.root).as_posix() for path in shards(folder, part, sizes)]

    assert of("test", "1k", "") == [names[0]]
    assert noted(folder, "data/test-00000-of-00001.parquet is read, not", "deep/down")
    assert of("test", "1k") == [names[1]]
    assert of("train", "9k") == list(names[2:4])
    assert (of("train", "7k"), of("train", "")) == ([], [])
    assert of("val", "") == [names[4]]


# Training lists


@pytest.mark.parametrize(
    ("write", "trained"),
    [
        (Benchmark.mmaction2, {"9k": (*TRAIN, *VALIDATE), "7k": TRAIN}),
        (Benchmark.hub_json, {"9k": (*TRAIN, *VALIDATE), "7k": TRAIN}),
        (Benchmark.hub_parquet, {"9k": (*TRAIN, *VALIDATE), "7k": TRAIN}),
        (Benchmark.vindlu, {"9k": TRAIN}),
        (Benchmark.ruc, {"9k": (*TRAIN, *VALIDATE)}),
        (lambda bench: bench.oxford().jsfusion(), {"9k": (*TRAIN, *VALIDATE)}),
    ],
    ids=["mmaction2", "hub", "parquet", "vindlu", "ruc", "oxford"],
)
def test_training_lists_of_every_layout(bench, write, trained):
    write(bench)
    for split, videos in trained.items():
        found = load("msrvtt", bench.root, split=split, n_val=0)
        assert pairs(found.train) == [(video, tuple(captions(video))) for video in videos]
        assert sorted(pairs(found.test)) == sorted(ONE_K)


def test_a_training_list_without_captions_takes_the_json(bench):
    bench.ruc().without("**/MSRVTT_data.json")
    with pytest.raises(DatasetError, match=r": MSRVTT_data.json$"):
        load("msrvtt", bench.root)
    bench.oxford().without("**/MSR_VTT.json").jsfusion()
    with pytest.raises(DatasetError, match=r": MSRVTT_data.json$"):
        load("msrvtt", bench.root)


# The official split


@pytest.mark.parametrize(
    "write",
    [
        lambda bench: bench.official().all_videos(),
        lambda bench: bench.first_release().all_videos(),
        Benchmark.ruc,
        Benchmark.text_data,
        Benchmark.oxford,
    ],
    ids=["json", "first-release", "ruc", "text-data", "oxford"],
)
def test_the_full_split(bench, write):
    write(bench)
    found = load("msrvtt", bench.root, split="full", n_val=0)
    assert (ids(found.train), ids(found.val)) == (list(TRAIN), list(VALIDATE))
    assert sorted(pairs(found.test)) == sorted(FULL)
    assert (found.split, found.n_published) == ("full", 2990)
    alone = load("msrvtt", bench.root, split="full", parts=("val",))
    assert (alone.train, alone.test, pairs(alone.val)) == ((), (), pairs(found.val))


@pytest.mark.parametrize(
    ("write", "kept"),
    [
        (Benchmark.first_release, "test_videodatainfo.json"),
        (Benchmark.ruc, "msrvtt3k-test-query.txt"),
        (Benchmark.text_data, "msrvtt10ktest.caption.txt"),
    ],
)
def test_the_full_test_set_takes_one_file(bench, write, kept):
    write(bench).all_videos()
    for path in bench.root.glob("**/*.*"):
        if path.suffix != ".mp4" and path.name != kept:
            path.unlink()
    assert pairs(load("msrvtt", bench.root, split="full", parts=("test",)).test) == FULL
    with pytest.raises(DatasetError, match=r"official train videos.*official validate videos"):
        load("msrvtt", bench.root, split="full")


def test_the_official_lists_of_ruc_need_captions(bench):
    bench.lines("MSRVTT_full_split_test.csv", "video_id", *TEST).lines(
        "MSRVTT_full_split_val.csv", "video_id"
    )
    with pytest.raises(DatasetError, match=r"official test videos and their captions \(MSRVTT_data.json\)"):
        load("msrvtt", bench.root, split="full", parts=("test",))
    held = json.loads((bench.official().root / "MSRVTT_data.json").read_text("utf-8"))
    for video in held["videos"]:
        del video["split"]
    bench.json("MSRVTT_data.json", held).all_videos()
    assert pairs(load("msrvtt", bench.root, split="full", parts=("test",)).test) == FULL


def test_the_full_training_set_of_one_caption_each(bench):
    bench.one_caption_parquet().official("test_videodatainfo.json", ("test",))
    found = load("msrvtt", bench.root, split="full")
    assert pairs(found.train) == [(video, (sentence(video),)) for video in TRAIN]
    assert pairs(found.val) == [(video, (sentence(video),)) for video in VALIDATE]
    assert pairs(found.test) == FULL


# What is missing


def test_pickles_and_archives_are_named_and_not_opened(bench):
    bench.oxford().videos("msrvtt_data.zip", "MSRVTT_Videos.tar.gz")
    with pytest.raises(DatasetError, match=r": MSRVTT_JSFUSION_test.csv$") as caught:
        load("msrvtt", bench.root, parts=("test",))
    assert "jsfusion_val_caption_idx.pkl is not opened" in caught.value.hint
    assert "msrvtt_data.zip" in caught.value.hint
    assert "MSRVTT_Videos.tar.gz" in caught.value.hint


def test_many_archives_are_not_all_named_and_none_can_write_to_a_terminal(bench):
    bench.videos(*(f"{i}\x1b[2J.zip" for i in range(5)))
    with pytest.raises(DatasetError) as caught:
        load("msrvtt", bench.root)
    assert "0\ufffd[2J.zip, 1\ufffd[2J.zip, 2\ufffd[2J.zip ... is found" in caught.value.hint


def test_an_archive_is_named_where_the_videos_are_missing(bench):
    bench.jsfusion().videos("MSRVTT_Videos.zip")
    with pytest.raises(DatasetError, match="none of the 3 videos") as caught:
        load("msrvtt", bench.root, parts=("test",))
    assert "video7.mp4" in caught.value.hint
    assert "MSRVTT_Videos.zip" in caught.value.hint


def test_nothing_is_published_of_the_toy(bench):
    bench.msrvtt().lines("toy_queries.csv", "video_id,kind,sentence")
    found = load("msrvtt", bench.root)
    assert found.n_published is None
    assert not noted(found, "NOT COMPARABLE")
