"""This machine: in a line for reports, and in a name for what was measured on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def n_cores() -> int:
    """So many cores this process may use."""
    known = getattr(os, "sched_getaffinity", None)
    return len(known(0)) if known else os.cpu_count() or 1


def describe() -> str:
    """CPU, cores and memory, as Linux tells them; the platform's name elsewhere."""
    import platform  # every command loads this module, and few call this

    facts, meminfo = _cpu(), Path("/proc/meminfo")
    if not (facts and meminfo.exists()):
        return f"{platform.platform()}, {n_cores()} cores, Python {platform.python_version()}"
    total_gb = int(meminfo.read_text().split()[1]) / 1e6
    model = f"{facts.get('model name', platform.machine())} (model {facts.get('model', '?')})"
    return f"{model}, {n_cores()} cores, {total_gb:.0f} GB, Python {platform.python_version()}"


def fingerprint() -> str:
    """What measurements hold for: another CPU or number of cores has another one, another Python has not."""
    import platform

    facts = _cpu()
    model = f"{facts.get('model name', platform.processor())} {facts.get('model', '')}".strip()
    return f"{platform.system()} {platform.machine()}, {model}, {n_cores()} cores"


def _cpu() -> Mapping[str, str]:
    """What Linux tells of the last core; nothing elsewhere."""
    try:
        told = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in told.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
