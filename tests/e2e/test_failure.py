"""What goes wrong ends in a message, a hint and the right exit code."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest


def alter(save, statement):
    with closing(sqlite3.connect(save.home / "store" / "catalog.db")) as catalog, catalog:
        assert catalog.execute(statement).rowcount == 1
    # Else the store is damaged before it is anything else.
    (save.home / "store" / "catalog.db.sum").unlink()


@pytest.mark.parametrize("arguments", [("search", "a cat"), ("list",), ("forget", "/videos"), ("rebuild",)])
def test_without_a_store_the_way_to_one_is_shown(save, arguments):
    run = save(*arguments)
    assert (run.code, run.out) == (2, "")
    assert "nothing indexed yet" in run.err
    assert "save index" in run.err
    assert not save.home.exists()


def test_without_a_store_its_settings_are_shown_beside_the_way_to_one(save):
    run = save("status", "--json")
    assert run.code == 0
    assert run.records[0]["videos"] == 0
    assert run.records[0]["settings"]["home"] == {"value": str(save.home), "source": "SAVE_HOME"}
    assert "nothing indexed yet" in run.err
    assert "save index" in run.err
    assert not save.home.exists()


@pytest.mark.parametrize("arguments", [("search", "a cat", "--json"), ("index", "/nowhere", "--json")])
def test_a_store_of_another_model_is_refused_with_the_way_out(own_library, arguments):
    alter(own_library, "UPDATE identity SET value = 'save-maxi' WHERE key = 'model'")
    run = own_library(*arguments)
    assert (run.code, run.out) == (2, "")
    assert "model save-maxi" in run.err
    assert "model save-mini" in run.err
    assert "--home" in run.err
    assert len(own_library.stored()) == 6


def test_a_store_of_a_newer_version_is_refused(own_library):
    (own_library.home / "store" / "FORMAT").write_text("99\n")
    run = own_library("list")
    assert run.code == 2
    assert "newer save" in run.err


def test_a_damaged_catalog_is_told_from_a_bug(own_library):
    catalog = own_library.home / "store" / "catalog.db"
    for beside in ("-wal", "-shm"):
        catalog.with_name(catalog.name + beside).unlink(missing_ok=True)
    catalog.write_bytes(b"no database" * 1000)
    run = own_library("list")
    assert run.code == 2
    assert str(catalog) in run.err


def test_damaged_weights_are_named(library, tmp_path):
    placed = tmp_path / "models" / "all-minilm-l6-v2"
    placed.mkdir(parents=True)
    (placed / "model.safetensors").write_bytes(b"no weights")
    run = library.save.using(SAVE_MODEL_DIR=str(tmp_path / "models"))("search", "a cat")
    assert (run.code, run.out) == (2, "")
    assert str(placed) in run.err
    assert "SHA-256" in run.err


def test_a_second_writer_is_told_who_writes(save, samples):
    with save.running("index", samples, "--json", "--asr", "off") as first:
        assert first.next_event()["event"] == "indexed"
        second = save("forget", samples)
        found = save("search", "an astronaut", "--all", "--json")
    assert second.code == 2
    assert f"process {first.process.pid}" in second.err
    assert found.code == 0  # reading goes on


def test_a_home_that_cannot_be_written_is_named(save, tmp_path):
    (tmp_path / "file").touch()
    run = save.using(home=tmp_path / "file" / "home")("index", tmp_path, "--json")
    assert run.code == 2
    assert "cannot write into" in run.err
    assert "--home" in run.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("index",),
        ("search",),
        ("serach", "a cat"),
        ("search", "a cat", "-k", "0"),
        ("search", "a cat", "--threshold", "2"),
        ("index", ".", "--asr", "huge"),
        ("rebuild", "--engine", "faiss"),
        ("model", "info", "no-such-model"),
    ],
)
def test_usage_errors_are_exit_code_2_on_stderr(save, arguments):
    run = save(*arguments)
    assert (run.code, run.out) == (2, "")
    assert run.err


def test_a_setting_that_makes_no_sense_says_where_it_is_from(save):
    run = save.using(SAVE_ASR="huge")("list")
    assert run.code == 2
    assert "from SAVE_ASR" in run.err


@pytest.fixture
def with_a_bug(own_library, tmp_path):
    """A `rich` that fails on import as none of our errors does."""
    broken = tmp_path / "site" / "rich"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('a broken install')\n")
    path = f"{broken.parent}:{own_library.env.get('PYTHONPATH', '')}".rstrip(":")
    return own_library.using(PYTHONPATH=path)


def test_a_bug_is_exit_code_3_and_its_traceback_is_in_the_log_that_is_named(with_a_bug):
    run = with_a_bug("list")
    log = with_a_bug.home / "errors.log"
    assert (run.code, run.out) == (3, "")
    assert "RuntimeError: a broken install" in run.err
    assert str(log) in run.err
    assert "Traceback" in log.read_text()


def test_save_debug_raises_the_bug(with_a_bug):
    run = with_a_bug.using(SAVE_DEBUG="1")("list")
    assert run.code == 1
    assert "Traceback" in run.err
    assert not (with_a_bug.home / "errors.log").exists()


def test_a_store_survives_the_loss_of_its_graphs_and_notes(own_library):
    before = own_library("search", "an animal", "--all", "--json").out
    own_library("rebuild")
    for graph in (own_library.home / "store").glob("*graph*"):
        shutil.rmtree(graph) if graph.is_dir() else graph.unlink()
    assert own_library("search", "an animal", "--all", "--json").out == before
