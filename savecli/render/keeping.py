"""A store that is verified, repaired, exported or joined with another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from savecli.plain import plain
from savecli.render.basics import line, out, warn
from savecli.store import Problem
from savecli.store.outcomes import Added, Exported, Joined, Kept, Left, Repaired, Taken
from savecli.store.records import Headway

_T = TypeVar("_T")
_HEADWAY = "{task.percentage:>3.0f} %  {task.description}"


def past_headway(events: Iterable[Headway | _T], *, quiet: bool = False) -> Iterator[_T]:
    """The other events as they come, with a bar on stderr for headway where that is a terminal."""
    with _bar(quiet=quiet) as bar:
        task = bar.add_task("", total=None)
        for event in events:
            if isinstance(event, Headway):
                bar.update(task, description=event.part, completed=event.done, total=max(1, event.total))
            else:
                yield event


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Progress]:
    console = Console(stderr=True, highlight=False)
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        TextColumn(_HEADWAY),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        yield bar


def verified(events: Iterable[Problem | Repaired], where: object, *, as_json: bool, quiet: bool) -> bool:
    """Problems and repairs as they are found; returns whether no problem is left."""
    n_problems = n_repaired = 0
    for event in events:
        n_problems += isinstance(event, Problem)
        n_repaired += isinstance(event, Repaired)
        if as_json:
            line(_problem_record(event))
        else:
            _tell(event, quiet=quiet)
    if as_json:
        summary = {"n_problems": n_problems, "n_repaired": n_repaired, "ok": not n_problems}
        line({"event": "summary", **summary})
    elif not n_problems and not quiet:
        done = f"{n_repaired} repairs; " if n_repaired else ""
        out().print(Text(f"{done}nothing is wrong with {plain(where)}", style="bold"))
    elif n_problems:
        warn(f"{n_problems} problems in {plain(where)}")
    return not n_problems


def _problem_record(event: Problem | Repaired) -> dict[str, str]:
    record = {"event": type(event).__name__.lower(), "subject": event.subject, "message": event.message}
    return record | ({"hint": event.hint} if isinstance(event, Problem) else {})


def _tell(event: Problem | Repaired, *, quiet: bool) -> None:
    mark = ("wrong   ", "red") if isinstance(event, Problem) else ("repaired", "green")
    text = Text.assemble(mark, f" {plain(event.subject)}: {plain(event.message)}")
    if isinstance(event, Problem) and event.hint:
        text.append(f"\n         {plain(event.hint)}", "dim")
    if isinstance(event, Problem) or not quiet:
        out().print(text)


def library_exported(done: Exported, *, as_json: bool, quiet: bool) -> None:
    """What was written."""
    if as_json:
        counts = {"n_videos": done.n_videos, "n_segments": done.n_segments, "n_files": done.n_files}
        line({"path": done.path, **counts, "size_bytes": done.size_bytes})
    elif not quiet:
        size = f"{done.size_bytes / 1e6:.1f} MB"
        out().print(
            Text(f"{plain(done.path)}: what is known of {done.n_videos} videos, {size}; not the videos")
        )


def merged(events: Iterable[Taken], *, dry_run: bool, as_json: bool, quiet: bool) -> bool:
    """What becomes of each video and path; returns whether all were taken, or known."""
    counts = dict.fromkeys((Added, Joined, Kept, Left), 0)
    for event in events:
        counts[type(event)] += 1
        if as_json:
            line(_merging_record(event))
        elif not quiet or isinstance(event, Kept | Left):
            out().print(_merging_text(event))
    done = {f"n_{kind.__name__.lower()}": n for kind, n in counts.items()}
    if as_json:
        line({"event": "summary", **done, "dry_run": dry_run})
    elif not quiet:
        would = "would be " if dry_run else ""
        said = (
            f"{counts[Added]} videos {would}added, {counts[Joined]} paths {would}joined to videos known here"
        )
        kept = f", {counts[Kept]} paths are of other videos here" if counts[Kept] else ""
        out().print(Text(f"{said}{kept}", style="bold"))
    return not counts[Kept] and not counts[Left]


def _merging_record(event: Taken) -> dict[str, object]:
    record: dict[str, object] = {"event": type(event).__name__.lower(), "video_id": event.video_id}
    match event:
        case Added():
            record["paths"] = list(event.paths)
        case Joined() | Kept():
            record["path"] = event.path
    return record


def _merging_text(event: Taken) -> Text:
    match event:
        case Added():
            return Text.assemble(("added   ", "green"), " ", ", ".join(map(plain, event.paths)))
        case Joined():
            return Text.assemble(("joined  ", "green"), f" {plain(event.path)}")
        case Kept():
            return Text.assemble(
                ("kept    ", "yellow"), f" {plain(event.path)}: another video is known there"
            )
        case Left():
            message = "all its paths are of other videos here"
            return Text.assemble(("left out", "yellow"), f" {plain(event.video_id)}: {message}")
