"""Every benchmark in turn, into benchmarks/RESULTS.md: what `make bench` runs. About three hours on two
cores, most of it for the graphs of a million segments (answers).

    python benchmarks/run.py [--shared ../shared] [--only memory --only speed]

Each section of RESULTS.md has a place for figures between two marks. A run replaces what is there; titles and
remarks are written by hand and stay.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from report import ROOT, stamp

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
CAPTIONS = "{shared}/training-data/text/flickr8k_captions_train.json.gz"
SECTIONS = {
    "mini": "mini.py {shared}/training-data",
    "quality": "quality.py {shared}/media",
    "speed": "speed.py {shared}/media",
    "pipelines": "pipelines.py {shared}/media",
    "memory": "memory.py {shared}/media/s_long.mp4",
    "words": "words.py {shared}/media",
    "search": f"latency.py {{shared}}/media --captions {CAPTIONS}",
    "answers": "answers.py",
    "speech": "speech.py {shared}/media",
    "decode": "decode.py {shared}/media",
    "save-speed": "save_speed.py {shared}/parity --quick",
    "scoring": "scoring.py",
    "learning": "learning.py",
    "library": "library.py",
    "dupes": "dupes.py {shared}/media",
}
FIXED_WIDTH = {"decode"}


def main() -> None:
    """Run the sections asked for, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", default="../shared", help="the folder of test footage")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="repeat it for several")
    given = parser.parse_args()
    failed = [name for name in given.only or SECTIONS if not run(name, given.shared)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; their figures in {RESULTS.name} are the old ones")


def run(name: str, shared: str) -> bool:
    """Run one section, print it, put it into RESULTS.md; whether it ran through."""
    arguments = SECTIONS[name].format(shared=shared)
    script, *rest = arguments.split(" ")
    heading = stamp(f"python benchmarks/{arguments}")  # now: the commit may change while it runs
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *rest],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    output = f"```\n{done.stdout.strip()}\n```" if name in FIXED_WIDTH else done.stdout.strip()
    section = f"{heading}\n\n{output}"
    print(f"\n## {name}\n\n{section}", flush=True)
    if done.returncode == 0:
        RESULTS.write_text(replaced(RESULTS.read_text("utf-8"), name, section), "utf-8")
    return done.returncode == 0


def replaced(page: str, name: str, section: str) -> str:
    """The page with other figures between the two marks of a section."""
    begin, end = f"<!-- {name}: written by run.py -->", f"<!-- {name}: end -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{RESULTS} has no place for {name}: {begin} and {end}")
    return f"{before}{begin}\n{section}\n{end}{after}"


if __name__ == "__main__":
    main()
