"""A store that an earlier version wrote opens, answers as before, and goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from savecli.datatypes import Volume
from savecli.errors import StoreError
from savecli.store import Store

A, B, C = Path("/v/a.mp4"), Path("/v/b.mp4"), Path("/v/c.mp4")
DATA = Path(__file__).with_name("data")
KINDS = {1: ("seen", "frames", "said"), 2: ("seen", "frames", "said", "heard", "fused", "parts")}
USB = Volume(identity="uuid:usb", mount=Path("/v"), label="USB")


@pytest.fixture(params=KINDS)
def version(request):
    return request.param


@pytest.fixture
def old(home, samples, version):
    """The folder of a store as an earlier version left it; 9 lies dead between 7 and 8."""
    home.mkdir()
    with closing(sqlite3.connect(home / "catalog.db")) as catalog:
        catalog.executescript((DATA / f"version-{version}.sql").read_text("utf-8"))
        catalog.execute("PRAGMA journal_mode = WAL")
        catalog.execute(f"PRAGMA user_version = {version}")
        catalog.commit()
    added = [samples.content(7, 3), samples.content(9, 1), samples.content(8, 2)]
    for kind in KINDS[version]:
        rows = np.concatenate([getattr(e, kind) for content in added for e in content.embeddings])
        (home / f"{kind}-g0002.f16").write_bytes(rows.astype(np.float16).tobytes())
    (home / "FORMAT").write_text("1\n")
    return home


@pytest.fixture
def backup(old, version):
    return old / f"catalog.db.v{version}.bak"


def expected_rows(samples, version):
    """Of each kind, what a store of that version had of the videos that are still in it."""
    contents = [samples.content(7, 3), samples.content(8, 2)]
    for kind in samples.KINDS:
        for embedding in (e for content in contents for e in content.embeddings):
            rows = getattr(embedding, kind)
            yield kind, rows if kind in KINDS[version] else rows[:0]


def test_it_opens_with_all_that_was_in_it(old, samples, version):
    with Store.open(old, identity=samples.IDENTITY, mode="write") as store:
        assert store.check() == []
        assert {v.video_id: v.paths for v in store.videos()} == {f"{7:032x}": (A,), f"{8:032x}": (B,)}
        assert store.known()[Path("/v/x.mp4")].reason == "broken"
        assert store.settings["k"] == "10"
        ids = [s.segment_id for video in store.videos() for s in store.stored_segments(video.video_id)]
        found = [(kind, rows) for kind in samples.KINDS for rows in store.rows(kind, ids).values()]
        for (kind, rows), (expected_kind, expected) in zip(
            found, expected_rows(samples, version), strict=True
        ):
            assert kind == expected_kind
            assert rows.shape == (len(expected), samples.DIM)
            np.testing.assert_allclose(rows, expected, atol=2e-3)


def test_it_goes_on(old, samples, version):
    query = samples.unit(np.random.default_rng(0), 1)[0]
    with Store.open(old, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, C, samples.many(1, 4))
        samples.add(store, B, samples.content(10, 3))  # in the place of what was there
        contents = [samples.content(7, 3), samples.many(1, 4), samples.content(10, 3)]
        for step in (lambda: None, store.rebuild_graphs, store.compact):
            step()
            assert store.check() == []
            for kind in ("seen", "said", "heard", "fused"):
                expected = samples.brute_force(contents[kind not in KINDS[version] :], kind, query)
                found = [hit.score for hit in store.nearest(kind, query, 99)]
                np.testing.assert_allclose(found, expected, atol=1e-6)
    with Store.open(old, identity=samples.IDENTITY, mode="read") as reader:
        assert len(reader.videos()) == 3


def test_what_its_files_lie_on_is_learnt_when_they_are_seen_again(old, samples):
    with Store.open(old, identity=samples.IDENTITY, mode="write") as store:
        assert {(file.volume, file.missing_since, file.passing) for file in store.known().values()} == {
            (None, None, False)
        }
        assert store.clock is None
        store.survey(seen={A: USB}, missing=[B], now=5.0)
        assert [(file.volume, file.missing_since) for file in store.files((A, B)).values()] == [
            (USB, None),
            (None, 5.0),
        ]
        assert store.clock == 5.0


def test_a_reader_says_what_brings_it_up_to_date(old, backup):
    with pytest.raises(StoreError, match="older") as caught:
        Store.open(old, identity=None, mode="read")
    assert "save rebuild" in caught.value.hint
    assert not backup.exists()


@pytest.mark.parametrize("forget", [lambda store: store.unlink(A), lambda store: store.compact()])
def test_the_backup_goes_before_it_can_tell_what_was_forgotten(old, backup, forget):
    with Store.open(old, identity=None, mode="write") as store:
        assert backup.exists()
        store.unlink(C)  # nothing is known of it
        assert backup.exists()
        forget(store)
        assert not backup.exists()
