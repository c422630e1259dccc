"""What is asked for is all that has to be there; sizes that are not the published ones are told; sounds."""

from __future__ import annotations

import pytest

from savecli.bench.datasets import NAMES, load
from savecli.errors import DatasetError

from .layouts import CLIPS, Benchmark, ids, lsmdc_row, noted, vatex_rows


def msrvtt(bench, n, *, n_captions=1):
    rows = [{"video_id": f"video{i}", "caption": ["a"] * n_captions} for i in range(n)]
    return bench.json("msrvtt_test_1k.json", rows).videos("video0.mp4")


def full(bench, n, *, n_captions=20):
    videos = [{"video_id": f"video{i}", "split": "test"} for i in range(n)]
    sentences = [{"video_id": v["video_id"], "caption": "a"} for v in videos for _ in range(n_captions)]
    held = {"videos": videos, "sentences": sentences}
    return bench.json("test_videodatainfo.json", held).videos("video0.mp4")


def vatex(bench, n):
    ids = [f"v_{i}" for i in range(n)]
    rows = vatex_rows(*ids)
    for row in rows:
        row["enCap"] = ["a"] * 10
    return bench.json("vatex_public_test_english_v1.1.json", rows).videos("v_0.mp4")


def charades(bench, n):
    rows = [f"A{i},Sits." for i in range(n)]
    return bench.lines("Charades_v1_test.csv", "id,script", *rows).videos("A0.mp4")


def lsmdc(bench, n):
    rows = [lsmdc_row(f"{CLIPS[0]}{i}", "Sits.") for i in range(n)]
    return bench.lines("LSMDC16_challenge_1000_publictect.csv", *rows).videos(f"{CLIPS[0]}0.avi")


@pytest.mark.parametrize(
    ("name", "split", "write", "size", "told"),
    [
        ("msrvtt", "9k", msrvtt, 1000, "1,000"),
        ("msrvtt", "7k", msrvtt, 1000, "1,000"),
        ("msrvtt", "full", full, 2990, "2,990"),
        ("vatex", None, vatex, 1500, "1,500"),
        ("charades", None, charades, 1863, "1,863"),
        ("lsmdc", None, lsmdc, 1000, "1,000"),
    ],
)
def test_a_test_set_of_another_size_is_told_first(bench, name, split, write, size, told):
    found = load(name, write(bench, size).root, split=split, parts=("test",))
    assert (len(found.test), found.n_published) == (size, size)
    assert not noted(found, "NOT COMPARABLE")
    found = load(name, write(bench, 879).root, split=split, parts=("test",))
    assert found.notes[0] == (
        f"NOT COMPARABLE with published results: this test set has 879 videos, not {told}"
    )
    assert (len(found.test), found.n_published) == (879, size)


def test_a_test_set_of_all_captions_is_not_the_published_one_either(bench):
    found = load("msrvtt", msrvtt(bench, 1000, n_captions=20).root, parts=("test",))
    assert found.notes[0].endswith("this test set has 20,000 captions, not 1,000")
    found = load("msrvtt", full(bench, 2990, n_captions=1).root, split="full", parts=("test",))
    assert found.notes[0].endswith("this test set has 2,990 captions, not 59,800")


def test_only_videos_that_are_asked_for_are_missed(bench):
    bench.msrvtt(n=20).without("videos/all/video?.mp4", "videos/all/video1?.mp4")
    found = load("msrvtt", bench.root, parts=("test",))
    assert not noted(found, "have no file")
    with pytest.raises(DatasetError, match="none of the 18 videos"):
        load("msrvtt", bench.root, parts=("train",))
    bench.videos("video20.mp4").without("videos/all/*")
    assert noted(load("msrvtt", bench.root, parts=("test",)), "1 of 2 test videos have no file")
    assert not noted(load("msrvtt", bench.root, parts=("test",)), "training")


def test_validation_is_the_same_whether_or_not_the_rest_is_asked_for(bench):
    bench.msrvtt(n=30)
    whole = load("msrvtt", bench.root, seed=7)
    for part in ("train", "val", "test"):
        alone = load("msrvtt", bench.root, seed=7, parts=(part,))
        assert getattr(alone, part) == getattr(whole, part)
        assert sum(map(len, (alone.train, alone.val, alone.test))) == len(getattr(whole, part))
    assert ids(whole.val)


def test_validation_that_was_turned_off_cannot_be_asked_for(bench):
    with pytest.raises(DatasetError, match="no validation video of msrvtt"):
        load("msrvtt", bench.msrvtt().root, n_val=0, parts=("val",))


def test_ones_own_table_needs_no_splits(bench):
    bench.text("own.csv", "\ufeffvideo;caption\r\na.mp4;one\r\nb;two\r\n").videos("a.mp4", "b.mkv")
    found = load("csv", bench.root / "own.csv", parts=("test",))
    assert (ids(found.test), found.train, found.n_published) == (["a.mp4", "b"], (), None)
    bench.without("*.m*")
    with pytest.raises(DatasetError, match="none of the 2 videos") as caught:
        load("csv", bench.root)
    assert "named like a.mp4" in caught.value.hint
    assert "a.mp4.mp4" not in caught.value.hint


def test_transcripts_are_named(bench):
    bench.msrvtt()
    assert load("msrvtt", bench.root).transcripts is None
    bench.json("x/msrvtt_asr.json", [])
    assert load("msrvtt", bench.root).transcripts == bench.root / "x/msrvtt_asr.json"
    assert load("msrvtt", bench.root, with_speech=False).transcripts is None


@pytest.mark.parametrize("name", [name for name in NAMES if name != "csv"])
@pytest.mark.parametrize("parts", [("test",), ("val",), ("train", "val", "test")])
def test_an_empty_folder_is_told_what_to_hold(bench, name, parts):
    with pytest.raises(DatasetError, match="not below") as caught:
        load(name, bench.root, parts=parts)
    assert "anywhere below the folder" in caught.value.hint


# Sounds


def sounds(bench, *, part="test"):
    clips = getattr(load("msrvtt", bench.root, parts=(part,)), part)
    return [clip.sound and clip.sound.relative_to(bench.root).as_posix() for clip in clips]


def test_sounds_lie_beside_the_video_or_anywhere(bench):
    bench.msrvtt(n_test=3).videos("wav/video6.wav", "wav/video7.MP3", "videos/all/video6.flac", "wav/x.wav")
    assert sounds(bench) == ["videos/all/video6.flac", "wav/video7.MP3", None]
    assert noted(load("msrvtt", bench.root), "2 of 3 test videos have a sound file of their own")


def test_a_sound_without_its_video_is_there(bench):
    bench.msrvtt().videos("wav/video6.wav").without("videos/all/video6.mp4")
    assert sounds(bench) == ["wav/video6.wav", None]


def test_a_sound_that_two_videos_could_have_is_nobodys(bench):
    bench.text("own.csv", "video,caption\na/x.mp4,one\nb/x.mp4,two\n").videos(
        "a/x.mp4", "b/x.mp4", "wav/x.wav"
    )
    assert [clip.sound for clip in load("csv", bench.root).test] == [None, None]
    bench.videos("b/x.wav")
    assert [clip.sound for clip in load("csv", bench.root).test] == [None, bench.root / "b/x.wav"]


def test_nothing_is_unpickled(bench, monkeypatch):
    import pickle

    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    pickled = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."
    for write in (Benchmark.oxford, Benchmark.hub_parquet, Benchmark.mmaction2):
        write(bench).data("caption.pickle", pickled).data("raw-captions.pkl", pickled)
    bench.data("MSRVTT_JSFUSION_test.csv", pickled)
    with pytest.raises(DatasetError):
        load("msrvtt", bench.root)
    bench.without("*.csv")
    assert load("msrvtt", bench.root).test
