"""What an evaluation found, for tables, JSON and pages alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from savecli.bench.metrics import Recall


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One query of one direction.

    Attributes:
        query: the caption; for v2t the video's id.
        video_id: of the right video.
        kind: see `savecli.bench.kinds`; "" for v2t.
        rank: of what is right, 1-based, as the report's rule for ties has it: the first, where a query has
            several by it, and 0 where it has none.
        top: the five best answers, best first, with their scores: ids of videos, for v2t captions.
    """

    query: str
    video_id: str
    kind: str
    rank: int
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphLoss:
    """What a search through HNSW lost against the exact one, text to video.

    Attributes:
        engine: "usearch" or "hnswlib".
        n_candidates: rows that the graph gave for each query; what they belong to was scored exactly.
        recall_at_10: share of the exact ten best videos that the graph's ten best hold, mean over queries.
        exact: recall without the graph.
    """

    engine: str
    n_candidates: int
    recall_at_10: float
    exact: Recall


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One evaluation.

    Attributes:
        benchmark: "msrvtt", "vatex", "charades", "lsmdc", "toy" or "csv".
        split: of the benchmark; "" where it has one only.
        n_listed: videos that the test list has.
        n_videos, n_captions: in the gallery, and asked about it.
        missing: ids without a file.
        broken: ids whose file cannot be read, with the reason.
        n_without_audio, n_without_speech: of the gallery.
        speech: where transcripts come from: a file's name, "asr base", or "none".
        model, sha256: name and hash of the checkpoint.
        n_frames, n_words: at most, of a clip (SAVE) or a segment (save-mini), and of a text.
        search: how candidates were found.
        loss: only if `search` is "hnsw".
        ties: "against the model", or "reference" as the usual code counts them.
        dual_softmax: whether scores were normalised over all queries, which no search can do.
        ablated: what was left out: "speech", "audio", "fusion".
        device: "cpu", "cuda:0", ...
        elapsed_s: of the whole run; `encode_s` of reading and encoding alone.
        t2v, v2t: both directions.
        by_kind: t2v for the captions of each kind that there is.
        answers: t2v by direction "t2v", v2t by "v2t", in the order of the benchmark.
        paths: of the gallery's videos, by id.
        precision: of the encoders of frames and sound: "fp32", "bf16", "int8".
        notes: what was left out or repaired, for a person to read.
    """

    benchmark: str
    split: str
    n_listed: int
    n_videos: int
    n_captions: int
    missing: tuple[str, ...]
    broken: Mapping[str, str]
    n_without_audio: int
    n_without_speech: int
    speech: str
    model: str
    sha256: str
    n_frames: int
    n_words: int
    search: Literal["exact", "hnsw"]
    loss: GraphLoss | None
    ties: Literal["against the model", "reference"]
    dual_softmax: bool
    ablated: tuple[str, ...]
    device: str
    elapsed_s: float
    encode_s: float
    t2v: Recall
    v2t: Recall
    by_kind: Mapping[str, Recall]
    answers: Mapping[str, tuple[Answer, ...]]
    paths: Mapping[str, Path]
    precision: str = "fp32"
    notes: tuple[str, ...] = field(default=())

    @property
    def is_complete(self) -> bool:
        """Whether every listed video is in the gallery: else no published number is comparable."""
        return self.n_videos == self.n_listed
