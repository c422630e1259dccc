"""What every benchmark says of itself: tables, medians with their spread, the machine, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from statistics import median

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


def machine() -> str:
    """CPU, cores and memory, as Linux tells them; the platform's name elsewhere."""
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if not (cpuinfo.exists() and meminfo.exists()):
        return f"{platform.platform()}, {os.cpu_count()} cores"
    facts = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    total_gb = int(meminfo.read_text().split()[1]) / 1e6
    model = f"{facts.get('model name', platform.machine())} (model {facts.get('model', '?')})"
    n_cores = len(os.sched_getaffinity(0))
    return f"{model}, {n_cores} cores, {total_gb:.0f} GB, Python {platform.python_version()}"


def commit() -> str:
    """The short hash that is checked out, with a + where files differ from it."""
    try:
        named = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(named, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def stamp(command: str) -> str:
    """The line under a section's title: what was typed, where, on which commit, when."""
    return f"`{command}` on {machine()}; commit {commit()}, {date.today()}."
