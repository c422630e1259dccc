"""An evaluation: how far it is, its tables, its JSON object, Markdown and the answers as CSV."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from savecli.bench.kinds import LEGEND
from savecli.bench.published import caveats, published
from savecli.bench.report import Report
from savecli.errors import ConfigError
from savecli.events import Encoding, EvaluationEvent, Scoring
from savecli.plain import plain
from savecli.render import basics
from savecli.render.evaluation_words import Grid, facts, grids, numbers, title

if TYPE_CHECKING:
    from savecli.bench.metrics import Recall

N_TOP = 5
NARROW = 50  # columns; below, a fact takes its name and its value one after the other
FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # what spreadsheets take for the start of one, by width too
MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")


def watch(events: Iterable[EvaluationEvent | Report], *, quiet: bool = False) -> Report:
    """Show on a terminal how far an evaluation is, on stderr; elsewhere say nothing.

    Args:
        events: of the flow, and its report; others are passed over.
        quiet: show nothing either way.

    Raises:
        ValueError: where no report comes.
    """
    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), BarColumn(bar_width=20), TextColumn("{task.description}"))
    bar = Progress(
        *columns,
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    report: Report | None = None
    with bar:
        task = bar.add_task("reading the benchmark", total=None)
        stage: type | None = None
        for event in events:
            if isinstance(event, Report):
                report = event
            if not isinstance(event, Encoding | Scoring):
                continue
            if type(event) is not stage:  # another stage has a speed of its own
                stage = type(event)
                bar.reset(task)
            said = f"{_STAGES[stage]} {event.n_done:,}/{event.n_total:,}"
            bar.update(task, completed=event.n_done, total=max(1, event.n_total), description=said)
            if isinstance(event, Encoding) and event.reason is not None and not bar.disable:
                told = f"{plain(event.video_id)}: {plain(event.reason)}"
                console.print(Text.assemble(("skipped  ", "yellow"), told), soft_wrap=True)
    if report is None:
        raise ValueError("an evaluation ended without a report")
    return report


_STAGES: dict[type, str] = {Encoding: "videos", Scoring: "captions"}


def show(report: Report, *, six: bool = False, out: Console | None = None) -> None:
    """The tables of a report and what it is of, for a person, at any width.

    Args:
        report: what was found.
        six: whether the sum over both directions is told.
        out: where to; stdout if None.
    """
    console = out or basics.out(folds=True)
    _show_facts(console, report)
    for grid in grids(report, six=six):
        console.print()
        if grid.title:
            console.print(Text(grid.title, style="bold"))
        for warning in grid.warnings:
            console.print(Text(plain(warning), style="yellow"))
        _show_grid(console, grid)
        for note in grid.notes:
            console.print(Text(plain(note), style="dim"))


def _show_facts(console: Console, report: Report) -> None:
    told = [(name, plain(value)) for name, value in facts(report)]
    if console.width < NARROW:
        for name, value in told:
            console.print(Text.assemble((f"{name}: ", "dim"), value))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in told:
        table.add_row(Text(name, style="dim"), Text(value))
    console.print(table)


def _show_grid(console: Console, grid: Grid) -> None:
    rows = [[plain(cell) for cell in row] for row in grid.rows]
    widest = [max(map(len, column)) for column in zip(grid.heads, *rows, strict=True)]
    if sum(widest) + 2 * (len(widest) - 1) > console.width:
        for row in rows:
            console.print(Text(row[0], style="bold"))
            for head, cell in zip(grid.heads[1:], row[1:], strict=True):
                if cell:
                    console.print(Text(f"  {head:<6} {cell}"))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, head in enumerate(grid.heads):
        table.add_column(Text(head, style="dim"), justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(Text(row[0], style="bold"), *map(Text, row[1:]))
    console.print(table)


def record(report: Report) -> dict[str, Any]:
    """The object of `--json`, as the contract in docs/cli.md has it."""
    loss = report.loss
    return {
        "benchmark": report.benchmark,
        "split": report.split,
        "n_listed": report.n_listed,
        "n_videos": report.n_videos,
        "n_captions": report.n_captions,
        "missing": len(report.missing),
        "missing_ids": list(report.missing),
        "broken": dict(report.broken),
        "without_audio": report.n_without_audio,
        "without_speech": report.n_without_speech,
        "speech": report.speech,
        "checkpoint": {"name": report.model, "sha256": report.sha256},
        "frames": report.n_frames,
        "words": report.n_words,
        "search": report.search,
        "hnsw": loss
        and {
            "engine": loss.engine,
            "n_candidates": loss.n_candidates,
            "recall_at_10": round(loss.recall_at_10, 6),
            "exact_t2v": _rounded(loss.exact),
        },
        "ties": report.ties,
        "dual_softmax": report.dual_softmax,
        "ablated": list(report.ablated),
        "device": report.device,
        "precision": report.precision,
        "elapsed_s": round(report.elapsed_s, 3),
        "encode_s": round(report.encode_s, 3),
        "t2v": _rounded(report.t2v),
        "v2t": _rounded(report.v2t),
        "sum_of_six": round(report.t2v.sum_r + report.v2t.sum_r, 4),
        "by_kind": {kind: _rounded(found) for kind, found in report.by_kind.items()},
        "kind_rule": LEGEND,
        "published_t2v": [
            {
                "model": row.model,
                "R@1": row.r1,
                "R@5": row.r5,
                "R@10": row.r10,
                "SumR": row.sum_r,
                "source": row.source,
            }
            for row in published(report.benchmark, report.split)
        ],
        "not_comparable": list(caveats(report)),
        "notes": list(report.notes),
    }


def _rounded(recall: Recall) -> dict[str, float]:
    found = {name: round(value, 4) for name, value in numbers(recall).items()}
    return {**found, "n_queries": recall.n_queries}


def markdown(report: Report, *, six: bool = False) -> str:
    """Tables and facts, to paste into a README."""
    parts = [f"**{_escaped(title(report))}**, {_escaped(report.model)}"]
    for grid in grids(report, six=six):
        rows = [grid.heads, ["---", *["---:"] * (len(grid.heads) - 1)]]
        body = [[_escaped(cell) for cell in row] for row in grid.rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in [*rows, *body])
        parts += [f"{grid.title[:1].upper()}{grid.title[1:]}:"] if grid.title else []
        parts += [f"**{_escaped(warning)}**" for warning in grid.warnings]
        parts += [table, "\n".join(f"- {_escaped(words)}" for words in grid.notes)]
    parts.append("\n".join(f"- {name}: {_escaped(value)}" for name, value in facts(report)))
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return MARKUP.sub(r"\\\1", plain(text)).replace("&", "&amp;")


def write_csv(report: Report, path: Path) -> None:
    """Every query with its rank and its best five, one a row, in the order of the benchmark.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.

    Raises:
        ConfigError: where the file is there already, or cannot be written.
    """
    heads = [f"{name}{i}" for i in range(1, N_TOP + 1) for name in ("top", "score")]
    with new_file(path) as file:
        writer = csv.writer(file)  # its CRLF makes it quote a CR within a text as well
        writer.writerow(["direction", "kind", "query", "video", "rank", *heads])
        for direction, answers in report.answers.items():
            for answer in answers:
                top: list[object] = []
                for text, score in answer.top[:N_TOP]:
                    top += [_text(text), f"{score:.6g}"]
                top += [""] * (2 * N_TOP - len(top))
                asked = (direction, answer.kind, _text(answer.query), _text(answer.video_id), answer.rank)
                writer.writerow([*asked, *top])


def _text(text: str) -> str:
    return f"'{text}" if FORMULA.match(text) else text


def refuse(path: Path) -> None:
    """Refuse a file that is there, before the work that would fill it.

    Raises:
        ConfigError: where it is.
    """
    if os.path.lexists(path):
        raise ConfigError(f"{path} is there already", hint="name another file, or remove this one first")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}", hint="make it first, or name another file")


@contextmanager
def new_file(path: Path) -> Iterator[IO[str]]:
    """A text file that is there once it is whole.

    Raises:
        ConfigError: where there is one already, or it cannot be written.
    """
    refuse(path)
    aside = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        try:
            with aside.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
                yield file
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="name another file") from error
