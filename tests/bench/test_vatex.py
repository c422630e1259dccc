"""VATEX in its layouts."""

from __future__ import annotations

import pytest

from savecli.bench.datasets import load
from savecli.errors import DatasetError

from .layouts import VATEX, Benchmark, captions, ids, noted, vatex_rows


def each(dataset):
    return [ids(some) for some in (dataset.train, dataset.val, dataset.test)]


@pytest.mark.parametrize("write", [Benchmark.vatex_lists, Benchmark.vatex_official, Benchmark.vatex_ruc])
def test_every_layout(bench, write):
    write(bench).json("asr.json", [{"key": f"{VATEX[0]}.wav", "text": "hi"}])
    found = load("vatex", bench.root)
    assert each(found) == [[clip] for clip in VATEX]
    assert found.train[0].captions == tuple(captions(VATEX[0]))
    assert [clip.path.stem for clip in found.train + found.val + found.test] == list(VATEX)
    assert (found.train[0].speech, found.test[0].speech) == ("hi", None)
    for i, part in ((1, "val"), (2, "test")):
        alone = load("vatex", bench.root, parts=(part,))
        assert each(alone) == [[VATEX[i]] if k == i else [] for k in range(3)]


def test_lists_go_before_the_official_splits(bench):
    bench.vatex_official()
    assert noted(load("vatex", bench.root), "no lists")
    # The lists of papers cut the validation videos in two.
    bench.json("vatex_validation_v1.0.json", vatex_rows(*VATEX[1:])).without("*public*.json").vatex_lists()
    bench.without("ref_captions.json")
    found = load("vatex", bench.root)
    assert each(found) == [[clip] for clip in VATEX]
    assert not noted(found, "no lists")


@pytest.mark.parametrize(
    ("write", "kept"),
    [
        (Benchmark.vatex_lists, ("test_list.txt", "ref_captions.json")),
        (Benchmark.vatex_official, ("vatex_public_test_english_v1.1.json",)),
        (Benchmark.vatex_ruc, ("VATEX_test.csv", "VATEX_data.json")),
    ],
)
def test_the_test_set_takes_no_other_list(bench, write, kept):
    write(bench)
    for path in bench.root.glob("**/*.*"):
        if path.suffix in (".txt", ".csv", ".json") and path.name not in kept:
            path.unlink()
    assert each(load("vatex", bench.root, parts=("test",))) == [[], [], [VATEX[2]]]
    with pytest.raises(DatasetError, match=r"train_list.txt, val_list.txt"):
        load("vatex", bench.root)


def test_transcripts_are_not_taken_for_captions(bench):
    bench.vatex_official().json("a/vatex_validation_asr.json", [{"key": f"{VATEX[1]}.wav", "text": "hi"}])
    bench.without("vatex_validation_v1.0.json")
    with pytest.raises(DatasetError, match="alone give no such split"):
        load("vatex", bench.root)


def test_parts_of_it_name_what_is_missing(bench):
    bench.json("vatex_training_v1.0.json", vatex_rows(VATEX[0]))
    with pytest.raises(DatasetError, match=r"train_list.txt.*vatex_training_v1.0.json alone") as caught:
        load("vatex", bench.root)
    assert "vatex-website" in caught.value.hint
    bench.json("ref_captions.json", {}).text("train_list.txt", "a")
    with pytest.raises(DatasetError, match=r": val_list.txt, test_list.txt$"):
        load("vatex", bench.root)


@pytest.mark.parametrize(
    "held", ["3", '{"a": "text"}', '{"a": [1]}', '[{"videoID": "a"}]', '[{"videoID": [], "enCap": []}]']
)
def test_damaged_captions_are_named(bench, held):
    bench.vatex_lists().text("ref_captions.json", held)
    with pytest.raises(DatasetError, match=r"ref_captions.json"):
        load("vatex", bench.root)


def test_repeated_ids_are_noted(bench):
    bench.vatex_official().json("vatex_training_v1.0.json", vatex_rows(VATEX[0], VATEX[0]))
    assert noted(load("vatex", bench.root), "1 entries of vatex_training_v1.0.json repeat an id")
