"""What can be chosen of an export, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from savecli.datatypes import Moment, Utterance


class Facts(Protocol):
    """What the store knows of a moment's video, and a file that is out of reach cannot tell."""

    def utterances(self, moment: Moment) -> Sequence[Utterance]:
        """All that is said in the video."""
        ...

    def duration_s(self, moment: Moment) -> float | None:
        """How long the video is; None where that is not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How moments are written.

    Attributes:
        pad_s: seconds added before and after each moment, as far as the video goes.
        fast: clips are copied from the key frame before, and not encoded anew.
        each: one file for each moment, where the format has clips or subtitles.
        relative: paths in a playlist are relative to its folder.
        force: a file that is there already is replaced.
        title: of a timeline or a page: what was searched for.
        stall_s: how long a file may keep the decoder busy without headway.
    """

    pad_s: float = 0.0
    fast: bool = False
    each: bool = False
    relative: bool = False
    force: bool = False
    title: str = "save"
    stall_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        paths: the files, in the order of the moments.
        n_moments: how many moments are in them.
        length_s: of all moments together, with what was added to each.
        notes: what a person should know, such as that a clip begins early.
    """

    paths: tuple[Path, ...]
    n_moments: int
    length_s: float
    notes: tuple[str, ...] = ()
