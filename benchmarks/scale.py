"""A large library over its life: filled, thinned out, searched while it is written, rebuilt, opened again.

    python benchmarks/scale.py 100000 --every 10 --least 10000

Segments are made up: videos of 300, scenes of six segments that are like each other, a scene about one of
300 things. A new process does each step, so that its memory is its own and every first search is that after a
restart. The truth is counted from the made-up rows, block by block, and never from the store. Prints a line
of JSON for each step, and one {"wrong": ...} for each thing that should not be.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nowhere import path, video
from report import INSTALLED, SAVE

from savecli import config, pipeline
from savecli.datatypes import Embedding, Segment, Transcript, Utterance
from savecli.store import Store, searcher
from savecli.store.records import SEARCH_KINDS

DIM = 384
N_EACH = 300  # an hour of video
N_SCENE = 6
WINDOW_S = 12.0
THINGS = np.random.default_rng(0).standard_normal((300, DIM), dtype=np.float32)
N_QUERIES = 200
N_FOUND, N_CANDIDATES = 10, 200
LEAST_RECALL = 0.98
DEAD_SHARE = 0.3
HELD_BACK = 0.1
EMPTY = np.empty((0, DIM), np.float32)
Place = tuple[int, int]  # number of the video, of the segment in it


@dataclass(frozen=True, kw_only=True)
class Library:
    """A store, and what is in it by rule.

    Attributes:
        every: each `every`-th segment has rows of what is heard, said and fused too.
        least: so many rows make a graph pay; None leaves what the program has.
    """

    folder: Path
    n: int
    every: int
    least: int | None

    @property
    def videos(self) -> range:
        return range(self.n // N_EACH)

    @property
    def settings(self) -> config.Config:
        return config.load(home=self.folder)

    def open(self, mode: str) -> Store:
        """The store, in a process that takes graphs to pay from `least` rows on."""
        searcher.GRAPH_MIN_ROWS = self.least or searcher.GRAPH_MIN_ROWS
        identity = pipeline.make_encoder(self.settings).identity
        return Store.open(self.settings.store_dir, identity=identity, mode=mode)

    def owners(self, kind: str) -> np.ndarray:
        """The segments of a video that have a row of a kind."""
        return np.arange(0, N_EACH, 1 if kind == "seen" else self.every)

    def rows(self, kind: str, number: int) -> np.ndarray:
        """A row for each of `owners`, (N, D) float32 of unit norm."""
        rng = np.random.default_rng([number, SEARCH_KINDS.index(kind)])
        return made_up(rng, N_EACH)[self.owners(kind)]

    def add(self, store: Store, number: int) -> None:
        """One video."""
        rows = {kind: self.rows(kind, number) for kind in SEARCH_KINDS}
        spans = [Segment(start_s=WINDOW_S * i, end_s=WINDOW_S * (i + 1)) for i in range(N_EACH)]
        embeddings, spoken = [], []
        for i, span in enumerate(spans):
            seen = rows["seen"][i : i + 1]
            more = dict.fromkeys(("heard", "said", "fused", "parts"), EMPTY)
            if i % self.every == 0:
                more = {k: rows[k][i // self.every][None] for k in ("heard", "said", "fused")}
                more["parts"] = np.concatenate([more["fused"], np.zeros((2, DIM), np.float32)])
                spoken.append(Utterance(start_s=span.start_s + 1, end_s=span.start_s + 5, text="a few words"))
            embeddings.append(Embedding(seen=seen, frames=seen, **more))
        times = [np.array([span.start_s + 0.5]) for span in spans]
        words = Transcript(language="en", language_probability=1.0, utterances=tuple(spoken))
        store.add(video(number, WINDOW_S * N_EACH), spans, embeddings, words, asr="base", frame_times=times)


def made_up(rng: np.random.Generator, n: int) -> np.ndarray:
    """Segments in order of time, (n, D) float32 of unit norm."""
    n_scenes = -(-n // N_SCENE)
    scenes = THINGS[rng.integers(len(THINGS), size=n_scenes)]
    scenes = scenes + 1.1 * rng.standard_normal(scenes.shape, dtype=np.float32)
    rows = np.repeat(scenes, N_SCENE, axis=0)[:n]
    rows = rows + 0.5 * rng.standard_normal(rows.shape, dtype=np.float32)
    return unit(rows)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def near(rows: np.ndarray) -> np.ndarray:
    """Queries that are near to rows."""
    noise = np.random.default_rng(7).standard_normal(rows.shape, dtype=np.float32)
    return unit(rows + 0.7 / np.sqrt(DIM) * noise)


def truth(library: Library, kind: str, numbers: Iterable[int], queries: np.ndarray) -> list[list[Place]]:
    """The places of the best `N_FOUND` rows for each query, among videos of these numbers."""
    scores = np.full((len(queries), N_FOUND), -np.inf, np.float32)
    places = np.full((len(queries), N_FOUND), -1, np.int64)
    for number in numbers:
        rows = library.rows(kind, number).astype(np.float16).astype(np.float32)
        own = number * N_EACH + np.broadcast_to(library.owners(kind), (len(queries), len(rows)))
        scores, places = np.hstack([scores, queries @ rows.T]), np.hstack([places, own])
        best = np.argpartition(-scores, N_FOUND - 1, axis=1)[:, :N_FOUND]
        scores, places = np.take_along_axis(scores, best, 1), np.take_along_axis(places, best, 1)
    return [[divmod(int(place), N_EACH) for place in row] for row in places]


def places_of(store: Store, ids: Sequence[int]) -> list[Place]:
    """Where segments lie; those that are gone are left out."""
    found = store.segments(ids)
    return [(int(segment.video_id, 16), round(segment.start_s / WINDOW_S)) for segment in found]


def search(store: Store, kind: str, query: np.ndarray, k: int) -> tuple[list[Place], float, bool]:
    """What is found, in which time, ms, and whether all rows were looked at."""
    with store.snapshot():
        started = time.perf_counter()
        hits = store.nearest(kind, query, k)
        took_ms = 1e3 * (time.perf_counter() - started)
        places = places_of(store, [hit.segment_id for hit in hits])
    if len(places) != len(hits) or [h.score for h in hits] != sorted((h.score for h in hits), reverse=True):
        raise AssertionError("a hit that is gone, or hits out of order")
    return places, took_ms, store.last_search_exact


def memory_mb() -> dict[str, int]:
    """The most that this process held; and what it holds now that is not the page cache's."""
    status = Path("/proc/self/status").read_text()
    kb = {name: int(value) for name, value in re.findall(r"(\w+):\s+(\d+) kB", status)}
    return {"peak_mb": kb["VmHWM"] // 1024, "own_mb": kb["RssAnon"] // 1024}


def sizes(library: Library) -> dict[str, int]:
    """Of the files, MB."""
    store = library.settings.store_dir
    groups = {"vectors_mb": "*.f16", "graphs_mb": "graphs/*", "catalog_mb": "catalog.db*"}
    return {
        name: sum(file.stat().st_size for file in store.glob(glob)) // 10**6 for name, glob in groups.items()
    }


# Each step below runs in a process of its own and returns its record.


def empty(library: Library) -> dict[str, Any]:
    """A store without a video."""
    with library.open("write") as store:
        store.rebuild_graphs()
        store.compact()
        found = [store.nearest(kind, THINGS[0] / 20, 10) for kind in SEARCH_KINDS]
        wrong = [] if found == [[]] * 4 and not store.check() else ["an empty store finds something"]
    return {"wrong": wrong}


def fill(library: Library, numbers: range) -> dict[str, Any]:
    took_ms = []
    with library.open("write") as store:
        for number in numbers:
            started = time.perf_counter()
            library.add(store, number)
            took_ms.append(1e3 * (time.perf_counter() - started))
    return {"n": len(numbers) * N_EACH, "ms_each": float(np.median(took_ms)), "worst_ms": max(took_ms)}


def build(library: Library) -> dict[str, Any]:
    """The graphs that pay, as the end of an index run builds them."""
    with library.open("write") as store:
        store.maybe_rebuild()
        graphs = {g.kind: g for g in reversed(store.graphs())}.values()
        made = [f"{g.kind}: {g.n_rows:,} rows, {g.size_bytes // 10**6} MB, ef {g.ef}" for g in graphs]
    return {"graphs": made}


def remove(library: Library, numbers: Sequence[int]) -> dict[str, Any]:
    took_ms = []
    with library.open("write") as store:
        for first in range(0, len(numbers), 10):
            started = time.perf_counter()
            store.unlink(*(path(number) for number in numbers[first : first + 10]))
            took_ms.append(1e3 * (time.perf_counter() - started))
    return {"n": len(numbers) * N_EACH, "ms_each": float(np.median(took_ms)) / 10, "worst_ms": max(took_ms)}


def compact(library: Library) -> dict[str, Any]:
    with library.open("write") as store:
        store.compact()
    return {}


def look(library: Library, kind: str, numbers: Sequence[int], fresh: Sequence[int]) -> dict[str, Any]:
    """Searches of a store just opened, by graph and exactly, held against the truth.

    Args:
        numbers: of all videos there.
        fresh: of some of them, whose own recall is of interest.
    """
    held = np.concatenate([library.rows(kind, n)[: N_QUERIES // 8] for n in (fresh or numbers)[:4]])
    queries = np.concatenate([made_up(np.random.default_rng(99), N_QUERIES // 2), near(held)])
    wanted = truth(library, kind, numbers, queries)
    with library.open("read") as store:
        started = time.perf_counter()
        store.warm()
        search(store, kind, queries[-1], N_CANDIDATES)
        first_ms = 1e3 * (time.perf_counter() - started)
        asked = {k: [search(store, kind, query, k) for query in queries] for k in (N_FOUND, N_CANDIDATES)}
        memory = memory_mb()
        searcher.GRAPH_MIN_ROWS = 1 << 60
        exact = [search(store, kind, query, N_CANDIDATES) for query in queries[::4]]
    record = {"kind": kind, "first_ms": first_ms, **memory, **sizes(library), "wrong": []}
    record["by_graph"] = not any(is_exact for k in asked for _, _, is_exact in asked[k])
    chosen = set(fresh)
    for k, found in asked.items():
        took_ms = [ms for _, ms, _ in found]
        shared = [set(w) & set(f[0][:N_FOUND]) for w, f in zip(wanted, found, strict=True)]
        record[f"recall_{k}"] = sum(map(len, shared)) / (N_FOUND * len(queries))
        record[f"p50_{k}"], record[f"p99_{k}"] = (float(np.percentile(took_ms, p)) for p in (50, 99))
        if chosen:
            n_fresh = sum(place[0] in chosen for places in wanted for place in places)
            n_found = sum(place[0] in chosen for places in shared for place in places)
            record[f"fresh_recall_{k}"], record["n_fresh"] = n_found / max(1, n_fresh), n_fresh
    record["exact_p50"], record["exact_p99"] = (
        float(np.percentile([ms for _, ms, _ in exact], p)) for p in (50, 99)
    )
    if any(set(w) != set(e[0][:N_FOUND]) for w, e in zip(wanted[::4], exact, strict=True)):
        record["wrong"].append(f"{kind}: the exact scan is not the truth")
    for name, value in record.items():
        if "recall" in name and value < LEAST_RECALL:
            record["wrong"].append(f"{kind}: {name} is {value:.3f}")
    return record


def search_on(library: Library, begun: Any, over: Any, said: Any) -> None:
    """Searches until it is over; puts what it saw on `said`."""
    took_ms, worst = [], ""
    queries = made_up(np.random.default_rng(98), 50)
    with library.open("read") as store:
        search(store, "seen", queries[0], N_CANDIDATES)
        begun.set()
        while not over.is_set():
            try:
                places, ms, _ = search(store, "seen", queries[len(took_ms) % 50], N_CANDIDATES)
            except Exception as error:  # noqa: BLE001 - any error is what is looked for
                worst = f"search during writes: {type(error).__name__}: {error}"
                break
            took_ms.append(ms)
            if len(places) != N_CANDIDATES:
                worst = f"search during writes: {len(places)} found of {N_CANDIDATES}"
    p50, p99 = (float(np.percentile(took_ms or [0], p)) for p in (50, 99))
    record = {"n_searches": len(took_ms), "search_p50": p50, "search_p99": p99, **memory_mb()}
    said.put({**record, "wrong": [worst] if worst else []})


def searched(library: Library, work: Callable[..., dict[str, Any]], *given: object) -> dict[str, Any]:
    """A step that writes, while another process searches."""
    ways = multiprocessing.get_context("spawn")
    begun, over, said = ways.Event(), ways.Event(), ways.SimpleQueue()
    reader = ways.Process(target=search_on, args=(library, begun, over, said))
    reader.start()
    begun.wait(60)
    record = work(library, *given)
    over.set()
    seen = said.get()
    reader.join()
    return {**record, **seen}


def beyond(library: Library, kind: str, n_alive: int) -> dict[str, Any]:
    """More neighbours than there are."""
    with library.open("read") as store:
        started = time.perf_counter()
        hits = store.nearest(kind, made_up(np.random.default_rng(97), 1)[0], 2 * n_alive + 7)
        took_s = time.perf_counter() - started
    n_found = len({hit.segment_id for hit in hits})
    wrong = [] if n_found == len(hits) == n_alive else [f"{n_found} of {n_alive} found when all were asked"]
    return {"n": n_found, "ms_each": 1e3 * took_s, "wrong": wrong}


def check(library: Library) -> dict[str, Any]:
    with library.open("read") as store:
        return {"wrong": [f"{p.subject}: {p.message}" for p in store.check()]}


def command(library: Library) -> dict[str, Any]:
    """`save search` as a process of its own; what it finds is of no meaning here."""
    took_ms = []
    for _ in range(7):
        started = time.monotonic()
        call = [*SAVE, "search", "a dog on a beach", "--all", "--json", "--home", str(library.folder)]
        subprocess.run(call, stdout=subprocess.DEVNULL, env=INSTALLED, check=True)
        took_ms.append(1e3 * (time.monotonic() - started))
    return {"ms_each": float(np.median(took_ms[1:])), "worst_ms": max(took_ms[1:])}


def _in_child(said: Any, work: Callable[..., dict[str, Any]], given: tuple[object, ...]) -> None:
    record = work(*given)
    said.put({**memory_mb(), **record})


def step(name: str, work: Callable[..., dict[str, Any]], *given: object) -> None:
    """Does something in a process of its own, and prints what it says."""
    ways = multiprocessing.get_context("spawn")
    said = ways.SimpleQueue()
    child = ways.Process(target=_in_child, args=(said, work, given))
    started = time.monotonic()
    child.start()
    record: dict[str, Any] = {}
    reader = threading.Thread(target=lambda: record.update(said.get()), daemon=True)
    reader.start()
    child.join()
    reader.join(5)
    wrong = record.pop("wrong", [])
    if not record:
        wrong = [f"{name}: the process ended with {child.exitcode}"]
    print(json.dumps({"step": name, "s": time.monotonic() - started, **record}), flush=True)
    for said_wrong in wrong:
        print(json.dumps({"wrong": said_wrong}), flush=True)


def live(library: Library, kinds: Sequence[str]) -> None:
    """The whole life of a library."""
    n_late = int(HELD_BACK * len(library.videos))
    early, late = library.videos[:-n_late], library.videos[-n_late:]
    rng = np.random.default_rng(5)
    dead = sorted(rng.choice(early, int(DEAD_SHARE * len(early)), replace=False).tolist())
    kept = sorted(set(early) - set(dead))
    alive = [*kept, *late]

    def look_all(name: str, numbers: Sequence[int], fresh: Sequence[int] = ()) -> None:
        for kind in kinds:
            step(f"{name}", look, library, kind, list(numbers), list(fresh))

    step("empty", empty, library)
    step("add", fill, library, early)
    step("build", build, library)
    look_all("filled", early)
    step("delete", searched_remove, library, dead)
    look_all("a third deleted", kept)
    step("add more", searched_fill, library, late)
    look_all("and more added", alive, late)
    step("compact", compact, library)
    step("build again", searched_build, library)
    look_all("rebuilt", alive)
    step("beyond", beyond, library, "seen", len(alive) * N_EACH)
    step("command", command, library)
    step("verify", check, library)


def searched_remove(library: Library, numbers: Sequence[int]) -> dict[str, Any]:
    return searched(library, remove, numbers)


def searched_fill(library: Library, numbers: range) -> dict[str, Any]:
    return searched(library, fill, numbers)


def searched_build(library: Library) -> dict[str, Any]:
    return searched(library, build)


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("n", type=int, help="segments")
    parser.add_argument(
        "--every", type=int, default=10, help="segments that have sound and speech: each n-th"
    )
    parser.add_argument("--least", type=int, help="rows from which a graph is taken to pay")
    parser.add_argument("--folder", type=Path, help="an empty folder")
    given = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        library = Library(folder=Path(folder), n=given.n, every=given.every, least=given.least)
        live(library, ("seen", "said"))


if __name__ == "__main__":
    main()
