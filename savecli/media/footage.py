"""What decoding gives: a Timeline, Frames, and streams that count what was lost.

Free of any decoder, so that a process which only receives these records loads none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from savecli.datatypes import WaveformBlock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

MAX_PIXELS = 64_000_000
"""Pictures above this are refused: 8192x4320 (35 Mpx) passes, a decompression bomb does not."""

NEAR_S = 24.0
"""A seek that lands further before the first time that is asked for has failed, where one was asked for."""

STANDARD_RATES = (
    *(Fraction(24_000, 1001), Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(30)),
    *(Fraction(48), Fraction(50), Fraction(60_000, 1001), Fraction(60), Fraction(120)),
    *(Fraction(10), Fraction(12), Fraction(25, 2), Fraction(15_000, 1001), Fraction(15), Fraction(20)),
)
"""Pictures a second that cameras and encoders are set to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One stream of a file, as its packets are and not as its header claims.

    Attributes:
        index: of the stream in its container.
        codec: the decoder's name.
        start_s, end_s: of the first and the last packet, on the timeline.
        shifts: (packet number, ticks) pairs: what to add to the stamps from that packet on, until the next
            pair, where the file's clock leaps; empty for a sane file.
    """

    index: int
    codec: str
    start_s: float
    end_s: float
    shifts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Timeline:
    """What one look through all packets of a file tells, without decoding any.

    Attributes:
        path: absolute.
        container: the demuxer's name.
        duration_s: from the first picture or sound to the end of the last packet.
        claimed_s: what the header says of the duration; 0 where it says nothing.
        origin_s: the file's own clock at time 0; every other time is relative to it.
        video: the best picture stream, or None.
        audio: all sound streams with packets, the best first.
        width, height: px, as the header says, before rotation and pixel aspect; 0 without pictures.
        fps: pictures a second, as the demuxer has it: their average, or else its guess; 0 without pictures,
            or where it knows neither.
        key_frame_times_s: increasing.
        n_bad_packets: packets that could not even be read.
    """

    path: Path
    container: str
    duration_s: float
    origin_s: float
    video: Track | None
    audio: tuple[Track, ...]
    width: int = 0
    height: int = 0
    claimed_s: float = 0.0
    key_frame_times_s: tuple[float, ...] = ()
    n_bad_packets: int = 0
    fps: float = 0.0

    @property
    def has_video(self) -> bool:
        """Whether there is a picture stream with at least one packet."""
        return self.video is not None

    @property
    def has_audio(self) -> bool:
        """Whether there is a sound stream with at least one packet."""
        return bool(self.audio)

    @property
    def video_end_s(self) -> float:
        """When the last picture ends; 0 without pictures."""
        return self.video.end_s if self.video else 0.0

    @property
    def n_frames(self) -> int:
        """Pictures there should be, by their length and `fps`; at least 1, or 0 without a picture stream."""
        return max(1, round((self.video.end_s - self.video.start_s) * self.fps)) if self.video else 0

    @property
    def video_index(self) -> int | None:
        """The picture stream's number in its container."""
        return self.video.index if self.video else None

    @property
    def audio_index(self) -> int | None:
        """The best sound stream's number in its container."""
        return self.audio[0].index if self.audio else None

    @property
    def video_codec(self) -> str:
        """The picture decoder's name, or an empty string."""
        return self.video.codec if self.video else ""

    @property
    def audio_codec(self) -> str:
        """The best sound stream's decoder, or an empty string."""
        return self.audio[0].codec if self.audio else ""

    def __repr__(self) -> str:
        return (
            f"Timeline({self.path.name!r}, {self.container}, {self.duration_s:.3f} s "
            f"from {self.origin_s:.3f}, "
            f"video={self.video_codec or None} {self.width}x{self.height} "
            f"{len(self.key_frame_times_s)} key frames, audio={self.audio_codec or None})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file as an editor sees it.

    Attributes:
        timeline: what one look through its packets tells.
        rate: pictures a second, exact where it is one of STANDARD_RATES; 0 without pictures.
        is_variable: whether pictures come at no constant rate; `rate` is then the usual one.
        turns: quarter turns, counterclockwise, that set a stored picture upright.
        pixel_aspect: width over height of a stored pixel.
        width_px, height_px: as shown: upright, with square pixels; 0 without pictures.
        n_channels, sample_rate_hz: of the best sound stream; 0 without sound.
        timecode: of the first picture, "HH:MM:SS:FF" with a semicolon where frame numbers are dropped; ""
            where the file has none.
    """

    timeline: Timeline
    rate: Fraction = Fraction(0)
    is_variable: bool = False
    turns: int = 0
    pixel_aspect: Fraction = Fraction(1)
    width_px: int = 0
    height_px: int = 0
    n_channels: int = 0
    sample_rate_hz: int = 0
    timecode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Frame:
    """One picture that answers one of the times asked for.

    Attributes:
        index: into the times asked for.
        time_s: when it is really shown.
        image: (H, W, 3) uint8 RGB, upright, square pixels; a square crop where a model asked for it.
    """

    index: int
    time_s: float
    image: NDArray[np.uint8]

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, time_s={self.time_s:.3f}, image={list(self.image.shape)})"


@dataclass(slots=True, kw_only=True)
class Tally:
    """How far a decoder is: written by one thread, read by any.

    Attributes:
        n_decoded: pictures or stretches of sound decoded, used or not.
        n_bad_packets: packets, or seeks, that failed.
        reached_s: the furthest time read so far.
    """

    n_decoded: int = 0
    n_bad_packets: int = 0
    reached_s: float = 0.0

    def reach(self, time_s: float) -> None:
        """Note headway; going back is none."""
        self.reached_s = max(self.reached_s, time_s)


@dataclass(slots=True)
class Stream(Generic[T]):
    """An iterator over decoded things; its counts are final once it is exhausted. Close it to stop early."""

    items: Iterator[T]
    tally: Tally = field(default_factory=Tally)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self.items)

    def close(self) -> None:
        """Let go of the file, whether or not it was read to its end."""
        close = getattr(self.items, "close", None)
        if close is not None:
            close()

    @property
    def n_decoded(self) -> int:
        """Pictures or stretches of sound decoded, used or not."""
        return self.tally.n_decoded

    @property
    def n_bad_packets(self) -> int:
        """Packets that were lost to damage."""
        return self.tally.n_bad_packets


FrameStream = Stream[Frame]
WaveformStream = Stream[WaveformBlock]
