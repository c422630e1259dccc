"""What sees, hears and understands speech, as a video is read; and how each is given its share of it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Embedding, Media, MediaSpec, Segment, Sound, Transcript, WaveformBlock
from savecli.media.footage import Frame
from savecli.media.sound import Cutter


class Encoder(Protocol):
    """Media -> embedding; the weights decide what it is fed."""

    name: str
    spec: MediaSpec
    identity: Mapping[str, str]

    @property
    def batch_size(self) -> int:
        """Segments that are best given to `embed` together."""
        ...

    def hear(self, waveform: NDArray[np.float32]) -> Sound:
        """The sound of one segment, (S,) float32 mono at the spec's rate, from the segment's start."""
        ...

    def embed(self, media: Sequence[Media]) -> list[Embedding]:
        """One embedding for each segment."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What there is to tell since the last call, such as that memory did not suffice."""
        ...


class Transcriber(Protocol):
    """Waveform -> transcript."""

    name: str

    def listen(self, blocks: Iterable[WaveformBlock]) -> Generator[float, None, Transcript]:
        """Yields the time up to which has been listened; returns the transcript."""
        ...


def hearing(
    blocks: Iterable[WaveformBlock], cutter: Cutter, encoder: Encoder, sounds: dict[int, Sound]
) -> Iterator[WaveformBlock]:
    """The same blocks; as they pass, the encoder hears each segment that is over, into `sounds`."""
    for block in blocks:
        for number, waveform in cutter.add(block):
            sounds[number] = encoder.hear(waveform)
        yield block
    for number, waveform in cutter.finish():
        sounds[number] = encoder.hear(waveform)


def listened(
    blocks: Iterable[WaveformBlock], transcriber: Transcriber | None, rate_hz: int
) -> Generator[float, None, Transcript]:
    """What a transcriber does; where there is none, all blocks are read, and not a word is understood."""
    return transcriber.listen(blocks) if transcriber else _let_pass(blocks, rate_hz)


def _let_pass(blocks: Iterable[WaveformBlock], rate_hz: int) -> Generator[float, None, Transcript]:
    for block in blocks:
        yield block.start_s + len(block.waveform) / rate_hz
    return Transcript()


def as_media(
    span: Segment, shown: Sequence[Frame], sound: Sound | None, transcript: Transcript, spec: MediaSpec
) -> Media:
    """What an encoder is given of a segment."""
    size = (0, spec.size_px, spec.size_px, 3)
    return Media(
        frames=np.stack([frame.image for frame in shown]) if shown else np.zeros(size, np.uint8),
        frame_times_s=np.array([frame.time_s for frame in shown], np.float64),
        sound=sound,
        utterances=transcript.within(span.start_s, span.end_s),
    )
