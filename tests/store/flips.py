"""One bit of a graph or of the catalog is another: no answer may be wrong without a word.

    python flips.py FOLDER graph|catalog|unsealed --n 500 [--seed 0]

Each flip is met by a fork of this process, for a damaged graph may crash an engine. `graph`: every search is
exact or its scores are, `verify` names the file, and a repair brings the graph back. `catalog`: a reader is
refused with a hint, and a repair brings back all that was there. `unsealed` is a catalog whose writer was
killed, so that it has no seal: what is noticed then is counted, for SQLite alone cannot notice all. Prints
one line of JSON; exit code 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import samples

from savecli.errors import StoreError
from savecli.store import Store, seal, searcher
from savecli.store.catalog import VersionError
from savecli.store.check import verify
from savecli.store.records import SEARCH_KINDS, Problem
from savecli.store.repair import repair

A, B, C = (Path(f"/v/{name}.mp4") for name in "abc")
SAME, REFUSED, OTHER, BUG = 0, 1, 2, 3
WORDS = {SAME: "harmless", REFUSED: "refused", OTHER: "another answer", BUG: "traceback"}


def queries() -> np.ndarray:
    return samples.unit(np.random.default_rng(99), 4)


def flip(path: Path, rng: np.random.Generator) -> str:
    """Changes one bit behind the file's back: its time stays."""
    status = path.stat()
    place, bit = int(rng.integers(status.st_size)), int(rng.integers(8))
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return f"bit {bit} of byte {place} of {path.name}"


def forked(work: Callable[[], int]) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        code = work()
    except VersionError:  # the version is in the header: another one is refused, and is no damage
        code = REFUSED
    except Exception:  # noqa: BLE001 - a traceback is what is counted here
        traceback.print_exc()
        code = BUG
    os._exit(code)


def fill(home: Path) -> None:
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        samples.add(store, A, samples.many(1, 800))
        samples.add(store, B, samples.many(2, 400))
        store.rebuild_graphs("hnswlib")
        store.rebuild_graphs("usearch")


def fill_small(home: Path) -> None:
    for seed in range(6):
        with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
            samples.add(store, Path(f"/v/{seed}.mp4"), samples.content(seed, 4))
            store.link(Path(f"/w/{seed}.mp4"), 1000, 1, samples.content(seed).fingerprint)


def problems(home: Path) -> list[Problem]:
    return [found for found in verify(home) if isinstance(found, Problem)]


class Graphs:
    """Searches of a store with graphs of both engines."""

    def __init__(self, template: Path) -> None:
        self._template = template
        fill(template)
        contents = [samples.many(1, 800), samples.many(2, 400)]
        self._scores = {
            (kind, place): samples.brute_force(contents, kind, query)
            for kind in SEARCH_KINDS
            for place, query in enumerate(queries())
        }

    def trial(self, home: Path, rng: np.random.Generator) -> tuple[int, str]:
        shutil.copytree(self._template, home)
        paths = sorted((home / "graphs").iterdir())
        path = paths[int(rng.integers(len(paths)))]
        said = flip(path, rng)
        mends = rng.random() < 0.1
        return forked(lambda: self._meet(home, path, mends=mends)), said

    def _meet(self, home: Path, path: Path, *, mends: bool) -> int:
        with Store.open(home, identity=None, mode="read") as reader:
            self._ask(reader)
        (problem,) = problems(home)
        assert problem.subject == str(path), problem
        assert problem.hint
        if mends:
            list(repair(home, None))
            assert not problems(home)
            with Store.open(home, identity=None, mode="read") as reader:
                assert not any(self._ask(reader))
        return REFUSED

    def _ask(self, reader: Store) -> list[bool]:
        exact = []
        for (kind, place), expected in self._scores.items():
            found = [hit.score for hit in reader.nearest(kind, queries()[place], 10)]
            exact.append(reader.last_search_exact)
            assert len(found) == 10
            if exact[-1]:
                np.testing.assert_allclose(found, expected[:10], atol=1e-6)
            else:  # what a whole graph proposes: it may miss some, but every score is one that there is
                assert all(np.min(np.abs(np.array(expected) - score)) < 1e-6 for score in found)
                assert np.intersect1d(np.round(found, 4), np.round(expected[:10], 4)).size >= 6
        return exact


class Catalogs:
    """All that can be read of a store, with its catalog sealed or not."""

    def __init__(self, template: Path, *, sealed: bool) -> None:
        self._template, self._sealed = template, sealed
        fill_small(template)
        if not sealed:
            seal.seal_path(template / "catalog.db").unlink()
        self._whole = self._read(template)

    def trial(self, home: Path, rng: np.random.Generator) -> tuple[int, str]:
        shutil.copytree(self._template, home)
        said = flip(home / "catalog.db", rng)
        code = forked(lambda: self._meet(home))
        if self._sealed and code in (SAME, REFUSED) and (wrong := forked(lambda: self._mend(home))):
            return BUG if wrong == BUG else OTHER, f"{said}: the repair"
        return code, said

    def _meet(self, home: Path) -> int:
        try:
            found = self._read(home)
        except StoreError as error:
            assert error.hint  # noqa: PT017
            assert problems(home)
            return REFUSED
        return SAME if found == self._whole else OTHER

    def _mend(self, home: Path) -> int:
        list(repair(home, None))
        assert not problems(home)
        assert self._read(home) == self._whole
        return SAME

    def _read(self, home: Path) -> list[object]:
        with Store.open(home, identity=samples.IDENTITY, mode="read") as reader:
            found: list[object] = [reader.videos(), reader.known(), reader.identity]
            for video in reader.videos():
                segments = reader.stored_segments(video.video_id)
                # Numbers of segments are no part of what is stored.
                found += [(s.start_s, s.end_s, s.n_seen, s.n_frames, s.n_said) for s in segments]
                found += [reader.transcript(video.video_id)]
                ids = [segment.segment_id for segment in segments]
                found += [times.tolist() for times in reader.frame_times(ids).values()]
            for kind in SEARCH_KINDS:
                for query in queries():
                    hits = reader.nearest(kind, query, 99)
                    found.append([round(hit.score, 6) for hit in hits])
        return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=("graph", "catalog", "unsealed"))
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    searcher.GRAPH_MIN_ROWS, searcher.SCANS_BEFORE_GRAPH = 100, 0
    given.folder.mkdir(parents=True, exist_ok=True)
    template, home = given.folder / "template", given.folder / "trial"
    trials = Graphs(template) if given.what == "graph" else Catalogs(template, sealed=given.what == "catalog")
    rng = np.random.default_rng(given.seed)
    counts: Counter[str] = Counter()
    wrong = []
    for _ in range(given.n):
        code, said = trials.trial(home, rng)
        shutil.rmtree(home)
        counts[WORDS.get(code, f"signal {-code}")] += 1
        if code not in (SAME, REFUSED):
            wrong.append(f"{said}: {WORDS.get(code, code)}")
    shutil.rmtree(given.folder)
    print(json.dumps({"what": given.what, "n": given.n, "counts": counts, "wrong": wrong}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
