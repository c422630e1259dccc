"""Blocks of sound -> the waveform of each segment, one segment in memory at a time. Arithmetic only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Segment, WaveformBlock

SILENT_PEAK = 1e-3  # -60 dBFS: a muted track, not a quiet room
SHORTEST_S = 0.5


class Heard(NamedTuple):
    """The sound of one segment.

    Attributes:
        number: of the segment.
        waveform: (S,) float32, from the segment's start to the last sample of its sound; gaps are zeros.
    """

    number: int
    waveform: NDArray[np.float32]


class Cutter:
    """Cuts a stream of blocks at the bounds of segments, as it passes by.

    A sample goes where its time says. Of two that claim one moment the first stays, so time never runs
    back; what lies outside of all segments is left out. A segment with less than 0.5 s of sound, or with
    a silent one, has none.

    Args:
        spans: the segments, without gaps, in order of time.
        sample_rate_hz: of the blocks.
    """

    def __init__(self, spans: Sequence[Segment], sample_rate_hz: int) -> None:
        # Neighbours round their common bound alike, so that no sample between them is lost.
        self._bounds = [(_sample(s.start_s, sample_rate_hz), _sample(s.end_s, sample_rate_hz)) for s in spans]
        self._rate_hz = sample_rate_hz
        self._shortest = _sample(SHORTEST_S, sample_rate_hz)
        self._number = 0
        self._end = 0  # all samples before this one are settled
        self._held = np.zeros(0, np.float32)
        self._n_heard = 0

    def add(self, block: WaveformBlock) -> Iterator[Heard]:
        """The segments that are over with this block, where they have sound."""
        start = _sample(block.start_s, self._rate_hz)
        rest = block.waveform[max(0, self._end - start) :]
        at = max(start, self._end)
        while len(rest) and self._number < len(self._bounds):
            first, last = self._bounds[self._number]
            if at >= last:
                yield from self._next()
                continue
            taken = rest[: last - at]
            self._hold(taken, at - first, last - first)
            rest, at = rest[len(taken) :], at + len(taken)
            self._end = at

    def finish(self) -> Iterator[Heard]:
        """The segment in work, where it has sound; no block may follow."""
        if self._number < len(self._bounds):
            yield from self._next()

    def _hold(self, samples: NDArray[np.float32], at: int, n_most: int) -> None:
        if not self._n_heard:
            self._held = np.zeros(n_most, np.float32)
        self._held[at : at + len(samples)] = samples
        self._n_heard += len(samples)

    def _next(self) -> Iterator[Heard]:
        first, _ = self._bounds[self._number]
        number, waveform, n_heard = self._number, self._held[: max(0, self._end - first)], self._n_heard
        self._number, self._held, self._n_heard = number + 1, np.zeros(0, np.float32), 0
        if n_heard >= self._shortest and np.abs(waveform).max() >= SILENT_PEAK:
            yield Heard(number, waveform)


def _sample(time_s: float, rate_hz: int) -> int:
    return round(time_s * rate_hz)
