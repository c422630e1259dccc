"""The records of a query: what a person asks, how it is shown; frozen, keyword-only, checked when made.

They are part of `savecli.datatypes`, from which everything else imports them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple


def _check(ok: bool, what: str) -> None:
    if not ok:
        raise ValueError(what)


class Term(NamedTuple):
    """A folded word that is looked for, or the beginning of one."""

    text: str
    is_prefix: bool = False


Run = tuple[Term, ...]
"""Words that are said one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """Exact words: `runs` that follow one another with no more than `gaps` words between, in either order.

    Attributes:
        text: as a person typed it.
        gaps: one fewer than `runs`.
    """

    text: str
    runs: tuple[Run, ...]
    gaps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check(len(self.runs) == len(self.gaps) + 1 and all(self.runs), f"no phrase: {self.runs}")


Has = Literal["speech", "audio", "video"]
HAS: tuple[Has, ...] = ("speech", "audio", "video")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which videos are looked at; what is not given leaves out none.

    Attributes:
        below: folders and files, absolute: videos with a copy that is one of them or lies below one.
        since_s, until_s: ``[since_s, until_s)``, seconds since the epoch, of the file's mtime.
        min_duration_s, max_duration_s: of the whole video, both ends included.
        languages: ISO 639-1 codes of what is spoken.
        has: what the video must have.
    """

    below: tuple[Path, ...] = ()
    since_s: float | None = None
    until_s: float | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    languages: frozenset[str] = frozenset()
    has: frozenset[Has] = frozenset()


Aim = Literal["text", "sees", "hears", "says"]
AIMS: tuple[Aim, ...] = ("text", "sees", "hears", "says")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One text of a query, and how much it weighs beside the others.

    Attributes:
        aim: "text" for anything, or what alone should answer.
    """

    text: str
    aim: Aim = "text"
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check(self.weight > 0, f"a weight must be positive: {self.weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A query. All that is asked must be met; "" asks nothing. `savecli.query` makes one of what is typed.

    Attributes:
        text: of anything: what is seen, heard or said.
        sees, hears, says: of what is seen, heard or said alone.
        more: further texts, with weights; those above weigh 1.
        against: what should not be there.
        phrases: exact words that must be said.
        banned: exact words that must not be said.
        regexes: regular expressions that what is said must meet, accents and case folded.
        like: the example that is given beside it, as it was typed. What searches gets its rows.
        where: which videos are looked at.
    """

    text: str = ""
    sees: str = ""
    hears: str = ""
    says: str = ""
    more: tuple[Part, ...] = ()
    against: tuple[Part, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    banned: tuple[Phrase, ...] = ()
    regexes: tuple[str, ...] = ()
    like: str = ""
    where: Where = Where()

    @property
    def parts(self) -> tuple[Part, ...]:
        """All texts that should be met."""
        own = tuple(Part(text=text, aim=aim) for aim in AIMS if (text := getattr(self, aim)))
        return own + self.more

    @property
    def is_exact(self) -> bool:
        """Whether exact words are asked for."""
        return bool(self.phrases or self.regexes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """How results are shown.

    Attributes:
        top_k: how many moments, or videos.
        threshold: score below which nothing matches; None takes the model's own, 0 shows all.
        by_video: puts the moments of a video together.
        copies: also shows moments that show and say what a better one of another video does.
        explain: tells how each score came about.
    """

    top_k: int = 10
    threshold: float | None = None
    by_video: bool = False
    copies: bool = False
    explain: bool = False
