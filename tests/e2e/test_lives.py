"""A library that is moved, unplugged, pruned and watched, as its owner sees it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time

import pytest

BROKEN = b"\0\0\0\x18ftypisom" + bytes(200)
HEAVY = {"torch", "av", "faster_whisper", "ctranslate2"}


@pytest.fixture
def moved(own_library, samples, tmp_path):
    """The samples in a folder of their own, and a store that was told so."""
    folder = shutil.copytree(samples, tmp_path / "moved")
    told = own_library("relink", samples, folder, "--json")
    assert told.code == 0, told.err
    return folder


def paths(save):
    return {video["path"] for video in save.stored()}


def test_a_library_that_moved_is_relinked_and_read_by_nobody(own_library, moved, samples, probed):
    assert paths(own_library) == {str(moved / path.name) for path in samples.iterdir()}
    again = probed(own_library, "index", moved, "--json")
    assert again.ran.code == 0
    assert {event["event"] for event in again.ran.records} == {"unchanged", "summary"}
    assert again.noted("processes") == []
    assert HEAVY.isdisjoint(again.noted("modules"))


def test_a_dry_run_tells_and_changes_nothing(own_library, samples, tmp_path):
    before = own_library.stored()
    new = shutil.copytree(samples, tmp_path / "new")
    (new / "cat.mp4").write_bytes(b"another")
    told = own_library("relink", "--dry-run", samples, new, "--json")
    assert told.code == 1
    *files, summary = told.records
    assert [file["path"] for file in files if file["event"] == "left"] == [str(samples / "cat.mp4")]
    assert summary == {"event": "summary", "n_relinked": 5, "n_left": 1, "dry_run": True}
    assert "5 would be relinked" in own_library("relink", "-n", samples, new).out
    assert own_library.stored() == before


def test_a_renamed_top_folder_is_found_again_without_relink(own_library, moved, probed):
    renamed = moved.rename(moved.with_name("renamed"))
    again = probed(own_library, "index", renamed, "--json")
    assert again.ran.events("summary")[0]["n_moved"] == 6
    assert again.noted("processes") == []
    assert paths(own_library) == {str(path) for path in renamed.iterdir()}


def test_a_deleted_video_is_shown_as_gone_and_swept_when_asked(own_library, moved):
    (moved / "street.mp4").unlink()
    kept = own_library("index", moved, "--json")
    assert kept.events("summary")[0]["n_missing"] == 1
    query = ("search", "the best of times and the worst of times", "--json", "-k", "1")
    (moment,) = own_library(*query).records
    assert (moment["mounted"], moment["drive"]) == (False, None)
    assert "not there now" in own_library(*query[:2]).out
    assert own_library("status", "--json").records[0]["not_there"] == 1
    swept = own_library("index", moved, "--sweep", "--json")
    assert [event["path"] for event in swept.events("removed")] == [str(moved / "street.mp4")]
    assert own_library(*query).code == 1
    assert len(own_library.stored()) == 5


@pytest.fixture
def drive(tmp_path):
    """A folder on a volume of its own, and how to unmount and mount anew; skips where that is forbidden."""
    place = tmp_path / "usb stick"
    place.mkdir()

    def mount():
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", place], capture_output=True)
        if done.returncode:
            pytest.skip(f"no right to mount: {done.stderr.decode().strip()}")

    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    mount()
    yield place, mount
    subprocess.run(["umount", "-l", place], capture_output=True)


def test_an_unplugged_drive_is_named_and_loses_nothing(own_library, samples, drive):
    place, mount = drive
    folder = shutil.copytree(samples, place / "videos")
    assert own_library("relink", samples, folder).code == 0
    before = own_library.stored()
    subprocess.run(["umount", place], check=True)

    (moment,) = own_library("search", "a cat", "--json", "-k", "1").records
    assert (moment["mounted"], moment["drive"]) == (False, "usb stick")
    for command in (("search", "a cat"), ("list",), ("show", folder / "cat.mp4"), ("status",)):
        assert "on drive usb stick, not mounted" in own_library(*command).out
    for options in ((), ("--sweep",)):
        run = own_library("index", place, *options, "--json")
        assert run.code == 1
        (skipped,) = run.events("skipped")
        assert "the store knows 6 there on drive usb stick, which is not mounted" in skipped["reason"]
    mount()  # another volume, and empty
    assert own_library("index", place, "--sweep", "--json").code == 1
    (place / "videos").mkdir()
    (place / "videos" / "notes.txt").touch()  # ... and not empty
    summary = own_library("index", place, "--sweep", "--json").events("summary")[0]
    assert (summary["n_removed"], summary["n_missing"], summary["n_away"]) == (0, 0, 6)
    kept = [
        {key: value for key, value in video.items() if key not in ("mounted", "away")} for video in before
    ]
    assert kept == [
        {key: value for key, value in video.items() if key not in ("mounted", "away")}
        for video in own_library.stored()
    ]


def test_failed_files_are_listed_and_retried(save, samples, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "broken.mp4").write_bytes(BROKEN)
    shutil.copy(samples / "cat.mp4", folder)
    assert save("index", folder, "--asr", "off", "--json").code == 1
    retried = save("index", "--retry-failed", "--asr", "off", "--json")
    assert [event["event"] for event in retried.records] == ["skipped", "summary"]
    (failed,) = save("list", "--failed", "--json").records
    assert (failed["path"], failed["attempts"]) == (str(folder / "broken.mp4"), 2)
    assert "tried 2 times" in save("list", "--failed").out
    shutil.copy(samples / "bunny.mp4", folder / "broken.mp4")
    assert save("index", "--retry-failed", folder, "--asr", "off", "--json").code == 0
    assert "no file has failed" in save("list", "--failed").out


def test_saveignore_leaves_out_and_forgets_nothing(own_library, moved):
    (moved / ".saveignore").write_text("*\n!cat.*\n")
    run = own_library("index", moved, "--json")
    assert [event["path"] for event in run.events("unchanged")] == [str(moved / "cat.mp4")]
    assert len(own_library.stored()) == 6


def test_an_index_run_without_a_path_is_a_usage_error(own_library):
    for arguments in (("index",), ("index", "--watch"), ("index", ".", "--watch", "--retry-failed")):
        run = own_library(*arguments)
        assert (run.code, run.out) == (2, "")


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_watch_reads_what_comes_lets_others_write_and_ends_when_told(
    own_library, moved, samples, signal_, code
):
    spare = moved.with_name("spare.mp4")
    (moved / "cat.mp4").rename(spare)
    with own_library.running(
        "index", moved, "--watch", "--interval", "1", "--asr", "off", "--json"
    ) as running:
        event = running.next_event()
        while event["event"] != "summary":
            assert event["event"] == "unchanged"
            event = running.next_event()
        assert (event["n_unchanged"], event["n_missing"]) == (5, 1)
        assert own_library("forget", samples.parent / "none").code == 2, "not because somebody writes"
        assert own_library("forget", moved / "bunny.mp4").code == 0
        assert running.next_event()["path"] == str(moved / "bunny.mp4"), "it lies there, and is read again"
        assert running.next_event()["event"] == "summary"
        spare.rename(moved / "tabby.mp4")
        event = running.next_event()
        assert (event["event"], event["old_path"]) == ("moved", str(moved / "cat.mp4"))
        assert running.next_event()["event"] == "summary"
        time.sleep(2.5)
        ran = running.end(signal_)
    assert ran.code == code, ran.err
    assert ran.out == "", "a look that finds nothing tells nothing"
    assert "Traceback" not in ran.err
    assert own_library("forget", moved, "--json").code == 0
