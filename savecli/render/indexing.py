"""The events of an index run: lines, JSON, and a bar that is always moving."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from savecli import events as records
from savecli.plain import plain
from savecli.render.basics import BAR_COLUMNS, BESIDE_BAR, GAP, clock, fitting, line, out, shortened, warn


def index_json(events: Iterable[records.Event]) -> records.Summary:
    """Events as JSON lines; progress is left out."""
    for event in events:
        if not isinstance(event, records.Planned | records.Progress):
            line(event_record(event))
        if isinstance(event, records.Summary):
            summary = event
    return summary


def event_record(event: records.Event) -> dict[str, Any]:
    """An event as the contract in docs/cli.md has it."""
    name = type(event).__name__.lower()
    match event:
        case records.Indexed():
            fields: dict[str, Any] = {
                "path": event.path,
                "duration_s": round(event.duration_s, 3),
                "n_segments": event.n_segments,
                "has_audio": event.has_audio,
                "speech_s": round(event.speech_s, 2),
                "elapsed_s": round(event.elapsed_s, 3),
                "notes": list(event.notes),
                "partial": event.partial,
            }
        case records.Moved():
            fields = {"path": event.path, "old_path": event.old_path}
        case records.Skipped():
            fields = {
                "path": event.path,
                "reason": event.reason,
                "hint": event.hint,
                "known": event.known,
                "unfinished": event.unfinished,
            }
        case records.Summary():
            fields = {
                "n_indexed": event.n_indexed,
                "n_unchanged": event.n_unchanged,
                "n_moved": event.n_moved,
                "n_skipped": event.n_skipped,
                "n_removed": event.n_removed,
                "n_missing": event.n_missing,
                "n_away": event.n_away,
                "footage_s": round(event.footage_s, 3),
                "elapsed_s": round(event.elapsed_s, 3),
                "stage_s": {stage: round(seconds, 3) for stage, seconds in event.stage_s.items()},
            }
        case _:
            fields = {"path": getattr(event, "path", None)}
    return {"event": name, **fields}


def index_table(
    events: Iterable[records.Event], *, quiet: bool = False, verbose: bool = False, terse: bool = False
) -> records.Summary:
    """Events as lines, with a progress bar where somebody watches; `terse` leaves out the sum of them."""
    with Watch(quiet=quiet) as watch:
        for event in events:
            watch.see(event)
            text = _index_line(event, verbose=verbose)
            if text is not None and not quiet:
                watch.print(text)
            if isinstance(event, records.Summary):
                summary = event
    if not quiet and not terse:
        _print_summary(summary)
    return summary


def _index_line(event: records.Event, *, verbose: bool) -> Text | None:
    match event:
        case records.Indexed():
            said = f"{event.speech_s:.0f} s of speech" if event.speech_s else ""
            facts = ", ".join(filter(None, [clock(event.duration_s), said, *map(plain, event.notes)]))
            facts += f", in {event.elapsed_s:.1f} s"
            return Text.assemble(("indexed  ", "green"), plain(event.path), (f"  {facts}", "dim"))
        case records.Moved():
            return Text.assemble(("moved    ", "cyan"), f"{plain(event.old_path)} -> {plain(event.path)}")
        case records.Removed():
            return Text.assemble(
                ("removed  ", "magenta"), plain(event.path), ("  gone from its drive", "dim")
            )
        case records.Skipped() if verbose or not event.known:
            reason = Text.assemble(("skipped  ", "yellow"), plain(event.path), f": {plain(event.reason)}")
            return reason.append(f"\n         {plain(event.hint)}", "dim") if event.hint else reason
        case records.Unchanged() if verbose:
            return Text.assemble(("unchanged", "dim"), f" {plain(event.path)}")
    return None


def _print_summary(summary: records.Summary) -> None:
    done = f"{summary.n_indexed} indexed, {summary.n_unchanged} unchanged, {summary.n_skipped} skipped"
    done += f", {summary.n_moved} moved" if summary.n_moved else ""
    done += f", {summary.n_removed} removed" if summary.n_removed else ""
    console = out(folds=True)
    console.print(Text(done, style="bold"))
    if summary.footage_s:
        rate = f"{clock(summary.footage_s)} of footage in {clock(summary.elapsed_s)}: "
        rate += f"{summary.footage_s / summary.elapsed_s:.1f}x real time"
        console.print(Text(f"{rate}  ({_stages(summary.footage_s, summary.stage_s)})"))
    if summary.n_missing:
        message = f"{summary.n_missing} files are not there any more; they are forgotten after 30 days"
        warn(message, "moved? save relink OLD NEW   gone for good? save index --sweep PATH")
    if summary.n_away:
        warn(f"{summary.n_away} files are on drives that are not mounted, and stay as they are")
    if summary.n_without_speech:
        message = f"{summary.n_without_speech} unchanged videos were indexed without speech"
        warn(message, "save index --force PATH listens to them")


def _stages(footage_s: float, stage_s: Mapping[str, float]) -> str:
    return ", ".join(
        f"{stage} {footage_s / seconds:.0f}x" for stage, seconds in stage_s.items() if seconds > 0
    )


class _InWork:
    """A file that is being read, and how much of the time that it takes is over.

    It is listened to before it is looked at. How long the second takes is told by its own pace, but until it
    begins only by other files.

    Args:
        size_bytes: of the file.
        now: seconds.
    """

    def __init__(self, size_bytes: int, now: float) -> None:
        self._size_bytes = size_bytes
        self._begun = self._heard = now
        self.n_bytes_done = self.footage_s = 0.0

    def see(self, event: records.Progress, now: float, listening: float) -> None:
        """Take note of its progress; `listening` is the share of their time that others were listened to."""
        done = min(1.0, event.done_s / event.duration_s) if event.duration_s > 0 else 0.0
        share = listening * done
        if event.stage == "hear":
            self._heard = now
        elif done and now > self._heard:
            left_s = (now - self._heard) * (1 / done - 1)
            share = (now - self._begun) / (now - self._begun + left_s)
        self.n_bytes_done = share * self._size_bytes
        self.footage_s = share * event.duration_s if self._size_bytes else 0.0


class Watch:
    """The progress of an index run: a bar on stderr, always moving, where that is a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        console = Console(stderr=True, highlight=False)
        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=BAR_COLUMNS),
            TextColumn("{task.description}", markup=False),
        )
        self._bar = Progress(
            *columns, console=console, transient=True, disable=quiet or not console.is_terminal
        )
        self._task = self._bar.add_task("looking through folders", total=None)
        self._n_files = self._n_done = self._n_bytes = self._n_bytes_done = 0
        self._footage_s = 0.0
        self._stage_s: defaultdict[str, float] = defaultdict(float)
        self._sizes: dict[Path, int] = {}
        self._in_work: dict[Path, _InWork] = {}
        self._started = time.monotonic()

    def __enter__(self) -> Watch:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def print(self, text: Text) -> None:
        """A result line: above the bar where both are one terminal."""
        if sys.stdout.isatty() and not self._bar.disable:
            self._bar.console.print(text, soft_wrap=True)
        else:
            out().print(text)

    def see(self, event: records.Event) -> None:
        """Take note of an event."""
        match event:
            case records.Planned():
                self._n_files, self._n_bytes = event.n_files, event.n_bytes
                self._sizes = dict(event.sizes)
                self._describe("loading models" if event.n_files else "nothing new")
            case records.Progress():
                verb = {"see": "seeing", "hear": "listening"}[event.stage]
                told = f"{verb} {clock(event.done_s)} of {clock(event.duration_s)}"
                self._note(event)
                self._describe(told, plain(event.path.name))
            case records.Indexed():
                self._end(event.path)
                self._n_done += 1
                self._n_bytes_done += event.size_bytes
                self._footage_s += event.duration_s
                for stage, seconds in event.stage_s.items():
                    self._stage_s[stage] += seconds
            case records.Skipped() | records.Moved() | records.Unchanged() if event.path in self._sizes:
                self._n_done += 1
                self._n_bytes -= self._end(event.path)

    def _note(self, event: records.Progress) -> None:
        now = time.monotonic()
        if event.path not in self._in_work:
            self._in_work[event.path] = _InWork(self._sizes.get(event.path, 0), now)
        listening = self._stage_s.get("hear", 0.0) / max(sum(self._stage_s.values()), 1e-9)
        self._in_work[event.path].see(event, now, listening)

    def _end(self, path: Path) -> int:
        """A file is done with; its size, if it was planned."""
        self._in_work.pop(path, None)
        return self._sizes.pop(path, 0)

    def _describe(self, current: str, name: str = "") -> None:
        room = self._bar.console.width - BESIDE_BAR
        now = [current, shortened(name, room - len(current) - len(GAP))]
        self._bar.update(
            self._task,
            total=max(1, self._n_bytes),
            completed=self._bytes_done(),
            description=f"{fitting(self._headway(), room)}\n{fitting(now, room)}",
        )

    def _bytes_done(self) -> float:
        return self._n_bytes_done + sum(one.n_bytes_done for one in self._in_work.values())

    def _headway(self) -> list[str]:
        """What there is to say of the run, what matters most first, as a narrow terminal shows no more."""
        parts = [f"{self._n_done}/{self._n_files}"]
        footage_s = self._footage_s + sum(one.footage_s for one in self._in_work.values())
        n_bytes_done = self._bytes_done()
        if footage_s and n_bytes_done:
            rate = footage_s / max(time.monotonic() - self._started, 1e-9)
            # How long the rest is, is known once it is read; until then, as long for its bytes as what was.
            left_s = max(0.0, footage_s * (self._n_bytes / n_bytes_done - 1))
            longest = max(self._stage_s, key=self._stage_s.__getitem__, default="")
            parts.append(f"{rate:.0f}x real time{f', {longest} takes longest' if longest else ''}")
            parts += [f"ETA {clock(left_s / rate)}", f"{clock(left_s)} of footage left"]
            parts.append(_stages(self._footage_s, self._stage_s))
        return parts
