"""Any order of changes leaves a store that answers like a dict and a brute-force search."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from savecli.store import Store, searcher

PATHS = st.integers(0, 3).map(lambda n: Path(f"/v/{n}.mp4"))
SEEDS = st.integers(1, 6)


def machine(samples):  # noqa: C901 - one small rule after another
    class Machine(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.folder = Path(tempfile.mkdtemp())
            self.files: dict[Path, tuple[int, str | None]] = {}
            self.contents: dict[str, object] = {}
            self.store = self.open()
            self.reader = Store.open(self.folder, identity=None, mode="read")

        def open(self):
            return Store.open(self.folder, identity=samples.IDENTITY, mode="write")

        def point(self, path, mtime_ns, fingerprint):
            self.files[path] = (mtime_ns, fingerprint)
            alive = {f for _, f in self.files.values()}
            self.contents = {f: c for f, c in self.contents.items() if f in alive}

        @rule(path=PATHS, seed=SEEDS, mtime_ns=st.integers(0, 2))
        def add(self, path, seed, mtime_ns):
            content = samples.content(seed)
            samples.add(self.store, path, content, mtime_ns)
            self.contents[content.fingerprint] = content
            self.point(path, mtime_ns, content.fingerprint)

        @rule(path=PATHS, mtime_ns=st.integers(0, 2), data=st.data())
        def link(self, path, mtime_ns, data):
            if self.contents:
                fingerprint = data.draw(st.sampled_from(sorted(self.contents)))
                self.store.link(path, 1000, mtime_ns, fingerprint)
                self.point(path, mtime_ns, fingerprint)

        @rule(path=PATHS)
        def unlink(self, path):
            assert self.store.unlink(path) == (path in self.files)
            self.point(path, 0, None)
            del self.files[path]

        @rule(path=PATHS, mtime_ns=st.integers(0, 2))
        def fail(self, path, mtime_ns):
            self.store.fail(path, 1000, mtime_ns, "broken", "mend it")
            before = self.files.get(path)
            unchanged = before is not None and before[0] == mtime_ns
            self.point(path, mtime_ns, before[1] if unchanged else None)

        @rule()
        def reopen(self):
            self.store.close()
            self.store = self.open()

        @rule()
        def compact(self):
            self.store.compact()

        @rule(engine=st.sampled_from(["usearch", "hnswlib"]))
        def rebuild(self, engine):
            self.store.rebuild_graphs(engine)

        @invariant()
        def files_agree(self):
            for store in (self.store, self.reader):
                known = {path: (file.mtime_ns, file.fingerprint) for path, file in store.known().items()}
                assert known == self.files
                assert {v.video_id: set(v.paths) for v in store.videos()} == {
                    f: {p for p, (_, other) in self.files.items() if other == f} for f in self.contents
                }

        @invariant()
        def searches_agree(self):
            query = samples.unit(np.random.default_rng(len(self.files)), 1)[0]
            for kind in ("seen", "heard", "said", "fused"):
                expected = samples.brute_force(self.contents.values(), kind, query)
                for store in (self.store, self.reader):
                    hits = store.nearest(kind, query, 5)
                    np.testing.assert_allclose([h.score for h in hits], expected[:5], atol=1e-6)
                    self.check_owners(store, kind, query, hits)

        def check_owners(self, store, kind, query, hits):
            ids = [hit.segment_id for hit in hits]
            rows = store.rows(kind, ids)
            for hit, segment in zip(hits, store.segments(ids), strict=True):
                assert hit.score == np.float32((rows[hit.segment_id] @ query).max()).item() or np.isclose(
                    hit.score, (rows[hit.segment_id] @ query).max(), atol=1e-6
                )
                index = int(segment.start_s // 12)
                expected = getattr(self.contents[segment.video_id].embeddings[index], kind)
                np.testing.assert_allclose(rows[hit.segment_id], expected, atol=1e-3)
            within = store.nearest(kind, query, 2, within=ids[1:])
            assert [h.segment_id for h in within] == ids[1:3]

        @invariant()
        def checks_clean(self):
            assert self.store.check() == []

        def teardown(self):
            self.reader.close()
            self.store.close()
            shutil.rmtree(self.folder)

    return Machine


def test_any_order_of_changes(samples, monkeypatch):
    monkeypatch.setattr(searcher, "GRAPH_MIN_ROWS", 1)
    chosen = settings(
        max_examples=15,
        stateful_step_count=15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine(samples), settings=chosen)
