"""The frames shown at given times, decoding as little as the file allows.

Four ways: key frames alone where they lie close enough; forward with a jump to the key frame before the next
time asked for, without pictures that no other refers to; the same with them, where they are most of what is
shown; and plain forward, where the clock leaps or a jump landed wrong.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, pairwise
from typing import Any

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from savecli.errors import UnseekableError
from savecli.media.decode.container import DAMAGE, keep_only, mended, opened, packets
from savecli.media.decode.picture import Scaler
from savecli.media.footage import MAX_PIXELS, NEAR_S, Frame, FrameStream, Tally, Timeline, Track

_KEY_GAP = 1.5
"""Key frames alone will do if they are never further apart than this many times the spacing asked for."""
_REFERENCE_GAP = 0.5
"""Pictures that others refer to will do if they are never further apart than this share of the spacing."""
_WORTH_A_JUMP_S = 0.25
_READ_UP_TO = ("matroska,webm", "flv", "live_flv", "mpegvideo")
"""A seek to what their index does not tell of, or where they have none, reads all that lies before."""
_WITHOUT_INDEX = ("mpegts", "mpeg")
_EARLY_S = 1.0
"""Where no index tells where key frames are, a seek leads to any packet, by the time of decoding: that of a
key frame lies before the time it is shown."""
_ROUNDING_S = 1e-3
"""Matroska's clock ticks in milliseconds."""

Shown = tuple[int, float, VideoFrame]


class _WrongWayError(Exception):
    """A seek landed behind its key frame, or before where we were; or reference pictures are rare."""


def frames(
    timeline: Timeline,
    times_s: Sequence[float],
    *,
    resize_px: int,
    size_px: int,
    resampler: str = "swscale",
    exact: bool = False,
    seek: bool = False,
    max_pixels: int = MAX_PIXELS,
    tally: Tally | None = None,
) -> FrameStream:
    """The frame shown at each of `times_s`: the last that starts at or before it, or else the first of all.

    Each decoded frame is given at most once: of several times that fall on one frame, the first is answered.
    Where key frames lie at most 1.5 times the spacing of `times_s` apart, the nearest key frame stands in;
    elsewhere the last picture that others refer to, where these lie at most half the spacing apart; and what
    no other refers to is not smoothed at the edges of its blocks.

    Args:
        timeline: from `probe`, of the same file.
        times_s: increasing.
        resize_px: the picture's shorter side is scaled to this, upright and with square pixels ...
        size_px: ... and its centre cropped to this many pixels square.
        resampler: "swscale" or "pillow", see `Scaler`.
        exact: none of these short cuts; slower.
        seek: go to the first time at once, and give up where that is not possible: nothing is decoded that
            lies more than NEAR_S before it.
        max_pixels: pictures that turn out larger are lost.
        tally: told how far the decoding is.

    Raises:
        MediaError: while iterating, if the file cannot be opened any more.
        UnseekableError: while iterating, with `seek`, where no seek leads to these times.
        ValueError: times that are not sorted; while iterating, what `Scaler` does not take.
    """
    if any(later < earlier for earlier, later in pairwise(times_s)):
        raise ValueError("times_s must increase")
    tally = Tally() if tally is None else tally
    scaler = partial(Scaler, resize_px=resize_px, size_px=size_px, resampler=resampler)
    options = {"max_pixels": str(max_pixels), "skip_loop_filter": "default" if exact else "noref"}
    spacing_s = (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0
    ways = _ways(timeline, spacing_s, exact=exact)
    if seek:
        ways = tuple(way for way in ways if way != "forward")
    search = _Search(times_s, most_s=_REFERENCE_GAP * spacing_s)
    return FrameStream(_images(timeline, search, scaler, ways, options, tally, seek=seek), tally)


def _images(
    timeline: Timeline,
    search: _Search,
    make_scaler: Callable[..., Scaler],
    ways: Sequence[str],
    options: dict[str, str],
    tally: Tally,
    *,
    seek: bool,
) -> Iterator[Frame]:
    times_s = search.times_s
    if timeline.video is None or not times_s:
        return
    for way in ways:
        with opened(timeline.path) as container:
            options["skip_frame"] = "noref" if way == "references" else "default"
            reader = _Reader(container, timeline, timeline.video, options, tally)
            aspect: Fraction | None = reader.stream.sample_aspect_ratio
            scaler = make_scaler(pixel_aspect=aspect)
            shown = reader.key_frames(times_s) if way == "keys" else search.among(reader, way)
            n_given = 0
            try:
                if seek:
                    reader.go_to(times_s[search.next_time], times_s[0] - NEAR_S)
                for index, time_s, picture in shown:
                    n_given += 1
                    yield Frame(index=index, time_s=max(time_s, 0.0), image=scaler(picture))
            except _WrongWayError:
                continue
            if n_given or way != "keys":
                return
    if seek:
        raise UnseekableError(f"no seek leads to {times_s[search.next_time]:.1f} s of {timeline.path}")


def _ways(timeline: Timeline, spacing_s: float, *, exact: bool) -> tuple[str, ...]:
    """What to try for times so far apart, in this order, until one of them works."""
    if timeline.video is None or timeline.video.shifts or not timeline.key_frame_times_s:
        return ("forward",)
    if exact:
        return ("jump", "forward")
    marks = (timeline.video.start_s, *timeline.key_frame_times_s, timeline.video.end_s)
    gap_s = max(later - earlier for earlier, later in pairwise(marks))
    others = ("references", "jump", "forward")
    return ("keys", *others) if gap_s <= _KEY_GAP * spacing_s else others


class _Reader:
    """Decoded pictures of one stream with their times, in the order they are shown."""

    def __init__(
        self,
        container: InputContainer,
        timeline: Timeline,
        track: Track,
        options: dict[str, str],
        tally: Tally,
    ) -> None:
        self.stream: VideoStream = container.streams[track.index]  # type: ignore[assignment]
        self._container = container
        self._track = track
        self._tick_s = float(self.stream.time_base or 0)
        self._origin_s = timeline.origin_s
        self._keys_s = timeline.key_frame_times_s
        self._early_s = _EARLY_S if timeline.container in _WITHOUT_INDEX else 0.0
        self._sought_s = -1.0
        self._after_s: float | None = None
        self._not_before_s = -np.inf
        self._tally = tally
        keep_only(container, {track.index})
        # One thread: the caller's own work fills the other cores, and two cost 15 % more time in sum.
        self.stream.thread_count = 1
        self.stream.codec_context.options = options

    def __iter__(self) -> Iterator[tuple[float, VideoFrame]]:
        for packet in self._packets():
            yield from self._decoded(packet)
        yield from self._decoded(None)

    def key_frames(self, times_s: Sequence[float]) -> Iterator[Shown]:
        """Decode nothing but the key frames nearest to `times_s`."""
        wanted = _nearest(times_s, self._keys_s)
        last_s = max(wanted)
        for packet in self._packets():
            if packet.is_keyframe:
                time_s = round(self._time(packet), 4)
                if time_s > last_s:
                    break
                if time_s in wanted:
                    yield from self._answers(packet, wanted)
            self._tally.reach(self._time(packet))

    def go_to(self, time_s: float, least_s: float) -> None:
        """Before anything is read, go to the last key frame before `time_s`, if not before `least_s`."""
        if not self._is_told_of(time_s) or not self.jump_before(time_s, least_s):
            raise _WrongWayError

    def _is_told_of(self, time_s: float) -> bool:
        """Whether a seek leads there without reading all that lies before."""
        if self._container.format.name not in _READ_UP_TO:
            return True
        try:
            # Matroska's index is read at the first seek.
            self._container.seek(round(self._origin_s / self._tick_s), stream=self.stream)
        except DAMAGE:
            return False
        index = self.stream.index_entries
        last_s = index[len(index) - 1].timestamp * self._tick_s - self._origin_s if len(index) else -np.inf
        return last_s >= time_s - NEAR_S

    def jump_before(self, time_s: float, now_s: float) -> bool:
        """Go to the last key frame before `time_s`, if that lies ahead and was not gone to yet."""
        key_s = self._keys_s[max(bisect_right(self._keys_s, time_s + _ROUNDING_S) - 1, 0)]
        if key_s - self._early_s <= max(self._sought_s, now_s + _WORTH_A_JUMP_S):
            return False
        self._sought_s, self._after_s = key_s, now_s
        ticks = round((key_s - self._early_s + self._origin_s) / self._tick_s)
        try:
            self._container.seek(ticks, stream=self.stream)
        except DAMAGE as error:
            raise _WrongWayError from error
        self._not_before_s = key_s - _ROUNDING_S
        return True

    def _packets(self) -> Iterator[Packet[Any]]:
        """All that are read, and after a jump those from its key frame on."""
        is_there = True
        for packet in mended(packets(self._container, (self.stream,), self._tally), self._track):
            if self._after_s is not None:
                landed_s = self._time(packet)
                if not self._after_s - _ROUNDING_S <= landed_s <= self._sought_s + _ROUNDING_S:
                    raise _WrongWayError
                self._after_s, is_there = None, not self._early_s
            if not is_there and packet.is_keyframe and self._time(packet) >= self._not_before_s:
                if self._time(packet) > self._sought_s + _ROUNDING_S:
                    raise _WrongWayError  # the one that was sought lies before where the seek led
                is_there = True
            if is_there:
                yield packet
        if self._after_s is not None or not is_there:
            raise _WrongWayError

    def _answers(self, packet: Packet[Any], wanted: dict[float, int]) -> Iterator[Shown]:
        """A key frame's picture, decoded as if there were nothing else.

        H.264 counts its pictures in few bits: with those between two key frames left out it takes a later
        one for an earlier one, and shows it in the wrong order or not at all, unless each is an IDR.
        """
        for time_s, picture in chain(self._decoded(packet), self._decoded(None)):
            index = wanted.pop(round(time_s, 4), None)
            if index is not None:
                yield index, time_s, picture
        self.stream.codec_context.flush_buffers()

    def _decoded(self, packet: Packet[Any] | None) -> Iterator[tuple[float, VideoFrame]]:
        try:
            pictures = self.stream.codec_context.decode(packet)
        except DAMAGE:
            self._tally.n_bad_packets += 1
            return
        for picture in pictures:
            self._tally.n_decoded += 1
            time_s = self._time(picture)
            if time_s >= self._not_before_s and time_s <= self._track.end_s + _ROUNDING_S:
                self._tally.reach(time_s)
                yield time_s, picture

    def _time(self, stamped: Packet[Any] | VideoFrame) -> float:
        ticks = stamped.dts if stamped.pts is None else stamped.pts
        return np.nan if ticks is None else ticks * self._tick_s - self._origin_s


@dataclass(slots=True)
class _Search:
    """Which frame answers which time; survives a change of the way to read.

    Args:
        times_s: that are asked for.
        most_s: reference pictures that are further apart show too little.
    """

    times_s: Sequence[float]
    most_s: float
    next_time: int = 0

    def among(self, reader: _Reader, way: str) -> Iterator[Shown]:
        held: tuple[float, VideoFrame] | None = None
        given = False
        for now_s, picture in reader:
            if held is not None and now_s <= held[0]:
                continue
            if way == "references" and held is not None and now_s > held[0] + self.most_s:
                raise _WrongWayError
            first = self.next_time
            self.next_time = max(first, bisect_left(self.times_s, now_s - _ROUNDING_S / 10))
            fresh = held is None
            if self.next_time > first and not given:
                yield first, *(held or (now_s, picture))
            given = fresh and self.next_time > first
            held = now_s, picture
            if self.next_time == len(self.times_s):
                return
            if way != "forward" and reader.jump_before(self.times_s[self.next_time], now_s):
                held, given = None, False
        # What is shown later may refer to others, and none to it.
        if way == "references" and (held is None or self.times_s[self.next_time] > held[0] + self.most_s):
            raise _WrongWayError
        if held is not None and not given:
            yield self.next_time, *held
        self.next_time = len(self.times_s)


def _nearest(times_s: Sequence[float], keys_s: Sequence[float]) -> dict[float, int]:
    """The key frame nearest to each time -> the first of the times that it answers."""
    middles = [(earlier + later) / 2 for earlier, later in pairwise(keys_s)]
    answers: dict[float, int] = {}
    for index, time_s in enumerate(times_s):
        answers.setdefault(round(keys_s[bisect_right(middles, time_s)], 4), index)
    return answers
