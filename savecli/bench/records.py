"""What a benchmark is: videos with their captions, in three splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A video of a benchmark.

    Attributes:
        video_id: as the annotations spell it.
        path: of its file; None where there is none.
        captions: one or more, without surrounding white space, in the order of the file.
        speech: what is said in it, as it came; "" where its entry has no words, None where it has no entry.
        sound: a file of sound that bears its name; None where what is heard is in the video itself.
    """

    video_id: str
    path: Path | None
    captions: tuple[str, ...]
    speech: str | None = None
    sound: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A benchmark as it lies on this disk; no video is in two of its splits.

    Attributes:
        name: "msrvtt", "vatex", "charades", "lsmdc" or "csv".
        split: "9k", "7k" or "full" for msrvtt, "" elsewhere.
        train, val, test: each in the order of its list; empty where it was not asked for.
        notes: what was left out or repaired, for a person to read.
        transcripts: the file that `speech` is from; None where there is none.
        n_published: videos in the test set that published results are of; None where there are none. With
            another number of test videos, results are not comparable, whether or not all have a file.
    """

    name: str
    split: str
    train: tuple[Clip, ...]
    val: tuple[Clip, ...]
    test: tuple[Clip, ...]
    notes: tuple[str, ...] = ()
    transcripts: Path | None = None
    n_published: int | None = None
