"""OpenTimelineIO's own JSON: every editor that has the library, and all that it converts to, reads it.

Written without the library: it is native code of 800 kB for a few nested records, whose layout is public
(https://opentimelineio.readthedocs.io/en/stable/tutorials/otio-serialized-schema.html).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from savecli.export.edl import first_frame
from savecli.export.options import Options
from savecli.export.take import Take, file_url
from savecli.export.timecode import editing_rate, frames
from savecli.plain import plain

Record = dict[str, Any]


def otio(takes: Sequence[Take], options: Options) -> str:
    """The whole document: a track of pictures and, where there is sound, one of sound."""
    tracks = [_track("Video", "V1", [_clip(take) if take.known.rate else _gap(take) for take in takes])]
    if any(take.known.n_channels for take in takes):
        heard = [_clip(take) if take.known.n_channels else _gap(take) for take in takes]
        tracks.append(_track("Audio", "A1", heard))
    stack = {"OTIO_SCHEMA": "Stack.1", "name": "tracks", **_plain_item(), "children": tracks}
    timeline = {
        "OTIO_SCHEMA": "Timeline.1",
        "name": plain(options.title),
        "metadata": {"save": {"query": plain(options.title)}},
        "global_start_time": None,
        "tracks": stack,
    }
    return json.dumps(timeline, indent=2) + "\n"


def _plain_item() -> Record:
    return {"metadata": {}, "source_range": None, "effects": [], "markers": [], "enabled": True}


def _track(kind: str, name: str, children: list[Record]) -> Record:
    return {"OTIO_SCHEMA": "Track.1", "name": name, **_plain_item(), "kind": kind, "children": children}


def _clip(take: Take) -> Record:
    source, moment = take.known, take.moment
    rate = editing_rate(source.rate)
    begins = first_frame(source, rate)
    first, after = frames(take.start_s, take.end_s, rate)
    _, n_whole = frames(0.0, source.timeline.duration_s, rate)
    reference = {
        "OTIO_SCHEMA": "ExternalReference.1",
        "name": plain(take.path.name),
        "metadata": {},
        "available_range": _range(begins, n_whole, rate),
        "available_image_bounds": None,
        "target_url": file_url(take.path),
    }
    told = {
        "rank": take.number,
        "score": round(moment.score, 4),
        "why": {name: round(value, 4) for name, value in moment.why.items()},
        "snippet": plain(moment.snippet),
        "start_s": round(moment.start_s, 3),
        "end_s": round(moment.end_s, 3),
    }
    return {
        "OTIO_SCHEMA": "Clip.2",
        "name": plain(take.path.stem),
        **_plain_item(),
        "metadata": {"save": told},
        "source_range": _range(begins + first, after - first, rate),
        "media_references": {"DEFAULT_MEDIA": reference},
        "active_media_reference_key": "DEFAULT_MEDIA",
    }


def _gap(take: Take) -> Record:
    rate = editing_rate(take.known.rate)
    first, after = frames(take.start_s, take.end_s, rate)
    return {
        "OTIO_SCHEMA": "Gap.1",
        "name": "",
        **_plain_item(),
        "source_range": _range(0, after - first, rate),
    }


def _range(start: int, n_frames: int, rate: Fraction) -> Record:
    return {
        "OTIO_SCHEMA": "TimeRange.1",
        "start_time": _time(start, rate),
        "duration": _time(n_frames, rate),
    }


def _time(frame: int, rate: Fraction) -> Record:
    return {"OTIO_SCHEMA": "RationalTime.1", "value": float(frame), "rate": float(rate)}
