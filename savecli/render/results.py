"""Moments."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
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
_AIMED = {"sees": "seen", "hears": "heard", "says": "said"}


def moment_record(rank: int, moment: records.Moment, *, explain: bool = False) -> dict[str, Any]:
    """A moment as the contract in docs/cli.md has it."""
    more = {"explain": [_terms_record(terms) for terms in moment.terms]} if explain else {}
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
        "marks": [list(mark) for mark in moment.marks],
        "copies": moment.copies,
        **more,
    }


def _terms_record(terms: records.Terms) -> dict[str, Any]:
    median, spread, n_segments = terms.background
    return {
        "text": terms.text,
        "aim": terms.aim,
        "weight": terms.weight,
        "against": terms.is_against,
        "score": round(terms.score, 4),
        "cosines": _rounded(terms.cosines),
        "words": round(terms.words, 4),
        "letters": round(terms.letters, 4),
        "evidence": _rounded(terms.evidence),
        "usual": _rounded(terms.usual),
        "background": {"middle": round(median, 4), "spread": round(spread, 4), "n_segments": n_segments},
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def results_json(results: Results, *, query: str | None = None, explain: bool = False) -> None:
    """Moments as JSON lines, with the query where it is one of several."""
    _tell_of_graph(results)
    own = {} if query is None else {"query": query}
    for rank, moment in enumerate(results.moments, 1):
        line(own | moment_record(rank, moment, explain=explain))


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


def results_table(
    ask: Ask | str,
    results: Results,
    picture: Picture | None = None,
    *,
    first: int = 1,
    by_video: bool = False,
) -> None:
    """Moments for a person.

    Args:
        ask: what they answer.
        results: the moments.
        picture: gives what is to be seen of each.
        first: the number of the first.
        by_video: names each video once, above its moments.
    """
    console = out(folds=True)
    if not results.moments:
        _nothing(ask, results)
        _tell_of_graph(results)
        return
    if not results.has_answer:
        console.print(Text(f"nothing here matches {asked(ask)}; the nearest:", style="bold"))
    before = None
    for rank, moment in enumerate(results.moments, first):
        if by_video and moment.video_id != before:
            console.print(_path_text(moment), soft_wrap=True)
        before = moment.video_id
        console.print(_head_text(rank, moment, with_path=not by_video), soft_wrap=True)
        console.print(_reason_text(moment))
        if picture is not None and (image := picture(moment)) is not None:
            show_picture(console, image)
    if results.has_more:
        warn(
            "this is said in more places than were looked through", "say more of it, or filter: --in, --since"
        )
    if not results.exact:
        warn("looked up in the graph: a near miss may be left out")
    _tell_of_graph(results)


def _tell_of_graph(results: Results) -> None:
    if results.lacked_graph:
        warn("no search graph fits the store: all rows were looked at, which takes longer", "save rebuild")


def _nothing(ask: Ask | str, results: Results) -> None:
    console = out(folds=True)
    if results.n_videos == 0:
        console.print(Text("no video passes the filters", style="bold"))
        return
    console.print(Text(f"nothing here matches {asked(ask)}", style="bold"))
    if results.nearest:
        near = results.nearest
        where = f"{plain(near.path.name)} {clock(near.start_s)}-{clock(near.end_s)}"
        hint = f"the nearest is {where}, score {near.score:.2f}; --all shows what is nearest"
        console.print(Text(hint, style="dim"))


def query_heading(text: str) -> None:
    """What the results below answer, where there are several queries."""
    out().print(Text(f"? {plain(text)}", style="bold cyan"))


def asked(ask: Ask | str) -> str:
    """A query in words, as a person typed it."""
    ask = Ask(text=ask) if isinstance(ask, str) else ask
    told = [_part(part) for part in ask.parts]
    told += [f'the words "{plain(phrase.text)}"' for phrase in ask.phrases]
    told += [f"/{plain(regex)}/" for regex in ask.regexes]
    told += [f"not {_part(part)}" for part in ask.against]
    told += [f'not the words "{plain(phrase.text)}"' for phrase in ask.banned]
    told += [f"like {plain(ask.like)}"] if ask.like else []
    return ", ".join(told)


def _part(part: records.Part) -> str:
    weight = "" if part.weight == 1 else f"{part.weight:g}:"
    aim = "" if part.aim == "text" else f"{_AIMED[part.aim]} "
    return f'{aim}{weight}"{plain(part.text)}"'


def _path_text(moment: records.Moment) -> Text:
    return Text.assemble(
        linked(moment.path) if moment.mounted else (plain(moment.path), "bold"),
        "" if moment.mounted else (f"  ({place(moment.drive)})", "yellow"),
    )


def _head_text(rank: int, moment: records.Moment, *, with_path: bool = True) -> Text:
    """Where it is."""
    text = Text.assemble(
        (f"{rank:>2}. ", "dim"),
        (f"{clock(moment.start_s)}-{clock(moment.end_s)}", "bold green"),
    )
    if with_path:
        text.append("  ").append_text(_path_text(moment))
    if moment.copies:
        text.append(f"  (and {moment.copies} more like it)", "dim")
    return text


def _reason_text(moment: records.Moment) -> Text:
    """Why it was found, and what is said there."""
    why = "  ".join(
        f"{name} {moment.why[name]:.2f}" for name in MODALITIES if moment.why.get(name, 0) >= 0.005
    )
    text = Text.assemble(
        (f"    {moment.score:.2f}", "cyan"), (f"  {why}  best at {clock(moment.best_s)}", "dim")
    )
    if moment.snippet:
        text.append("\n    ").append_text(_snippet_text(moment))
    for terms in moment.terms:
        text.append(f"\n    {_explained(terms)}", "dim")
    return text


def _snippet_text(moment: records.Moment) -> Text:
    """What is said, with the words that were looked for standing out."""
    text, at = Text('"', style="italic"), 0
    for start, end in moment.marks:
        text.append(plain(moment.snippet[at:start])).append(plain(moment.snippet[start:end]), "bold yellow")
        at = end
    return text.append(f'{plain(moment.snippet[at:])}"')


def _explained(terms: records.Terms) -> str:
    """How the score of a text or an example came about, in a line."""
    if terms.aim == "like":
        return _likened(terms)
    part = _part(records.Part(text=terms.text, aim=terms.aim, weight=terms.weight))
    middle, spread, n_segments = terms.background
    evidence = "  ".join(
        f"{name} {terms.evidence[name]:+.2f} ({terms.usual[name]:.2f} is usual)"
        for name in MODALITIES
        if terms.evidence.get(name) or terms.usual.get(name)
    )
    cosines = "  ".join(f"{name} {value:.2f}" for name, value in terms.cosines.items())
    letters = f", letters {terms.letters:.2f}" if terms.letters else ""
    return (
        f"{'not ' if terms.is_against else ''}{part} {terms.score:.2f}: cosine {cosines};"
        f" words {terms.words:.2f}{letters}; evidence {evidence};"
        f" background {middle:.2f} and {spread:.2f} above it, of {n_segments} segments"
    )


def _likened(terms: records.Terms) -> str:
    kinds = "  ".join(
        f"{name} {terms.cosines[name]:.2f} ({terms.usual[name]:.2f} is usual)"
        for name in MODALITIES
        if name in terms.cosines
    )
    return f"like {plain(terms.text)} {terms.score:.2f}: cosine {kinds}"
