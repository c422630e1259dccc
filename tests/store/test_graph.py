"""Both engines: they find what the exact scan finds, and a damaged file never harms an answer."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from savecli.errors import StoreError
from savecli.store import Store, graph, nearest, scan, searcher, shelf
from savecli.store.graph import GraphError, engine_named
from savecli.store.records import SEARCH_KINDS
from savecli.store.vectors import RowView

A, B, C = Path("/v/a.mp4"), Path("/v/b.mp4"), Path("/v/c.mp4")
ENGINES = pytest.mark.parametrize("engine", ["usearch", "hnswlib"])


@pytest.fixture(autouse=True)
def _graphs_for_few_rows(monkeypatch):
    monkeypatch.setattr(searcher, "GRAPH_MIN_ROWS", 100)
    monkeypatch.setattr(searcher, "SCANS_BEFORE_GRAPH", 0)


@pytest.fixture(scope="module")
def built(tmp_path_factory, samples):
    """A store of 1,200 rows with a graph of one engine; copied, because tests damage it."""

    def make(engine):
        home = tmp_path_factory.mktemp(engine) / "store"
        with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
            samples.add(store, A, samples.many(1, 800))
            samples.add(store, B, samples.many(2, 400))
            store.rebuild_graphs(engine)
        return home

    homes = {engine: make(engine) for engine in ("usearch", "hnswlib")}

    def copy(engine):
        home = tmp_path_factory.mktemp("copy") / "store"
        shutil.copytree(homes[engine], home)
        return home

    return copy


def queries(samples, n):
    return samples.unit(np.random.default_rng(99), n)


@ENGINES
def test_recall_on_random_rows(engine, samples, tmp_path):
    rng = np.random.default_rng(0)
    rows = samples.unit(rng, 5000, 64).astype(np.float16)
    numbers = np.arange(5000, dtype=np.int64)
    made = graph.build(engine, rows, numbers)
    assert made.save(tmp_path / "g") == (tmp_path / "g").stat().st_size
    opened = engine_named(engine).open(tmp_path / "g", 64)
    found = 0
    for query in samples.unit(rng, 100, 64):
        exact = np.argsort(-(rows.astype(np.float32) @ query))[:10]
        found += len(np.intersect1d(exact, opened.search(query, 10, 512)))
    assert found >= 980


@ENGINES
def test_a_graph_is_asked_and_agrees_with_the_scan(engine, built, samples, monkeypatch):
    with Store.open(built(engine), identity=None, mode="read") as reader:
        assert [(g.engine, g.n_rows) for g in reader.graphs()] == [(engine, 1200)] * len(SEARCH_KINDS)
        n_found = 0
        for query in queries(samples, 20):
            hits = reader.nearest("seen", query, 10)
            assert not reader.last_search_exact
            assert not reader.last_search_lacked_graph
            with monkeypatch.context() as patch:
                patch.setattr(searcher, "GRAPH_MIN_ROWS", 10**9)
                exact = {hit.segment_id: hit.score for hit in reader.nearest("seen", query, 30)}
                assert reader.last_search_exact
            n_found += len({hit.segment_id for hit in hits} & set(list(exact)[:10]))
            assert all(hit.score == pytest.approx(exact[hit.segment_id], abs=1e-6) for hit in hits)
        # Built by several threads, usearch makes another graph each time: its aim is .985, not all.
        assert n_found >= 0.95 * 20 * 10
        reader.nearest("seen", query, 400)
        assert reader.last_search_exact, "a large part of all is found faster by scanning"
        assert not reader.last_search_lacked_graph
        reader.nearest("seen", query, 5, within=[hits[0].segment_id])
        assert reader.last_search_exact


def test_who_searches_once_reads_no_graph_through(built, samples, monkeypatch):
    monkeypatch.setattr(searcher, "SCANS_BEFORE_GRAPH", 3)
    home, (query,) = built("usearch"), queries(samples, 1)
    with Store.open(home, identity=None, mode="read") as reader:
        for is_exact in (True, True, True, False, False):
            reader.nearest("seen", query, 5)
            assert reader.last_search_exact == is_exact
            assert not reader.last_search_lacked_graph
        reader.nearest("said", query, 5)
        assert reader.last_search_exact, "each kind has a graph of its own"
    with Store.open(home, identity=None, mode="read") as reader:
        reader.warm()
        reader.nearest("said", query, 5)
        assert not reader.last_search_exact


@ENGINES
def test_graphs_are_asked_side_by_side_for_the_same_answers(engine, built, samples):
    with Store.open(built(engine), identity=None, mode="read") as reader:
        asks = [(kind, query) for query in queries(samples, 3) for kind in SEARCH_KINDS]
        together = reader.nearest_each(asks, 10)
        assert not reader.last_search_exact
        assert together == [reader.nearest(kind, query, 10) for kind, query in asks]
        assert reader.nearest_each([], 10) == []
        some = reader.nearest_each([asks[0], asks[1]], 1000)
        assert reader.last_search_exact, "so many are found faster by scanning"
        assert [len(hits) for hits in some] == [1000, 1000]


@ENGINES
@pytest.mark.parametrize("kind", ["said", "fused"])
def test_rows_behind_the_graph_and_dead_rows(engine, kind, built, samples):
    with Store.open(built(engine), identity=None, mode="write") as store:
        newest = samples.many(3, 200)
        samples.add(store, C, newest)
        store.unlink(B)
        n_found = 0
        for query in queries(samples, 20):
            hits = store.nearest(kind, query, 10)
            assert not store.last_search_exact
            expected = samples.brute_force([samples.many(1, 800), newest], kind, query)
            n_found += sum(hit.score > expected[9] - 1e-6 for hit in hits)
        assert n_found >= 0.95 * 20 * 10, "a graph proposes, and may miss; what it proposes is scored exactly"
        store.unlink(A)
        assert len(store.nearest(kind, query, 10)) == 10
        assert store.last_search_exact, "most of what the graph covers is dead"
        assert store.last_search_lacked_graph


def damage(path, how, size_bytes):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        del content[size_bytes // 2 :]
    elif how == "empty":
        content.clear()
    elif how == "gone":
        path.unlink()
        return
    else:
        content[how % size_bytes] ^= 1 << (how % 8)
    path.write_bytes(content)


@ENGINES
@pytest.mark.parametrize("how", ["truncated", "empty", "gone", 0, 9, 17, 33, 60, 5000, 40_001, 70_003])
def test_a_damaged_graph_is_passed_over(engine, how, built, samples):
    home = built(engine)
    for path in (home / "graphs").iterdir():
        damage(path, how, path.stat().st_size)
    with Store.open(home, identity=None, mode="read") as reader:
        query = queries(samples, 1)[0]
        hits = reader.nearest("seen", query, 10)
        assert reader.last_search_exact
        assert reader.last_search_lacked_graph
        expected = samples.brute_force([samples.many(1, 800), samples.many(2, 400)], "seen", query)
        np.testing.assert_allclose([h.score for h in hits], expected[:10], atol=1e-6)
        assert all("save rebuild" in problem.hint for problem in reader.check())
        assert len(reader.check()) == len(SEARCH_KINDS)


def test_a_flip_behind_an_unchanged_mtime_is_noticed(built, samples):
    home = built("usearch")
    for path in (home / "graphs").iterdir():
        stat = path.stat()
        damage(path, 40_001, stat.st_size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with Store.open(home, identity=None, mode="read") as reader:
        assert len(reader.nearest("seen", queries(samples, 1)[0], 10)) == 10
        assert reader.last_search_exact


def test_a_graph_older_than_a_damaged_one_serves(built, samples):
    home = built("usearch")
    with Store.open(home, identity=None, mode="write") as store:
        store.rebuild_graphs("hnswlib")
        newest = store.graphs()[0]
        (home / "graphs" / newest.name).unlink()
    with Store.open(home, identity=None, mode="read") as reader:
        reader.nearest(newest.kind, queries(samples, 1)[0], 10)
        assert not reader.last_search_exact


def test_two_generations_stay_and_strays_are_swept(built):
    home = built("usearch")
    with Store.open(home, identity=None, mode="write") as store:
        store.rebuild_graphs()
        store.rebuild_graphs()
        listed = {entry.name for entry in store.graphs()}
        first = len(SEARCH_KINDS) + 1  # one set of generations is gone
        assert listed == {
            f"{kind}-g{number:04d}.usearch" for number, kind in enumerate(SEARCH_KINDS * 2, first)
        }
    (home / "graphs" / "seen.tmp").write_bytes(b"half")
    (home / "graphs" / "seen-g0099.usearch").write_bytes(b"never listed")
    (home / "seen-g0002.f16").write_bytes(b"half")
    with Store.open(home, identity=None, mode="write"):
        assert {path.name for path in (home / "graphs").iterdir()} == listed
        assert not (home / "seen-g0002.f16").exists()


def test_graphs_are_rebuilt_when_they_pay(built, samples, monkeypatch):
    with Store.open(built("usearch"), identity=None, mode="write") as store:
        assert not store.maybe_rebuild()
        samples.add(store, C, samples.many(3, 200))
        assert not store.maybe_rebuild(), "14 % lie behind the graph"
        samples.add(store, Path("/v/d.mp4"), samples.many(4, 200))
        assert store.maybe_rebuild()
        assert store.graphs()[0].n_rows == 1600
        store.compact()
        monkeypatch.setattr(searcher, "GRAPH_MIN_ROWS", 10_000)
        assert not store.maybe_rebuild(), "too few rows for a graph to pay"


def test_engines_that_are_not_there(store, monkeypatch):
    with pytest.raises(StoreError, match="no graph engine"):
        engine_named("faiss")
    engine_named.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "hnswlib", None)
    with pytest.raises(StoreError, match="not installed") as caught:
        engine_named("hnswlib")
    assert "savecli[hnswlib]" in caught.value.hint


def test_a_store_built_with_an_engine_that_is_missing_here(built, samples, monkeypatch):
    engine_named.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "hnswlib", None)
    with Store.open(built("hnswlib"), identity=None, mode="read") as reader:
        assert len(reader.nearest("seen", queries(samples, 1)[0], 10)) == 10
        assert reader.last_search_exact


@ENGINES
def test_the_wrong_dimension_is_refused(engine, built, samples):
    home = built(engine)
    path = next((home / "graphs").iterdir())
    with pytest.raises(GraphError):
        engine_named(engine).open(path, samples.DIM * 2)


@ENGINES
def test_more_neighbours_than_rows(engine, samples):
    rows = samples.unit(np.random.default_rng(0), 5).astype(np.float16)
    made = graph.build(engine, rows, np.arange(5, dtype=np.int64))
    assert sorted(made.search(rows[0].astype(np.float32), 50, 64)) == [0, 1, 2, 3, 4]


def test_a_graph_that_lies_is_dropped(built, samples, monkeypatch):
    with Store.open(built("usearch"), identity=None, mode="read") as reader:
        monkeypatch.setattr(graph.UsearchGraph, "search", lambda self, query, k, ef: np.array([5000]))
        assert len(reader.nearest("seen", queries(samples, 1)[0], 10)) == 10
        assert reader.last_search_exact


def test_a_disk_full_of_graph_is_noticed(built, monkeypatch):
    def save_half(self, path):
        path.write_bytes(b"half")
        return 5000

    with Store.open(built("hnswlib"), identity=None, mode="write") as store:
        before = store.graphs()
        monkeypatch.setattr(graph.HnswlibGraph, "save", save_half)
        with pytest.raises(StoreError, match="cannot write all"):
            store.rebuild_graphs("hnswlib")
        assert store.graphs() == before


def test_rows_of_one_scene_are_not_added_together(samples, monkeypatch):
    added = []

    class Noting:
        def create(self, dim, n_rows):
            return self

        def add(self, numbers, rows):
            added.append((numbers, rows))

    monkeypatch.setattr(graph, "engine_named", lambda _: Noting())
    monkeypatch.setattr(graph, "_BLOCK_ROWS", 10)
    rows = samples.unit(np.random.default_rng(0), 120).astype(np.float16)
    given = np.arange(5, 108, dtype=np.int64)
    graph.build("noting", rows, given)
    numbers = np.concatenate([block for block, _ in added])
    np.testing.assert_array_equal(np.sort(numbers), given)
    np.testing.assert_array_equal(np.concatenate([block for _, block in added]), rows[numbers])
    for block, _ in added:
        assert len(block) <= 10
        assert np.diff(block).min() > 10, "each block is spread over all rows"


def test_threads_do_not_meet_where_a_graph_begins(samples, tmp_path):
    """They lose rows there, now and then; added one after the other, the same rows make the same graph."""
    rows = samples.unit(np.random.default_rng(0), 1200).astype(np.float16)
    for name in "ab":
        graph.build("usearch", rows, np.arange(1200, dtype=np.int64)).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numkong_and_numpy_agree(samples, monkeypatch):
    rng = np.random.default_rng(0)
    rows = samples.unit(rng, 40_000, 48).astype(np.float16)
    query = samples.unit(rng, 1, 48)[0]
    exact = rows.astype(np.float32) @ query
    assert scan._numkong() is not None
    np.testing.assert_allclose(scan.scan(rows, query), exact, atol=5e-7)
    numbers = np.sort(rng.choice(40_000, size=20_000, replace=False))
    np.testing.assert_allclose(scan.scan_some(rows, numbers, query), exact[numbers], atol=5e-7)
    monkeypatch.setattr(scan, "_numkong", lambda: None)
    np.testing.assert_allclose(scan.scan(rows, query), exact, atol=5e-7)


def test_a_scan_of_rounded_queries_gives_the_exact_answer(samples):
    """Among rows that differ less than rounding moves them, the best are the best, in their order."""
    rng = np.random.default_rng(0)
    (query,) = samples.unit(rng, 1, 48)
    cosines = np.linspace(0.7, 0.701, 3000)[:, np.newaxis]
    across = samples.unit(rng, 3000, 48)
    across -= (across @ query)[:, np.newaxis] * query
    across *= np.sqrt(1 - cosines**2) / np.linalg.norm(across, axis=1, keepdims=True)
    rows = (cosines * query + across).astype(np.float16)
    exact = scan.scan(rows, query)
    scores, error = scan.scan_nearly(rows, query)
    assert np.abs(scores - rows.astype(np.float64) @ query).max() <= error < 5e-4
    best = np.argsort(-exact, kind="stable")[:40]
    assert set(np.argsort(-scores)[:80].tolist()) != set(np.argsort(-exact)[:80].tolist()), (
        "this shows nothing"
    )
    view = RowView(path=Path("x"), rows=rows, n_rows=3000, starts=np.array([0]), ends=np.array([3000]))
    hits = nearest.by_scan(view, query, 40, lambda numbers: numbers.tolist())
    assert [hit.segment_id for hit in hits] == best.tolist()
    np.testing.assert_allclose([hit.score for hit in hits], exact[best], atol=5e-7)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_scan_of_rows_that_are_all_alike_or_damaged(samples):
    rng = np.random.default_rng(0)
    query, same = samples.unit(rng, 2, 48)
    rows = np.tile(same, (9000, 1)).astype(np.float16)
    rows[4000:4030] = samples.unit(rng, 30, 48)
    rows[8000:8002] = query
    rows[77, 3] = np.copysign(np.inf, query[3])  # a flipped bit
    exact = rows.astype(np.float32) @ query
    view = RowView(
        path=Path("x"), rows=rows, n_rows=9000, starts=np.array([0, 4000]), ends=np.array([3000, 9000])
    )
    for n_each in (1, 50, 4000):
        owners = np.arange(9000) // n_each
        hits = nearest.by_scan(view, query, 12, lambda numbers: owners[numbers].tolist())  # noqa: B023
        alive = np.r_[0:77, 78:3000, 4000:9000]
        best = {}
        for number in alive[np.argsort(-exact[alive], kind="stable")].tolist():
            best.setdefault(int(owners[number]), float(exact[number]))
        wanted = list(best.items())[:12]
        assert [hit.segment_id for hit in hits][:2] == [segment for segment, _ in wanted][:2]
        np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in wanted], atol=5e-7)


def test_ef_is_measured(samples, built):
    with Store.open(built("usearch"), identity=None, mode="read") as reader:
        assert all(entry.ef in shelf._EFS for entry in reader.graphs())


@ENGINES
def test_a_graph_that_is_slower_than_a_scan_is_not_asked(engine, samples, tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "_EFS", (1, 2, 4))
    monkeypatch.setattr(shelf, "_EF_THAT_PAYS", 2)
    monkeypatch.setattr(shelf, "_RECALL_WANTED", 1.01)  # never reached
    home = tmp_path / "store"
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, A, samples.many(1, 800))
        samples.add(store, B, samples.many(2, 400))
        for scan_s, efs in ((1e9, {4}), (0.0, {0})):
            monkeypatch.setattr(shelf, "_scan_s", lambda view, probes: scan_s)  # noqa: B023
            store.rebuild_graphs(engine)
            assert {
                entry.ef for entry in store.graphs() if entry.generation > len(SEARCH_KINDS) * (efs == {0})
            } == efs
    with Store.open(home, identity=None, mode="write") as store:
        store.warm()
        monkeypatch.setattr(graph.UsearchGraph, "search", lambda *given: pytest.fail("it was asked"))
        monkeypatch.setattr(graph.HnswlibGraph, "search", lambda *given: pytest.fail("it was asked"))
        (query,) = queries(samples, 1)
        assert len(store.nearest("seen", query, 5)) == 5
        assert store.last_search_exact
        assert not store.last_search_lacked_graph
        assert not store.maybe_rebuild(engine), "it is not built again"


def test_ctrl_c_while_usearch_works_is_no_failure_of_it(samples):
    """It looks for signals itself, and forgets what their handler raised."""
    rows = samples.unit(np.random.default_rng(0), 20_000).astype(np.float16)
    numbers = np.arange(len(rows))
    made = graph.build("usearch", rows[:100], numbers[:100])

    def ask_for_ever():
        while True:
            made.search(rows[0].astype(np.float32), 10, 64)

    def add_for_ever():
        while True:
            graph.build("usearch", rows, numbers)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for work in (ask_for_ever, add_for_ever):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                work()
    finally:
        signal.signal(signal.SIGALRM, before)
