"""The records that flow between rooms: frozen, keyword-only, checked when made.

Times are float seconds from the first picture or sound of the file, whatever its own clock says.
Spans are half-open, ``[start_s, end_s)``. Shapes: F frames, S samples, U utterances, N windows of sound,
T tokens, D embedding, H, W.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from savecli.ask import AIMS as AIMS
from savecli.ask import HAS as HAS
from savecli.ask import Aim as Aim
from savecli.ask import Ask as Ask
from savecli.ask import Has as Has
from savecli.ask import Part as Part
from savecli.ask import Phrase as Phrase
from savecli.ask import Run as Run
from savecli.ask import Show as Show
from savecli.ask import Term as Term
from savecli.ask import Where as Where

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLERS = ("swscale", "pillow")
PARTS_TOLERANCE = 1e-3


def _check(ok: bool, what: str) -> None:
    if not ok:
        raise ValueError(what)


def _check_rows(name: str, rows: NDArray[Any]) -> None:
    _check(rows.ndim == 2 and str(rows.dtype) == "float32", f"{name} must be (N, D) float32: {_shape(rows)}")


def _shape(array: NDArray[Any] | None) -> str:
    return "None" if array is None else f"{array.dtype}{list(array.shape)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One file on disk, as it was when it was looked at.

    Attributes:
        path: absolute.
        fingerprint: 32 hex digits from the file's size, head, middle and tail; equal for a copy.
        size_bytes, mtime_ns: as `os.stat` gives them.
        duration_s: from the first to the end of the last packet, not what the header claims.
        has_video, has_audio: whether a stream of that kind holds at least one packet.
    """

    path: Path
    fingerprint: str
    size_bytes: int
    mtime_ns: int
    duration_s: float
    has_video: bool
    has_audio: bool

    def __post_init__(self) -> None:
        _check(self.path.is_absolute(), f"path must be absolute: {self.path}")
        _check(self.duration_s >= 0, f"duration_s must not be negative: {self.duration_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The span of a video that is embedded and indexed: ``[start_s, end_s)``."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        _check(0 <= self.start_s < self.end_s, f"not a span: [{self.start_s}, {self.end_s})")

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A spoken word with its own times; `text` carries no surrounding white space."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A stretch of speech without a long pause; `words` may be empty where the engine gave none."""

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...] = ()

    def __post_init__(self) -> None:
        _check(self.start_s <= self.end_s, f"utterance ends before it starts: {self.start_s}, {self.end_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What is said in a video.

    Attributes:
        language: ISO 639-1 code, or "" where nothing was said.
        language_probability: 0..1.
        utterances: in order of time.
    """

    language: str = ""
    language_probability: float = 0.0
    utterances: tuple[Utterance, ...] = ()

    def within(self, start_s: float, end_s: float) -> tuple[Utterance, ...]:
        """The utterances whose middle lies in ``[start_s, end_s)``: each belongs to one segment."""
        return tuple(u for u in self.utterances if start_s <= (u.start_s + u.end_s) / 2 < end_s)

    @property
    def speech_s(self) -> float:
        """Seconds covered by speech."""
        return sum(u.end_s - u.start_s for u in self.utterances)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSpec:
    """What a model wants to be fed; it travels with the weights, never with the user's settings.

    Attributes:
        n_frames: frames sampled from a full segment.
        resize_px: the picture's shorter side is scaled to this ...
        size_px: ... and its centre cropped to this many pixels square.
        sample_rate_hz: of the waveform.
        window_s: length of a full segment.
        sound_window_s, sound_hop_s: a segment's sound is heard in windows of this length, which start this
            far apart: at 0, 3.5 and 7 s of a segment of 12 s.
        frames_per_s: how densely a benchmark's clip is sampled before it is thinned to `n_frames`.
        resampler: whose bicubic made the pictures that the weights know, "swscale" or "pillow".
    """

    n_frames: int = 12
    resize_px: int = 256
    size_px: int = 224
    sample_rate_hz: int = 16_000
    window_s: float = 12.0
    resampler: str = "swscale"
    frames_per_s: int = 1
    sound_window_s: float = 5.0
    sound_hop_s: float = 3.5

    def __post_init__(self) -> None:
        _check(self.sound_window_s > 0 and self.sound_hop_s > 0, "windows of sound need a length and a hop")
        _check(self.resampler in RESAMPLERS, f"no such resampler: {self.resampler}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class WaveformBlock:
    """A stretch of sound without a gap.

    Attributes:
        start_s: the time of its first sample.
        waveform: (S,) float32 mono in -1..1, finite.
    """

    start_s: float
    waveform: NDArray[np.float32]

    def __post_init__(self) -> None:
        _check(
            self.waveform.ndim == 1 and str(self.waveform.dtype) == "float32",
            f"waveform must be (S,) float32: {_shape(self.waveform)}",
        )

    def __repr__(self) -> str:
        return f"WaveformBlock(start_s={self.start_s:.3f}, waveform={_shape(self.waveform)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Sound:
    """The sound of one segment as an Encoder has heard it: small, where the waveform is not.

    Attributes:
        rows: (N, D) float32 of unit norm, one for each window; see `MediaSpec.sound_hop_s`.
        tokens: (T, D) float32, what the fusion reads.
    """

    rows: NDArray[np.float32]
    tokens: NDArray[np.float32]

    def __post_init__(self) -> None:
        _check_rows("rows", self.rows)
        _check_rows("tokens", self.tokens)

    def __repr__(self) -> str:
        return f"Sound(rows={_shape(self.rows)}, tokens={_shape(self.tokens)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Media:
    """The decoded content of one segment: what an Encoder reads.

    Attributes:
        frames: (F, H, W, 3) uint8 RGB; F may be 0 for a file without pictures.
        frame_times_s: (F,) float64, the true time of each frame, increasing.
        sound: what the Encoder heard in this segment, or None where there is nothing to hear.
        utterances: what is said in this segment.
    """

    frames: NDArray[np.uint8]
    frame_times_s: NDArray[np.float64]
    sound: Sound | None = None
    utterances: tuple[Utterance, ...] = ()

    def __post_init__(self) -> None:
        _check(
            self.frames.ndim == 4 and self.frames.shape[-1] == 3,
            f"frames must be (F, H, W, 3): {_shape(self.frames)}",
        )
        _check(str(self.frames.dtype) == "uint8", f"frames must be uint8: {_shape(self.frames)}")
        _check(self.frame_times_s.shape == self.frames.shape[:1], "one time for each frame")

    def __repr__(self) -> str:
        spoken = f"utterances={len(self.utterances)}"
        return f"Media(frames={_shape(self.frames)}, sound={self.sound}, {spoken})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Embedding:
    """What the store keeps of one segment; all rows but `parts` have unit norm.

    `heard`, `fused` and `parts` may be left out, and then have no rows.

    Attributes:
        seen: (1, D) float32, the frames pooled; (0, D) where no frame was decoded.
        frames: (F, D) float32, each frame by itself.
        said: (U, D) float32, one row for each utterance; (0, D) where nothing is said.
        heard: (N, D) float32, row k for the window of sound that starts `k * sound_hop_s` into the segment;
            (0, D) where there is no sound.
        fused: (1, D) float32, the frames after the gated fusion with what is heard and said; (0, D) where
            there is none.
        parts: (3, D) float32, what is seen, heard and said, as each went into `fused`, of any norm: their sum
            is `fused`; (0, D) where `fused` has no row.
    """

    seen: NDArray[np.float32]
    frames: NDArray[np.float32]
    said: NDArray[np.float32]
    heard: NDArray[np.float32] = None  # type: ignore[assignment] # no row of the width that the others have
    fused: NDArray[np.float32] = None  # type: ignore[assignment]
    parts: NDArray[np.float32] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("heard", "fused", "parts"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.frames[:0])
        for name in ("seen", "frames", "said", "heard", "fused", "parts"):
            rows = getattr(self, name)
            _check_rows(name, rows)
            _check(rows.shape[1] == self.frames.shape[1], f"{name} is of another width: {_shape(rows)}")
        _check(self.seen.shape[0] == min(1, self.frames.shape[0]), "one pooled row if there is any frame")
        _check(self.fused.shape[0] <= 1, f"one fused row at most: {_shape(self.fused)}")
        _check(self.parts.shape[0] == 3 * self.fused.shape[0], "three parts if there is a fused row")
        rest = abs(self.parts.sum(axis=0) - self.fused.sum(axis=0))
        _check(bool((rest <= PARTS_TOLERANCE).all()), "the parts must sum to the fused row")

    def __repr__(self) -> str:
        names = ("seen", "frames", "said", "heard", "fused", "parts")
        return f"Embedding({', '.join(f'{name}={_shape(getattr(self, name))}' for name in names)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What files lie on: the file system of a disk, or a network share.

    Attributes:
        identity: the same whenever it is mounted, and of no other volume; see `savecli.media.volumes`.
        mount: the folder where it is mounted.
        label: what a person calls it.
    """

    identity: str
    mount: Path
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one text of a query found in the best segment of a moment: how the score came about.

    Attributes:
        text, aim, weight: see `Part`; aim "like" for an example, whose evidence is what it adds to the score.
        is_against: whether it should not be there.
        cosines: of what is seen, heard, said, and of the fused row, as far as there is any.
        words: 0..1, the share of the text's words that are said there, by their worth.
        letters: 0..1, the share of names in the text that are said there, or nearly; see `search.names`.
        evidence: of each modality, beyond `usual`, what other queries find there on average.
        background: middle and spread of the text's evidence over the library, and its number of segments.
        score: of this text alone.
    """

    text: str
    aim: Aim | Literal["like"]
    weight: float
    is_against: bool
    cosines: Mapping[str, float]
    words: float
    letters: float
    evidence: Mapping[str, float]
    usual: Mapping[str, float]
    background: tuple[float, float, int]
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A result shown to a person.

    Attributes:
        path: of the video.
        video_id: its fingerprint.
        start_s, end_s: the span to play.
        score: 0..1, higher is better; the sum of `why`.
        why: what each modality ("seen", "heard", "said") adds to the score.
        snippet: the words spoken there, "" where none are.
        best_s: the time of the frame or word that speaks most for this moment.
        mounted: whether the file is there to be played now.
        drive: where it is not, the label of its volume if that is not mounted; "" otherwise.
        marks: ``[start, end)`` in the snippet of the words that were looked for.
        copies: how many moments of other videos were left out because they show and say the same.
        terms: how the score came about, where that was asked; for the best segment.
    """

    path: Path
    video_id: str
    start_s: float
    end_s: float
    score: float
    why: Mapping[str, float] = field(default_factory=dict)
    snippet: str = ""
    best_s: float = 0.0
    mounted: bool = True
    drive: str = ""
    marks: Sequence[Sequence[int]] = ()
    copies: int = 0
    terms: tuple[Terms, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The answer to a query.

    Attributes:
        moments: best first, at most the number asked for; by video, each video's follow its best.
        nearest: the best moment below the threshold, for "nothing here matches"; None if there is none.
        exact: whether every row was looked at; False where a graph proposed them.
        has_more: whether exact words are said in more places than were looked through.
        n_videos: how many videos the filters leave; None without filters.
        threshold: the score from which on the model itself takes a moment for an answer.
        lacked_graph: whether every row was looked at because no graph fits them, though one would pay.
    """

    moments: tuple[Moment, ...]
    nearest: Moment | None
    exact: bool
    lacked_graph: bool = False
    has_more: bool = False
    n_videos: int | None = None
    threshold: float = 0.0

    @property
    def has_answer(self) -> bool:
        """Whether a moment is one that the model itself takes for an answer."""
        return any(moment.score >= self.threshold for moment in self.moments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `save doctor`; `hint` says what to do where `ok` is False."""

    name: str
    ok: bool
    message: str
    hint: str = ""
