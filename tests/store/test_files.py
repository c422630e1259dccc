"""What a store knows of files: their volumes, since when they are missing, where they have moved to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from savecli.datatypes import Volume
from savecli.store import Store

USB = Volume(identity="uuid:usb", mount=Path("/v"), label="Ü drive")
NAS = Volume(identity="net:nfs:nas:/x", mount=Path(os.fsdecode(b"/n\xff")), label="nas:/x")
A, B, C, D = (Path(f"/v/{name}.mp4") for name in "abcd")


def paths(store):
    """The paths of each video, by the number of its content."""
    return {int(video.video_id, 16): video.paths for video in store.videos()}


@pytest.fixture
def filled(store, samples):
    """Two videos, the first with a copy, and a file that failed."""
    samples.add(store, A, samples.content(1, 2), volume=USB)
    samples.add(store, B, samples.content(2, 1))
    store.link(C, 1000, 5, samples.content(1).fingerprint, NAS)
    store.fail(D, 7, 7, "broken", "mend it", passing=True, volume=USB)
    return store


def test_each_file_keeps_the_volume_it_was_seen_on(filled, home):
    with Store.open(home, identity=None, mode="read") as reader:
        assert {path: file.volume for path, file in reader.known().items()} == {
            A: USB,
            B: None,
            C: NAS,
            D: USB,
        }
    filled.survey(seen={A: NAS, B: USB}, missing=(), now=1.0)
    assert {path: file.volume for path, file in filled.known().items()} == {A: NAS, B: USB, C: NAS, D: USB}


def test_a_failure_that_may_pass_is_marked_until_another_follows(filled):
    assert (filled.known()[D].passing, filled.known()[D].attempts) == (True, 1)
    filled.fail(D, 7, 7, "broken", "mend it", volume=NAS)
    assert (filled.known()[D].passing, filled.known()[D].attempts) == (False, 2)
    assert filled.known()[D].volume == NAS


def test_missing_files_keep_the_time_when_they_were_first_missed(filled):
    assert filled.clock is None
    filled.survey(seen={}, missing=[A], now=10.0)
    filled.survey(seen={}, missing=[A, B], now=20.0)
    assert [filled.known()[path].missing_since for path in (A, B, C)] == [10.0, 20.0, None]
    assert filled.clock == 20.0
    assert filled.counts().n_missing == 2
    filled.survey(seen={A: USB}, missing=[], now=30.0)
    assert [filled.known()[path].missing_since for path in (A, B)] == [None, 20.0]
    filled.survey(seen={}, missing=[C], now=5.0, afresh=True)
    assert [filled.known()[path].missing_since for path in (A, B, C)] == [None, 5.0, 5.0]


@pytest.mark.parametrize("back", ["add", "link", "fail"])
def test_a_missing_file_that_is_back_is_missing_no_more(filled, samples, back):
    filled.survey(seen={}, missing=[A], now=10.0)
    match back:
        case "add":
            samples.add(filled, A, samples.content(1, 2), volume=USB)
        case "link":
            filled.link(A, 1000, 9, samples.content(1).fingerprint, USB)
        case "fail":
            filled.fail(A, 1, 1, "broken", "mend it", volume=USB)
    assert filled.known()[A].missing_since is None
    assert filled.clock is None


def test_files_below_a_folder_are_told_from_those_beside_it(store, samples):
    names = ["/t/a", "/t/a/b", "/t/a/b/c", "/t/a-b", "/t/a.mp4", "/t/ab", "/t/a0", "/t", "/ü/\udcff"]
    for seed, name in enumerate(names, start=1):
        samples.add(store, Path(name), samples.content(seed, 1))
    assert {str(path) for path in store.known([Path("/t/a")])} == {"/t/a", "/t/a/b", "/t/a/b/c"}
    assert {str(path) for path in store.known([Path("/t/a/b"), Path("/t/ab")])} == {
        "/t/a/b",
        "/t/a/b/c",
        "/t/ab",
    }
    assert {str(path) for path in store.known([Path("/ü")])} == {"/ü/\udcff"}
    assert {str(path) for path in store.known([Path("/")])} == set(names)
    assert store.known([]) == {}
    assert set(store.files([Path("/t/a"), Path("/none")])) == {Path("/t/a")}


def test_paths_come_and_go_in_one_commit(filled, samples):
    before = filled._catalog.rows("SELECT revision FROM state")[0][0]
    filled.touch([(Path("/new/a.mp4"), 1000, 7, samples.content(1).fingerprint, NAS)], gone=[A, C])
    assert filled._catalog.rows("SELECT revision FROM state")[0][0] == before + 1
    assert paths(filled) == {1: (Path("/new/a.mp4"),), 2: (B,)}
    filled.touch([], gone=[B])
    assert paths(filled) == {1: (Path("/new/a.mp4"),)}
    assert filled.check() == []


def test_relinking_moves_files_with_all_that_is_known_of_them(filled):
    before = {path: file for path, file in filled.known().items() if path != C}
    moves = {path: (Path("/new") / path.name, 1000, 11, NAS) for path in before}
    filled.relink(moves)
    after = filled.known()
    assert set(after) == {C, *(new for new, *_ in moves.values())}
    for old, file in before.items():
        moved = after[moves[old][0]]
        assert (moved.size_bytes, moved.mtime_ns, moved.volume) == (1000, 11, NAS)
        kept = ("fingerprint", "reason", "hint", "attempts", "passing")
        assert [getattr(moved, name) for name in kept] == [getattr(file, name) for name in kept]
    assert paths(filled) == {1: (Path("/new/a.mp4"), C), 2: (Path("/new/b.mp4"),)}
    assert filled.check() == []


def test_relinking_round_a_circle_loses_nothing(filled):
    filled.relink({A: (B, 1, 1, USB), B: (A, 2, 2, USB)})
    assert paths(filled) == {1: (B, C), 2: (A,)}
    assert filled.check() == []


def test_relinking_onto_a_copy_leaves_one(filled):
    filled.relink({A: (C, 1000, 5, NAS)})
    assert paths(filled) == {1: (C,), 2: (B,)}


def test_what_a_relinked_file_replaces_goes_with_its_last_path(filled):
    filled.relink({A: (B, 1000, 1, USB)})
    assert paths(filled) == {1: (B, C)}
    assert filled.check() == []


def test_videos_without_speech_are_named(store, samples):
    samples.add(store, A, samples.content(1, 1))
    assert store.without_speech() == set()
    content = samples.content(2, 1)
    for audible in (True, False):
        video = content.video(B)
        object.__setattr__(video, "has_audio", audible)
        store.add(
            video,
            content.segments,
            content.embeddings,
            content.transcript,
            asr="off",
            frame_times=content.frame_times,
        )
        assert store.without_speech() == ({content.fingerprint} if audible else set())
