"""What is asked about duplicates, and what is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to look for.

    Attributes:
        below: only what has a part in these files, or in files below these folders; all where empty.
        n_looks: how many pairs may be decoded and compared picture by picture; 0 judges by rows alone.
        least_s: a scene must be this long; a shorter video counts as a whole.
    """

    below: tuple[Path, ...] = ()
    n_looks: int = 2000
    least_s: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How far the work is: `done` of `total` of a stage."""

    name: Literal["compare", "sift", "align", "look"]
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """One content under several paths."""

    video_id: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """The part that one video has in a group: ``[start_s, end_s)`` of its `duration_s`."""

    video_id: str
    paths: tuple[Path, ...]
    start_s: float
    end_s: float
    duration_s: float

    @property
    def share(self) -> float:
        """0..1, how much of the video it is."""
        return (self.end_s - self.start_s) / self.duration_s if self.duration_s else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """Parts of two or more videos that show the same.

    Attributes:
        kind: "video" where one of them is a whole video, "scene" otherwise.
        members: the longest first.
        likeness: 0..1, of what was compared to tell: of pictures where they were looked at, else of rows.
        looked: whether all of it was confirmed by the pictures themselves.
        other_words: whether two of them say something else, as a dubbed film does.
    """

    kind: Literal["video", "scene"]
    members: tuple[Member, ...]
    likeness: float
    looked: bool
    other_words: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Dupes:
    """All that was found.

    Attributes:
        copies: by path.
        twins: whole videos before scenes, the longest first.
        n_videos: that were compared.
        n_blind: videos without pictures: only copies of them are found.
        n_unlooked: pairs whose files are not there now, or that `n_looks` left out: judged by rows alone.
    """

    copies: tuple[Copies, ...]
    twins: tuple[Twins, ...]
    n_videos: int
    n_blind: int
    n_unlooked: int
