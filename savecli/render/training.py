"""A training: a bar that moves, a line for each evaluation, JSON for programs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from savecli.events import (
    Evaluated,
    Preparing,
    Stepped,
    Taught,
    TeachingEvent,
    Trained,
    TrainingBegins,
    TrainingEvent,
)
from savecli.plain import plain
from savecli.render.basics import BAR_COLUMNS, BESIDE_BAR, GAP, clock, fitting, line, out, warn

N_RECENT = 20
PLAIN_EVERY_S = 60.0
"""Where nobody watches a bar, a line so often says that it goes on."""
NAMES = {
    Preparing: "preparing",
    TrainingBegins: "begins",
    Stepped: "step",
    Evaluated: "evaluated",
    Trained: "trained",
    Taught: "taught",
}


def training_json(events: Iterable[TrainingEvent | TeachingEvent]) -> None:
    """Each event as an object."""
    for event in events:
        line({"event": NAMES[type(event)], **asdict(event)})


def training_table(events: Iterable[TrainingEvent | TeachingEvent], *, quiet: bool = False) -> None:
    """Events as lines, with a bar where somebody watches."""
    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), BarColumn(bar_width=BAR_COLUMNS), TextColumn("{task.description}"))
    bar = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
    with bar:
        watch = _Watch(bar, in_words=not quiet and not console.is_terminal)
        for event in events:
            watch.see(event)
            text = _line(event)
            if text is None or quiet:
                continue
            if console.is_terminal and out().is_terminal:
                console.print(text, soft_wrap=True)
            else:
                out().print(text)


def _line(event: TrainingEvent | TeachingEvent) -> Text | None:
    match event:
        case TrainingBegins():
            facts = f"{event.n_samples} captions of {event.n_train} videos, {event.n_val} to choose by, "
            facts += (
                f"{event.n_test} to test on; {event.n_steps} steps on {event.device} in {event.precision}"
            )
            if event.n_done:
                facts += f"\ngoes on after step {event.n_done}"
            return Text("\n".join([facts, *(f"note: {plain(note)}" for note in event.notes)]))
        case Evaluated():
            where = f"epoch {event.epoch}  {event.split}"
            found = f"{where:<14} t2v {_recall(event.t2v)}   v2t {_recall(event.v2t)}"
            return Text.assemble(found, ("  best so far", "green") if event.is_best else "")
        case Preparing(reason=reason) if reason:
            return Text.assemble(("skipped  ", "yellow"), f"{plain(event.path or '')}: {plain(reason)}")
        case Taught():
            facts = f"{event.n_videos} videos, {event.n_new} of them new, {event.n_failed} failed, in "
            return Text.assemble(("taught   ", "green"), facts, plain(event.path))
        case Trained():
            return Text.assemble(("trained  ", "green"), f"epoch {event.epoch}, {plain(event.path)}")
    return None


def _recall(found: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {found[name]:.1f}" for name in ("R@1", "R@5", "R@10", "MdR"))


class _Watch:
    """The bar of a training; in a log of a batch system, now and then a line instead."""

    def __init__(self, bar: Progress, *, in_words: bool) -> None:
        self._bar = bar
        self._in_words = in_words
        self._told_at_s = time.monotonic()
        self._task = bar.add_task("reading the benchmark", total=None)
        self._n_steps = 0
        self._recent: deque[float] = deque(maxlen=N_RECENT)

    def see(self, event: TrainingEvent | TeachingEvent) -> None:
        """Take note of an event."""
        match event:
            case Preparing():
                self._show(event.n_done, event.n_videos, f"decoding {event.n_done}/{event.n_videos} videos")
            case TrainingBegins():
                self._n_steps = event.n_steps
                self._show(event.n_done, event.n_steps, "first step")
            case Stepped():
                self._recent.append(event.elapsed_s)
                each_s = sum(self._recent) / len(self._recent)
                left = clock(each_s * (self._n_steps - event.step))
                losses = f"loss {event.retrieval:.3f} + {event.distillation:.3f}"
                rate = f"{event.n_videos / each_s:.1f} videos/s" if each_s else ""
                step = f"step {event.step}/{self._n_steps}"
                self._show(
                    event.step, self._n_steps, step, losses, f"ETA {left}", f"epoch {event.epoch}", rate
                )

    def _show(self, done: int, total: int, *parts: str) -> None:
        """The bar, with as many of the parts as there is room for."""
        told = fitting(parts, self._bar.console.width - BESIDE_BAR)
        self._bar.update(self._task, completed=done, total=max(1, total), description=told)
        if self._in_words and time.monotonic() - self._told_at_s >= PLAIN_EVERY_S:
            self._told_at_s = time.monotonic()
            warn(GAP.join(filter(None, parts)))
