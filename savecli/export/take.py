"""A moment as it is written out: its place among the others, its padded span, and what its file is like."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from savecli.datatypes import Moment, Utterance
from savecli.errors import MediaError, QueryError
from savecli.export.options import Facts
from savecli.media.footage import Source
from savecli.media.worker import Decoder

_SHORTEST_S = 0.001
MODALITIES = ("seen", "heard", "said")


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One moment to write.

    Attributes:
        number: its rank in the search, which it is called by.
        moment: as it was found.
        start_s, end_s: the span to write, padded.
        source: the file, where the format asks for it.
    """

    number: int
    moment: Moment
    start_s: float
    end_s: float
    source: Source | None = None

    @property
    def path(self) -> Path:
        """Of the video."""
        return self.moment.path

    @property
    def length_s(self) -> float:
        """Seconds to write."""
        return self.end_s - self.start_s

    @property
    def known(self) -> Source:
        """The file, where the format asked for it."""
        assert self.source is not None  # noqa: S101 - `takes` has looked
        return self.source

    @property
    def why(self) -> str:
        """The reason, in words."""
        parts = (f"{name} {self.moment.why.get(name, 0.0):.2f}" for name in MODALITIES)
        told = [part for part in parts if not part.endswith("0.00")]
        return "  ".join([f"score {self.moment.score:.2f}", *told])


def takes(
    numbered: Sequence[tuple[int, Moment]], facts: Facts, *, pad_s: float, decoder: Decoder | None
) -> list[Take]:
    """Moments with their padded spans.

    Args:
        numbered: moments with their ranks.
        facts: what the store knows of them.
        pad_s: added before and after each, as far as the video goes.
        decoder: looks at each file; None where the format needs none of them.

    Raises:
        QueryError: no moment, or one that lies past the end of its video.
        MediaError: a file is not there now, or cannot be read.
    """
    if not numbered:
        raise QueryError("there is no moment to write", hint="search for something first")
    if decoder is not None:
        _check_there([moment for _, moment in numbered])
    sources: dict[Path, Source] = {}
    made = []
    for number, moment in numbered:
        if decoder is not None and moment.path not in sources:
            try:
                sources[moment.path] = decoder.look(moment.path)
            except MediaError as error:
                raise type(error)(f"{moment.path}: {error.message}", hint=error.hint) from error
        source = sources.get(moment.path)
        whole_s = source.timeline.duration_s if source else facts.duration_s(moment)
        start_s = max(0.0, moment.start_s - pad_s)
        end_s = moment.end_s + pad_s if whole_s is None else min(moment.end_s + pad_s, whole_s)
        if end_s - start_s < _SHORTEST_S:
            raise QueryError(
                f"moment {number} begins at {moment.start_s:.2f} s, but {moment.path} ends there or before",
                hint="the file is not what was indexed: run save index on it, and search again",
            )
        made.append(Take(number=number, moment=moment, start_s=start_s, end_s=end_s, source=source))
    return made


def _check_there(moments: Sequence[Moment]) -> None:
    """All files are looked for before the first is read, so that one message names what is missing."""
    gone = list(dict.fromkeys(moment.path for moment in moments if not moment.path.is_file()))
    if not gone:
        return
    more = f", and {len(gone) - 1} more are not" if len(gone) > 1 else ""
    drive = next((m.drive for m in moments if m.path == gone[0] and m.drive), "")
    hint = (
        f"it is on the drive {drive}: connect that"
        if drive
        else "is its drive connected? if it moved: save relink"
    )
    raise MediaError(f"{gone[0]} is not there now{more}", hint=hint)


def within(utterances: Sequence[Utterance], start_s: float, end_s: float) -> list[Utterance]:
    """The utterances that are heard at least in part in a span, in order."""
    heard = (u for u in utterances if u.start_s < end_s and u.end_s > start_s)
    return sorted(heard, key=lambda u: u.start_s)


def file_url(path: Path) -> str:
    """A path as the URL that editors and browsers open: every byte that could mean something is escaped."""
    absolute = path.absolute()
    if os.name == "nt":
        return absolute.as_uri()
    return "file://" + quote(os.fsencode(absolute))
