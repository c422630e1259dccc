"""What a benchmark is: videos with their captions, in three splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A video of a benchmark.

    Attributes:
        video_id: as the annotations spell it.
        path: of its file; None where there is none.
        captions: one or more, without surrounding white space, in the order of the file.
        speech: what is said in it, as it came; "" where its entry has no words, None where it has no entry.
    """

    video_id: str
    path: Path | None
    captions: tuple[str, ...]
    speech: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A benchmark as it lies on this disk; no video is in two of its splits.

    Attributes:
        name: "msrvtt", "vatex", "charades" or "csv".
        split: "9k" or "7k" for msrvtt, "" elsewhere.
        train, val, test: each in the order of its list.
        notes: what was left out or repaired, for a person to read.
    """

    name: str
    split: str
    train: tuple[Clip, ...]
    val: tuple[Clip, ...]
    test: tuple[Clip, ...]
    notes: tuple[str, ...] = ()
