"""How fast videos are indexed, as a whole and by stage, and what an up-to-date library costs.

    python benchmarks/speed.py ../shared/media [--asr base --asr off] [--repeats 3]

Every repeat is `save bench` on all real clips, in a process of its own; the choices of --asr take turns,
because other work on the machine comes and goes. What the figures mean is in `save bench --help`. Then the
installed command is run again on its own store: nothing has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from report import INSTALLED, SAVE, spread, table

from savecli.render.measuring import FACTS, STAGES

LINES = {
    "x": ("indexing, x real time", ".1f"),
    **{f"{stage}_x": (f"{stage}, x", ".0f") for stage in STAGES},
    "cpu_s_per_hour": ("CPU s for an hour of footage", ".0f"),
    **{f"{stage}_cpu_s_per_hour": (f"of them, {stage}", ".0f") for stage in STAGES},
    **FACTS,
}


def main() -> None:
    """Run everything, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("media", type=Path)
    parser.add_argument("--asr", action="append", help="repeat it for several")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    clips = sorted(p.absolute() for p in given.media.iterdir() if p.is_file() and p.suffix != ".csv")
    choices = given.asr or ["base", "tiny.en", "off"]
    runs = defaultdict(list)
    for _ in range(given.repeats):
        for asr in choices:
            runs[asr].append(bench(clips, asr))
    footage_s = runs[choices[0]][0]["footage_s"]
    print(
        f"{len(clips)} clips, {footage_s:.0f} s of footage; median (least to greatest) of {given.repeats}.\n"
    )
    rows = [
        [label, *(cell([run[key] for run in runs[asr]], form) for asr in choices)]
        for key, (label, form) in LINES.items()
    ]
    print(table(["--asr", *choices], rows))
    print("\n" + table(["command", "wall, s", "CPU, s"], commands(given.media, given.repeats)))


def bench(clips: list[Path], asr: str) -> dict[str, Any]:
    """The figures of one run over all clips."""
    with tempfile.TemporaryDirectory() as home:
        command = [*SAVE, "bench", *map(str, clips), "--asr", asr, "--limit", "1e9", "--json", "--home", home]
        done = subprocess.run(command, stdout=subprocess.PIPE, env=INSTALLED, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def cell(values: list[float | None], form: str) -> str:
    """What the runs have to say of one figure."""
    known = [value for value in values if value is not None]
    return spread(known, form) if known else "-"


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
