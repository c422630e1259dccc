"""What a run that takes a while tells as it goes on: frozen, keyword-only.

A flow yields these, and a progress bar, JSON lines and tests read them. Times are float seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


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
    """

    n_files: int
    n_bytes: int


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
class Skipped:
    """A file that cannot be indexed.

    Attributes:
        known: it failed before, has not changed since, and was not tried again.
    """

    path: Path
    reason: str
    hint: str
    known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The end of an index run.

    Attributes:
        footage_s: length of what was indexed.
        n_without_speech: unchanged videos with sound that were indexed with speech turned off.
    """

    n_indexed: int
    n_unchanged: int
    n_moved: int
    n_skipped: int
    footage_s: float
    elapsed_s: float
    stage_s: Mapping[str, float] = field(default_factory=dict)
    n_without_speech: int = 0


Event = Planned | Progress | Indexed | Unchanged | Moved | Skipped | Summary
