"""Everything that can be chosen about an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from savecli.bench.records import Part
from savecli.errors import ConfigError
from savecli.model.dims import Precision

Ablation = Literal["speech", "audio", "fusion"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)
ENGINES = ("usearch", "hnswlib")
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
MINI = "save-mini"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One evaluation.

    Attributes:
        cache: where features are kept.
        part: of the benchmark that is searched.
        model: MINI, or the path of a SAVE checkpoint.
        precision: in which a SAVE checkpoint encodes frames and sound; save-mini has "fp32" alone.
        ablate: what is left out, see docs/eval.md.
        engine: of the HNSW graph that proposes candidates; None scores every video.
        dual_softmax: whether scores are normalised over all queries.
        reference_metrics: whether ties are counted as the usual code does.
        n_workers: videos that are decoded and encoded at once.
    """

    cache: Path
    part: Part = "test"
    model: str = MINI
    precision: Precision = "fp32"
    ablate: tuple[Ablation, ...] = ()
    engine: str | None = None
    dual_softmax: bool = False
    reference_metrics: bool = False
    n_workers: int = 2

    def __post_init__(self) -> None:
        if self.precision != "fp32" and self.model == MINI:
            raise ConfigError(
                f"{MINI} has no {self.precision}: that is for a SAVE checkpoint",
                hint="leave out --precision, or name the checkpoint by --model",
            )
        if self.engine and self.dual_softmax:
            raise ConfigError(
                "the dual softmax needs the score of every caption with every video", hint="leave out --hnsw"
            )
        if self.engine and self.reference_metrics:
            raise ConfigError(
                "the usual code does not count a query whose video HNSW did not propose",
                hint="leave out --hnsw or --reference-metrics",
            )
