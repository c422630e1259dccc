"""The sound of a file as mono blocks, each at its true time, in flat memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from numpy.typing import NDArray

from savecli.datatypes import WaveformBlock
from savecli.media.decode.container import DAMAGE, SOUNDS, keep_only, mended, opened, packets
from savecli.media.footage import Tally, Timeline, Track, WaveformStream

_GAP_S = 0.1
_CANCELLED = 0.1
"""A mix with less than this share of a channel's energy has lost what the channels hold."""


def waveform(
    timeline: Timeline, *, sample_rate_hz: int = 16_000, block_s: float = 10.0, tally: Tally | None = None
) -> WaveformStream:
    """The sound of the best stream that decodes, mono, cut into blocks of at most `block_s`.

    A block starts where its first sample is heard. A gap of more than 0.1 s ends a block, and is not filled.
    Sound before time 0 is cut. Where left and right cancel each other out, the louder is taken alone.

    Args:
        timeline: from `probe`, of the same file.
        sample_rate_hz: of the blocks.
        block_s: 0.1 or more.
        tally: told how far the decoding is.

    Raises:
        MediaError: while iterating, if the file cannot be opened any more.
    """
    tally = Tally() if tally is None else tally
    return WaveformStream(_first_that_decodes(timeline, sample_rate_hz, block_s, tally), tally)


def _first_that_decodes(
    timeline: Timeline, rate_hz: int, block_s: float, tally: Tally
) -> Iterator[WaveformBlock]:
    for track in timeline.audio:
        n_blocks = 0
        blocks = _Blocks(rate_hz, round(rate_hz * block_s))
        for block in _sound(timeline, track, blocks, tally):
            n_blocks += 1
            yield block
        if n_blocks:
            return


def _sound(timeline: Timeline, track: Track, blocks: _Blocks, tally: Tally) -> Iterator[WaveformBlock]:
    with opened(timeline.path, to_hear=timeline.container in SOUNDS) as container:
        stream: AudioStream = container.streams[track.index]  # type: ignore[assignment]
        keep_only(container, {track.index})
        stream.codec_context.thread_count = 1
        for packet in mended(packets(container, (stream,), tally), track):
            yield from _packet(stream, packet, timeline.origin_s, blocks, tally)
        yield from _packet(stream, None, timeline.origin_s, blocks, tally)
        yield from blocks.finish()


def _packet(
    stream: AudioStream, packet: Packet[Any] | None, origin_s: float, blocks: _Blocks, tally: Tally
) -> Iterator[WaveformBlock]:
    try:
        heard = stream.codec_context.decode(packet)
    except DAMAGE:
        tally.n_bad_packets += 1
        return
    for sound in heard:
        ticks = sound.dts if sound.pts is None else sound.pts
        time_s = None if ticks is None else ticks * float(sound.time_base or 0) - origin_s
        try:
            yield from blocks.add(sound, time_s)
        except DAMAGE:
            tally.n_bad_packets += 1
        else:
            tally.n_decoded += 1
            tally.reach(blocks.end_s)


class _Blocks:
    """Resamples stretches of sound and lines them up by their times."""

    def __init__(self, rate_hz: int, n_most: int) -> None:
        self._rate_hz = rate_hz
        self._n_most = n_most
        self._resampler: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None
        self._parts: list[NDArray[np.int16]] = []
        self._n_held = 0
        self._start_s = 0.0
        self.end_s = 0.0

    def add(self, sound: AudioFrame, time_s: float | None) -> Iterator[WaveformBlock]:
        """Blocks that became full, or were ended by a gap or a new kind of sound."""
        shape = (sound.format.name, sound.layout.name, sound.sample_rate)
        if time_s is None or abs(time_s - self.end_s) <= _GAP_S or time_s < self.end_s:
            time_s = self.end_s if self._resampler else (time_s or 0.0)
        if self._resampler is None or shape != self._shape or time_s > self.end_s + _GAP_S:
            yield from self.finish()
            self._shape, self._start_s, self.end_s = shape, time_s, time_s
            layout = "mono" if sound.layout.nb_channels == 1 else "stereo"
            # Through 16 bits: one NaN among floats would poison all that a model makes of the block.
            self._resampler = AudioResampler(format="s16", layout=layout, rate=self._rate_hz)
        yield from self._hold(self._resampler.resample(sound))
        self.end_s += sound.samples / sound.sample_rate

    def finish(self) -> Iterator[WaveformBlock]:
        """The rest, as the last block of a stretch."""
        resampler, self._resampler = self._resampler, None
        if resampler is None:
            return
        try:
            rest = resampler.resample(None)
        except DAMAGE:  # it did not take what it was given before either
            rest = []
        yield from self._hold(rest)
        yield from self._emit(self._n_held)
        self._parts = []  # what comes next may have other channels

    def _hold(self, resampled: list[AudioFrame]) -> Iterator[WaveformBlock]:
        for sound in resampled:
            samples = sound.to_ndarray().reshape(-1, sound.layout.nb_channels).astype(np.int16, copy=False)
            self._parts.append(samples)
            self._n_held += len(samples)
        while self._n_held >= self._n_most:
            yield from self._emit(self._n_most)

    def _emit(self, n_samples: int) -> Iterator[WaveformBlock]:
        held = np.concatenate(self._parts) if self._parts else np.empty((0, 1), np.int16)
        start_s, n_early = self._start_s, max(0, round(-self._start_s * self._rate_hz))
        self._parts, self._n_held = [held[n_samples:]], len(held) - n_samples
        self._start_s += n_samples / self._rate_hz
        if n_samples > n_early:
            yield WaveformBlock(start_s=max(start_s, 0.0), waveform=_mono(held[n_early:n_samples]))


def _mono(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """(S, channels) 16-bit samples -> (S,) float32 in -1..1."""
    channels = samples.astype(np.float32) / 32768
    mix: NDArray[np.float32] = channels.mean(axis=1, dtype=np.float32)
    energies = np.square(channels).mean(axis=0)
    if np.square(mix).mean() < _CANCELLED * energies.max():
        return np.ascontiguousarray(channels[:, int(energies.argmax())])
    return mix
