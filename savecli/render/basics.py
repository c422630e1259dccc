"""What every page of output is made of."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from savecli.plain import plain

PIPE_COLUMNS = 10_000  # a table in a pipe is for grep and cut: no row may be folded
GAP = "  "
BAR_COLUMNS = 20
BESIDE_BAR = BAR_COLUMNS + 3
"""Columns of a spinner and a bar with the gaps behind them; the words beside them have the rest."""
_LEAST_NAME = 9


def clock(seconds: float) -> str:
    """1:02:03, 2:03: as players write times; rounded down to the second they jump to."""
    minutes, whole_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_s:02}" if hours else f"{minutes}:{whole_s:02}"


def fitting(parts: Sequence[str], room: int) -> str:
    """A line of so many columns at most: as many of the parts as fit, the first ones first."""
    line = parts[0][: max(0, room)]
    for part in filter(None, parts[1:]):
        if cell_len(longer := f"{line}{GAP}{part}") > room:
            break
        line = longer
    return line


def shortened(name: str, room: int) -> str:
    """A name in that many columns: of a longer one both ends, as cameras count at the end; "" in few."""
    if cell_len(name) <= room:
        return name
    if room < _LEAST_NAME:
        return ""
    end = (room - 1) // 2
    head, tail = set_cell_size(name, room - 1 - end), set_cell_size(name[::-1], end)[::-1]
    return f"{head.rstrip()}…{tail.lstrip()}"


def place(drive: str) -> str:
    """Why a file cannot be played now: `drive` is the label of its volume if that is not mounted."""
    return f"on drive {plain(drive)}, not mounted" if drive else "not there now"


def line(record: Mapping[str, Any]) -> None:
    """One JSON object on one line of stdout; names in any encoding come back from their escapes."""
    sys.stdout.write(json.dumps(record, default=str) + "\n")
    sys.stdout.flush()


def write(text: str) -> None:
    """Text for another program, on stdout as it is: no line of it is folded at a terminal's width."""
    sys.stdout.write(text)
    sys.stdout.flush()


def warn(message: str, hint: str = "") -> None:
    """A message for a person, on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text(plain(message)))
    if hint:
        console.print(Text(f"  {plain(hint)}", style="dim"))


def out(*, folds: bool = False) -> Console:
    """Stdout for people.

    A line is left whole, so that a path in it can be copied where a terminal shows it in two rows. With
    `folds` it is broken between words at a terminal's width, for prose. A pipe gets neither that nor colour.
    """
    piped = not sys.stdout.isatty()
    return Console(highlight=False, soft_wrap=piped or not folds, width=PIPE_COLUMNS if piped else None)


def linked(path: Path, *, bold: bool = True) -> Text:
    """A path that a terminal opens with a click, where it can; the host in it tells whose path it is.

    https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda
    """
    url = f"file://{quote(socket.gethostname())}{quote(os.fsencode(path.absolute().as_posix()))}"
    return Text(plain(path), style=Style(bold=bold, link=url))


def facts(record: Mapping[str, Any]) -> None:
    """Names and values for a person, each in a line of its own, however long; a `Text` is taken as it is."""
    console = out()
    width = max(map(cell_len, record), default=0)
    for name, value in record.items():
        shown = value if isinstance(value, Text) else plain(value)
        console.print(Text.assemble((f"{set_cell_size(name, width)}  ", "dim"), shown))


def say(body: str) -> None:
    """Lines of text that are ours, such as a model card."""
    out(folds=True).print(Text("\n".join(plain(row) for row in body.split("\n"))))


@contextmanager
def busy(message: str) -> Iterator[None]:
    """A spinner on stderr while something takes a moment."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(message):
        yield
