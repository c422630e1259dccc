"""An evaluation in words and cells, which terminal, Markdown and page lay out each in its way.

What comes from files is as it came: who shows it makes it safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from savecli.bench.kinds import LEGEND
from savecli.bench.published import QUOTED, caveats, note, published
from savecli.render.basics import clock

if TYPE_CHECKING:
    from savecli.bench.metrics import Recall
    from savecli.bench.report import GraphLoss, Report

METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR", "SumR")
SUM_R = "SumR: R@1 + R@5 + R@10, t2v only, as SAVE has it"
N_NAMED = 5  # ids that a person is shown; --json has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table.

    Attributes:
        title: of the whole; "" for none.
        heads, rows: cells; the first of each row names it.
        warnings: what must not be overlooked.
        notes: how to read it.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


def title(report: Report) -> str:
    """Benchmark and split."""
    return f"{report.benchmark} {report.split}".strip()


def numbers(recall: Recall) -> dict[str, float]:
    """By the names of METRICS."""
    values = (recall.r1, recall.r5, recall.r10, recall.median_rank, recall.mean_rank, recall.sum_r)
    return dict(zip(METRICS, values, strict=True))


def grids(report: Report, *, six: bool) -> list[Grid]:
    """All tables that there is something for: the result first."""
    made = [_result(report, six=six)]
    if report.loss:
        made.append(_through_graph(report.t2v, report.loss))
    if published(report.benchmark, report.split):
        made.append(_beside(report))
    if report.by_kind:
        made.append(_by_kind(report))
    return made


def _cells(recall: Recall, names: Iterable[str]) -> tuple[str, ...]:
    found = numbers(recall)
    return tuple(f"{found[name]:.1f}" for name in names)


def _result(report: Report, *, six: bool) -> Grid:
    warnings = []
    if report.dual_softmax:
        warnings.append("dual softmax: scores were normalised over all queries, which no search can do")
    if report.ablated:
        warnings.append(f"ablation: without {' and '.join(report.ablated)}")
    if report.ties == "reference":
        warnings.append(
            f"counted as the usual code does, ties and all: {report.t2v.n_queries:,} entries for "
            f"{report.n_captions:,} captions, {report.v2t.n_queries:,} for video to text"
        )
    notes = [SUM_R]
    if six:
        both = report.t2v.sum_r + report.v2t.sum_r
        notes.append(f"sum of six: {both:.1f}, t2v + v2t, which other papers call SumR")
    rows = (("t2v", *_cells(report.t2v, METRICS)), ("v2t", *_cells(report.v2t, METRICS[:-1]), ""))
    heads = ("", *METRICS)
    return Grid(title="", heads=heads, rows=rows, warnings=tuple(warnings), notes=tuple(notes))


def _through_graph(t2v: Recall, loss: GraphLoss) -> Grid:
    graph, exact = numbers(t2v), numbers(loss.exact)
    lost = tuple(f"{graph[name] - exact[name]:+.1f}" for name in METRICS)
    return Grid(
        title="what HNSW loses",
        heads=("t2v", *METRICS),
        rows=(
            ("HNSW", *_cells(t2v, METRICS)),
            ("exact", *_cells(loss.exact, METRICS)),
            ("difference", *lost),
        ),
        notes=(f"{100 * loss.recall_at_10:.1f} % of the exact ten best are among the ten best of HNSW",),
    )


def _beside(report: Report) -> Grid:
    rows = published(report.benchmark, report.split)
    sources = list(dict.fromkeys(row.source for row in rows))
    ours = ("this run", *_cells(report.t2v, ("R@1", "R@5", "R@10", "SumR")), "")
    theirs = [
        (
            row.model,
            *("" if value is None else f"{value:.1f}" for value in (row.r1, row.r5, row.r10, row.sum_r)),
            f"[{sources.index(row.source) + 1}]",
        )
        for row in rows
    ]
    told = tuple(f"not comparable: {caveat}" for caveat in caveats(report))
    listed = [f"[{i}] {source}" for i, source in enumerate(sources, 1)]
    remark = note(report.benchmark, report.split)
    return Grid(
        title="beside published rows, text to video",
        heads=("t2v", "R@1", "R@5", "R@10", "SumR", "source"),
        rows=(ours, *theirs),
        warnings=told,
        notes=(*listed, QUOTED, *([remark] if remark else [])),
    )


def _by_kind(report: Report) -> Grid:
    rows = (
        (kind, f"{found.n_queries:,}", *_cells(found, METRICS[:-1])) for kind, found in report.by_kind.items()
    )
    return Grid(
        title="by kind of query, text to video",
        heads=("t2v", "n", *METRICS[:-1]),
        rows=tuple(rows),
        notes=(LEGEND,),
    )


def facts(report: Report) -> list[tuple[str, str]]:
    """What was measured, of what and how: names and values."""
    of = f" of {report.n_listed:,} listed" if not report.is_complete else ""
    told = [
        ("benchmark", title(report)),
        ("gallery", f"{report.n_videos:,} videos{of}"),
        ("queries", f"{report.n_captions:,} captions; for v2t the videos"),
    ]
    if report.missing:
        told.append(("missing", named(report.missing)))
    if report.broken:
        told.append(("unreadable", named([f"{name} ({why})" for name, why in report.broken.items()])))
    return [
        *told,
        ("without audio", f"{report.n_without_audio:,} videos"),
        ("without speech", f"{report.n_without_speech:,} videos"),
        ("speech from", report.speech),
        ("checkpoint", f"{report.model}, SHA-256 {report.sha256[:12]}"),
        ("frames", f"{report.n_frames} at most"),
        ("words", f"{report.n_words} at most"),
        ("search", _search(report)),
        ("ties", _ties(report)),
        ("device", f"{report.device}, {report.precision}"),
        ("time", f"{duration(report.elapsed_s)}, of it {duration(report.encode_s)} reading and encoding"),
        *(("note", told) for told in report.notes),
    ]


def named(names: Iterable[str]) -> str:
    """How many, and the first few."""
    listed = list(names)
    more = f" and {len(listed) - N_NAMED:,} more" if len(listed) > N_NAMED else ""
    return f"{len(listed):,}: {', '.join(listed[:N_NAMED])}{more}"


def duration(seconds: float) -> str:
    """Seconds of a short time, a clock of a long one."""
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def _search(report: Report) -> str:
    if report.loss is None:
        return "exact" if report.search == "exact" else "HNSW"
    return f"HNSW ({report.loss.engine}), {report.loss.n_candidates:,} candidates a query, scored exactly"


def _ties(report: Report) -> str:
    if report.ties == "reference":
        return "as the usual code counts them, for comparison"
    return "against the model: it ranks behind everything that scores as high"
