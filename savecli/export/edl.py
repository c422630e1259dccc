"""An edit decision list in the form of CMX 3600, which nearly every editor reads.

The list has one rate, that of its first video. A video of another rate is counted in the list's frames, which
keeps its seconds, and a comment names its own rate. A timecode in the file is where its frames begin.
Drop-frame numbers have a semicolon and an FCM line before them, and are used only where the file's
own timecode has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from savecli.errors import QueryError
from savecli.export.options import Options
from savecli.export.take import Take
from savecli.export.timecode import drops, editing_rate, frames, parse, timecode
from savecli.media.footage import Source
from savecli.plain import plain

_MOST_EVENTS = 999
_HOUR = "01:00:00:00"
_MODES = {False: "FCM: NON-DROP FRAME", True: "FCM: DROP FRAME"}


def edl(takes: Sequence[Take], options: Options) -> str:
    """The whole list.

    Raises:
        QueryError: more moments than a list can number.
    """
    if len(takes) > _MOST_EVENTS:
        raise QueryError(
            f"an EDL numbers {_MOST_EVENTS} events at most, not {len(takes)}", hint="write .otio or .fcpxml"
        )
    return "\r\n".join([*_lines(takes, options), ""])


def _lines(takes: Sequence[Take], options: Options) -> Iterator[str]:
    rate = editing_rate(takes[0].known.rate)
    list_drops = _drops(takes[0].known, rate)
    mode = list_drops
    at = parse(_HOUR.replace(":", ";") if list_drops else _HOUR, rate)
    yield f"TITLE: {_short(options.title)}"
    yield _MODES[mode]
    for number, take in enumerate(takes, 1):
        source = take.known
        drop = _drops(source, rate)
        yield ""
        if drop != mode:
            mode = drop
            yield _MODES[mode]
        first, after = frames(take.start_s, take.end_s, rate)
        begins = first_frame(source, rate)
        marks = [timecode(begins + first, rate, drop=drop), timecode(begins + after, rate, drop=drop)]
        marks += [timecode(at, rate, drop=list_drops), timecode(at + after - first, rate, drop=list_drops)]
        yield f"{number:03}  AX       {_channels(source):<5} C        {' '.join(marks)}"
        yield f"* FROM CLIP NAME: {plain(take.path.name)}"
        yield f"* SOURCE FILE: {plain(take.path)}"
        if source.rate and source.rate != rate:
            yield f"* SOURCE FRAME RATE: {float(source.rate):.3f}{' VARIABLE' if source.is_variable else ''}"
        yield f"* COMMENT: {take.why}"
        if take.moment.snippet:
            yield f"* COMMENT: {_short(take.moment.snippet)}"
        at += after - first


def first_frame(source: Source, rate: Fraction) -> int:
    """The number, at `rate`, of a file's first frame: 0, or what its timecode says."""
    try:
        own = parse(source.timecode, source.rate)
    except ValueError:
        return 0
    return own if source.rate == rate else round(own / source.rate * rate)


def _drops(source: Source, rate: Fraction) -> bool:
    return drops(rate) and ";" in source.timecode


def _channels(source: Source) -> str:
    if not source.rate:
        return "A"
    return "B" if source.n_channels else "V"


def _short(text: str) -> str:
    return plain(text)[:240]
