"""The store's own affairs: finding, forgetting, rebuilding, and what is wrong with this machine."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path

import pytest

from savecli import config, library
from savecli.datatypes import Volume
from savecli.errors import StoreError, WeightsError
from savecli.media.scan import fingerprint
from savecli.media.volumes import Volumes
from savecli.model import weights
from savecli.store import Store

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
    assert library.forget(shelf, [ROOT / "trip"]) == (3, [])
    assert names(shelf) == {"trip2/c.mp4", "trip.mp4"}
    assert {video.paths for video in shelf.videos()} == {(ROOT / "trip2/c.mp4",), (ROOT / "trip.mp4",)}


def test_a_single_file_is_forgotten(shelf):
    assert library.forget(shelf, [ROOT / "trip.mp4"]) == (1, [])
    assert names(shelf) == {"trip/a.mp4", "trip/deep/b.mp4", "trip/bad.mp4", "trip2/c.mp4"}


def test_a_file_that_failed_is_forgotten_too(shelf):
    assert library.forget(shelf, [ROOT / "trip" / "bad.mp4"]) == (1, [])


def test_several_names_that_overlap_count_each_file_once(shelf):
    named = [ROOT / "trip", ROOT / "trip" / "deep", ROOT / "nowhere"]
    assert library.forget(shelf, named) == (3, [ROOT / "nowhere"])


def test_the_store_is_asked_once_for_what_is_forgotten(shelf, monkeypatch):
    asked, known = [], Store.known
    monkeypatch.setattr(Store, "known", lambda self, below=None: asked.append(below) or known(self, below))
    library.forget(shelf, [ROOT / "trip", ROOT / "nowhere"])
    assert asked == [[ROOT / "trip", ROOT / "nowhere"]]


@pytest.mark.parametrize("name", ["trip", "./trip", "trip2/../trip", "trip/"])
def test_a_folder_is_known_by_any_spelling(put, colour_store, tmp_path, monkeypatch, name):
    (tmp_path / "trip2").mkdir()
    put(tmp_path / "trip" / "a.mp4", ["red"])
    monkeypatch.chdir(tmp_path)
    assert library.forget(colour_store, [Path(name)]) == (1, [])


def test_nothing_to_forget_is_told(shelf):
    with pytest.raises(StoreError, match=r"nothing under /videos/tri is in the store") as caught:
        library.forget(shelf, [ROOT / "tri"])
    assert caught.value.hint == "save list"
    assert len(names(shelf)) == 5


def test_a_name_of_nothing_is_known_beside_others(shelf):
    named = [ROOT / "trip", ROOT / "tri", ROOT / "trip2" / ".." / "nowhere", ROOT / "trip.mp4", Path("/")]
    known, unknown = library.looked_up(shelf, named)
    assert known == shelf.known()
    assert unknown == [ROOT / "tri", ROOT / "nowhere"]


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


# -- a library that moved ------------------------------------------------------------------------------------

HOUR = 3600 * 10**9


@pytest.fixture
def moved(colour_store, put, tmp_path):
    """Three videos that were indexed in `old` and now lie in `new`, with a file that failed."""
    old, new = tmp_path / "old", tmp_path / "new"
    for name in ("a.mp4", "deep/b.mp4", "deep/\udcff.mp4", "bad.mp4"):
        path = new / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name) * 100)
        place = old / name
        if name == "bad.mp4":
            colour_store.fail(place, path.stat().st_size, path.stat().st_mtime_ns, "broken", "mend it")
            continue
        video = put(place, ["red"], fingerprint=fingerprint(path))
        colour_store.link(place, path.stat().st_size, path.stat().st_mtime_ns, video.fingerprint)
    return old, new


def relinked(store, old, new, **options):
    """{name: reason} of what is known below `old`."""
    return {str(f.old_path.relative_to(old)): f.reason for f in library.relink(store, old, new, **options)}


ALL_OK = {"a.mp4": "", "deep/b.mp4": "", "deep/\udcff.mp4": "", "bad.mp4": ""}


def test_a_library_that_moved_keeps_its_index(colour_store, moved):
    old, new = moved
    videos = {video.video_id for video in colour_store.videos()}
    assert relinked(colour_store, old, new) == ALL_OK
    assert set(colour_store.known()) == {new / name for name in ALL_OK}
    assert {video.video_id for video in colour_store.videos()} == videos
    assert colour_store.known()[new / "bad.mp4"].reason == "broken"
    here = Volumes().of(new)
    assert {file.volume for file in colour_store.known().values()} == {here}
    assert colour_store.check() == []


def test_a_dry_run_changes_nothing(colour_store, moved):
    old, new = moved
    before = colour_store.known()
    assert relinked(colour_store, old, new, dry_run=True) == ALL_OK
    assert colour_store.known() == before
    with Store.open(colour_store.home, identity=None, mode="read") as reader:
        assert relinked(reader, old, new, dry_run=True) == ALL_OK


def test_a_copy_with_another_time_is_told_by_its_fingerprint(colour_store, moved):
    old, new = moved
    for name in ("a.mp4", "bad.mp4"):
        os.utime(new / name, ns=(HOUR, HOUR))
    reasons = relinked(colour_store, old, new)
    assert reasons == ALL_OK | {"bad.mp4": "the file there is another one, or has changed"}
    assert colour_store.known()[new / "a.mp4"].mtime_ns == HOUR
    assert old / "bad.mp4" in colour_store.known()


def test_what_does_not_match_is_left_alone(colour_store, moved):
    old, new = moved
    (new / "a.mp4").unlink()
    (new / "deep" / "b.mp4").write_bytes(b"another")
    same_size = (new / "deep" / "\udcff.mp4").stat().st_size
    (new / "deep" / "\udcff.mp4").write_bytes(bytes(same_size))
    os.utime(new / "deep" / "\udcff.mp4", ns=(HOUR, HOUR))
    before = colour_store.known()
    assert relinked(colour_store, old, new) == {
        "a.mp4": "it is not there",
        "deep/b.mp4": "the file there has another size",
        "deep/\udcff.mp4": "the file there is another one, or has changed",
        "bad.mp4": "",
    }
    after = colour_store.known()
    for name in ("a.mp4", "deep/b.mp4", "deep/\udcff.mp4"):
        assert after[old / name] == before[old / name]


def test_what_was_indexed_at_its_new_place_already_is_known_once(colour_store, moved):
    old, new = moved
    file = colour_store.known()[old / "a.mp4"]
    colour_store.link(new / "a.mp4", file.size_bytes, file.mtime_ns, file.fingerprint)
    assert relinked(colour_store, old, new) == ALL_OK
    assert colour_store.named(file.fingerprint).paths == (new / "a.mp4",)


def test_another_video_at_the_new_place_is_not_replaced(colour_store, moved, put):
    old, new = moved
    put(new / "a.mp4", ["green"])
    before = colour_store.known()
    assert relinked(colour_store, old, new) == ALL_OK | {"a.mp4": "the store knows another video there"}
    for path in (old / "a.mp4", new / "a.mp4"):
        assert colour_store.known()[path] == before[path]


def test_a_folder_that_moved_into_itself_is_relinked(colour_store, put, tmp_path):
    for place, name in (("x.mp4", "v/x.mp4"), ("v/x.mp4", "v/v/x.mp4")):
        path = tmp_path / "v" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100)
        video = put(tmp_path / "v" / place, ["red"], fingerprint=fingerprint(path))
        status = path.stat()
        colour_store.link(tmp_path / "v" / place, status.st_size, status.st_mtime_ns, video.fingerprint)
    before = {path: file.fingerprint for path, file in colour_store.known().items()}
    assert relinked(colour_store, tmp_path / "v", tmp_path / "v" / "v") == {"x.mp4": "", "v/x.mp4": ""}
    after = {path: file.fingerprint for path, file in colour_store.known().items()}
    inner = tmp_path / "v" / "v"
    assert after == {
        inner / "x.mp4": before[tmp_path / "v" / "x.mp4"],
        inner / "v" / "x.mp4": before[tmp_path / "v" / "v" / "x.mp4"],
    }


def test_a_place_is_not_free_if_what_is_known_there_stays(colour_store, put, tmp_path):
    """As above, but the inner file is nowhere: its row stays, and so must the one that would replace it."""
    path = tmp_path / "v" / "v" / "x.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"outer" * 100)
    video = put(tmp_path / "v" / "x.mp4", ["red"], fingerprint=fingerprint(path))
    colour_store.link(
        tmp_path / "v" / "x.mp4", path.stat().st_size, path.stat().st_mtime_ns, video.fingerprint
    )
    put(path, ["green"])
    before = colour_store.known()
    reasons = relinked(colour_store, tmp_path / "v", tmp_path / "v" / "v")
    assert reasons == {"x.mp4": "the store knows another video there", "v/x.mp4": "it is not there"}
    assert colour_store.known() == before


def test_a_single_file_can_be_relinked(colour_store, moved):
    old, new = moved
    target = (new / "a.mp4").rename(new / "renamed.mp4")
    (one,) = library.relink(colour_store, old / "a.mp4", target)
    assert (one.old_path, one.path, one.reason) == (old / "a.mp4", target, "")
    assert target in colour_store.known()


def test_relinking_nothing_or_to_nowhere_is_told(colour_store, moved, tmp_path):
    old, new = moved
    for args, message in (
        ((tmp_path / "none", new), "nothing under .*none is in the store"),
        ((old, tmp_path / "none"), "none is not there"),
        ((old, old), "the same folder"),
    ):
        with pytest.raises(StoreError, match=message) as caught:
            library.relink(colour_store, *args)
        assert caught.value.hint


def test_files_that_cannot_be_played_are_named_with_their_drive(put, colour_store, tmp_path):
    usb = Volume(identity="uuid:usb", mount=tmp_path / "usb", label="USB")
    here, gone, unplugged = tmp_path / "here.mp4", tmp_path / "gone.mp4", usb.mount / "a.mp4"
    for path in (here, gone):
        put(path, ["red"], volume=Volumes().of(path))
    put(unplugged, ["red"], volume=usb)
    here.touch()
    colour_store.fail(tmp_path / "failed.mp4", 1, 1, "broken", "")
    assert library.away(colour_store) == {gone: "", unplugged: "USB"}
    assert library.away(colour_store, [here, unplugged]) == {unplugged: "USB"}


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
    assert [check.name for check in checks] == [
        "decoder",
        "weights",
        "encoder",
        "speech",
        "speed",
        "store",
        "disk",
    ]
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
    assert not any(check.hint for check in checks)


def test_doctor_goes_on_where_the_system_refuses(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    monkeypatch.setattr(library, "_decoder", full)
    settings = config.load(home=tmp_path / "home", model_dir=tmp_path / "models", asr="off", device="cpu")
    first, *others = library.doctor(settings)
    assert (first.ok, len(others)) == (False, 6)
    assert "No space left" in first.message
    assert first.hint


def test_doctor_goes_on_after_a_failure_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_in_package", lambda *_: None)
    monkeypatch.setattr(library.shutil, "disk_usage", lambda _: _Usage())
    settings = config.load(home=tmp_path / "home", model_dir=tmp_path / "models", asr="off")
    by_name = {check.name: check for check in library.doctor(settings)}
    assert len(by_name) == 7
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
