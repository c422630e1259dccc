"""What the store holds more than once."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from savecli.events import ended
from savecli.plain import plain
from savecli.render.basics import clock, line, linked, out, warn
from savecli.twins import Copies, Dupes, Member, Stage, Twins

_WHOLE = 0.8
_STAGES = {"compare": "comparing", "sift": "sifting", "align": "aligning", "look": "looking at pictures"}


def dupes_watch(stages: Generator[Stage, None, Dupes], *, quiet: bool = False) -> Dupes:
    """Lets a search for duplicates run, with a bar on stderr where somebody watches."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)

        def see(stage: Stage) -> None:
            bar.update(task, description=_STAGES[stage.name], completed=stage.done, total=stage.total)

        return ended(stages, see)


def dupes_json(found: Dupes) -> None:
    """One object for each group."""
    for copies in found.copies:
        line({"kind": "copy", "video_id": copies.video_id, "paths": copies.paths})
    for twins in found.twins:
        line(twins_record(twins))


def twins_record(twins: Twins) -> dict[str, Any]:
    """A group as `save dupes --json` has it."""
    return {
        "kind": twins.kind,
        "likeness": round(twins.likeness, 4),
        "looked": twins.looked,
        "other_words": twins.other_words,
        "members": [
            {
                "path": member.paths[0],
                "paths": member.paths,
                "video_id": member.video_id,
                "start_s": round(member.start_s, 2),
                "end_s": round(member.end_s, 2),
                "duration_s": round(member.duration_s, 3),
                "share": round(member.share, 3),
            }
            for member in twins.members
        ],
    }


def dupes_table(found: Dupes) -> None:
    """Groups for a person."""
    console = out()
    for copies in found.copies:
        console.print(_copies(copies))
    for twins in found.twins:
        console.print(_twins(twins))
    if not found.copies and not found.twins:
        console.print(Text(f"no two of {found.n_videos} videos show the same", style="bold"))
    if found.n_unlooked:
        warn(
            f"{found.n_unlooked} pairs were not looked at: judged by what the store keeps of them",
            "are their drives mounted? --looks is how many may be looked at",
        )
    if found.n_blind:
        warn(f"{found.n_blind} videos without pictures: only copies of them are found")


def _copies(copies: Copies) -> Text:
    text = Text.assemble(("the same file", "bold green"), (f", {len(copies.paths)} times", "dim"))
    for path in copies.paths:
        text.append("\n    ").append_text(linked(path) if path.exists() else Text(plain(path)))
    return text


def _twins(twins: Twins) -> Text:
    all_whole = all(member.share >= _WHOLE for member in twins.members)
    what = "the same scene" if twins.kind == "scene" else "the same video" if all_whole else "a video again"
    facts = f", alike {twins.likeness:.2f}"
    facts += "" if twins.looked else ", by rows alone"
    facts += ", with other words" if twins.other_words else ""
    text = Text.assemble((what, "bold cyan" if twins.kind == "video" else "bold"), (facts, "dim"))
    for member in twins.members:
        text.append_text(_member(member))
    return text


def _member(member: Member) -> Text:
    span = f"{clock(member.start_s)}-{clock(member.end_s)}"
    path = next((path for path in member.paths if path.exists()), None)
    text = Text.assemble("\n    ", (f"{span:<14}", "green"))
    text.append_text(linked(path) if path else Text(plain(member.paths[0])))
    rest = [f"of {clock(member.duration_s)}"] if member.share < 0.95 else []
    rest += [f"{len(member.paths)} copies"] if len(member.paths) > 1 else []
    rest += [] if path else ["not there now"]
    return text.append(f"  ({', '.join(rest)})" if rest else "", "dim")
