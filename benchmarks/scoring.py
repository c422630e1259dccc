"""How long it takes to score and to rank a whole benchmark, and in how much memory, from features on disk.

    python benchmarks/scoring.py [--repeats 3]

Unit rows at random in the shapes of SAVE (12 frames and a pooled row a video, 512 numbers each), scored as
`save eval` does it, block by block into one matrix, and then ranked both ways. The memory is the most that a
stage takes on top of what was there before it: for scoring without its matrix, which is its result.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from report import spread, table
from torch.nn.functional import normalize

from savecli.bench.metrics import dual_softmax, recall, t2v_ranks, v2t_ranks
from savecli.bench.reference_metrics import reference_recall
from savecli.model.gallery import TEXTS_AT_ONCE, Gallery, score_rows

SIZES = ((1000, 1), (1500, 10), (2990, 20))  # videos, captions of each: 1k-A, VATEX, the full MSR-VTT
LARGE = 50_000  # captions: from so many on, once is enough
N_FRAMES, WIDTH = 12, 512
NETWORK = SimpleNamespace(logit_scale=torch.tensor(100.0).log(), dims=SimpleNamespace(temperature=1.0))
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    heads = ["videos x captions", "matrix, MB"]
    heads += [f"{stage}, s" for stage in ("score", "rank", "reference's rank", "dual softmax")]
    heads += [f"{stage}, MB beside" for stage in ("score", "rank", "reference's rank", "dual softmax")]
    print(f"{torch.get_num_threads()} threads, median (least to most) of {given.repeats}:\n")
    # A process for each: memory that a stage has given back would hide what the next one takes.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        print(table(heads, pool.map(row, *zip(*SIZES, strict=True), repeat(given.repeats))))


def row(n_videos: int, n_captions: int, repeats: int) -> list[object]:
    """The cells of one size."""
    torch.manual_seed(0)
    gallery = Gallery(
        local=normalize(torch.randn(n_videos, N_FRAMES, WIDTH), dim=-1),
        pooled=normalize(torch.randn(n_videos, WIDTH), dim=-1),
        mask=torch.ones(n_videos, N_FRAMES, dtype=torch.bool),
    )
    targets = np.repeat(np.arange(n_videos), n_captions)
    # Captions that are a little like their videos: else every rank is a guess.
    texts = normalize(gallery.pooled[targets] + 8 * torch.randn(len(targets), WIDTH) / WIDTH**0.5, dim=-1)
    matrix = np.empty((len(targets), n_videos), np.float32)
    stages: list[Callable[[], object]] = [
        lambda: score(gallery, texts, matrix),
        lambda: [recall(ranks(matrix, targets)) for ranks in (t2v_ranks, v2t_ranks)],
        lambda: reference_recall(matrix, targets),
        lambda: [rank_dual(matrix, targets, direction) for direction in ("t2v", "v2t")],
    ]
    repeats = repeats if len(targets) < LARGE else 1
    times, peaks = [], []
    for i, stage in enumerate(stages):
        measured = [measure(stage) for _ in range(repeats)]
        times.append(spread([elapsed_s for elapsed_s, _ in measured], ".2f"))
        own = matrix.nbytes if i == 0 else 0  # it takes no memory until it is first filled
        peaks.append(f"{(measured[0][1] - own) / MB:.0f}")
    return [f"{n_videos:,} x {len(targets):,}", f"{matrix.nbytes / MB:.0f}", *times, *peaks]


def score(gallery: Gallery, texts: torch.Tensor, matrix: NDArray[np.float32]) -> None:
    with torch.inference_mode():
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            rows = slice(start, start + TEXTS_AT_ONCE)
            matrix[rows] = score_rows(NETWORK, gallery, texts[rows])


def rank_dual(matrix: NDArray[np.float32], targets: NDArray[Any], direction: str) -> object:
    ranks = t2v_ranks if direction == "t2v" else v2t_ranks
    return recall(ranks(dual_softmax(matrix, targets, direction), targets))


def measure(stage: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and the most bytes that were in memory beside those that were there before."""
    CLEAR.write_text("5")  # the peak is that of now
    before = resident("VmRSS")
    start = time.perf_counter()
    stage()
    return time.perf_counter() - start, resident("VmHWM") - before


def resident(name: str) -> int:
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
