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
from savecli.store.archive import Archive
from savecli.store.check import verify
from savecli.store.outcomes import Repaired
from savecli.store.records import Problem
from savecli.store.repair import repair

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

        @rule(tail=st.binary(max_size=80))
        def crash(self, tail):
            """The writer dies in the middle of a video: nothing is folded, sealed or taken off the list."""
            self.store._catalog._connection.close()
            self.store._lock.release()
            for path in self.folder.glob("*.f16"):
                path.write_bytes(path.read_bytes() + tail)
            (self.folder / "graphs").mkdir(exist_ok=True)
            (self.folder / "graphs" / "seen.tmp").write_bytes(tail)
            self.store = self.open()

        @rule()
        def verify(self):
            assert [found for found in verify(self.folder) if isinstance(found, Problem)] == []

        @rule(data=st.data(), kind=st.sampled_from(["frames", "heard", "said"]))
        def damage_and_repair(self, data, kind):
            """A byte of one video's rows is another: that video is forgotten, and its paths wait."""
            having = {
                f: [place for place, e in enumerate(c.embeddings) if len(getattr(e, kind))]
                for f, c in self.contents.items()
            }
            having = {f: places for f, places in having.items() if places}
            if not having:
                return
            fingerprint = data.draw(st.sampled_from(sorted(having)))
            place = having[fingerprint][0]
            segment = self.store.stored_segments(fingerprint)[place]
            column = f"{kind}_start"
            row = self.store._catalog.rows(
                f"SELECT {column} FROM segments WHERE segment_id = ?", segment.segment_id
            )[0][0]
            path = next(path for path in self.store._views.paths() if path.name.startswith(kind))
            self.store.close()
            with path.open("r+b") as file:
                file.seek(2 * samples.DIM * row)
                (byte,) = file.read(1)
                file.seek(2 * samples.DIM * row)
                file.write(bytes([byte ^ 1]))
            done = [found for found in repair(self.folder, None) if isinstance(found, Repaired)]
            assert len(done) == 1
            for path in [path for path, (_, other) in self.files.items() if other == fingerprint]:
                self.point(path, -1, None)
            self.store = self.open()

        @rule()
        def export_and_import_elsewhere(self):
            with tempfile.TemporaryDirectory() as folder:
                archive = Path(folder) / "library.save"
                for _ in self.store.export(archive):
                    pass
                with Store.open(Path(folder) / "store", identity=samples.IDENTITY, mode="write") as other:
                    self.take(other, archive)
                    assert other.check() == []
                    stored = {path: (f.mtime_ns, f.fingerprint) for path, f in other.known().items()}
                    assert stored == {p: f for p, f in self.files.items() if f[1]}

        @rule(path=PATHS, other_path=PATHS, seed=SEEDS, other_seed=SEEDS, mtime_ns=st.integers(0, 2))
        def import_(self, path, other_path, seed, other_seed, mtime_ns):
            """Of two videos elsewhere, what is not known here is taken, and no path is taken over."""
            with tempfile.TemporaryDirectory() as folder:
                archive = Path(folder) / "library.save"
                with Store.open(Path(folder) / "store", identity=samples.IDENTITY, mode="write") as other:
                    samples.add(other, path, samples.content(seed), mtime_ns)
                    samples.add(other, other_path, samples.content(other_seed), mtime_ns)
                    theirs = [(video.video_id, video.paths) for video in other.videos()]
                    for _ in other.export(archive):
                        pass
                self.take(self.store, archive)
            contents = {samples.content(s).fingerprint: samples.content(s) for s in (seed, other_seed)}
            for fingerprint, paths in theirs:
                for one in paths:
                    before = self.files.get(one)
                    # What failed here, as it is there, is known now.
                    if before is None or before == (mtime_ns, None):
                        self.contents[fingerprint] = contents[fingerprint]
                        self.point(one, mtime_ns, fingerprint)

        def take(self, store, archive):
            with Archive(archive) as opened:
                for _ in opened.check():
                    pass
                for _ in store.merge(opened):
                    pass

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
    monkeypatch.setattr(searcher, "SCANS_BEFORE_GRAPH", 0)
    chosen = settings(
        max_examples=15,
        stateful_step_count=15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine(samples), settings=chosen)
