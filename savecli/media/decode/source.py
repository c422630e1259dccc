"""What an editor or a cut wants to know of a file beyond its Timeline: rate, shown size, sound, timecode."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from savecli.errors import MediaError
from savecli.media.decode.container import DAMAGE, SOUNDS, keep_only, opened, packets
from savecli.media.decode.timeline import probe
from savecli.media.footage import STANDARD_RATES, Source, Tally

_N_PACKETS = 600
"""Enough to tell 29.97 pictures a second from 30 on a clock of milliseconds."""
_NEAR = 0.01
_SAME = 7e-4
_UNSTEADY = 0.1
"""A file whose steps differ from the usual one by this share of it in the mean has no constant rate."""
_SQUARE = Fraction(1)
_SLOWEST, _FASTEST = Fraction(1), Fraction(240)


def look(path: Path, *, tally: Tally | None = None) -> Source:
    """Probe a file, and decode one picture of it.

    Args:
        path: absolute.
        tally: told how far the reading is.

    Raises:
        MediaError: as `probe`; or there is a picture stream and no picture of it decodes.
    """
    timeline = probe(path, to_hear=True, tally=tally)
    with opened(path, to_hear=timeline.container in SOUNDS) as container:
        n_channels = sample_rate_hz = 0
        if timeline.audio:
            sound: AudioStream = container.streams[timeline.audio[0].index]  # type: ignore[assignment]
            n_channels, sample_rate_hz = sound.layout.nb_channels, sound.rate
        timecode = _timecode(container)
        if timeline.video is None:
            return Source(
                timeline=timeline, n_channels=n_channels, sample_rate_hz=sample_rate_hz, timecode=timecode
            )
        stream: VideoStream = container.streams[timeline.video.index]  # type: ignore[assignment]
        keep_only(container, {stream.index})
        head = list(islice(packets(container, (stream,), Tally()), _N_PACKETS))
        picture, steps_s = _first_picture(stream, head), _steps(head)
        aspect = stream.sample_aspect_ratio or _SQUARE
        turns = round(picture.rotation / 90) % 4
        sides = (max(1, round(picture.width * aspect)), picture.height)
        return Source(
            timeline=timeline,
            rate=_rate(stream, steps_s),
            is_variable=_is_variable(steps_s),
            turns=turns,
            pixel_aspect=aspect,
            width_px=sides[turns % 2],
            height_px=sides[1 - turns % 2],
            n_channels=n_channels,
            sample_rate_hz=sample_rate_hz,
            timecode=timecode,
        )


def _first_picture(stream: VideoStream, head: Sequence[Packet[Any]]) -> VideoFrame:
    for packet in chain(head, (None,)):
        try:
            for picture in stream.codec_context.decode(packet):
                return picture
        except DAMAGE:
            continue
    raise MediaError(
        "no picture of it can be decoded", hint="The file is damaged, or its codec is not built in."
    )


def _steps(head: Sequence[Packet[Any]]) -> NDArray[np.float64]:
    """Seconds between neighbouring pictures at the start of the file."""
    stamps = [packet.dts if packet.pts is None else packet.pts for packet in head]
    ticks = np.diff(np.sort([stamp for stamp in stamps if stamp is not None]))
    return np.asarray(ticks[ticks > 0] * float(head[0].time_base or 0) if len(ticks) else ticks, np.float64)


def _rate(stream: VideoStream, steps_s: NDArray[np.float64]) -> Fraction:
    """What the header says, where the pictures bear it out; else what they do."""
    claims = [rate for rate in (stream.guessed_rate, stream.average_rate) if rate]
    if not len(steps_s):
        return min(max(claims[0], _SLOWEST), _FASTEST) if claims else STANDARD_RATES[2]
    usual = float(np.median(steps_s))
    near = steps_s[(steps_s > usual / 2) & (steps_s < 1.5 * usual)]
    measured = 1 / float(near.mean())
    for rate in claims:
        if rate in STANDARD_RATES and abs(float(rate) / measured - 1) < _NEAR:
            return rate
    nearest = min(STANDARD_RATES, key=lambda rate: abs(float(rate) / measured - 1))
    if abs(float(nearest) / measured - 1) < _SAME or _is_variable(steps_s):
        return nearest
    return min(max(Fraction(measured).limit_denominator(1001), _SLOWEST), _FASTEST)


def _is_variable(steps_s: NDArray[np.float64]) -> bool:
    if not len(steps_s):
        return False
    usual = float(np.median(steps_s))
    return bool(np.abs(steps_s - usual).mean() > _UNSTEADY * usual)


def _timecode(container: InputContainer) -> str:
    """Of the first picture, as cameras write it; an empty string where there is none."""
    held = (container.metadata, *(stream.metadata for stream in container.streams))
    return next((found["timecode"] for found in held if found.get("timecode")), "")
