"""How fast videos are indexed, as a whole and by stage, and what an up-to-date library costs.

    python benchmarks/speed.py ../shared/media [--asr base --asr off] [--repeats 3]

Every repeat reads all real clips into a new store with new models, in one process; the choices of --asr take
turns, because other work on the machine comes and goes. "x" is seconds of footage to a second of wall time. A
stage's "decode" is waiting for the decoder, which works ahead in a process of its own: what it does meanwhile
is in the CPU time. Stages of files that are read at the same time add up. Then the installed command is run
again on its own store: nothing has changed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from report import INSTALLED, SAVE, spread, table

from savecli import config, pipeline
from savecli.events import Summary
from savecli.index import Options, index
from savecli.store import Store

STAGES = ("decode", "hear", "see", "store")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One pass over all clips."""

    summary: Summary
    wall_s: float
    cpu_s: float


def main() -> None:
    """Run everything, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("media", type=Path)
    parser.add_argument("--asr", action="append", help="repeat it for several")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    clips = sorted(p.absolute() for p in given.media.iterdir() if p.is_file() and p.suffix != ".csv")
    choices = given.asr or ["base", "tiny.en", "off"]
    once(clips[:1], "off")
    runs = defaultdict(list)
    for _ in range(given.repeats):
        for asr in choices:
            runs[asr].append(once(clips, asr))
    footage_s = runs[choices[0]][0].summary.footage_s
    print(
        f"{len(clips)} clips, {footage_s:.0f} s of footage; median (least to greatest) of {given.repeats}.\n"
    )
    heads = ["--asr", "whole run, x", *(f"{stage}, x" for stage in STAGES), "CPU s (user + system)"]
    print(table(heads, [row(asr, runs[asr]) for asr in choices]))
    print("\n" + table(["command", "wall, s", "CPU, s"], commands(given.media, given.repeats)))


def once(clips: list[Path], asr: str) -> Run:
    """Index the clips into a new store."""
    with tempfile.TemporaryDirectory() as folder:
        settings = config.load(home=Path(folder), asr=asr)
        identity = pipeline.make_encoder(settings).identity
        wall_s, cpu_s = time.perf_counter(), sum(os.times()[:4])
        with Store.open(settings.store_dir, identity=identity, mode="write") as store:
            options = Options(paths=tuple(clips), asr=asr, jobs=settings.jobs)
            *_, summary = index(options, store, lambda: pipeline.open_pipeline(settings))
        wall_s, cpu_s = time.perf_counter() - wall_s, sum(os.times()[:4]) - cpu_s
    if summary.n_indexed != len(clips):
        raise SystemExit(f"{summary.n_skipped} clips were skipped")
    return Run(summary=summary, wall_s=wall_s, cpu_s=cpu_s)


def row(asr: str, runs: list[Run]) -> list[str]:
    """One line of the table of stages."""
    cells = [asr, spread([run.summary.footage_s / run.wall_s for run in runs])]
    for stage in STAGES:
        spent_s = [run.summary.stage_s.get(stage, 0.0) for run in runs]
        known = [run.summary.footage_s / s for run, s in zip(runs, spent_s, strict=True) if s > 0.01]
        cells.append(spread(known, ".0f") if known else "-")
    return [*cells, spread([run.cpu_s for run in runs], ".0f")]


def commands(media: Path, repeats: int) -> list[list[str]]:
    """What `save` costs where there is little or nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        again = [*SAVE, "index", str(media), "--asr", "off", "--json", "--home", folder]
        clip = min((p for p in media.iterdir() if p.suffix == ".mp4"), key=lambda p: p.stat().st_size)
        cost(again)
        costs = defaultdict(list)
        for _ in range(repeats):
            costs["`save --help`"].append(cost([*SAVE, "--help"]))
            costs["`save index` again, all unchanged"].append(cost(again))
            costs[f"`save index` of one clip, {clip.name}"].append(
                cost([*SAVE, "index", str(clip), "--force", "--json", "--home", folder])
            )
    return [
        [name, spread([wall for wall, _ in pairs], ".2f"), spread([cpu for _, cpu in pairs], ".2f")]
        for name, pairs in costs.items()
    ]


def cost(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process and of those that it started."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, env=INSTALLED, check=False)
    after = os.times()
    spent_s = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, spent_s


if __name__ == "__main__":
    main()
