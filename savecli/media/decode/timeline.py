"""One look through all packets of a file: what is in it, and when."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from savecli.errors import MediaError
from savecli.media.clock import heal
from savecli.media.decode.container import keep_only, opened, packets, tame
from savecli.media.footage import MAX_PIXELS, Tally, Timeline, Track

_NONE = -(2**63)
_LAST_PACKET_S = 10.0
MICROSECONDS = 1_000_000


@dataclass(slots=True)
class _Ledger:
    """The stamps of one stream's packets, in ticks, in file order."""

    stream: Stream
    pts: array[int] = field(default_factory=lambda: array("q"))
    dts: array[int] = field(default_factory=lambda: array("q"))
    durations: array[int] = field(default_factory=lambda: array("q"))
    is_key: bytearray = field(default_factory=bytearray)
    is_shown: bytearray = field(default_factory=bytearray)

    @property
    def tick_s(self) -> float:
        return float(self.stream.time_base or 0)

    def add(self, packet: Packet[Stream]) -> float:
        """Note a packet, and say its time in seconds."""
        ticks = tame(packet)
        self.pts.append(_NONE if ticks is None else ticks)
        self.dts.append(_NONE if packet.dts is None else packet.dts)
        self.durations.append(packet.duration or 0)
        self.is_key.append(packet.is_keyframe)
        self.is_shown.append(not packet.is_discard)
        return 0.0 if ticks is None else ticks * self.tick_s

    def measure(self) -> _Measured | None:
        """Times on a clock that never leaps, or None where no packet has one."""
        if not self.pts:
            return None
        pts, dts = np.array(self.pts), np.array(self.dts)
        decoding = pts if bool(np.all(dts == _NONE)) else dts
        leaps = heal(np.where(decoding == _NONE, np.nan, decoding * self.tick_s))
        shifts = tuple((number, round(shift_s / self.tick_s)) for number, shift_s in leaps)
        known = pts != _NONE
        shown = np.frombuffer(self.is_shown, dtype=bool) & known
        times = ((pts + _spread(shifts, len(pts))) * self.tick_s).astype(np.float64)
        if not shown.any():
            shown = known
        if not shown.any():
            return None
        keys = times[shown & np.frombuffer(self.is_key, dtype=bool)]
        return _Measured(shifts, times[shown].min(), self._end(times, shown), np.unique(keys))

    def _end(self, times: NDArray[np.float64], shown: NDArray[np.bool_]) -> float:
        """The end of the last packet, unless it claims to last longer than anything before it."""
        order = np.sort(times[shown])
        longest = float(np.diff(order).max()) if len(order) > 1 else 0.0
        lasts = np.array(self.durations)[shown] * self.tick_s
        usual = float(np.median(np.diff(order))) if len(order) > 1 else 0.0
        lasts = np.where(lasts > 0, np.minimum(lasts, max(2 * longest, _LAST_PACKET_S)), usual)
        return float((times[shown] + lasts).max())


@dataclass(slots=True)
class _Measured:
    shifts: tuple[tuple[int, int], ...]
    start_s: float
    end_s: float
    key_times_s: NDArray[np.float64]

    def track(self, stream: Stream, origin_s: float) -> Track:
        return Track(
            index=stream.index,
            codec=stream.codec_context.name,
            start_s=float(self.start_s - origin_s),
            end_s=float(self.end_s - origin_s),
            shifts=self.shifts,
        )


def probe(
    path: Path, *, max_pixels: int = MAX_PIXELS, to_hear: bool = False, tally: Tally | None = None
) -> Timeline:
    """Read all packets of `path` once, decoding none, and say what is in it and when.

    Args:
        path: absolute.
        max_pixels: a picture stream of a larger size is refused.
        to_hear: whether a file of sound alone, such as a WAV, will do.
        tally: told how far the reading is.

    Raises:
        MediaError: not readable, not a video container, nothing in it, or pictures too large.
    """
    tally = Tally() if tally is None else tally
    with opened(path.absolute(), to_hear=to_hear) as container:
        video, audio = best_video(container), _audio_best_first(container)
        if video is None and not audio:
            raise MediaError(
                "neither pictures nor sound that can be read",
                hint="The index is damaged, or no decoder for this format is built in.",
            )
        if video is not None:
            check_size(video.width, video.height, max_pixels)
        ledgers = _read(container, [*([video] if video else []), *audio], tally)
        return _timeline(path.absolute(), container, video, ledgers, tally)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse pictures that would take too much memory.

    Raises:
        MediaError: more than `max_pixels`.
    """
    if width * height > max_pixels:
        raise MediaError(
            f"pictures of {width}x{height} px are larger than the limit of {max_pixels / 1e6:.0f} megapixels",
            hint="Scale the video down first.",
        )


def best_video(container: InputContainer) -> VideoStream | None:
    """The picture stream that a player shows; no cover of an album."""
    usable = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic
    ]
    best = container.streams.best("video")
    return next((s for s in usable if s is best), max(usable, key=lambda s: s.width * s.height, default=None))


def _audio_best_first(container: InputContainer) -> list[Stream]:
    best = container.streams.best("audio")
    usable: list[Stream] = [stream for stream in container.streams.audio if stream.codec_context is not None]
    return sorted(usable, key=lambda stream: stream is not best)


def _read(container: InputContainer, streams: Iterable[Stream], tally: Tally) -> list[_Ledger]:
    ledgers = {stream.index: _Ledger(stream) for stream in streams}
    keep_only(container, set(ledgers))
    first_s: float | None = None
    for packet in packets(container, tuple(ledger.stream for ledger in ledgers.values()), tally):
        time_s = ledgers[packet.stream_index].add(packet)
        first_s = time_s if first_s is None else first_s
        tally.reach(time_s - first_s)
    return list(ledgers.values())


def _timeline(
    path: Path, container: InputContainer, video: VideoStream | None, ledgers: list[_Ledger], tally: Tally
) -> Timeline:
    measured = [(ledger.stream, m) for ledger in ledgers if (m := ledger.measure()) is not None]
    if not measured:
        raise MediaError(
            "not a single frame or sound in it", hint="Was the recording stopped before it began?"
        )
    seen = next((m for stream, m in measured if stream is video), None)
    heard = [(stream, m) for stream, m in measured if stream is not video]
    origin_s = _origin(seen, [m for _, m in heard])
    return Timeline(
        path=path,
        container=container.format.name,
        duration_s=float(max(m.end_s for _, m in measured) - origin_s),
        claimed_s=(container.duration or 0) / MICROSECONDS,
        origin_s=origin_s,
        video=seen.track(video, origin_s) if seen and video else None,
        audio=tuple(m.track(stream, origin_s) for stream, m in heard),
        width=video.width if seen and video else 0,
        height=video.height if seen and video else 0,
        fps=_rate(video) if seen and video else 0.0,
        key_frame_times_s=tuple((seen.key_times_s - origin_s).tolist()) if seen else (),
        n_bad_packets=tally.n_bad_packets,
    )


def _rate(video: VideoStream) -> float:
    # Either is None, or 0, where too little of the file tells.
    return float(video.average_rate or video.guessed_rate or 0)


def _origin(seen: _Measured | None, heard: list[_Measured]) -> float:
    """The first picture or sound, whichever is earlier.

    Sound before the container's zero is the codec's run-in, which no player sounds, unless the pictures
    start there too.
    """
    starts = [float(m.start_s) for m in heard[:1]]
    if seen is None:
        return max(starts[0], 0.0)
    return min(float(seen.start_s), *(max(start, min(0.0, float(seen.start_s))) for start in starts), np.inf)


def _spread(shifts: tuple[tuple[int, int], ...], n_packets: int) -> NDArray[np.int64]:
    ticks = np.zeros(n_packets, dtype=np.int64)
    for number, shift in shifts:
        ticks[number:] = shift
    return ticks
