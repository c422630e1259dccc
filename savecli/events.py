"""What a run that takes a while tells as it goes on: frozen, keyword-only.

A flow yields these, and a progress bar, JSON lines and tests read them. Times are float seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Told = TypeVar("Told")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulling:
    """How far the download of one file of the weights `name` is."""

    name: str
    file: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A file of the weights `name` that is here, every byte as published.

    Attributes:
        fetched_bytes: of them, those that came over the network this time; 0 where it was here before.
    """

    name: str
    file: str
    path: Path
    size_bytes: int
    fetched_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """An index run has looked through the folders.

    Attributes:
        n_files, n_bytes: of the files that are new or changed.
        sizes: of each of these, bytes.
    """

    n_files: int
    n_bytes: int
    sizes: Mapping[Path, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the video in work is.

    Attributes:
        stage: "see" or "hear".
        done_s, duration_s: of its footage.
    """

    path: Path
    stage: str
    done_s: float
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """A video that is now in the store.

    Attributes:
        speech_s: seconds covered by speech.
        elapsed_s: it took this long.
        size_bytes: of the file.
        stage_s: where the time went: "decode", "see", "hear", "store".
        notes: what its owner should know, such as "no audio track".
        partial: whether it could be read only in part.
    """

    path: Path
    duration_s: float
    n_segments: int
    has_audio: bool
    speech_s: float
    elapsed_s: float
    size_bytes: int
    stage_s: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """A video that is in the store as it is on disk."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A video that is in the store under a path that is gone."""

    path: Path
    old_path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A file that the store has forgotten, as it is gone from its volume."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file that cannot be indexed, or a folder that cannot be looked through.

    Attributes:
        known: it failed before, has not changed since, and was not tried again.
        unfinished: it is still being written, and the next run tries it again.
    """

    path: Path
    reason: str
    hint: str
    known: bool = False
    unfinished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The end of an index run.

    Attributes:
        footage_s: length of what was indexed.
        n_without_speech: unchanged videos with sound that were indexed with speech turned off.
        n_removed: files that were gone, and are forgotten now.
        n_missing: files that are gone, and still known.
        n_away: known files that are out of reach, as their drive is not mounted or does not answer.
    """

    n_indexed: int
    n_unchanged: int
    n_moved: int
    n_skipped: int
    footage_s: float
    elapsed_s: float
    stage_s: Mapping[str, float] = field(default_factory=dict)
    n_without_speech: int = 0
    n_removed: int = 0
    n_missing: int = 0
    n_away: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Relinked:
    """A file of a library that has moved.

    Attributes:
        path: where it is now, or would be.
        old_path: where the store knew it.
        reason: why it was left there; "" where it was not.
    """

    path: Path
    old_path: Path
    reason: str = ""


Event = Planned | Progress | Indexed | Unchanged | Moved | Removed | Skipped | Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing:
    """Videos of a benchmark are being decoded.

    Attributes:
        n_done, n_videos: how far.
        path, reason: of a video that cannot be, "" otherwise.
    """

    n_done: int
    n_videos: int
    path: Path | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBegins:
    """A training knows what it will do.

    Attributes:
        n_samples: captions of training videos.
        n_train, n_val, n_test: videos.
        n_steps, n_done: of the optimiser, and how many were done in an earlier run.
        device, precision: where and how it is computed.
        notes: what its owner should know.
    """

    n_samples: int
    n_train: int
    n_val: int
    n_test: int
    n_steps: int
    n_done: int
    device: str
    precision: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """A step of the optimiser.

    Attributes:
        step, epoch: from 1 and from 0.
        retrieval, distillation: the losses, the mean of the step's batches.
        lr: base rate at this step.
        grad_norm: before it was clipped.
        elapsed_s: since the last step.
        n_videos: of the step.
    """

    step: int
    epoch: int
    retrieval: float
    distillation: float
    lr: float
    grad_norm: float
    elapsed_s: float
    n_videos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A checkpoint was measured.

    Attributes:
        epoch: after which; from 0.
        split: "val" or "test".
        t2v, v2t: R@1, R@5, R@10 in per cent, MdR and MnR, by these names.
        is_best: whether no earlier epoch was better on "val".
    """

    epoch: int
    split: str
    t2v: Mapping[str, float]
    v2t: Mapping[str, float]
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A training is over.

    Attributes:
        epoch: the one that was chosen, on videos that were neither trained nor tested on.
        path: of its weights.
    """

    epoch: int
    path: Path


TrainingEvent = Preparing | TrainingBegins | Stepped | Evaluated | Trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """The teacher's features are on disk.

    Attributes:
        path: of the file.
        n_videos: that it holds now.
        n_new: of them, those of this run.
        n_failed: videos that could not be read, and are tried again next time.
    """

    path: Path
    n_videos: int
    n_new: int
    n_failed: int


TeachingEvent = Preparing | Taught


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Videos of a benchmark become features; one for each video, whether read now or found on disk.

    Attributes:
        n_done, n_total: videos, how far.
        video_id: of the one that is done.
        reason: why it cannot be read; None where it can.
    """

    n_done: int
    n_total: int
    video_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Captions are compared with every video.

    Attributes:
        n_done, n_total: captions, how far.
    """

    n_done: int
    n_total: int


EvaluationEvent = Encoding | Scoring


def ended(work: Generator[Told, None, T], see: Callable[[Told], object] = lambda _: None) -> T:
    """What a generator returns at its end; `see` is given what it tells on the way."""
    while True:
        try:
            told = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        see(told)
