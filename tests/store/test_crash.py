"""Killed, cut short, or out of space: what was acknowledged is there, and nothing wrong is ever answered."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from savecli.errors import StoreError
from savecli.store import Store

A, B = Path("/v/a.mp4"), Path("/v/b.mp4")
FOLDER = Path(__file__).parent

WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import samples
from savecli.store import Store
first = int(sys.argv[3])
with Store.open(Path(sys.argv[1]), identity=samples.IDENTITY, mode="write") as store:
    for seed in range(first, first + 10_000):
        samples.add(store, Path(f"/v/{seed % 40}.mp4"), samples.content(seed, 20))
        print(seed, flush=True)
"""

LIMITED = """
import sys, resource
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import samples
from savecli.errors import StoreError
from savecli.store import Store
with Store.open(Path(sys.argv[1]), identity=samples.IDENTITY, mode="write") as store:
    samples.add(store, Path("/v/a.mp4"), samples.many(1, 10))
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
    try:
        samples.add(store, Path("/v/b.mp4"), samples.many(2, 10))
    except StoreError as error:
        print(error.message)
"""


def test_kill_minus_nine_at_twenty_moments(home, samples):
    rng = random.Random(0)
    acknowledged = 0
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, home, FOLDER, str(acknowledged + 1)],
            stdout=subprocess.PIPE,
            text=True,
        )
        said = [process.stdout.readline()]  # it runs
        time.sleep(rng.uniform(0, 0.12))
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        before, acknowledged = acknowledged, int([line for line in said if line.endswith("\n")][-1])
        assert acknowledged > before
        with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
            assert store.check() == []
            newest = {seed % 40: seed for seed in range(1, acknowledged + 1)}
            unacknowledged = acknowledged + 1
            for place, seed in newest.items():
                stored = store.video(Path(f"/v/{place}.mp4")).video_id
                expected = {f"{seed:032x}"}
                if place == unacknowledged % 40:
                    expected.add(f"{unacknowledged:032x}")
                assert stored in expected
            check_rows(store, samples, acknowledged)
            acknowledged = max(acknowledged, int(store.videos()[-1].video_id, 16))


def check_rows(store, samples, seed):
    content = samples.content(seed, 20)
    ids = [segment.segment_id for segment in store.stored_segments(content.fingerprint)]
    rows = store.rows("frames", ids)
    for segment_id, embedding in zip(ids, content.embeddings, strict=True):
        np.testing.assert_allclose(rows[segment_id], embedding.frames, atol=1e-3)


def test_killed_before_the_store_was_finished(home, samples):
    Store.open(home, identity=samples.IDENTITY, mode="write").close()
    (home / "FORMAT").unlink()  # the last file that is written
    (home / "said-g0001.f16").unlink()
    with pytest.raises(StoreError, match="nothing indexed"):
        Store.open(home, identity=None, mode="read")
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, A, samples.many(1, 3))
        assert store.check() == []


def test_an_unacknowledged_tail_is_cut_off(store, home, samples):
    samples.add(store, A, samples.many(1, 3))
    store.close()
    path = home / "seen-g0001.f16"
    whole = path.read_bytes()
    path.write_bytes(whole + b"torn")
    with Store.open(home, identity=None, mode="write") as reopened:
        assert path.read_bytes() == whole
        samples.add(reopened, B, samples.many(2, 3))
        assert reopened.check() == []


def test_a_failed_commit_leaves_the_store_as_it_was(store, samples, monkeypatch):
    samples.add(store, A, samples.many(1, 3))
    with monkeypatch.context() as patch:
        patch.setattr("savecli.store.changes.add_utterances", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            samples.add(store, A, samples.many(2, 3))
    assert [video.video_id for video in store.videos()] == [samples.many(1, 3).fingerprint]
    samples.add(store, B, samples.many(3, 3))
    assert store.check() == []
    assert store.counts().n_rows["seen"] == 6


def test_a_cut_vector_file_is_named_and_never_answers_wrongly(store, home, samples):
    samples.add(store, A, samples.many(1, 4))
    samples.add(store, B, samples.many(2, 4))
    store.close()
    path = home / "seen-g0001.f16"
    path.write_bytes(path.read_bytes()[: 5 * 2 * samples.DIM])
    query = samples.unit(np.random.default_rng(0), 1)[0]
    with Store.open(home, identity=None, mode="write") as store:
        assert [problem.subject for problem in store.check()] == [str(B)]
        whole = [s.segment_id for s in store.stored_segments(samples.many(1, 4).fingerprint)]
        cut = [s.segment_id for s in store.stored_segments(samples.many(2, 4).fingerprint)]
        assert len(store.nearest("said", query, 99)) == 8
        assert len(store.nearest("seen", query, 99, within=whole)) == 4
        assert len(store.rows("seen", whole)) == 4
        for needs_lost_rows in (
            lambda: store.nearest("seen", query, 1),
            lambda: store.nearest("seen", query, 1, within=cut),
            lambda: store.rows("seen", cut),
            lambda: samples.add(store, Path("/v/c.mp4"), samples.many(3, 4)),
            store.compact,
            store.rebuild_graphs,
        ):
            with pytest.raises(StoreError, match="damaged") as caught:
                needs_lost_rows()
            assert "save verify --repair" in caught.value.hint
        store.unlink(B)
        samples.add(store, B, samples.many(2, 4))
        expected = samples.brute_force([samples.many(1, 4), samples.many(2, 4)], "seen", query)
        np.testing.assert_allclose([h.score for h in store.nearest("seen", query, 99)], expected, atol=1e-6)
        assert store.check() == []


def test_a_missing_vector_file(store, home, samples):
    samples.add(store, A, samples.many(1, 4))
    store.close()
    (home / "seen-g0001.f16").unlink()
    with Store.open(home, identity=None, mode="read") as reader:
        assert [problem.subject for problem in reader.check()] == [str(A)]
        with pytest.raises(StoreError, match="damaged"):
            reader.nearest("seen", samples.unit(np.random.default_rng(0), 1)[0], 1)


def test_a_flipped_bit_in_a_row_is_named(store, home, samples):
    samples.add(store, A, samples.many(1, 4))
    samples.add(store, B, samples.many(2, 4))
    path = home / "frames-g0001.f16"
    content = bytearray(path.read_bytes())
    content[3] ^= 4
    path.write_bytes(content)
    assert [(p.subject, "damaged" in p.message) for p in store.check()] == [(str(A), True)]


def test_a_damaged_catalog_is_a_store_error(store, home, samples):
    samples.add(store, A, samples.many(1, 400))
    store.close()
    path = home / "catalog.db"
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = bytes(len(content) - 4096 * 3)
    for damaged in (bytes(content), b"this is no database at all" * 400):
        path.write_bytes(damaged)
        for mode in ("read", "write"):
            with pytest.raises(StoreError, match="damaged") as caught:
                Store.open(home, identity=None, mode=mode)
            assert "save verify --repair" in caught.value.hint
    assert path.read_bytes() == damaged


def test_a_full_disk_is_an_error_and_harms_nothing(home, samples):
    said = subprocess.run([sys.executable, "-c", LIMITED, home, FOLDER], capture_output=True, text=True)
    assert "cannot write" in said.stdout, said.stderr
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        assert [video.paths for video in store.videos()] == [(A,)]
        assert store.check() == []


def test_readers_work_while_another_process_writes(home, samples):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, home, FOLDER, "1"], stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        query = samples.unit(np.random.default_rng(0), 1)[0]
        seen = []
        with Store.open(home, identity=samples.IDENTITY, mode="read") as reader:
            for _ in range(30):
                with reader.snapshot():
                    hits = reader.nearest("seen", query, 1000)
                    assert len(hits) == sum(
                        segment.n_seen
                        for video in reader.videos()
                        for segment in reader.stored_segments(video.video_id)
                    )
                    assert len(reader.segments(h.segment_id for h in hits)) == len(hits)
                    assert all(
                        len(rows) == 1 for rows in reader.rows("seen", [h.segment_id for h in hits]).values()
                    )
                seen.append(len(reader.videos()))
                time.sleep(0.01)
        process.kill()
    assert seen[-1] > seen[0]
