"""Numbers from papers, text to video, to stand beside a report; and what keeps them from being compared.

All are quoted in this project's issue 5, which is where they were taken from. SumR is R@1 + R@5 + R@10 of
text to video, as the SAVE paper has it. Two rows of one model differ where two papers give different numbers.

The quotation does not say which test set "MSRVTT-7k" has. Its numbers are some 45 points below those of 1k-A
for the same model, too far for a training list of 7,010 videos instead of 9,000: we take them to be of the
official 2,990 test videos with all their captions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from savecli.bench.report import Report

SAVE = "Zhao et al., SAVE, CVPR 2026, arXiv 2603.08224"
CLIP4CLIP = "Luo et al., CLIP4Clip, arXiv 2104.08860"
ECLIPSE = "Lin et al., EclipSE, ECCV 2022, arXiv 2204.02874"
TEFAL = "Ibrahimi et al., TEFAL, ICCV 2023, arXiv 2307.12964"
AVIGATE = "Jeong et al., AVIGATE, CVPR 2025, arXiv 2504.02397"
QUOTED = "as quoted in issue 5 of this project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A row of a paper, text to video, in per cent.

    Attributes:
        model: its name.
        r1, r5, r10: None where only the sum is known.
        sum_r: R@1 + R@5 + R@10.
        source: the paper.
    """

    model: str
    r1: float | None = None
    r5: float | None = None
    r10: float | None = None
    sum_r: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A test set with its rows; `n_videos` of its gallery, `n_captions` of all of them."""

    n_videos: int
    n_captions: int
    rows: tuple[Published, ...]
    note: str = ""


def _recalls(model: str, r1: float, r5: float, r10: float, source: str) -> Published:
    return Published(model=model, r1=r1, r5=r5, r10=r10, sum_r=round(r1 + r5 + r10, 1), source=source)


def _sums(clip4clip: float, avigate: float, save: float) -> tuple[Published, ...]:
    found = {"CLIP4Clip": clip4clip, "AVIGATE": avigate, "SAVE": save}
    return tuple(Published(model=model, sum_r=sum_r, source=SAVE) for model, sum_r in found.items())


_SEVEN = Test(
    n_videos=2990,
    n_captions=59_800,
    rows=_sums(150.1, 162.7, 165.8),
    note="rows of MSRVTT-7k, which we take to be of the official 2,990 test videos",
)
_TESTS = {
    ("msrvtt", "9k"): Test(
        n_videos=1000,
        n_captions=1000,
        rows=(
            _recalls("CLIP4Clip", 43.1, 70.4, 80.8, CLIP4CLIP),
            _recalls("EclipSE", 44.2, 71.3, 81.6, ECLIPSE),
            _recalls("TEFAL", 49.4, 75.9, 83.9, TEFAL),
            _recalls("AVIGATE", 50.2, 74.3, 83.2, AVIGATE),
            *_sums(197.5, 207.7, 216.2),
        ),
        note="a model that has two rows has them from two papers, which need not agree",
    ),
    ("msrvtt", "7k"): _SEVEN,
    ("msrvtt", "full"): _SEVEN,
    ("vatex", ""): Test(n_videos=1500, n_captions=15_000, rows=_sums(248.5, 249.3, 255.5)),
    ("charades", ""): Test(n_videos=1863, n_captions=1863, rows=_sums(107.6, 110.6, 121.4)),
    ("lsmdc", ""): Test(n_videos=1000, n_captions=1000, rows=_sums(112.7, 125.7, 128.3)),
}


def published(benchmark: str, split: str) -> tuple[Published, ...]:
    """The rows for a benchmark; none where it has none."""
    test = _TESTS.get((benchmark, split))
    return test.rows if test else ()


def caveats(report: Report) -> tuple[str, ...]:
    """Why this report cannot be compared with published rows, for a person to read.

    Empty where nothing is known against it, and where there are no rows.
    """
    test = _TESTS.get((report.benchmark, report.split))
    if test is None:
        return ()
    told = []
    if not report.is_complete:
        n_absent = report.n_listed - report.n_videos
        which = f"{n_absent:,} of the {report.n_listed:,} listed videos {'is' if n_absent == 1 else 'are'}"
        told.append(f"{which} not in the gallery, and a smaller gallery is easier")
    if report.n_listed != test.n_videos:
        told.append(f"its list has {report.n_listed:,} videos, that of the published rows {test.n_videos:,}")
    elif report.is_complete and report.n_captions != test.n_captions:
        told.append(f"it has {report.n_captions:,} captions, the published rows {test.n_captions:,}")
    if report.dual_softmax:
        told.append("its scores went through a dual softmax, which the published rows do without")
    if report.search == "hnsw":
        told.append("its candidates came through HNSW, published rows compare with every video")
    if report.precision != "fp32":
        told.append(f"it encodes frames and sound in {report.precision}")
    if report.ablated:
        told.append(f"it runs without {' and '.join(report.ablated)}")
    return tuple(told)


def note(benchmark: str, split: str) -> str:
    """What a reader of the rows should know; "" where that is nothing."""
    test = _TESTS.get((benchmark, split))
    return test.note if test else ""
