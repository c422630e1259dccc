"""What every benchmark says of itself: tables, medians with their spread, the machine, the commit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from statistics import median

from savecli.machine import describe

ROOT = Path(__file__).resolve().parents[1]
SAVE = (sys.executable, "-m", "savecli")
# An installed command has its byte code, whatever this shell says of writing any.
INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """The median, and the least and greatest value where there are several."""
    if len(values) == 1:
        return format(values[0], form)
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def commit() -> str:
    """The short hash that is checked out, with a + where files differ from it."""
    try:
        named = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(named, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def stamp(command: str) -> str:
    """The line under a section's title: what was typed, where, on which commit, when."""
    return f"`{command}` on {describe()}; commit {commit()}, {date.today()}."
