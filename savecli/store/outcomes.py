"""What exporting, merging and repairing a store tell of what they did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from savecli.store.records import Headway


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A video that the store did not have, and the paths that it has now."""

    video_id: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A path that is new for a video that the store has."""

    video_id: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A path at which the store knows another content: it stays what it is here."""

    video_id: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A video that is not taken, because all its paths are those of others here."""

    video_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written into an archive."""

    path: Path
    n_videos: int
    n_segments: int
    n_files: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """Something that was put right."""

    subject: str
    message: str


Taken = Added | Joined | Kept | Left
Merging = Headway | Taken
