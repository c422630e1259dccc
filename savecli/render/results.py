"""Moments."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.text import Text

from savecli import datatypes as records
from savecli.datatypes import Ask, Results
from savecli.plain import plain
from savecli.render.basics import clock, line, linked, out, place, warn
from savecli.render.preview import show_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Picture = Callable[[records.Moment], "NDArray[np.uint8] | None"]
MODALITIES = ("seen", "heard", "said")


def moment_record(rank: int, moment: records.Moment) -> dict[str, Any]:
    """A moment as the contract in docs/cli.md has it."""
    return {
        "rank": rank,
        "path": moment.path,
        "start_s": round(moment.start_s, 3),
        "end_s": round(moment.end_s, 3),
        "score": round(moment.score, 4),
        # All three are part of the contract, also where a model has no ear.
        "why": {name: round(moment.why.get(name, 0.0), 4) for name in MODALITIES},
        "snippet": moment.snippet,
        "best_s": round(moment.best_s, 3),
        "video_id": moment.video_id,
        "mounted": moment.mounted,
        "drive": moment.drive or None,
    }


def results_json(results: Results) -> None:
    """Moments as JSON lines."""
    _tell_of_graph(results)
    for rank, moment in enumerate(results.moments, 1):
        line(moment_record(rank, moment))


def results_paths(results: Results) -> None:
    """The path of each video once, best first, as the bytes the file system knows."""
    _tell_of_graph(results)
    for path in dict.fromkeys(moment.path for moment in results.moments):
        sys.stdout.buffer.write(plain(path).encode() if sys.stdout.isatty() else os.fsencode(path))
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def results_paths0(results: Results) -> None:
    """The same for `xargs -0`: each path ends in a NUL byte, so that any name comes through whole."""
    _tell_of_graph(results)
    for path in dict.fromkeys(moment.path for moment in results.moments):
        sys.stdout.buffer.write(os.fsencode(path) + b"\0")
    sys.stdout.buffer.flush()


def results_table(ask: Ask | str, results: Results, picture: Picture | None = None) -> None:
    """Moments for a person; `ask` is what they answer, `picture` gives what is to be seen of each."""
    console = out()
    _tell_of_graph(results)
    if not results.moments:
        console.print(Text(f"nothing here matches {asked(ask)}", style="bold"))
        if results.nearest:
            near = results.nearest
            where = f"{plain(near.path.name)} {clock(near.start_s)}-{clock(near.end_s)}"
            console.print(
                Text(f"the nearest is {where}, score {near.score:.2f}; --all shows all", style="dim")
            )
        return
    for rank, moment in enumerate(results.moments, 1):
        console.print(_moment_text(rank, moment))
        if picture is not None and (image := picture(moment)) is not None:
            show_picture(console, image)
    if not results.exact:
        warn("looked up in the graph: a near miss may be left out")


def _tell_of_graph(results: Results) -> None:
    if results.lacked_graph:
        warn("no search graph fits the store: all rows were looked at, which takes longer", "save rebuild")


def asked(ask: Ask | str) -> str:
    """A query in words, as a person typed it."""
    ask = Ask(text=ask) if isinstance(ask, str) else ask
    aimed = zip(MODALITIES, (ask.sees, ask.hears, ask.says), strict=True)
    free = [f'"{plain(ask.text)}"'] if ask.text else []
    like = [f"like {plain(ask.like)}"] if ask.like else []
    return ", ".join([*free, *(f'{name} "{plain(text)}"' for name, text in aimed if text), *like])


def _moment_text(rank: int, moment: records.Moment) -> Text:
    why = "  ".join(
        f"{name} {moment.why[name]:.2f}" for name in MODALITIES if moment.why.get(name, 0) >= 0.005
    )
    text = Text.assemble(
        (f"{rank:>2}. ", "dim"),
        (f"{clock(moment.start_s)}-{clock(moment.end_s)}", "bold green"),
        "  ",
        linked(moment.path) if moment.mounted else (plain(moment.path), "bold"),
        "" if moment.mounted else (f"  ({place(moment.drive)})", "yellow"),
    )
    text.append(f"\n    {moment.score:.2f}", "cyan").append(f"  {why}  best at {clock(moment.best_s)}", "dim")
    if moment.snippet:
        text.append(f'\n    "{plain(moment.snippet)}"', "italic")
    return text
