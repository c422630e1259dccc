"""Sections of `make torture` about load: damaged videos, many processes at one store, large libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from report import ROOT, table

TRIALS = ROOT / "tests" / "load"
MEDIA = Path(os.environ.get("SAVE_SHARED", ROOT.parent / "shared")) / "media"
ENDS = ("indexed", "partial", "refused", "stalled", "crash", "passed over")
LIVES = ((100_000, ("--every", "10", "--least", "10000")), (1_000_000, ("--every", "10")))
Section = Callable[[Path], tuple[str, list[str]]]


def fuzz(folder: Path) -> tuple[str, list[str]]:
    """2,000 damaged videos of all containers, and 36 more through the model itself."""
    media = ("--media", MEDIA) if MEDIA.is_dir() else ()
    *records, last = said_by([TRIALS / "fuzz.py", folder / "fuzz", "--n", 2000, "--real", 36, *media])
    rows = [[r["container"], r["n"], *(r["counts"].get(end, 0) for end in ENDS)] for r in records]
    rows.append(["all", *(sum(row[i] for row in rows) for i in range(1, len(ENDS) + 2))])
    ways = [
        [way, sum(counts.values()), *(counts.get(end, 0) for end in ENDS)]
        for way, counts in sorted(last["ways"].items())
    ]
    slowest = ", ".join(f"{took_s} s ({name})" for took_s, name in last["slowest"])
    largest = ", ".join(f"{mb} MB ({name})" for mb, name in last["largest_mb"])
    reasons = ", ".join(f"{reason} ({n})" for reason, n in last["reasons"])
    grown = " to ".join(map(str, last["own_mb"]))
    parts = [
        table(["container", "mutants", *ENDS], rows),
        table(["damage", "mutants", *ENDS], ways),
        f"Slowest: {slowest}. Largest decoder: {largest}. The indexing process, at the first, after a quarter"
        f" and at the end: {grown} MB of its own.",
        f"Refused because: {reasons}.",
        f"{len(last['wrong'])} wrong.",
    ]
    return "\n\n".join(parts), last["wrong"]


def company(folder: Path) -> tuple[str, list[str]]:
    """Two writers, eight readers and a watcher at one store for ten minutes."""
    (record,) = said_by([TRIALS / "company.py", folder / "company"])
    if "changes" not in record:
        return "It did not run through.", record["wrong"]
    memory = [[name, *(f"{mb}" for mb in values)] for name, values in record["memory_mb"].items()]
    p50, p99 = record["search_ms"]
    parts = [
        f"{record['seconds']:.0f} s; changes of the folder: {listed(record['changes'])}; {record['n_videos']}"
        f" videos at the end.",
        f"Runs: {listed(record['runs'])}. {record['n_searches']} searches from Python, p50 {p50} ms,"
        f" p99 {p99} ms.",
        "Skipped, and read by a later run: " + (listed(dict(record["skipped"])) or "nothing") + ".",
        table(["memory of its own, MB", "first", "median", "last"], memory),
        f"{len(record['wrong'])} wrong.",
    ]
    return "\n\n".join(parts), record["wrong"]


def scale(_: Path) -> tuple[str, list[str]]:
    """The lives of libraries of 100,000 and 1,000,000 segments, on a disk and not in memory."""
    found, wrong = [], []
    for n, options in LIVES:
        with tempfile.TemporaryDirectory() as on_disk:
            records = said_by([ROOT / "benchmarks" / "scale.py", n, *options, "--folder", on_disk])
        found.append(f"{n:,} segments:\n\n{life(records)}")
        wrong += [record["wrong"] for record in records if "wrong" in record]
    return "\n\n".join(found), wrong


def life(records: Iterable[Mapping[str, Any]]) -> str:
    """Tables of what was done, and of what was found then."""
    steps = [record for record in records if "step" in record]
    works = [step for step in steps if "kind" not in step]
    done = table(
        ["step", "segments", "s", "ms each", "peak, MB", "searches meanwhile", "p50, ms", "p99, ms"],
        [
            [
                step["step"],
                f"{step['n']:,}" if "n" in step else "-",
                f"{step['s']:.0f}",
                f"{step['ms_each']:.0f}" if "ms_each" in step else "-",
                step["peak_mb"],
                step.get("n_searches", "-"),
                *(f"{step[p]:.1f}" if p in step else "-" for p in ("search_p50", "search_p99")),
            ]
            for step in works
        ],
    )
    looks = table(
        [
            *("state", "kind", "by", "recall@10, k 10", "k 200", "of rows behind the graph", "p50, ms"),
            *("p99, ms", "exact p50", "p99", "first, ms", "own, MB", "vectors, MB", "graphs", "catalog"),
        ],
        [look(step) for step in steps if "kind" in step],
    )
    graphs = [f"- {step['step']}: {'; '.join(step['graphs'])}" for step in works if step.get("graphs")]
    return "\n\n".join([done, looks, "\n".join(graphs)])


def look(step: Mapping[str, Any]) -> list[object]:
    """The cells of one look at a store."""
    fresh = f"{step['fresh_recall_10']:.3f}" if "fresh_recall_10" in step else "-"
    return [
        step["step"],
        step["kind"],
        "graph" if step["by_graph"] else "scan",
        f"{step['recall_10']:.3f}",
        f"{step['recall_200']:.3f}",
        fresh,
        *(f"{step[name]:.1f}" for name in ("p50_200", "p99_200", "exact_p50", "exact_p99")),
        f"{step['first_ms']:.0f}",
        *(step[name] for name in ("own_mb", "vectors_mb", "graphs_mb", "catalog_mb")),
    ]


def listed(counts: Mapping[str, int]) -> str:
    """Counts in words."""
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def said_by(call: Sequence[object]) -> list[dict[str, Any]]:
    """The lines of JSON that a script prints; it is an error only where it says nothing."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, call)], env=env, stdout=subprocess.PIPE, text=True, check=False
    )
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not records:
        raise SystemExit(f"{call[0]} ended with {done.returncode} and said nothing")
    return records


SECTIONS: dict[str, Section] = {"fuzz": fuzz, "company": company, "scale": scale}
