"""Downloads of weights: a bar on stderr while they run, one line on stdout when they are here."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn
from rich.text import Text

from savecli.events import Pulled, Pulling
from savecli.plain import plain
from savecli.render.basics import line, out


def pull_json(events: Iterable[Pulling | Pulled]) -> None:
    """One object for each file that is here."""
    for event in events:
        if isinstance(event, Pulled):
            line(
                {
                    "name": event.name,
                    "file": event.file,
                    "path": event.path,
                    "size_bytes": event.size_bytes,
                    "fetched_bytes": event.fetched_bytes,
                }
            )


def pull_table(events: Iterable[Pulling | Pulled], *, quiet: bool = False) -> None:
    """The download of one set of weights; a pipe sees only the line at the end."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), DownloadColumn())
    bar = Progress(
        *(*columns, SpeedColumn(), TimeRemainingColumn()),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    here: list[Pulled] = []
    with bar:
        task = bar.add_task("looking", total=None)
        file = ""
        for event in events:
            if isinstance(event, Pulled):
                here.append(event)
                continue
            if event.file != file:  # a new file has a speed of its own
                file = event.file
                bar.reset(task, description=f"{plain(event.name)}/{plain(file)}", total=event.total_bytes)
            bar.update(task, completed=event.done_bytes)
    if here and not quiet:
        out().print(_line(here))


def _line(here: list[Pulled]) -> Text:
    fetched = any(file.fetched_bytes for file in here)
    size = f"{sum(file.size_bytes for file in here) / 1e6:.0f} MB"
    facts = f"  {size}, every byte as published, in {plain(here[0].path.parent)}"
    return Text.assemble(
        ("pulled", "green") if fetched else ("here", "green"), f"  {plain(here[0].name)}", (facts, "dim")
    )
