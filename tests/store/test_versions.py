"""A store that an earlier version wrote opens, answers as before, and goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from savecli.errors import StoreError
from savecli.store import Store

A, B, C = Path("/v/a.mp4"), Path("/v/b.mp4"), Path("/v/c.mp4")
BACKUP = "catalog.db.v1.bak"
CATALOG = Path(__file__).with_name("data") / "version-1.sql"


@pytest.fixture
def first(home, samples):
    """The folder of a store as version 1 left it; 9 lies dead between 7 and 8."""
    home.mkdir()
    with closing(sqlite3.connect(home / "catalog.db")) as catalog:
        catalog.executescript(CATALOG.read_text("utf-8"))
        catalog.execute("PRAGMA journal_mode = WAL")
        catalog.execute("PRAGMA user_version = 1")
        catalog.commit()
    added = [samples.content(7, 3), samples.content(9, 1), samples.content(8, 2)]
    for kind in ("seen", "frames", "said"):
        rows = np.concatenate([getattr(e, kind) for content in added for e in content.embeddings])
        (home / f"{kind}-g0002.f16").write_bytes(rows.astype(np.float16).tobytes())
    (home / "FORMAT").write_text("1\n")
    return home


def test_it_opens_with_all_that_was_in_it(first, samples):
    with Store.open(first, identity=samples.IDENTITY, mode="write") as store:
        assert store.check() == []
        assert {v.video_id: v.paths for v in store.videos()} == {f"{7:032x}": (A,), f"{8:032x}": (B,)}
        assert store.known()[Path("/v/x.mp4")].reason == "broken"
        assert store.settings["k"] == "10"
        for content in (samples.content(7, 3), samples.content(8, 2)):
            segments = store.stored_segments(content.fingerprint)
            ids = [segment.segment_id for segment in segments]
            assert [segment.n_heard + segment.n_fused for segment in segments] == [0] * len(ids)
            for kind in ("seen", "frames", "said"):
                for rows, embedding in zip(store.rows(kind, ids).values(), content.embeddings, strict=True):
                    np.testing.assert_allclose(rows, getattr(embedding, kind), atol=1e-3)
            for kind in ("heard", "fused", "parts"):
                assert {rows.shape for rows in store.rows(kind, ids).values()} == {(0, samples.DIM)}
        query = samples.unit(np.random.default_rng(0), 1)[0]
        assert store.nearest("heard", query, 5) == store.nearest("fused", query, 5) == []
        assert store.last_search_exact


def test_it_goes_on(first, samples):
    query = samples.unit(np.random.default_rng(0), 1)[0]
    with Store.open(first, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, C, samples.many(1, 4))
        samples.add(store, B, samples.content(10, 3))  # in the place of what version 1 had there
        contents = [samples.content(7, 3), samples.many(1, 4), samples.content(10, 3)]
        for step in (lambda: None, store.rebuild_graphs, store.compact):
            step()
            assert store.check() == []
            for kind in ("seen", "said"):
                expected = samples.brute_force(contents, kind, query)
                found = [hit.score for hit in store.nearest(kind, query, 99)]
                np.testing.assert_allclose(found, expected, atol=1e-6)
            for kind in ("heard", "fused"):
                expected = samples.brute_force(contents[1:], kind, query)
                found = [hit.score for hit in store.nearest(kind, query, 99)]
                np.testing.assert_allclose(found, expected, atol=1e-6)
    with Store.open(first, identity=samples.IDENTITY, mode="read") as reader:
        assert len(reader.videos()) == 3


def test_a_reader_says_what_brings_it_up_to_date(first):
    with pytest.raises(StoreError, match="older") as caught:
        Store.open(first, identity=None, mode="read")
    assert "save rebuild" in caught.value.hint
    assert not (first / BACKUP).exists()


@pytest.mark.parametrize("forget", [lambda store: store.unlink(A), lambda store: store.compact()])
def test_the_backup_goes_before_it_can_tell_what_was_forgotten(first, forget):
    with Store.open(first, identity=None, mode="write") as store:
        assert (first / BACKUP).exists()
        store.unlink(C)  # nothing is known of it
        assert (first / BACKUP).exists()
        forget(store)
        assert not (first / BACKUP).exists()
