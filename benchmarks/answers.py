"""How long an answer takes in a large library, step by step, and whether graphs give the right ones.

    python benchmarks/answers.py [--sizes 10000 1000000] [--keep FOLDER]

Libraries are made up: scenes of six segments about one of 238 things, each segment with a row of what is seen
and twelve frames; every tenth is heard and spoken in, too. The texts of what is said are words, and so are
the queries. "new process" is `save search` as it is typed, with the files in the page cache; "warm" is a
library that stays open, as in `save shell` and `savecli.open_library`. CPU time stands beside wall time,
which other work on the machine lengthens.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does, before numpy comes

import argparse
import functools
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nowhere import video
from report import INSTALLED, SAVE, spread, table

import savecli
from savecli import config, pipeline
from savecli.api import Library
from savecli.datatypes import Embedding, Results, Segment, Transcript, Utterance, Word
from savecli.model.encode import MiniEncoder
from savecli.model.score import Score
from savecli.search import flow, moments, names, scoring
from savecli.store import Store, searcher

SIZES = (10_000, 200_000, 1_000_000)
N_EACH, N_SCENE, N_FRAMES, WINDOW_S = 300, 6, 12, 12.0  # an hour of video
EVERY = 10
N_WORDS, N_WINDOWS = 8, 3
N_TAGS, N_OWN, FEW = 521, 56, 0.02  # concepts of the model for sounds, how few make one
N_COLD, N_WARM, N_COMPARED = 15, 200, 50
N_FOUND = 10
THINGS = (
    "dog cat car beach man woman child tree house river mountain snow rain music guitar piano drum "
    "song crowd street city night morning kitchen cooking bread cake table chair window door book "
    "letter phone computer screen game ball football tennis swimming pool boat ship train plane bridge "
    "road bicycle motorcycle horse cow sheep bird chicken duck fish whale shark elephant lion tiger "
    "bear zebra giraffe monkey flower garden forest desert field farm barn tractor truck bus taxi "
    "police fire smoke explosion gun soldier war king queen prince wedding church priest baby birthday "
    "party dance stage singer actor film camera picture painting museum statue castle tower clock bell"
)
WORDS = THINGS.split()
QUERIES = tuple(
    form.format(one, other)
    for form in ("a {} and a {}", "{} near the {}", "somebody speaks of a {}, with a {} behind")
    for one, other in zip(WORDS[::3], WORDS[2::3], strict=False)
)
STEPS = {
    "text": [(MiniEncoder, "queries")],
    "luck": [(scoring, "sample")],
    "nearest": [(Store, "nearest_each")],
    "rows": [(Store, "stacks")],
    "words": [(Store, "texts_by_segment"), (scoring, "gather"), (flow, "gather"), (names, "look_up")],
    "score": [(Score, "evidence"), (Score, "totals"), (flow._Search, "_answer")],
    "moments": [
        *((flow._Search, name) for name in ("_scored", "_chosen", "_moment")),
        (moments, "joined"),
    ],
}
"""What is timed as which step; time inside another of these belongs to that one."""


def main() -> None:
    """Make the libraries, measure each, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="segments")
    parser.add_argument("--keep", type=Path, help="keep the libraries in this folder and use them again")
    given = parser.parse_args()
    lines, steps, compared = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for size in given.sizes:
            home = (given.keep or Path(folder)) / f"{size}"
            took_s = fill(home, size)
            name = f"{size:,} segments"
            lines.append([name, *cold(home), *warm(home)])
            steps.append([name, *in_steps(home)])
            compared.append([name, *against_exact(home), took_s])
    heads = ["library", "new process, ms", "its CPU, ms", "warm, p50 ms", "p99", "its CPU, p50", "p99"]
    print(f"{N_COLD} new processes, {N_WARM} warm searches for other texts.\n\n{table(heads, lines)}\n")
    print("Steps of a warm search, mean CPU ms:\n")
    print(table(["library", *STEPS, "the rest", "sum"], steps) + "\n")
    heads = [
        "library",
        f"recall@{N_FOUND} of moments",
        "by graph",
        "vectors, MB",
        "graphs",
        "catalog",
        "made",
    ]
    print(table(heads, compared))


def fill(home: Path, size: int) -> str:
    """A library of so many segments with the graphs that pay, unless it is there; how long that took."""
    settings = config.load(home=home)
    if settings.store_dir.exists():
        return "before"
    started = time.monotonic()
    encoder = pipeline.make_encoder(settings)
    with Store.open(settings.store_dir, identity=encoder.identity, mode="write") as store:
        for number, rest in zip(range(size // N_EACH), made_up(encoder), strict=False):
            store.add(video(number, WINDOW_S * N_EACH), *rest[:3], asr="base", frame_times=rest[3])
        store.maybe_rebuild()
    return f"{time.monotonic() - started:.0f} s"


def made_up(
    encoder: MiniEncoder,
) -> Iterator[tuple[list[Segment], list[Embedding], Transcript, list[np.ndarray]]]:
    """What is in one video after the other."""
    rng = np.random.default_rng(1)
    things = encoder.read([f"a {w}" for w in WORDS] + [f"a {a} and a {b}" for a, b in pairs()])
    sounds = Sounds(encoder)
    dim = things.shape[1]
    nothing, zero = np.zeros((0, dim), np.float32), np.zeros((1, dim), np.float32)

    def noisy(rows: np.ndarray, n: int, size: float) -> np.ndarray:
        return unit(rows + size / dim**0.5 * rng.standard_normal((n, dim), dtype=np.float32))

    while True:
        spans = [Segment(start_s=WINDOW_S * i, end_s=WINDOW_S * (i + 1)) for i in range(N_EACH)]
        scenes = things[rng.integers(len(things), size=N_EACH // N_SCENE)]
        embeddings, spoken = [], []
        for number, span in enumerate(spans):
            frames = noisy(noisy(scenes[number // N_SCENE], 1, 1.35), N_FRAMES, 1.0)
            seen, heard, said = unit(frames.mean(axis=0, keepdims=True)), nothing, nothing
            if number % EVERY == 0:
                heard = sounds(rng, N_WINDOWS)
                words = [[str(word) for word in rng.choice(WORDS, N_WORDS)] for _ in range(2)]
                own = [unit(things[[WORDS.index(word) for word in line]].mean(axis=0)) for line in words]
                said = np.stack([*own, unit(np.mean(own, axis=0))])
                spoken += [utterance(line, span.start_s + 1 + 5 * i) for i, line in enumerate(words)]
            parts = np.concatenate([seen, 0.2 * (heard[:1] if len(heard) else zero), zero])
            parts[2] = 0.3 * said[-1] if len(said) else 0
            parts /= np.linalg.norm(parts.sum(axis=0))
            fused = parts.sum(axis=0, keepdims=True)
            kinds = {"seen": seen, "frames": frames, "heard": heard, "said": said, "fused": fused}
            embeddings.append(Embedding(**kinds, parts=parts))
        transcript = Transcript(language="en", language_probability=1.0, utterances=tuple(spoken))
        yield spans, embeddings, transcript, [s.start_s + np.arange(N_FRAMES) + 0.5 for s in spans]


class Sounds:
    """Rows of sounds as the model makes them of its concepts, drawn at random, a few to a sound.

    They have less in common than those of real sounds: of 470 files of ../shared/training-data the nearest
    other row lies at .99 (median), of these at .78.
    """

    def __init__(self, encoder: MiniEncoder) -> None:
        encoder.hear(np.zeros(encoder.spec.sample_rate_hz, np.float32))  # opens the bank
        self._embed = encoder._heard.embed

    def __call__(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """(n, D): the windows of one sound."""
        return self._embed(*(self._weights(rng, n, count) for count in (N_TAGS, N_OWN)))

    def _weights(self, rng: np.random.Generator, n: int, count: int) -> np.ndarray:
        few = np.full(count, FEW)
        mixed = 0.8 * rng.dirichlet(few) + 0.2 * rng.dirichlet(few, n)
        return mixed.astype(np.float32) + 1e-9


def pairs() -> Iterator[tuple[str, str]]:
    """Things that are seen together."""
    return zip(WORDS, WORDS[7:], strict=False)


def utterance(words: Sequence[str], start_s: float) -> Utterance:
    """Words at two a second."""
    timed = [
        Word(start_s=start_s + i / 2, end_s=start_s + i / 2 + 0.4, text=word) for i, word in enumerate(words)
    ]
    return Utterance(start_s=start_s, end_s=timed[-1].end_s, text=" ".join(words), words=tuple(timed))


def unit(rows: np.ndarray) -> np.ndarray:
    """(..., D) at norm one."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def cold(home: Path) -> list[str]:
    """`save search` as a process of its own."""
    wall_ms, cpu_ms = [], []
    for query in QUERIES[: N_COLD + 1]:
        before, started = os.times(), time.monotonic()
        subprocess.run(
            [*SAVE, "search", query, "--all", "--home", str(home)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=INSTALLED,
            check=False,
        )
        after = os.times()
        wall_ms.append(1e3 * (time.monotonic() - started))
        cpu_ms.append(
            1e3 * (sum((after.children_user, after.children_system)) - before[2] - before[3])
        )  # of the process
    return [spread(wall_ms[1:], ".0f"), spread(cpu_ms[1:], ".0f")]  # the first one warms the page cache


def warm(home: Path) -> list[str]:
    """Searches of a library that stays open."""
    wall_ms, cpu_ms = [], []
    with savecli.open_library(home) as library:
        for number in range(-10, N_WARM):
            before, started = time.process_time(), time.perf_counter()
            library.search(QUERIES[number % len(QUERIES)])
            if number >= 0:
                wall_ms.append(1e3 * (time.perf_counter() - started))
                cpu_ms.append(1e3 * (time.process_time() - before))
    return [f"{np.percentile(values, p):.0f}" for values in (wall_ms, cpu_ms) for p in (50, 99)]


def in_steps(home: Path) -> list[str]:
    """The CPU time of each of `STEPS`, and what is left."""
    own: defaultdict[str, float] = defaultdict(float)
    inside: list[float] = []
    restore = [(owner, name, getattr(owner, name)) for steps in STEPS.values() for owner, name in steps]
    for step, places in STEPS.items():
        for owner, name in places:
            setattr(owner, name, timed(step, getattr(owner, name), own, inside))
    try:
        with savecli.open_library(home) as library:
            library.store().warm()
            library.search(QUERIES[0])
            own.clear()
            started = time.process_time()
            for query in QUERIES:
                library.search(query)
            whole = time.process_time() - started
    finally:
        for owner, name, call in restore:
            setattr(owner, name, call)
    parts = [own[step] for step in STEPS]
    return [f"{1e3 * value / len(QUERIES):.1f}" for value in (*parts, whole - sum(parts), whole)]


def timed(
    step: str, call: Callable[..., Any], own: defaultdict[str, float], inside: list[float]
) -> Callable[..., Any]:
    """A call whose own CPU time is added up in `own`."""

    @functools.wraps(call)
    def measured(*given: Any, **named: Any) -> Any:
        started = time.process_time()
        inside.append(0.0)
        try:
            return call(*given, **named)
        finally:
            took = time.process_time() - started
            own[step] += took - inside.pop()
            if inside:
                inside[-1] += took

    return measured


def against_exact(home: Path) -> list[str]:
    """How many of the first moments are those of a search that looks at every row; and the sizes of files."""
    queries = QUERIES[:: max(1, len(QUERIES) // N_COMPARED)][:N_COMPARED]
    with savecli.open_library(home) as library:
        library.store().warm()
        found = [ask(library, query) for query in queries]
        least, searcher.GRAPH_MIN_ROWS = searcher.GRAPH_MIN_ROWS, 1 << 60
        wanted = [ask(library, query) for query in queries]
        searcher.GRAPH_MIN_ROWS = least
        by_graph = not found[0].exact
    shared = [len(places(f) & places(w)) / max(1, len(places(w))) for f, w in zip(found, wanted, strict=True)]
    store = config.load(home=home).store_dir
    sizes = [
        f"{sum(file.stat().st_size for file in store.glob(glob)) / 1e6:.0f}"
        for glob in ("*.f16", "graphs/*", "catalog.db")
    ]
    return [f"{np.mean(shared):.3f}", "yes" if by_graph else "no", *sizes]


def ask(library: Library, query: str) -> Results:
    """The best moments, however far."""
    return library.search(query, top_k=N_FOUND, threshold=0)


def places(results: Results) -> set[tuple[str, float]]:
    """Where moments are."""
    return {(moment.video_id, moment.start_s) for moment in results.moments}


if __name__ == "__main__":
    main()
