"""`verify` names what is wrong; `repair` puts right what can be, and never loses what is whole."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from savecli.errors import StoreError
from savecli.store import Store, backup, schema, seal, searcher
from savecli.store.check import verify
from savecli.store.records import Headway, Problem
from savecli.store.repair import repair

A, B, C = Path("/v/a.mp4"), Path("/v/b.mp4"), Path("/v/c.mp4")


@pytest.fixture
def filled(home, samples):
    """Three videos, added by two writers."""
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, A, samples.content(1, 3))
        samples.add(store, B, samples.content(2, 3))
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, C, samples.content(3, 3))
    return home


def problems(home):
    return [found for found in verify(home) if isinstance(found, Problem)]


def repaired(home, identity=None):
    done = [found for found in repair(home, identity) if not isinstance(found, Headway)]
    assert problems(home) == []
    return done


def paths_of(home):
    with Store.open(home, identity=None, mode="read") as store:
        return {path for video in store.videos() for path in video.paths}


def waiting(home):
    """Paths that the next `save index` reads again."""
    with Store.open(home, identity=None, mode="read") as store:
        return {path for path, file in store.known().items() if file.size_bytes == -1 and file.reason}


def changed(home, *statements, sealed=False):
    """Writes into the catalog as no part of the program would."""
    catalog = home / "catalog.db"
    with closing(sqlite3.connect(catalog)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    if not sealed:
        seal.seal_path(catalog).unlink(missing_ok=True)


def check_content(home, samples, seeds):
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        contents = [samples.content(seed, 3) for seed in seeds]
        for content in contents:
            segments = store.stored_segments(content.fingerprint)
            assert [s.start_s for s in segments] == [s.start_s for s in content.segments]
            assert store.transcript(content.fingerprint) == content.transcript
        for kind in ("seen", "heard", "said", "fused"):
            query = samples.unit(np.random.default_rng(0), 1)[0]
            found = [hit.score for hit in store.nearest(kind, query, 99)]
            np.testing.assert_allclose(found, samples.brute_force(contents, kind, query), atol=1e-6)


def test_a_sound_store_is_left_alone(filled):
    before = {path: path.read_bytes() for path in filled.iterdir() if path.is_file()}
    assert problems(filled) == []
    assert repaired(filled) == []
    assert {path: path.read_bytes() for path in before} == before


def test_headway_reaches_the_end_of_every_part(filled):
    with Store.open(filled, identity=None, mode="write") as store:
        store.rebuild_graphs()
    last = {found.part: found for found in verify(filled) if isinstance(found, Headway)}
    assert set(last) == {"catalog", "rows", "graphs"}
    assert all(found.done == found.total > 0 for found in last.values())


def test_nothing_to_verify(home):
    for look in (verify(home), repair(home, None)):
        with pytest.raises(StoreError, match="nothing indexed yet"):
            list(look)
    assert not home.exists()


RULES = {
    "DELETE FROM segments WHERE segment_id = 9": "number of rows or segments",
    "UPDATE segments SET n_frames = n_frames + 1 WHERE segment_id = 3": "other rows|number of rows",
    "UPDATE segments SET seen_start = 0, n_seen = 1 WHERE segment_id = 5": "rows",
    "UPDATE segments SET end_s = start_s WHERE segment_id = 4": "times make no sense",
    "UPDATE segments SET start_s = x'00' WHERE segment_id = 4": "make no sense",
    "UPDATE segments SET frame_times = x'00' WHERE segment_id = 4": "times make no sense",
    "UPDATE spans SET start = 0 WHERE video_key = 2 AND kind = 'said'": "shares rows",
    "UPDATE spans SET start = start + 1000 WHERE video_key = 2 AND kind = 'heard'": "never committed",
    "UPDATE utterances SET segment_id = 9 WHERE utterance_key = 1": "outside of its segments",
    "UPDATE utterances SET words = '[[' WHERE utterance_key = 1": "cannot be read",
    "DELETE FROM utterances WHERE utterance_key = 1": "speech than is written down",
    "UPDATE videos SET speech_s = speech_s + 1 WHERE video_key = 2": "speech than is written down",
    "UPDATE videos SET notes = 'x' WHERE video_key = 2": "notes",
    "UPDATE utterances SET text = CAST(x'ff' AS TEXT) WHERE utterance_key = 1": "no Unicode",
    "UPDATE videos SET n_segments = 77 WHERE video_key = 2": "number of rows or segments",
}


@pytest.mark.parametrize("statement", RULES)
def test_a_video_that_breaks_a_rule_is_named_and_forgotten(filled, samples, statement):
    changed(filled, "UPDATE utterances SET segment_id = NULL WHERE segment_id = 9", statement)
    if "1000" in statement:  # what would cut rows off is refused at once
        changed(filled, "UPDATE vectors SET n_rows = n_rows + 2000 WHERE kind = 'heard'")
    backup.drop(filled / "catalog.db")
    found = problems(filled)
    assert found
    assert {problem.subject for problem in found} <= {str(A), str(B), str(C)}
    if "1000" not in statement:
        assert any(part in problem.message for problem in found for part in RULES[statement].split("|"))
    done = repaired(filled)
    assert {one.subject for one in done} == {problem.subject for problem in found}
    assert paths_of(filled) | waiting(filled) == {A, B, C}
    assert waiting(filled)
    kept = [seed for seed, path in ((1, A), (2, B), (3, C)) if path in paths_of(filled)]
    check_content(filled, samples, kept)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM state",
        "DELETE FROM vectors WHERE kind = 'said'",
        "UPDATE files SET fingerprint = 'gone'",
        "UPDATE files SET path = '' WHERE rowid = 1",
        "INSERT INTO graphs VALUES (1, 'seen', 'usearch', 9999, 0, 0, 64)",
        "DROP TABLE spans",
        "UPDATE state SET revision = 0",
    ],
)
def test_a_catalog_that_is_wrong_as_a_whole_comes_back_from_its_copy(filled, samples, statement):
    changed(filled, statement, sealed=True)
    assert len(problems(filled)) == 1, "its seal tells it, whatever it is"
    first, aside = repaired(filled)
    assert "restored from catalog.db.r" in first.message
    assert Path(aside.subject).name == "catalog.db.damaged-1"
    assert Path(aside.subject).exists()
    assert paths_of(filled) == {A, B, C}
    check_content(filled, samples, [1, 2, 3])


def test_a_catalog_that_is_gone(filled, samples):
    (filled / "catalog.db").unlink()
    assert "is gone" in problems(filled)[0].message
    repaired(filled)
    assert paths_of(filled) == {A, B, C}
    check_content(filled, samples, [1, 2, 3])


def test_an_older_copy_and_what_the_damaged_catalog_still_knows(filled, samples):
    newest, older = backup.kept(filled / "catalog.db")
    newest.path.write_bytes(newest.path.read_bytes()[:-100])
    changed(filled, "DELETE FROM state", sealed=True)
    done = repaired(filled)
    assert older.path.name in done[0].message
    assert "1 videos read out" in done[1].message
    assert paths_of(filled) == {A, B, C}
    assert waiting(filled) == set()
    check_content(filled, samples, [1, 2, 3])


def test_without_any_copy_what_is_whole_is_read_out(filled, samples):
    backup.drop(filled / "catalog.db")
    changed(filled, "DELETE FROM state", "DELETE FROM segments WHERE video_key = 2")
    done = repaired(filled)
    assert "2 videos read out" in done[0].message
    assert "1 files are to be indexed again" in done[1].message
    assert (paths_of(filled), waiting(filled)) == ({A, C}, {B})
    check_content(filled, samples, [1, 3])
    with Store.open(filled, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, B, samples.content(2, 3))
        assert store.check() == []


def test_pages_that_are_gone_cost_what_was_on_them(filled, samples):
    with Store.open(filled, identity=samples.IDENTITY, mode="write") as store:
        for seed in range(4, 40):
            samples.add(store, Path(f"/v/{seed}.mp4"), samples.content(seed, 3))
    catalog = filled / "catalog.db"
    backup.drop(catalog)
    content = catalog.read_bytes()
    n_saved = []
    for page in range(1, len(content) // 4096, 3):
        shutil.rmtree(filled.with_name("copy"), ignore_errors=True)
        copy = Path(shutil.copytree(filled, filled.with_name("copy")))
        torn = bytearray(content)
        torn[4096 * page : 4096 * (page + 1)] = os.urandom(4096)
        (copy / "catalog.db").write_bytes(torn)
        try:
            repaired(copy, samples.IDENTITY)
        except StoreError as error:
            assert "nothing can be read out" in error.message  # noqa: PT017
            assert (copy / "catalog.db").read_bytes() == torn
            continue
        n_saved.append(len(paths_of(copy)))
        seeds = [int(p.stem) if p.stem.isdecimal() else "_abc".index(p.stem) for p in paths_of(copy)]
        check_content(copy, samples, sorted(seeds, key=lambda seed: seed))
    assert len(n_saved) > len(content) // 4096 // 6
    assert np.median(n_saved) >= 25


def test_half_a_transcript_is_not_read_out(filled, samples):
    """As in a torn copy: all rows have their checksums, and an utterance is gone."""
    changed(
        filled, "DELETE FROM utterances WHERE utterance_key = 1", "DELETE FROM vectors WHERE kind = 'seen'"
    )
    backup.drop(filled / "catalog.db")
    repaired(filled, samples.IDENTITY)
    assert (paths_of(filled), waiting(filled)) == ({B, C}, {A})
    check_content(filled, samples, [2, 3])


def test_which_model_made_it_is_asked_where_it_is_lost(filled, samples):
    backup.drop(filled / "catalog.db")
    changed(filled, "DELETE FROM state", "DROP TABLE identity")
    with pytest.raises(StoreError, match="nothing can be read"):
        list(repair(filled, None))
    assert "taken to be the one in use" in repaired(filled, samples.IDENTITY)[0].message
    assert paths_of(filled) == {A, B, C}


def test_what_is_no_database_and_has_no_copy(filled):
    backup.drop(filled / "catalog.db")
    (filled / "catalog.db").write_bytes(b"this is no database at all" * 400)
    before = {path.name for path in filled.iterdir()} - {"writer.json"}
    with pytest.raises(StoreError, match="nothing can be read out") as caught:
        list(repair(filled, None))
    assert "--home" in caught.value.hint
    assert {path.name for path in filled.iterdir()} == before


def test_damaged_rows_cost_their_video_alone(filled, samples):
    path = filled / "frames-g0001.f16"
    content = bytearray(path.read_bytes())
    content[3] ^= 4
    path.write_bytes(content)
    (problem,) = problems(filled)
    assert problem.subject == str(A)
    (done,) = repaired(filled)
    assert done.subject == str(A)
    assert (paths_of(filled), waiting(filled)) == ({B, C}, {A})
    check_content(filled, samples, [2, 3])


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_lost_rows(filled, samples, how):
    path = filled / "said-g0001.f16"
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: -2 * samples.DIM])
    assert problems(filled)
    repaired(filled)
    assert paths_of(filled) | waiting(filled) == {A, B, C}
    assert C in waiting(filled)
    with Store.open(filled, identity=samples.IDENTITY, mode="write") as store:
        for path, seed in ((A, 1), (B, 2), (C, 3)):
            samples.add(store, path, samples.content(seed, 3))
        assert store.check() == []
    check_content(filled, samples, [1, 2, 3])


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_the_format_is_written_again(filled, damage):
    (filled / "FORMAT").unlink() if damage is None else (filled / "FORMAT").write_bytes(damage)
    assert "FORMAT" in problems(filled)[0].message
    assert [Path(one.subject).name for one in repaired(filled)] == ["FORMAT"]
    assert paths_of(filled) == {A, B, C}


def test_a_damaged_seal_is_put_anew(filled):
    path = filled / "catalog.db.sum"
    path.write_text("catalog 1 nonsense")
    assert "catalog.db.sum is damaged" in problems(filled)[0].message
    assert len(repaired(filled)) == 1
    assert seal.find(filled / "catalog.db")


def test_graphs_are_built_again(filled, samples, monkeypatch):
    monkeypatch.setattr(searcher, "GRAPH_MIN_ROWS", 1)
    monkeypatch.setattr(searcher, "SCANS_BEFORE_GRAPH", 0)
    with Store.open(filled, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, Path("/v/d.mp4"), samples.many(9, 400))
        store.rebuild_graphs()
    for path in (filled / "graphs").iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert {Path(problem.subject).parent.name for problem in problems(filled)} == {"graphs"}
    assert [one.message for one in repaired(filled)] == ["built again"] * 4
    with Store.open(filled, identity=None, mode="read") as reader:
        reader.nearest("seen", samples.unit(np.random.default_rng(0), 1)[0], 3)
        assert not reader.last_search_exact


def test_a_graph_of_other_rows_answers_wrongly(filled, samples, tmp_path):
    for home, seed in ((filled, 9), (tmp_path / "other", 10)):
        with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
            samples.add(store, A, samples.many(seed, 300))
            store.unlink(B, C)
            store.compact()
            store.rebuild_graphs()
            name = store.graphs()[0].name
    other = tmp_path / "other" / "graphs" / name
    shutil.copy(other, filled / "graphs" / name)
    with closing(sqlite3.connect(tmp_path / "other" / "catalog.db")) as connection:
        crc32, size = connection.execute(
            "SELECT crc32, max(size_bytes) FROM graphs WHERE generation ="
            " (SELECT max(generation) FROM graphs)"
        ).fetchone()
    changed(
        filled,
        f"UPDATE graphs SET crc32 = {crc32}, size_bytes = {size} WHERE generation ="
        " (SELECT max(generation) FROM graphs)",
    )
    (problem,) = problems(filled)
    assert problem.message == "answers wrongly"
    repaired(filled)


def test_other_versions_are_no_damage(filled, monkeypatch):
    changed(filled, f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    for look in (verify(filled), repair(filled, None)):
        with pytest.raises(StoreError, match="newer"):
            list(look)
    assert not list(filled.glob("*.damaged*"))


def test_a_writer_keeps_repair_out_and_verify_works_beside_it(filled, samples):
    with Store.open(filled, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, Path("/v/d.mp4"), samples.content(4, 3))
        assert problems(filled) == []
        with pytest.raises(StoreError, match="being written"):
            list(repair(filled, None))


def test_a_full_disk_is_no_damage(filled, monkeypatch):
    changed(filled, "DELETE FROM state", sealed=True)
    before = (filled / "catalog.db").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("savecli.store.restore.copy_of", full)
    with pytest.raises(OSError, match="No space"):
        list(repair(filled, None))
    assert (filled / "catalog.db").read_bytes() == before
    assert not list(filled.glob("*.new*"))
