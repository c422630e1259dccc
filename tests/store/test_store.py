"""What goes into a store comes out again: records, refusals, snapshots, compaction."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from savecli.errors import StoreError
from savecli.store import Store, schema
from savecli.store.catalog import Catalog, open_immutable

A, B, C = Path("/v/a.mp4"), Path("/v/b.mp4"), Path("/v/c.mp4")


def reading(home, **options):
    return Store.open(home, identity=options.get("identity"), mode="read")


def test_a_video_comes_back_whole(store, home, samples):
    content = samples.content(7, n_segments=3)
    samples.add(store, A, content, notes=("no audio track",), partial=True)
    with reading(home, identity=samples.IDENTITY) as reader:
        (video,) = reader.videos()
        assert (video.video_id, video.paths, video.asr) == (content.fingerprint, (A,), "tiny.en")
        assert (video.notes, video.partial, video.language) == (("no audio track",), True, "de")
        assert video.n_segments == 3
        assert video.speech_s == content.transcript.speech_s
        assert reader.transcript(video.video_id) == content.transcript
        assert reader.video(A) == video
        assert reader.video(B) is None
        segments = reader.stored_segments(video.video_id)
        assert [(s.start_s, s.end_s) for s in segments] == [(0, 12), (12, 24), (24, 36)]
        counted = [[len(getattr(e, kind)) for kind in samples.KINDS[:-1]] for e in content.embeddings]
        assert [[getattr(s, f"n_{kind}") for kind in samples.KINDS[:-1]] for s in segments] == counted
        ids = [s.segment_id for s in segments]
        assert reader.segments(reversed(ids)) == segments[::-1]
        assert reader.segments([999]) == []
        for kind in samples.KINDS:
            rows = reader.rows(kind, ids)
            for segment_id, embedding in zip(ids, content.embeddings, strict=True):
                np.testing.assert_allclose(rows[segment_id], getattr(embedding, kind), atol=2e-3)
        times, spoken = reader.frame_times(ids), reader.utterances(ids)
        for segment, expected in zip(segments, content.frame_times, strict=True):
            np.testing.assert_array_equal(times[segment.segment_id], expected)
            inside = content.transcript.within(segment.start_s, segment.end_s)
            assert spoken[segment.segment_id] == inside


def test_adding_a_video_does_not_go_through_those_before(store, samples, monkeypatch):
    samples.add(store, A, samples.content(1, 2))
    with monkeypatch.context() as patch:  # one query a kind for the rows of each video: 8 ms after 1,500
        patch.setattr("savecli.store.runs.living", lambda *_: 1 / 0)
        samples.add(store, B, samples.content(2, 2))
    assert store.check() == []
    assert store.counts().n_videos == 2


def test_changed_content_replaces_and_a_copy_is_stored_once(store, samples):
    samples.add(store, A, samples.content(1, 2))
    store.link(B, 1000, 5, samples.content(1).fingerprint)
    assert store.video(A).paths == (A, B)
    samples.add(store, A, samples.content(2, 1), mtime_ns=9)
    assert [v.paths for v in store.videos()] == [(B,), (A,)]
    assert store.known()[A].mtime_ns == 9
    samples.add(store, B, samples.content(2, 1))
    assert [v.paths for v in store.videos()] == [(A, B)]
    assert store.named(samples.content(1).fingerprint) is None
    assert store.unlink(A, C) == 1
    assert store.unlink(B) == 1
    assert store.videos() == []
    assert store.counts().n_segments == store.counts().n_utterances == 0
    with pytest.raises(StoreError, match="no video"):
        store.link(A, 1, 1, "f" * 32)
    with pytest.raises(StoreError, match="no video"):
        store.transcript("f" * 32)


def test_the_same_content_added_again_replaces_itself_and_keeps_its_copies(store, samples):
    samples.add(store, A, samples.content(1, 2))
    store.link(B, 1000, 5, samples.content(1).fingerprint)
    old = {s.segment_id for s in store.stored_segments(samples.content(1).fingerprint)}
    samples.add(store, A, samples.content(1, 3))
    (video,) = store.videos()
    assert (video.paths, video.n_segments) == ((A, B), 3)
    assert old.isdisjoint(s.segment_id for s in store.stored_segments(video.video_id))


def test_rows_on_one_another_are_in_the_order_given(store, samples):
    samples.add(store, A, samples.content(1, 3))
    samples.add(store, B, samples.content(2, 2))
    ids = [s.segment_id for v in store.videos() for s in store.stored_segments(v.video_id)]
    asked = [ids[4], ids[0], 10**6, ids[2]]
    for kind, (rows, counts) in store.stacks(("seen", "frames", "said"), asked).items():
        alone = store.rows(kind, asked)
        assert set(alone) == set(asked) - {10**6}
        assert counts.tolist() == [len(alone.get(i, ())) for i in asked]
        assert np.array_equal(rows, np.concatenate([alone[i] for i in asked if i in alone]))
    ((rows, counts),) = store.stacks(["seen"], []).values()
    assert (len(rows), counts.tolist()) == (0, [])
    assert store.texts_by_segment(asked) == {
        i: [u.text for u in own] for i, own in store.utterances(asked).items()
    }


def test_what_is_said_comes_without_the_times_of_its_words_too(store, samples):
    samples.add(store, A, samples.content(1, 3))
    ids = [s.segment_id for v in store.videos() for s in store.stored_segments(v.video_id)]
    timed, plain = store.utterances(ids), store.utterances(ids, timed=False)
    assert any(u.words for own in timed.values() for u in own)
    assert plain == {i: tuple(replace(u, words=()) for u in own) for i, own in timed.items()}


def test_failures_are_counted_and_cleared(store, samples):
    store.fail(A, 10, 1, "no moov \udcff", "record it again")
    store.fail(A, 10, 1, "no moov", "record it again")
    assert (store.known()[A].attempts, store.known()[A].reason) == (2, "no moov")
    store.fail(A, 11, 1, "still no moov", "")
    assert (store.known()[A].attempts, store.counts().n_failed) == (1, 1)
    samples.add(store, A, samples.content(1, 1))
    assert (store.known()[A].reason, store.known()[A].attempts) == (None, 0)
    store.fail(A, 1000, 1, "took too long", "")
    assert store.video(A), "the file is what it was: what is known of it stays"
    store.fail(A, 1001, 2, "no moov", "")
    assert store.videos() == []


@pytest.mark.parametrize("name", [b'it\'s "q".mp4', b"new\nline.mp4", b"\xff\xfe.mp4", "ü 映画.mp4".encode()])
def test_any_file_name(store, home, samples, name):
    path = Path("/v") / os.fsdecode(name)
    samples.add(store, path, samples.content(1, 1))
    with reading(home) as reader:
        assert list(reader.known()) == [path]
        assert reader.video(path).paths == (path,)
    assert store.unlink(path)


def test_a_home_of_any_name(tmp_path, samples):
    home = tmp_path / os.fsdecode(b"50% #1? \xff")
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, A, samples.content(1, 1))
    with reading(home) as reader:
        assert reader.named(samples.content(1).fingerprint)


def test_what_does_not_fit_is_refused_and_leaves_nothing(store, samples):
    good = samples.content(3, 2)
    with pytest.raises(ValueError, match="embeddings"):
        store.add(good.video(A), good.segments, [], good.transcript, asr="off", frame_times=good.frame_times)
    bad = samples.many(3, 2)
    object.__setattr__(bad.embeddings[1], "said", np.full((1, samples.DIM), np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match="unit norm"):
        samples.add(store, A, bad)
    for number in (np.inf, np.nan, 1e6):
        wild = samples.many(3, 2)
        object.__setattr__(wild.embeddings[1], "parts", np.full((3, samples.DIM), number, dtype=np.float32))
        with pytest.raises(ValueError, match="finite"):
            samples.add(store, A, wild)
    samples.add(store, A, samples.many(4, 2))
    with pytest.raises(StoreError, match="16 numbers"):
        samples.add(store, B, samples.many(5, 2, dim=8))
    with pytest.raises(StoreError, match="shape"):
        store.nearest("seen", np.ones(8, dtype=np.float32), 1)
    assert len(store.videos()) == 1
    assert store.check() == []


def test_nothing_indexed_yet(home):
    for mode in ("read", "write"):
        with pytest.raises(StoreError, match="nothing indexed yet") as caught:
            Store.open(home, identity=None, mode=mode)
        assert caught.value.hint == "save index FOLDER"
    assert not home.exists()


def test_another_model_is_refused_by_name(store, home, samples):
    other = samples.IDENTITY | {"model": "huge"}
    with pytest.raises(StoreError, match="model tiny; this run uses model huge") as caught:
        reading(home, identity=other)
    assert "--home" in caught.value.hint
    store.close()
    with pytest.raises(StoreError, match="huge"):
        Store.open(home, identity=other, mode="write")
    Store.open(home, identity=samples.IDENTITY, mode="write").close()


def test_a_second_writer_is_told_who_holds_the_store(store, home, samples):
    script = (
        "import sys; from pathlib import Path; from savecli.store import Store\n"
        "from savecli.errors import StoreError\n"
        "try: Store.open(Path(sys.argv[1]), identity=None, mode='write')\n"
        "except StoreError as error: print(error.message)"
    )
    said = subprocess.run([sys.executable, "-c", script, home], capture_output=True, text=True, check=True)
    assert f"process {os.getpid()} on {socket.gethostname()}" in said.stdout
    with pytest.raises(StoreError, match="being written"):
        Store.open(home, identity=samples.IDENTITY, mode="write")
    store.close()
    Store.open(home, identity=samples.IDENTITY, mode="write").close()


def test_a_reader_cannot_write(store, home, samples):
    with reading(home) as reader:
        with pytest.raises(StoreError, match="reading only"):
            reader.unlink(A)
        with pytest.raises(StoreError, match="readonly"):
            reader.settings["k"] = "10"


def test_settings(store, home):
    store.settings["k"] = "10"
    store.settings["k"] = "20"
    assert dict(store.settings) == {"k": "20"}
    del store.settings["k"]
    assert store.settings.get("k") is None
    with pytest.raises(KeyError):
        del store.settings["k"]


def test_a_newer_format_or_catalog_is_refused(store, home, samples):
    (home / "FORMAT").write_text("2\n")
    with pytest.raises(StoreError, match="newer") as caught:
        reading(home)
    assert "upgrade" in caught.value.hint
    (home / "FORMAT").write_text("oops")
    with pytest.raises(StoreError, match="damaged"):
        reading(home)
    (home / "FORMAT").write_text("1\n")
    store._catalog.run(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    with pytest.raises(StoreError, match="newer"):
        reading(home)


def test_migration_keeps_a_backup_and_only_a_writer_does_it(store, home, samples, monkeypatch):
    samples.add(store, A, samples.content(1, 1))
    store.close()
    current = len(schema.MIGRATIONS)
    step = ("ALTER TABLE videos ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    with pytest.raises(StoreError, match="older"):
        reading(home)
    with Store.open(home, identity=None, mode="write") as migrated:
        assert migrated._catalog.rows("SELECT mood FROM videos") == [("calm",)]
        assert migrated._catalog.rows("PRAGMA user_version") == [(current + 1,)]
        assert migrated.named(samples.content(1).fingerprint)
    monkeypatch.undo()
    backup = Catalog(home / f"catalog.db.v{current}.bak", writable=False)
    assert backup.rows("SELECT count(*) FROM videos") == [(1,)]
    backup.close()


def test_a_migration_that_fails_changes_nothing(store, home, samples, monkeypatch):
    store.close()
    broken = ("CREATE TABLE half (x)", "CREATE TABLE half (x)")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StoreError, match="half"):
            Store.open(home, identity=None, mode="write")
    with Store.open(home, identity=None, mode="write") as reopened:
        assert reopened.check() == []


def test_a_read_only_folder_is_searched(store, home, samples):
    samples.add(store, A, samples.many(1, 5))
    store.close()
    before = {path.name for path in home.iterdir()}
    for path in [home, *home.iterdir()]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    with reading(home, identity=samples.IDENTITY) as reader:
        assert len(reader.nearest("seen", samples.unit(np.random.default_rng(0), 1)[0], 3)) == 3
    # Permissions do not bind root, for whom SQLite makes the files that readers and writers share.
    assert {path.name for path in home.iterdir()} - before <= {"catalog.db-shm", "catalog.db-wal"}
    home.chmod(0o700)


def test_the_immutable_path(store, home, samples):
    samples.add(store, A, samples.many(1, 5))
    with pytest.raises(StoreError, match="not closed properly"):
        open_immutable(home / "catalog.db")
    store.close()
    connection = open_immutable(home / "catalog.db")
    assert connection.execute("SELECT count(*) FROM segments").fetchone() == (5,)
    connection.close()


def test_readers_see_one_state_and_then_the_next(store, home, samples):
    query = samples.unit(np.random.default_rng(0), 1)[0]
    samples.add(store, A, samples.many(1, 5))
    with reading(home) as reader:
        with reader.snapshot():
            hits = reader.nearest("seen", query, 50)
            samples.add(store, B, samples.many(2, 5))
            store.unlink(A)
            assert reader.nearest("seen", query, 50) == hits
            assert len(reader.segments(h.segment_id for h in hits)) == 5
            store.compact()
            assert reader.nearest("seen", query, 50) == hits
        scores = [hit.score for hit in reader.nearest("seen", query, 50)]
        np.testing.assert_allclose(
            scores, samples.brute_force([samples.many(2, 5)], "seen", query), atol=1e-6
        )


def test_compact_drops_dead_rows_and_files(store, home, samples):
    for seed, path in enumerate((A, B, C), start=1):
        samples.add(store, path, samples.many(seed, 4))
    store.rebuild_graphs()
    store.unlink(B)
    assert store.counts().dead_share == pytest.approx(1 / 3)
    store.compact()
    counts = store.counts()
    assert (counts.dead_share, counts.n_rows) == (0, samples.n_rows(8))
    assert sorted(path.name for path in home.glob("*.f16")) == [
        f"{kind}-g0002.f16" for kind in sorted(samples.KINDS)
    ]
    assert list((home / "graphs").iterdir()) == []
    assert store.check() == []
    ids = [s.segment_id for s in store.stored_segments(samples.many(3, 4).fingerprint)]
    for kind in samples.KINDS:
        rows = np.concatenate(list(store.rows(kind, ids).values()))
        expected = np.concatenate([getattr(e, kind) for e in samples.many(3, 4).embeddings])
        np.testing.assert_allclose(rows, expected, atol=2e-3)


def test_importing_the_store_loads_no_engine():
    script = (
        "import sys, savecli.store; print([m for m in ('usearch', 'hnswlib', 'numkong') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_ten_thousand_paths_in_one_commit(store, samples):
    samples.add(store, A, samples.content(1, 1))
    fingerprint = samples.content(1).fingerprint
    store.touch((Path(f"/v/{i}.mp4"), 1, i, fingerprint, None) for i in range(10_000))
    known = store.known()
    assert len(known) == 10_001
    assert known[Path("/v/77.mp4")].mtime_ns == 77


# -- samples -------------------------------------------------------------------------------------------------


def test_an_empty_store_has_no_sample(store):
    assert store.sample(10) == ([], 0)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 19, 20, 21, 1000])
def test_a_sample_is_spread_over_the_store(store, samples, n):
    samples.add(store, A, samples.many(1, 8))
    samples.add(store, B, samples.many(2, 12))
    ids, n_all = store.sample(n)
    assert n_all == 20
    assert len(ids) == len(set(ids)) == min(n, 20)
    assert set(ids) <= {
        s.segment_id for video in store.videos() for s in store.stored_segments(video.video_id)
    }
    if n >= 2:
        assert (min(ids), max(ids)) == (1, 20)
        assert np.diff(sorted(ids)).max() <= 19 / (min(n, 20) - 1) + 1


def test_a_sample_names_no_segment_that_is_gone(store, samples):
    for seed, path in ((1, A), (2, B), (3, C)):
        samples.add(store, path, samples.many(seed, 10))
    store.unlink(B)
    ids, n_all = store.sample(12)
    assert n_all == 20
    assert 8 <= len(ids) <= 12
    assert len(ids) == len(set(ids))
    assert len(store.segments(ids)) == len(ids)
    assert len([i for i in ids if i <= 10]) >= 4
    assert len([i for i in ids if i > 20]) >= 4


def test_a_large_gap_does_not_thin_out_a_sample(store, samples):
    samples.add(store, A, samples.many(1, 30))
    samples.add(store, B, samples.many(2, 1000))
    samples.add(store, C, samples.many(3, 30))
    store.unlink(B)
    ids, n_all = store.sample(20)
    assert n_all == 60
    assert len(set(ids)) == 20
    assert len([i for i in ids if i <= 30]) == 10


def test_a_sample_belongs_to_the_snapshot_it_is_taken_in(store, home, samples):
    samples.add(store, A, samples.many(1, 5))
    with reading(home, identity=samples.IDENTITY) as reader, reader.snapshot():
        assert reader.sample(99)[1] == 5
        samples.add(store, B, samples.many(2, 5))
        assert reader.sample(99)[1] == 5
