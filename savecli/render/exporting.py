"""Moments that leave the terminal: how far an export is, what was written, which command opens a video."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from savecli.plain import plain
from savecli.render.basics import BAR_COLUMNS, GAP, clock, line, linked, out, shortened, warn, write


@contextmanager
def exporting(name: str, *, quiet: bool = False) -> Iterator[Callable[[float], None]]:
    """A bar on stderr while a file is written; gives what to tell the share that is done, 0..1."""
    console = Console(stderr=True, highlight=False)
    bar = Progress(
        *(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR_COLUMNS),
            TimeRemainingColumn(),
        ),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        room = console.width - BAR_COLUMNS - len("writing  0:00:00 ") - len(GAP)
        task = bar.add_task(f"writing {shortened(plain(name), room)}", total=None)

        def tell(share: float) -> None:
            bar.update(task, completed=share, total=1.0)

        yield tell


def exported(
    paths: Sequence[Path],
    n_moments: int,
    length_s: float,
    notes: Sequence[str],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """What was written."""
    if as_json:
        record = {"paths": list(paths), "n_moments": n_moments, "length_s": round(length_s, 3)}
        line({**record, "notes": list(notes)})
        return
    for note in notes:
        warn(note)
    if quiet:
        return
    moments = f"{n_moments} moment{'' if n_moments == 1 else 's'}, {clock(length_s)}"
    if len(paths) == 1:
        out().print(Text.assemble("wrote ", linked(paths[0]), (f"  {moments}", "dim")))
        return
    for path in paths:
        out().print(Text.assemble("wrote ", linked(path)))
    out().print(Text(moments, style="dim"))


def command_line(shown: str) -> None:
    """A command to copy or to run, alone on its line."""
    write(f"{plain(shown) if sys.stdout.isatty() else shown}\n")
