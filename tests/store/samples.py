"""Made-up videos, the same for the same seed; also imported by the processes that tests kill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from savecli.datatypes import Embedding, Segment, Transcript, Utterance, Video, Word

DIM = 16
IDENTITY = {"model": "tiny", "weights": "abc", "dim": str(DIM)}
EMPTY = np.empty((0, DIM), dtype=np.float32)


KINDS = ("seen", "frames", "heard", "said", "fused", "parts")


def unit(rng, n, dim=DIM):
    rows = rng.standard_normal((n, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def heard(rng, n_windows, n_fused, dim=DIM):
    """Rows of the kinds that a store of version 1 did not have."""
    fused, parts = unit(rng, n_fused, dim), rng.standard_normal((3 * n_fused, dim), dtype=np.float32)
    if n_fused:
        parts[2] = fused[0] - parts[0] - parts[1]
    return {"heard": unit(rng, n_windows, dim), "fused": fused, "parts": parts}


@dataclass(frozen=True)
class Content:
    """All that is stored of one video, whatever its path."""

    fingerprint: str
    segments: list[Segment]
    embeddings: list[Embedding]
    transcript: Transcript
    frame_times: list[np.ndarray]

    def video(self, path: Path, mtime_ns: int = 1) -> Video:
        return Video(
            path=path,
            fingerprint=self.fingerprint,
            size_bytes=1000,
            mtime_ns=mtime_ns,
            duration_s=12.0 * len(self.segments),
            has_video=True,
            has_audio=True,
        )


def content(seed: int, n_segments: int | None = None, dim: int = DIM) -> Content:
    """Segments of 12 s with 0..3 frames, utterances and windows of sound each."""
    rng, ears = np.random.default_rng(seed), np.random.default_rng([seed, 2])
    n_segments = int(rng.integers(0, 4)) if n_segments is None else n_segments
    embeddings, times, utterances = [], [], []
    for index in range(n_segments):
        n_frames, n_said = rng.integers(0, 4, size=2)
        start_s = 12.0 * index
        embeddings.append(
            Embedding(
                seen=unit(rng, min(1, n_frames), dim),
                frames=unit(rng, n_frames, dim),
                said=unit(rng, n_said, dim),
                **heard(ears, *ears.integers(0, (4, 2)), dim),
            )
        )
        times.append(start_s + np.arange(n_frames, dtype=np.float64))
        for said in range(n_said):
            from_s = start_s + 3 * said
            words = (Word(start_s=from_s, end_s=from_s + 1, text=f"wörd{seed}"),)
            utterances.append(
                Utterance(start_s=from_s, end_s=from_s + 2, text=f"wörd{seed} {said}", words=words)
            )
    return Content(
        fingerprint=f"{seed:032x}",
        segments=[Segment(start_s=12.0 * i, end_s=12.0 * i + 12) for i in range(n_segments)],
        embeddings=embeddings,
        transcript=Transcript(language="de", language_probability=0.5, utterances=tuple(utterances)),
        frame_times=times,
    )


def many(seed: int, n_rows: int, dim: int = DIM) -> Content:
    """One video with `n_rows` segments, each with one row of every kind."""
    rng = np.random.default_rng(seed)
    rows = {kind: unit(rng, n_rows, dim) for kind in ("seen", "frames", "said", "heard")}
    spoken = [Utterance(start_s=12.0 * i, end_s=12.0 * i + 1, text="so") for i in range(n_rows)]
    return Content(
        fingerprint=f"{seed:032x}",
        segments=[Segment(start_s=12.0 * i, end_s=12.0 * i + 12) for i in range(n_rows)],
        embeddings=[
            Embedding(**heard(rng, 1, 1, dim) | {kind: matrix[i : i + 1] for kind, matrix in rows.items()})
            for i in range(n_rows)
        ],
        transcript=Transcript(language="en", language_probability=1.0, utterances=tuple(spoken)),
        frame_times=[np.array([12.0 * i]) for i in range(n_rows)],
    )


def add(store, path: Path, stored: Content, mtime_ns: int = 1, **options) -> None:
    store.add(
        stored.video(path, mtime_ns),
        stored.segments,
        stored.embeddings,
        stored.transcript,
        asr="tiny.en",
        frame_times=stored.frame_times,
        **options,
    )


def n_rows(n_segments: int) -> dict[str, int]:
    """How many rows of each kind `many` has."""
    return {kind: n_segments * (3 if kind == "parts" else 1) for kind in KINDS}


def brute_force(contents, kind: str, query) -> list[float]:
    """The best score of every segment that has rows of a kind, over float16 rows, best first."""
    scores = [
        float((getattr(e, kind).astype(np.float16).astype(np.float32) @ query).max())
        for stored in contents
        for e in stored.embeddings
        if len(getattr(e, kind))
    ]
    return sorted(scores, reverse=True)
