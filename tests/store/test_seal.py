"""The catalog at rest: sealed, copied, and believed only while it is what was written."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from savecli.errors import StoreError
from savecli.store import Store, backup, lock, schema, seal
from savecli.store.lock import WriteLock

A, B, C = Path("/v/a.mp4"), Path("/v/b.mp4"), Path("/v/c.mp4")
FOLDER = Path(__file__).parent

KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import samples
from savecli.store import Store
store = Store.open(Path(sys.argv[1]), identity=samples.IDENTITY, mode="write")
samples.add(store, Path("/v/a.mp4"), samples.many(1, 5))
os._exit(9)
"""


def writing(home, samples):
    return Store.open(home, identity=samples.IDENTITY, mode="write")


def reading(home):
    return Store.open(home, identity=None, mode="read")


def killed(home):
    """A store whose one writer died with its work done and its log not folded."""
    subprocess.run([sys.executable, "-c", KILLED, home, FOLDER], check=False)
    return home / "catalog.db"


def flip(path, place, bit=1):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= bit
    path.write_bytes(content)


def test_a_seal_is_there_while_nobody_writes(home, samples):
    catalog = home / "catalog.db"
    with writing(home, samples) as store:
        samples.add(store, A, samples.many(1, 5))
        assert not seal.is_there(catalog)
        with reading(home) as reader:
            assert len(reader.videos()) == 1
    assert seal.find(catalog).size_bytes == catalog.stat().st_size
    assert not (home / "catalog.db-wal").exists()


def test_a_run_that_changes_nothing_leaves_seal_and_copies_alone(home, samples):
    with writing(home, samples) as store:
        samples.add(store, A, samples.many(1, 5))
    before = {path.name: path.stat().st_mtime_ns for path in home.iterdir() if "catalog" in path.name}
    with writing(home, samples) as store:
        assert len(store.videos()) == 1
    assert {p.name: p.stat().st_mtime_ns for p in home.iterdir() if "catalog" in p.name} == before


def test_one_changed_letter_is_noticed(home, samples):
    with writing(home, samples) as store:
        samples.add(store, A, samples.content(1, 3))
    path = home / "catalog.db"
    content = path.read_bytes()
    assert content.count(b"/v/a.mp4") > 0
    path.write_bytes(content.replace(b"/v/a.mp4", b"/v/z.mp4"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)], "SQLite does not notice"
    for mode in ("read", "write"):
        with pytest.raises(StoreError, match="damaged"):
            Store.open(home, identity=None, mode=mode)


def test_a_seal_that_is_damaged_itself(home, samples):
    with writing(home, samples) as store:
        samples.add(store, A, samples.many(1, 5))
    flip(home / "catalog.db.sum", 12)
    with pytest.raises(StoreError, match=r"catalog\.db\.sum is damaged"):
        reading(home)


def test_a_killed_writer_leaves_no_seal_and_the_next_one_puts_it_back(home, samples):
    catalog = killed(home)
    assert not seal.is_there(catalog)
    with reading(home) as reader:
        assert len(reader.videos()) == 1
    writing(home, samples).close()
    assert seal.is_intact(catalog)
    assert seal.is_there(catalog)
    assert len(backup.kept(catalog)) == 1


def test_what_a_killed_writer_left_is_looked_at_closely(home, samples):
    catalog = killed(home)
    reading(home).close()
    writing(home, samples).close()
    seal.seal_path(catalog).unlink()
    note = {"pid": 2**22 + 1, "host": os.uname().nodename, "since": 0.0}  # beyond the greatest process id
    (home / "writer.json").write_text(json.dumps(note))
    content = bytearray(catalog.read_bytes())
    content[8192:12288] = content[4096:8192]  # a page in the place of another, as in a torn copy
    catalog.write_bytes(content)
    for mode in ("read", "write"):
        with pytest.raises(StoreError, match="damaged"):
            Store.open(home, identity=None, mode=mode)
    # The note of a writer that is at work elsewhere came along with a copy.
    for alive in ({"pid": os.getpid()}, {"pid": 1, "host": "elsewhere"}):
        (home / "writer.json").write_text(json.dumps(note | alive))
        with pytest.raises(StoreError, match="damaged"):
            reading(home)
    held = WriteLock.take(home)
    reading(home).close()  # a writer is at work: its files are in motion
    held.release()


def test_where_locks_cannot_be_asked_the_note_tells_who_writes(home, samples, monkeypatch):
    writing(home, samples).close()
    monkeypatch.setattr(lock, "fcntl", None)
    assert lock.is_left_open(home)
    held = WriteLock.take(home)
    assert not lock.is_left_open(home)
    held.release()


def test_no_row_is_cut_off_on_the_word_of_a_wrong_length(home, samples):
    catalog = killed(home)
    writing(home, samples).close()
    with closing(sqlite3.connect(catalog)) as connection:
        connection.execute("UPDATE vectors SET n_rows = 0")
        connection.commit()
    seal.seal_path(catalog).unlink()
    before = (home / "seen-g0001.f16").read_bytes()
    with pytest.raises(StoreError, match="never committed"):
        writing(home, samples)
    assert (home / "seen-g0001.f16").read_bytes() == before != b""


def test_a_store_without_its_catalog_is_not_begun_anew(home, samples):
    with writing(home, samples) as store:
        samples.add(store, A, samples.many(1, 5))
    (home / "catalog.db").unlink()
    for mode in ("read", "write"):
        with pytest.raises(StoreError, match="is gone"):
            Store.open(home, identity=samples.IDENTITY, mode=mode)
    assert (home / "seen-g0001.f16").stat().st_size == 5 * 2 * samples.DIM


def test_the_newest_two_copies_stay_and_are_whole(home, samples):
    catalog = home / "catalog.db"
    for seed in range(1, 5):
        with writing(home, samples) as store:
            samples.add(store, Path(f"/v/{seed}.mp4"), samples.many(seed, 2))
    copies = backup.kept(catalog)
    assert len(copies) == 2
    assert all(copy.is_intact() for copy in copies)
    assert copies[0].path.read_bytes() == catalog.read_bytes()
    flip(copies[0].path, 5000)
    assert not copies[0].is_intact()


@pytest.mark.parametrize("forget", [lambda store: store.unlink(A), lambda store: store.compact()])
def test_no_copy_keeps_what_was_forgotten(home, samples, forget):
    with writing(home, samples) as store:
        samples.add(store, A, samples.content(1, 3))
        samples.add(store, B, samples.content(2, 3))
    with writing(home, samples) as store:
        store.unlink(C)
        assert backup.kept(home / "catalog.db"), "nothing was forgotten"
        forget(store)
        assert backup.kept(home / "catalog.db") == []
        store.unlink(A)
    assert len(backup.kept(home / "catalog.db")) == 1
    said = "wörd1".encode()
    assert [path.name for path in home.iterdir() if path.is_file() and said in path.read_bytes()] == []


def test_a_full_disk_costs_the_copy_and_not_the_store(home, samples, monkeypatch):
    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(backup, "copy_of", full)
        with writing(home, samples) as store:
            samples.add(store, A, samples.many(1, 5))
    assert backup.kept(home / "catalog.db") == []
    assert seal.is_there(home / "catalog.db")
    with reading(home) as reader:
        assert reader.check() == []


def test_a_reader_in_the_way_leaves_the_seal_to_the_next_writer(home, samples):
    with writing(home, samples) as store:
        samples.add(store, A, samples.many(1, 5))
    with reading(home) as reader, reader.snapshot():
        with writing(home, samples) as store:
            samples.add(store, B, samples.many(2, 5))
        assert not seal.is_there(home / "catalog.db")
        assert len(reader.videos()) == 1
    with reading(home) as reader:
        assert len(reader.videos()) == 2
    writing(home, samples).close()
    assert seal.is_there(home / "catalog.db")


def test_steps_of_several_versions_are_one(home, samples, monkeypatch):
    with writing(home, samples) as store:
        samples.add(store, A, samples.many(1, 5))
    current = len(schema.MIGRATIONS)
    good = ("CREATE TABLE first (x)",)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, good, ("CREATE TABLE first (x)",)))
        with pytest.raises(StoreError, match="first"):
            writing(home, samples)
    with reading(home) as reader:  # what this version knows, not one of them half way
        assert reader.check() == []
    assert [path.name for path in backup.before_migration(home / "catalog.db")] == [
        f"catalog.db.v{current}.bak"
    ]


@pytest.fixture
def unwritable(tmp_path):
    """A function that shows a folder on a file system that is mounted read-only."""
    place = tmp_path / "medium"
    place.mkdir()
    mounted = []

    def show(folder):
        if os.geteuid() or not shutil.which("mount"):
            pytest.skip("only root may mount")
        for command in (["mount", "--bind", folder, place], ["mount", "-o", "remount,bind,ro", place]):
            if subprocess.run(command, capture_output=True).returncode:
                pytest.skip("this machine allows no mounts")
            mounted[:] = [place]
        return place

    yield show
    if mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_read_only_medium_is_searched(home, samples, unwritable):
    with writing(home, samples) as store:
        samples.add(store, A, samples.many(1, 50))
    medium = unwritable(home)
    with pytest.raises(OSError, match="Read-only"):
        (medium / "x").touch()
    query = samples.unit(np.random.default_rng(0), 1)[0]
    with reading(medium) as reader:
        assert len(reader.nearest("seen", query, 3)) == 3
        assert reader.check() == []
    with pytest.raises(StoreError, match="cannot write") as caught:
        writing(medium, samples)
    assert "--home" in caught.value.hint


def test_a_read_only_medium_with_a_store_that_was_not_closed(home, unwritable):
    killed(home)
    (home / "catalog.db-shm").unlink()
    medium = unwritable(home)
    with pytest.raises(StoreError, match="not closed properly") as caught:
        reading(medium)
    assert "copy it" in caught.value.hint
