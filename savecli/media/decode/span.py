"""A span of a file as a cut needs it: whole pictures at a constant rate, and sound to the sample.

In the caller's process, unlike all else that decodes: the process that keeps the decoder apart may write no
file. `look` has read the file and decoded a picture of it there before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from savecli.media.decode.container import (
    DAMAGE,
    SOUNDS,
    keep_only,
    mended,
    opened,
    packets,
    tame,
)
from savecli.media.footage import Source, Tally, Track

_ROUNDING_S = 1e-3
"""Matroska's clock ticks in milliseconds."""
_RUN_IN_S = 0.5
"""Sound decoded before a span and thrown away: what a decoder makes of its first packets is not yet right."""
_GAP_S = 0.1
_BLOCK = 48_000


class _LateError(Exception):
    """A seek landed behind the place that was sought."""


def pictures(source: Source, start_s: float, n_pictures: int, rate: Fraction) -> Iterator[VideoFrame]:
    """The pictures shown from `start_s` on, `n_pictures` of them at `rate`.

    The first is the one on show at `start_s`. Where the rate is the file's own each picture comes once; else
    some are repeated or left out. What is missing at the end repeats the last. Pictures are as they are
    stored: not yet upright.

    Raises:
        MediaError: the file cannot be opened any more.
    """
    if source.timeline.video is None:
        return
    shown = _held(source, source.timeline.video, start_s)
    time_s, picture = next(shown, (0.0, None))
    if picture is None:
        return
    # Asked for in the middle of the first picture's time on show, no rounding of stamps loses or doubles one.
    half_s = float(1 / max(rate, source.rate)) / 2
    early_s = start_s - time_s
    shift_s = half_s - early_s if 0 <= early_s < 2 * half_s else half_s
    following = next(shown, None)
    for number in range(n_pictures):
        now_s = start_s + shift_s + float(number / rate)
        while following is not None and following[0] <= now_s:
            picture = following[1]
            following = next(shown, None)
        yield picture


def _held(source: Source, track: Track, start_s: float) -> Iterator[tuple[float, VideoFrame]]:
    """The picture on show at `start_s`, or else the first, and all after it; times never go back."""
    for from_s in _ways(track, _key_before(source, start_s)):
        last: tuple[float, VideoFrame] | None = None
        try:
            for time_s, picture in _decoded_pictures(source, track, from_s):
                if last is not None and time_s <= last[0]:
                    continue
                if last is not None and time_s > start_s + _ROUNDING_S:
                    yield last
                last = time_s, picture
        except _LateError:
            continue
        if last is not None:
            yield last
            return


def _key_before(source: Source, time_s: float) -> float | None:
    place = bisect_right(source.timeline.key_frame_times_s, time_s + _ROUNDING_S) - 1
    return source.timeline.key_frame_times_s[place] if place > 0 else None


def _ways(track: Track, from_s: float | None) -> tuple[float | None, ...]:
    """Where to start reading, until it works. None is the start: from there on a leaping clock is mended."""
    return (None,) if from_s is None or track.shifts else (from_s, None)


def _decoded_pictures(
    source: Source, track: Track, from_s: float | None
) -> Iterator[tuple[float, VideoFrame]]:
    with _reading(source, track, from_s) as (stream, incoming):
        assert isinstance(stream, VideoStream)  # noqa: S101 - the track is of that kind
        stream.thread_type = "AUTO"
        for packet in chain(incoming, (None,)):
            try:
                decoded = stream.codec_context.decode(packet)
            except DAMAGE:
                continue
            for picture in decoded:
                time_s = _time_s(picture, stream, source)
                if time_s is not None and (from_s is None or time_s >= from_s - _ROUNDING_S):
                    yield time_s, picture


def sound(
    source: Source, start_s: float, n_samples: int, *, rate_hz: int, layout: str
) -> Iterator[NDArray[np.float32]]:
    """The sound from `start_s` on as blocks of (channels, S) float32, `n_samples` in all.

    Where there is none, before, between or after what there is, the samples are 0.

    Args:
        source: of the file.
        start_s: may lie before the first sound.
        n_samples: of each channel.
        rate_hz: of the blocks.
        layout: of the channels, as FFmpeg names them.

    Raises:
        MediaError: the file cannot be opened any more.
    """
    n_channels = AudioLayout(layout).nb_channels
    given = 0
    for at, block in _placed(source, start_s, rate_hz, layout):
        if at >= n_samples:
            break
        yield from _silence(n_channels, min(at, n_samples) - given)
        given = max(given, at)
        part = _spread(block[:, max(0, given - at) : n_samples - at], n_channels)
        given += part.shape[1]
        if part.shape[1]:
            yield part
    yield from _silence(n_channels, n_samples - given)


def _spread(block: NDArray[np.float32], n_channels: int) -> NDArray[np.float32]:
    """One channel goes left and right as loud as it is, where FFmpeg halves its power; no NaN is left."""
    clean = np.nan_to_num(block, posinf=0.0, neginf=0.0)
    if len(clean) == n_channels:
        return clean
    spread = np.zeros((n_channels, clean.shape[1]), np.float32)
    spread[:2] = clean
    return spread


def _silence(n_channels: int, n_samples: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, n_samples, _BLOCK):
        yield np.zeros((n_channels, min(_BLOCK, n_samples - start)), np.float32)


def _placed(
    source: Source, start_s: float, rate_hz: int, layout: str
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Blocks, each with the number of its first sample, counted from `start_s`; it may be below 0."""
    run: AudioResampler | None = None
    kind: tuple[str, str, int] | None = None
    at, end_s = 0, 0.0
    for time_s, heard in _heard(source, start_s):
        is_now = (heard.format.name, heard.layout.name, heard.sample_rate)
        if run is None or is_now != kind or abs(time_s - end_s) > _GAP_S:
            for block in _resampled(run, None):
                yield at, block
                at += block.shape[1]
            wanted = "mono" if heard.layout.nb_channels == 1 else layout
            run, kind = AudioResampler(format="fltp", layout=wanted, rate=rate_hz), is_now
            at, end_s = round((time_s - start_s) * rate_hz), time_s
        for block in _resampled(run, heard):
            yield at, block
            at += block.shape[1]
        end_s += heard.samples / heard.sample_rate
    for block in _resampled(run, None):
        yield at, block
        at += block.shape[1]


def _resampled(run: AudioResampler | None, heard: AudioFrame | None) -> Iterator[NDArray[np.float32]]:
    if run is None:
        return
    try:
        resampled = run.resample(heard)
    except DAMAGE:
        return
    for frame in resampled:
        yield np.asarray(frame.to_ndarray(), np.float32)


def _heard(source: Source, start_s: float) -> Iterator[tuple[float, AudioFrame]]:
    if not source.timeline.audio:
        return
    track = source.timeline.audio[0]
    from_s = start_s - _RUN_IN_S
    for way_s in _ways(track, from_s if from_s > track.start_s + _RUN_IN_S else None):
        try:
            yield from _decoded_sound(source, track, way_s)
        except _LateError:
            continue
        return


def _decoded_sound(source: Source, track: Track, from_s: float | None) -> Iterator[tuple[float, AudioFrame]]:
    end_s = 0.0
    with _reading(source, track, from_s) as (stream, incoming):
        assert isinstance(stream, AudioStream)  # noqa: S101 - the track is of that kind
        for packet in chain(incoming, (None,)):
            try:
                decoded = stream.codec_context.decode(packet)
            except DAMAGE:
                continue
            for heard in decoded:
                time_s = _time_s(heard, stream, source)
                time_s = end_s if time_s is None else time_s
                end_s = time_s + heard.samples / heard.sample_rate
                yield time_s, heard


@contextmanager
def _reading(
    source: Source, track: Track, from_s: float | None
) -> Iterator[tuple[Stream, Iterator[Packet[Any]]]]:
    """One stream, and its packets from `from_s` on."""
    path, to_hear = source.timeline.path, source.timeline.container in SOUNDS
    with opened(path, to_hear=to_hear) as container:
        stream = container.streams[track.index]
        keep_only(container, {track.index})
        if from_s is None:
            yield stream, mended(packets(container, (stream,), Tally()), track)
        else:
            yield stream, _sought(source, container, stream, from_s)


def _sought(
    source: Source, container: InputContainer, stream: Stream, from_s: float
) -> Iterator[Packet[Any]]:
    """The packets after a jump.

    Raises:
        _LateError: with the first of them, where it lies behind `from_s`.
    """
    try:
        container.seek(round((from_s + source.timeline.origin_s) / (stream.time_base or 1)), stream=stream)
    except DAMAGE as error:
        raise _LateError from error
    is_first = True
    for packet in packets(container, (stream,), Tally()):
        time_s = _time_s(packet, stream, source)
        if is_first and (time_s is None or time_s > from_s + _ROUNDING_S):
            raise _LateError
        is_first = False
        tame(packet)
        yield packet


def _time_s(stamped: Packet[Any] | VideoFrame | AudioFrame, stream: Stream, source: Source) -> float | None:
    ticks = stamped.dts if stamped.pts is None else stamped.pts
    tick = stamped.time_base or stream.time_base
    return None if ticks is None or tick is None else float(ticks * tick) - source.timeline.origin_s
