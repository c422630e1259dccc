"""What a store survives, at length: what `make torture` runs, into benchmarks/RESULTS.md.

    python benchmarks/torture.py [--only faults --only flips-graph]

Each section is a function that returns a table and what went wrong. A run replaces the figures between the
marks of its section in RESULTS.md, and ends with code 1 where something went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from report import ROOT, stamp, table
from run import RESULTS, replaced
from torture_load import SECTIONS as LOAD

TRIALS = ROOT / "tests" / "store"
SHARED = Path(os.environ.get("SAVE_SHARED", ROOT.parent / "shared"))
Section = Callable[[Path], tuple[str, list[str]]]
SECTIONS: dict[str, Section] = {}


def section(name: str) -> Callable[[Section], Section]:
    """Puts a function on the list: it gets an empty folder, and returns Markdown and what went wrong."""

    def put(function: Section) -> Section:
        SECTIONS[name] = function
        return function

    return put


@section("faults")
def faults(folder: Path) -> tuple[str, list[str]]:
    """Each write, sync, cut and rename of each operation fails, or the process dies there."""
    library = folder / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, TRIALS / "faults.c", "-ldl"], check=True)
    records = trials("faults.py", folder / "trials", LD_PRELOAD=str(library))
    modes = list(dict.fromkeys(record["mode"] for record in records))
    rows = []
    for operation in dict.fromkeys(record["operation"] for record in records):
        own = {record["mode"]: record for record in records if record["operation"] == operation}
        bad = [f"{len(own[mode]['wrong'])} of {own[mode]['n_tried']}" for mode in modes]
        rows.append([operation, own[modes[0]]["n_faults"], *bad])
    wrong = [said for record in records for said in record["wrong"]]
    n_tried = sum(record["n_tried"] for record in records)
    heads = ["operation", "writes, syncs, cuts, renames", *(f"wrong after: {mode}" for mode in modes)]
    return f"{table(heads, rows)}\n\n{n_tried} faults, {len(wrong)} wrong.", wrong


@section("flips-graph")
def flips_graph(folder: Path) -> tuple[str, list[str]]:
    """500 single bits of graph files, of both engines."""
    return counted(trials("flips.py", folder / "trials", "graph", "--n", "500"))


@section("flips-catalog")
def flips_catalog(folder: Path) -> tuple[str, list[str]]:
    """200 single bits of a catalog at rest, and 1000 of one that a killed writer left without a seal."""
    at_rest = trials("flips.py", folder / "trials", "catalog", "--n", "200")
    left = trials("flips.py", folder / "trials", "unsealed", "--n", "1000")
    # Without a seal a changed letter is a letter: it is counted, and no fault of the program's.
    wrong = [said for said in left[0]["wrong"] if not said.endswith("another answer")]
    return counted([*at_rest, *left])[0], [*at_rest[0]["wrong"], *wrong]


@section("killed")
def killed(folder: Path) -> tuple[str, list[str]]:
    """`save index` killed at 200 moments, with and without speech, and asked to end at 50."""
    given = (("KILL", 180, "off"), ("KILL", 20, "tiny.en"), ("TERM", 50, "off"))
    records = [
        record
        for signal, n, asr in given
        for record in trials(
            "killed.py", folder / asr / signal, "--signal", signal, "--n", n, "--asr", asr, *footage()
        )
    ]
    phases = sorted({phase for record in records for phase in record["phases"]})
    rows = [
        [
            f"SIG{record['signal']}",
            record["asr"],
            record["n"],
            record["n_chains"],
            *(record["phases"].get(phase, 0) for phase in phases),
            ", ".join(f"{code}: {n}" for code, n in record["codes"].items()),
            len(record["wrong"]),
        ]
        for record in records
    ]
    heads = ["signal", "--asr", "cut short", "stores finished", *phases, "exit codes", "wrong"]
    of_a_run = (
        f"{records[0]['n_paths']} paths and {records[0]['n_changes']} changes of the store in a whole run."
    )
    return f"{table(heads, rows)}\n\n{of_a_run}", wrong_of(records)


@section("power")
def power(folder: Path) -> tuple[str, list[str]]:
    """The image of a disk, copied at 20 moments; and at 6 where syncs do nothing, as a control."""
    records = trials("power.py", folder / "power", "--n", "20", *footage())
    if "why" in records[0]:
        return f"Not run: {records[0]['why']}.", []
    lying = trials("power.py", folder / "lying", "--n", "6", "--lying", *footage())
    rows = [
        [what, record["n"], record["n_told"], len(record["wrong"])]
        for what, record in (("work", records[0]), ("do nothing (control)", lying[0]))
    ]
    missed = [] if lying[0]["wrong"] else ["where syncs do nothing, no loss was found"]
    return table(["syncs", "images", "videos told by then", "wrong"], rows), [*wrong_of(records), *missed]


@section("full")
def full(folder: Path) -> tuple[str, list[str]]:
    """Too little room at 20 points: a small tmpfs, a full ext4, a limit on the length of files."""
    records = trials("full.py", folder / "full", "--n", "20", *footage())
    rows = []
    for record in records:
        counts = record["counts"]
        words = ", ".join(f"{said} ({n})" for said, n in record["said"].items())
        kept, refused = counts.get("videos stored", 0), counts.get("refused while full", 0)
        rows.append([record["kind"], record["n"], kept, refused, words, len(record["wrong"])])
    heads = ["room", "points", "videos told by then", "reader refused while full", "said", "wrong"]
    return table(heads, rows), wrong_of(records)


@section("copied")
def copied(folder: Path) -> tuple[str, list[str]]:
    """Copies of a store that is written: 200 of made-up rows, 20 of `save index`."""
    records = trials("copied.py", folder / "made-up", "--n", "200")
    records += trials("copied.py", folder / "real", "--n", "20", "--real", *footage())
    rows = []
    for what, record in zip(("added by the library", "`save index`"), records, strict=True):
        counts = record["counts"]
        read = counts.get("read", counts.get("read, elsewhere", 0))
        older = counts.get("read an older state", counts.get("read an older state, elsewhere", 0))
        rows.append([what, record["n"], record["n"] - read, read, older, len(record["wrong"])])
    heads = ["videos", "copies", "refused with a hint", "read, and right", "of these older", "wrong"]
    counts = records[0]["counts"]
    kept = f"{counts['videos after repair']} of {counts['videos stored before']}"
    text = (
        f"Of the videos stored when the copying began, a repair kept {kept}; it was refused, with a hint,"
        f" {counts.get('repair: refused', 0)} times: there was nothing to read out."
    )
    return f"{table(heads, rows)}\n\n{text}", wrong_of(records)


def footage() -> list[object]:
    """Where there are real clips, they are what is indexed."""
    return ["--media", SHARED / "media"] if (SHARED / "media").is_dir() else []


def wrong_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """All that went wrong."""
    return [said for record in records for said in record["wrong"]]


def counted(records: Iterable[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """How the flips of each kind ended."""
    records = list(records)
    ends = ["refused", "harmless", "another answer", "traceback"]
    ends += sorted({end for record in records for end in record["counts"]} - set(ends))
    rows = [
        [record["what"], record["n"], *(record["counts"].get(end, 0) for end in ends)] for record in records
    ]
    wrong = [said for record in records for said in record["wrong"]]
    return table(["one bit of", "flips", *ends], rows), wrong


def trials(script: str, *arguments: object, **env: str) -> list[dict[str, Any]]:
    """What a script of trials prints; it is an error only where it says nothing."""
    done = subprocess.run(
        [sys.executable, str(TRIALS / script), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    if not records:
        raise SystemExit(f"{script} ended with {done.returncode} and said nothing")
    return records


SECTIONS |= LOAD


def main() -> None:
    """Run the sections asked for, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=SECTIONS, help="repeat it for several")
    given = parser.parse_args()
    failed = []
    for name in given.only or SECTIONS:
        heading = stamp(f"python benchmarks/torture.py --only {name}")
        started = time.monotonic()
        # In memory where that can be: what is tried is the order of writes, and no disk.
        memory = Path("/dev/shm")
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            found, wrong = SECTIONS[name](Path(folder))
        text = f"{heading}\n\n{found}\n\n{time.monotonic() - started:.0f} s."
        print(f"\n## {name}\n\n{text}", *wrong, sep="\n", flush=True)
        if wrong:
            failed.append(name)
        RESULTS.write_text(replaced(RESULTS.read_text("utf-8"), name, text), "utf-8")
    if failed:
        sys.exit(f"wrong: {', '.join(failed)}")


if __name__ == "__main__":
    main()
