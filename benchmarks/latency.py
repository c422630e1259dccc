"""How long `save search` takes, where the time goes, and from how many rows on a graph pays.

    python benchmarks/latency.py ../shared/media --captions CAPTIONS.json.gz

Every search is a process of its own, as a person's is; the files are in the page cache. The large stores
are made of captions of photographs, one row for each segment: real ones as far as they go, and then sums of
two, so that rows lie as unevenly as language does (random rows are the worst case of a graph, and unlike
any real store). The queries are captions that are in no store.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from nowhere import video
from report import INSTALLED, SAVE, spread, table

from savecli import config, pipeline
from savecli.datatypes import Embedding, Segment, Transcript, Utterance
from savecli.index import Options, index
from savecli.model import weights
from savecli.model.text import TextEncoder
from savecli.store import Store, searcher

QUERIES = (
    "a woman reading a letter at a desk",
    "ask not what your country can do for you",
    "a dog on a beach",
)
PARTS = ("interpreter", "click", "imports", "weights", "encode", "open", "search", "exit")
N_SEGMENTS = 300  # an hour of video
N_FRAMES = 12
N_CAPTIONS = 6000
N_QUERIES = 50
N_FOUND = 10
SIZES = (10_000, 30_000, 100_000)


def main() -> None:
    """Run everything, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("media", type=Path)
    parser.add_argument("--captions", type=Path, help="a gzipped JSON object of lists of captions")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        homes = {"the clips": index_clips(given.media, Path(folder) / "clips")}
        if given.captions:
            rows, queries = caption_rows(given.captions)
            for size in SIZES:
                homes[f"{size:,} segments"] = fill(Path(folder) / str(size), some_rows(rows, size))
        cold = measure_cold(homes, given.repeats)
        print(f"`save search`, ms: median of {given.repeats} new processes, (least to greatest).\n")
        heads = ["store", "whole", "its parts", *PARTS]
        print(table(heads, [[name, *cells] for name, cells in cold.items()]))
        if given.captions:
            graphs = [line for name in list(homes)[1:] for line in measure_graphs(homes[name], name, queries)]
            heads = ["store", "engine", "ef", "build, s", "file, MB", "open + first search, ms", "later, ms"]
            print("\n" + table([*heads, f"recall@{N_FOUND}"], graphs))


def index_clips(media: Path, home: Path) -> Path:
    """A store of the real clips; what is said in them does not change how long a search takes."""
    settings = config.load(home=home, asr="tiny.en")
    identity = pipeline.make_encoder(settings).identity
    clips = tuple(p.absolute() for p in media.iterdir() if p.is_file())
    with Store.open(settings.store_dir, identity=identity, mode="write") as store:
        for _ in index(Options(paths=clips, asr="tiny.en"), store, lambda: pipeline.open_pipeline(settings)):
            pass
    return home


def caption_rows(captions: Path) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) rows of captions for the stores, and (Q, D) of others as queries."""
    groups = json.loads(gzip.decompress(captions.read_bytes())).values()
    texts = [group[0] for group in groups][: N_CAPTIONS + N_QUERIES]
    files = weights.locate("all-minilm-l6-v2", config.load().model_dir)
    rows = TextEncoder(files["model.safetensors"], files["tokenizer.json"]).encode(texts)
    return rows[:N_CAPTIONS], rows[N_CAPTIONS:]


def some_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """(count, D) unit rows: captions, and when they are used up sums of two with unequal weights."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(len(rows), size=(2, count))
    mixed = rows[first] + rng.uniform(0.2, 0.8, (count, 1)).astype(np.float32) * rows[second]
    mixed[: len(rows)] = rows[:count]
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def fill(home: Path, rows: np.ndarray) -> Path:
    """A store with a segment for each row; no graph yet."""
    settings = config.load(home=home)
    identity = pipeline.make_encoder(settings).identity
    with Store.open(settings.store_dir, identity=identity, mode="write") as store:
        for number, start in enumerate(range(0, len(rows), N_SEGMENTS)):
            own = rows[start : start + N_SEGMENTS]
            spans = [Segment(start_s=12.0 * i, end_s=12.0 * i + 12) for i in range(len(own))]
            said = [Utterance(start_s=s.start_s + 1, end_s=s.start_s + 5, text="a few words") for s in spans]
            store.add(
                video(number, 12.0 * len(own)),
                spans,
                [Embedding(seen=r[None], frames=np.repeat(r[None], N_FRAMES, 0), said=r[None]) for r in own],
                Transcript(language="en", language_probability=1.0, utterances=tuple(said)),
                asr="base",
                frame_times=[s.start_s + np.arange(float(N_FRAMES)) for s in spans],
            )
    return home


def measure_cold(homes: dict[str, Path], repeats: int) -> dict[str, list[str]]:
    """For each store the cells of its line: the whole command, and its parts."""
    whole_ms, parts_ms = defaultdict(list), defaultdict(lambda: defaultdict(list))
    for repeat in range(-1, repeats):
        for name, home in homes.items():
            query = QUERIES[repeat % len(QUERIES)]
            started = time.monotonic()
            search = [*SAVE, "search", query, "--json", "--home", str(home)]
            subprocess.run(search, stdout=subprocess.DEVNULL, env=INSTALLED, check=False)
            took_ms = 1e3 * (time.monotonic() - started)
            parts = in_parts(home, query)
            if repeat >= 0:  # the one before warms the page cache
                whole_ms[name].append(took_ms)
                for part in PARTS:
                    parts_ms[name][part].append(parts[part])
    return {
        name: [
            spread(whole_ms[name], ".0f"),
            # Another process took these steps: where their sum is not about the whole, they mislead.
            f"{sum(median(parts_ms[name][p]) for p in PARTS):.0f}",
            *(f"{median(parts_ms[name][p]):.0f}" for p in PARTS),
        ]
        for name in homes
    }


def in_parts(home: Path, query: str) -> dict[str, float]:
    """The parts of one search in a new process, ms; all processes share the clock."""
    started = time.monotonic()
    parts = [sys.executable, str(Path(__file__).with_name("search_parts.py")), str(home), query]
    done = subprocess.run(parts, capture_output=True, text=True, env=INSTALLED, check=True)
    ended = time.monotonic()
    at = {"launch": started, **json.loads(done.stdout), "exit": ended}
    return {name: 1e3 * (t - before) for (_, before), (name, t) in pairwise(at.items())}


def measure_graphs(home: Path, name: str, queries: np.ndarray) -> list[list[str]]:
    """The exact scan, and each engine, on one store."""
    # The graph is asked whatever the size, and by the first search.
    least, searcher.GRAPH_MIN_ROWS = searcher.GRAPH_MIN_ROWS, 1
    scans, searcher.SCANS_BEFORE_GRAPH = searcher.SCANS_BEFORE_GRAPH, 0
    store_dir = config.load(home=home).store_dir
    first_ms, later_ms, truth = timed_searches(store_dir, queries)
    lines = [[name, "none: exact", "-", "-", "-", spread(first_ms), f"{later_ms:.1f}", "1"]]
    for engine in ("usearch", "hnswlib"):
        started = time.perf_counter()
        with Store.open(store_dir, identity=None, mode="write") as store:
            store.rebuild_graphs(engine)
            graph = next(g for g in store.graphs() if g.kind == "said")
        build_s = (time.perf_counter() - started) / 2  # one for each kind
        first_ms, later_ms, found = timed_searches(store_dir, queries)
        shared = np.mean([len(a & b) / N_FOUND for a, b in zip(truth, found, strict=True)])
        size = [str(graph.ef), f"{build_s:.1f}", f"{graph.size_bytes / 1e6:.0f}"]
        lines.append([name, engine, *size, spread(first_ms), f"{later_ms:.1f}", f"{shared:.3f}"])
    searcher.GRAPH_MIN_ROWS, searcher.SCANS_BEFORE_GRAPH = least, scans
    return lines


def timed_searches(store_dir: Path, queries: Sequence) -> tuple[list[float], float, list[set[int]]]:
    """First searches of a store just opened, ms; the median of later ones; what each query finds."""
    first_ms = []
    for query in queries[:7]:
        with Store.open(store_dir, identity=None, mode="read") as store:
            first_ms.append(timed(store, query)[0])
    with Store.open(store_dir, identity=None, mode="read") as store:
        timed(store, queries[0])
        later = [timed(store, query) for query in queries]
    return first_ms, median(took_ms for took_ms, _ in later), [found for _, found in later]


def timed(store: Store, query: np.ndarray) -> tuple[float, set[int]]:
    """One search of a kind as a flow asks for it: 200 candidates, of which the best few are compared."""
    started = time.perf_counter()
    hits = store.nearest("said", query, 200)
    took_ms = 1e3 * (time.perf_counter() - started)
    return took_ms, {hit.segment_id for hit in hits[:N_FOUND]}


if __name__ == "__main__":
    main()
