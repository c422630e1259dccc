"""A library as somebody keeps it for years: verified, repaired, taken along, joined with another."""

from __future__ import annotations

import sqlite3
from contextlib import closing

SPOKEN = "the best of times and the worst of times"


def damage_rows(home):
    rows = next((home / "store").glob("seen-*.f16"))
    content = bytearray(rows.read_bytes())
    content[5] ^= 64
    rows.write_bytes(content)


def damage_catalog(home):
    """One letter of a path; SQLite itself finds nothing wrong with it."""
    path = home / "store" / "catalog.db"
    content = path.read_bytes()
    assert b"street.mp4" in content
    path.write_bytes(content.replace(b"street.mp4", b"streer.mp4"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_verify_of_a_sound_library(library):
    run = library.save("verify", "--json")
    assert (run.code, run.records) == (
        0,
        [{"event": "summary", "n_problems": 0, "n_repaired": 0, "ok": True}],
    )
    run = library.save("verify")
    assert (run.code, run.err) == (0, "")
    assert "nothing is wrong" in run.out
    assert library.save("verify", "-q").out == ""


def test_verify_moves_on_a_terminal(library):
    assert "%" in library.save.on_terminal("verify")


def test_verify_without_a_store(save):
    run = save("verify", "--repair")
    assert run.code == 2
    assert "nothing indexed yet" in run.err
    assert not save.home.exists()


def test_damaged_rows_are_named_repaired_and_read_again(own_library, samples):
    before = own_library.stored()
    damage_rows(own_library.home)
    run = own_library("verify", "--json")
    assert run.code == 2
    problem, summary = run.records
    assert problem["event"] == "problem"
    assert problem["subject"] in {video["path"] for video in before}
    assert summary["n_problems"] == 1
    assert "save index" in problem["hint"]
    run = own_library("verify", "--repair", "--json")
    assert run.code == 0
    assert [record["event"] for record in run.records] == ["repaired", "summary"]
    lost = [video for video in own_library.stored() if "skipped" in video]
    assert [video["path"] for video in lost] == [problem["subject"]]
    run = own_library("index", samples, "--json", "--asr", "tiny.en")
    assert run.code == 0
    assert [event["path"] for event in run.events("indexed")] == [problem["subject"]]
    assert own_library.stored() == before


def test_a_changed_letter_in_the_catalog_is_never_shown(own_library):
    before = own_library.stored()
    answer = own_library("search", SPOKEN, "--json").out
    damage_catalog(own_library.home)
    for arguments in (("search", SPOKEN), ("list",), ("status",), ("forget", "/x"), ("rebuild",)):
        run = own_library(*arguments)
        assert (run.code, run.out) == (2, "")
        assert "save verify --repair" in run.err
    run = own_library("verify", "--repair")
    assert run.code == 0
    assert "restored from catalog.db.r" in run.out
    assert "kept aside" in run.out
    assert own_library.stored() == before
    assert own_library("search", SPOKEN, "--json").out == answer


def test_a_library_goes_to_another_machine(library, save, tmp_path):
    file = tmp_path / "library.save"
    run = library.save("export", file, "--json")
    assert run.code == 0
    (record,) = run.records
    assert (record["path"], record["n_videos"], record["size_bytes"]) == (str(file), 6, file.stat().st_size)
    run = save("import", file, "--dry-run", "--json")
    assert run.code == 0
    assert run.records[-1] == {
        **{"event": "summary", "n_added": 6, "n_joined": 0, "n_kept": 0, "n_left": 0},
        "dry_run": True,
    }
    assert not (save.home / "store").exists()
    run = save("import", file)
    assert run.code == 0
    assert run.out.count("added") == 7
    assert save.stored() == library.save.stored()
    assert save("search", SPOKEN, "--json").out == library.save("search", SPOKEN, "--json").out
    assert save("verify").code == 0
    run = save("import", file, "--json")
    assert (run.code, [record["event"] for record in run.records]) == (0, ["summary"])


def test_an_export_never_writes_over_a_file(library, tmp_path):
    file = tmp_path / "mine"
    file.write_text("mine")
    run = library.save("export", file)
    assert run.code == 2
    assert "--force" in run.err
    assert file.read_text() == "mine"
    assert library.save("export", file, "--force", "-q").code == 0
    assert file.read_bytes()[:2] == b"PK"


def test_hits_without_a_file_are_no_name_of_a_library(library, tmp_path):
    for arguments in (("1-5",), ("all",), (tmp_path / "x", "--pad", "1"), ("1", "2", "3")):
        run = library.save("export", *arguments)
        assert run.code == 2
        assert "Usage: save export" in run.err


def test_what_is_no_export_is_refused(library, save, tmp_path):
    whole = tmp_path / "library.save"
    library.save("export", whole)
    cut = tmp_path / "cut.save"
    cut.write_bytes(whole.read_bytes()[:-1000])
    text = tmp_path / "text"
    text.write_text("not a library")
    for file in (cut, text, tmp_path, tmp_path / "missing"):
        run = save("import", file)
        assert run.code == 2
        assert run.out == ""
    assert not (save.home / "store").exists()


def test_a_path_that_is_another_video_here_is_listed(library, own_library, tmp_path, samples):
    file = tmp_path / "library.save"
    library.save("export", file)
    own_library("forget", samples)
    street = samples / "street.mp4"
    copy = tmp_path / "street.mp4"
    copy.write_bytes((samples / "cat.mp4").read_bytes())
    own_library("index", copy, "--asr", "off")
    with closing(sqlite3.connect(own_library.home / "store" / "catalog.db")) as catalog:
        catalog.execute("UPDATE files SET path = ?", [str(street).encode()])
        catalog.commit()
    (own_library.home / "store" / "catalog.db.sum").unlink()
    run = own_library("import", file)
    assert run.code == 1
    assert f"kept     {street}: another video is known there" in run.out
    assert "left out" in run.out
    assert "4 videos added, 1 paths joined" in run.out
