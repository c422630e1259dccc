"""How fast this machine indexes and searches, and what a tuning tries and finds."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table
from rich.text import Text

from savecli.events import Event, ended
from savecli.figures import HOUR_S, Figures, Tried
from savecli.plain import plain
from savecli.render.basics import busy, clock, line, out, warn
from savecli.render.indexing import Watch
from savecli.tuned import Choice, Tuned

T = TypeVar("T")
STAGES = ("decode", "hear", "see", "store")
FACTS = {
    "load_s": ("models loaded in, s", ".1f"),
    "memory_mb": ("memory at most, MB", ".0f"),
    "command_mb": ("of it, this command, MB", ".0f"),
    "decoder_mb": ("the largest decoder, MB", ".0f"),
    "index_mb_per_hour": ("index of an hour of video, MB", ".1f"),
    "first_search_ms": ("first search, ms", ".0f"),
    "search_p50_ms": ("later searches, median, ms", ".0f"),
    "search_p99_ms": ("99 of 100 are done in, ms", ".0f"),
}
"""What there is beside the stages: label, and how to write it."""
WHAT = {
    ("jobs", ""): "of footage full of talk, indexed",
    ("asr", "off"): "of footage, indexed without speech",
    ("asr", ""): "of speech, heard",
}


def bench_record(figures: Figures) -> dict[str, Any]:
    """The figures as `save bench --json` has them; None where nothing was measured."""
    hours = figures.footage_s / HOUR_S
    cpu_s = figures.stage_cpu_s
    memory = figures.memory
    stage, share = figures.limit
    return {
        "machine": figures.machine,
        "asr": figures.asr,
        "device": figures.device,
        "jobs": figures.jobs,
        "n_videos": figures.n_videos,
        "n_skipped": figures.n_skipped,
        "footage_s": round(figures.footage_s, 1),
        "speech_s": round(figures.speech_s, 1),
        "n_segments": figures.n_segments,
        "x": round(figures.footage_s / figures.wall_s, 2),
        **{f"{name}_x": _speed(figures.footage_s, figures.stage_s.get(name, 0.0)) for name in STAGES},
        "cpu_s_per_hour": round(figures.cpu_s / hours, 1),
        **{f"{name}_cpu_s_per_hour": round(cpu_s.get(name, 0.0) / hours, 1) for name in STAGES},
        "limit": stage,
        "limit_share": round(share, 3),
        "load_s": round(figures.load_s, 2),
        "memory_mb": round(memory.together) if memory else None,
        "command_mb": round(memory.command) if memory else None,
        "decoder_mb": round(memory.decoder) if memory else None,
        "index_mb_per_hour": round(figures.index_bytes / 1e6 / hours, 1),
        "first_search_ms": round(1e3 * figures.first_search_s, 1),
        "search_p50_ms": round(1e3 * figures.search_s(0.5), 1),
        "search_p99_ms": round(1e3 * figures.search_s(0.99), 1),
    }


def _speed(footage_s: float, spent_s: float) -> float | None:
    return round(footage_s / spent_s, 1) if spent_s > 0.01 else None


def bench_watch(work: Generator[Event, None, T], *, quiet: bool) -> T:
    """What the work returns, with a bar meanwhile."""
    with Watch(quiet=quiet) as watch:
        return ended(work, watch.see)


def bench_table(figures: Figures) -> None:
    """The figures for a person."""
    record = bench_record(figures)
    console = out(folds=True)
    videos = "1 video" if figures.n_videos == 1 else f"{figures.n_videos} videos"
    videos += f", {clock(figures.footage_s)} of footage"
    videos += f", {clock(figures.speech_s)} of it speech" if figures.speech_s else ""
    videos += f"; {figures.n_skipped} could not be read" if figures.n_skipped else ""
    console.print(Text(videos, style="bold"))
    console.print(Text(plain(figures.machine), style="dim"))
    console.print(Text(f"asr {figures.asr}, jobs {figures.jobs}, device {figures.device}\n", style="dim"))
    table = Table(box=None, pad_edge=False)
    for head in ("", "x real time", "CPU s/hour", "share"):
        table.add_column(head, justify="right" if head else "left")
    for stage in STAGES:
        spent_s = record[f"{stage}_cpu_s_per_hour"]
        share = f"{spent_s / (record['cpu_s_per_hour'] or 1):.0%}"
        style = "bold" if stage == figures.limit[0] else ""
        table.add_row(stage, _told(record[f"{stage}_x"], ".0f"), f"{spent_s:.0f}", share, style=style)
    table.add_row("whole", f"{record['x']:.1f}", f"{record['cpu_s_per_hour']:.0f}", "", style="bold")
    console.print(table)
    limit, most = figures.limit
    console.print(Text(f"{limit} limits: {most:.0%} of the CPU time\n"))
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column()
    facts.add_column(justify="right")
    for key, (label, form) in FACTS.items():
        if record[key] is not None:
            facts.add_row(Text(label, style="dim"), _told(record[key], form))
    console.print(facts)


def _told(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def tune_watch(work: Generator[Tried, None, Tuned], *, as_json: bool) -> Tuned:
    """What the work returns; each try is shown when it has ended."""
    while True:
        try:
            with busy("measuring"):
                tried = next(work)
        except StopIteration as end:
            found: Tuned = end.value
            return found
        if as_json:
            line({"tried": tried.setting, "value": tried.value, "x": round(tried.x, 2)})
        else:
            what = WHAT.get((tried.setting, tried.value)) or WHAT[tried.setting, ""]
            named = f"{tried.setting} {tried.value}"
            out().print(Text(f"{named:<18}{tried.x:6.1f}x  {what}"))


def tuned(found: Tuned, path: Path, auto: Choice, *, as_json: bool) -> None:
    """What is remembered, and where, and what `--asr auto` stands for now."""
    if as_json:
        line({"tuned": asdict(found), "path": path, "asr_auto": asdict(auto)})
        return
    out().print(Text(f"jobs {found.jobs}, kept in {plain(path)}", style="bold"))
    out().print(Text(f"asr auto is {auto.name}: {auto.why}"))
    if found.was_busy:
        warn(
            "other work was going on: these speeds are too low",
            "save doctor --tune again, on a quiet machine",
        )
