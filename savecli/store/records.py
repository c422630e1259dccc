"""What the store answers with: frozen records, in the units of `savecli.datatypes`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from savecli.datatypes import Volume

Kind = Literal["seen", "frames", "heard", "said", "fused", "parts"]
KINDS: tuple[Kind, ...] = ("seen", "frames", "heard", "said", "fused", "parts")
SearchKind = Literal["seen", "heard", "said", "fused"]
SEARCH_KINDS: tuple[SearchKind, ...] = ("seen", "heard", "said", "fused")
"""Kinds whose nearest rows are looked for; the others are read by segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A segment near a query; `score` is the cosine of its best row, higher is better."""

    segment_id: int
    score: float


class KnownFile(NamedTuple):
    """A file as it was when the store last heard of it; a tuple, because there are tens of thousands.

    Attributes:
        size_bytes, mtime_ns: as `os.stat` gave them then.
        fingerprint: of the video stored for it, None where it could not be indexed.
        reason, hint: why indexing it failed, None where it did not.
        attempts: how often in a row it failed as it is.
        passing: whether the failure may have been the machine's and not the file's.
        volume: what it lay on when it was last seen; None where an earlier version of save saw it.
        missing_since: when a run first found it gone from its volume, in seconds since the epoch; None
            where it was there.
    """

    size_bytes: int
    mtime_ns: int
    fingerprint: str | None
    reason: str | None = None
    hint: str | None = None
    attempts: int = 0
    passing: bool = False
    volume: Volume | None = None
    missing_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVideo:
    """A video in the store; `video_id` is its fingerprint, `paths` its copies in order of name.

    Attributes:
        speech_s: seconds covered by speech.
        language: ISO 639-1, "" where nothing was said.
        asr: the transcriber's name, "off" where none ran.
        notes: what the reader should know, such as "no audio track".
        partial: whether the file was indexed only as far as it decodes.
        indexed_at: seconds since the epoch.
    """

    video_id: str
    paths: tuple[Path, ...]
    duration_s: float
    has_audio: bool
    has_video: bool
    n_segments: int
    speech_s: float
    language: str
    asr: str
    notes: tuple[str, ...]
    partial: bool
    indexed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSegment:
    """A segment in the store, ``[start_s, end_s)`` of its video, with its number of rows of each kind."""

    segment_id: int
    video_id: str
    paths: tuple[Path, ...]
    start_s: float
    end_s: float
    n_seen: int
    n_frames: int
    n_said: int
    n_heard: int = 0
    n_fused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGraph:
    """A generation of a graph over the rows of one kind.

    Attributes:
        n_rows: the graph covers the rows before this one.
        crc32, size_bytes: of its file, when it was made.
        ef: candidates a search keeps, as measured when the graph was built; 0 where a scan is no slower.
    """

    generation: int
    kind: Kind
    engine: str
    n_rows: int
    crc32: int
    size_bytes: int
    ef: int

    @property
    def name(self) -> str:
        """Of its file, inside `graphs/`."""
        return f"{self.kind}-g{self.generation:04d}.{self.engine}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much is stored; nothing, unless told.

    Attributes:
        n_missing: files that a run found gone from their volume.
        n_rows: rows of each kind that belong to a stored video.
        dead_share: 0..1, rows in the vector files that belong to none.
        size_bytes: of all files of the store.
    """

    n_videos: int = 0
    n_files: int = 0
    n_failed: int = 0
    n_segments: int = 0
    n_utterances: int = 0
    duration_s: float = 0.0
    speech_s: float = 0.0
    n_rows: dict[Kind, int] = field(default_factory=dict)
    dead_share: float = 0.0
    size_bytes: int = 0
    n_missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with the store: which part, what, and what to do about it."""

    subject: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Headway:
    """How far something long has come: `done` of `total` bytes of one part."""

    part: str
    done: int
    total: int
