"""Blocks of sound -> stretches short enough to transcribe in one go, cut where it hurts least.

A log-mel spectrogram of an hour takes gigabytes; one of two minutes does not. Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import WaveformBlock

SAMPLE_RATE_HZ = 16_000
MAX_STRETCH_S = 120.0
MIN_STRETCH_S = 0.1
MAX_GAP_S = 0.1
CUT_SEARCH_S = 15.0
CUT_QUIET_S = 0.3

_MAX_SAMPLES = round(MAX_STRETCH_S * SAMPLE_RATE_HZ)
_MIN_SAMPLES = round(MIN_STRETCH_S * SAMPLE_RATE_HZ)
_QUIET_SAMPLES = round(CUT_QUIET_S * SAMPLE_RATE_HZ)


def gather(blocks: Iterable[WaveformBlock]) -> Iterator[WaveformBlock]:
    """Join blocks into stretches of at most 120 s; no sample is lost or doubled, except in stubs under 0.1 s.

    A block that starts more than 0.1 s away from where the sound before it ended opens a new stretch, so
    that no time in a stretch is off by more than that. `blocks` is read as the stretches are asked for.
    """
    return (stretch for stretch in _stretches(blocks) if stretch.waveform.size >= _MIN_SAMPLES)


def _stretches(blocks: Iterable[WaveformBlock]) -> Iterator[WaveformBlock]:
    start_s = 0.0
    waveform = np.empty(0, dtype=np.float32)
    for block in blocks:
        if abs(block.start_s - (start_s + waveform.size / SAMPLE_RATE_HZ)) > MAX_GAP_S:
            yield WaveformBlock(start_s=start_s, waveform=waveform)
            start_s, waveform = block.start_s, waveform[:0]
        waveform = np.concatenate((waveform, _finite(block.waveform)))
        while waveform.size > _MAX_SAMPLES:
            cut = quietest_cut(waveform[:_MAX_SAMPLES])
            yield WaveformBlock(start_s=start_s, waveform=waveform[:cut])
            start_s, waveform = start_s + cut / SAMPLE_RATE_HZ, waveform[cut:]
    yield WaveformBlock(start_s=start_s, waveform=waveform)


def quietest_cut(waveform: NDArray[np.float32], search_s: float = CUT_SEARCH_S) -> int:
    """The sample in the middle of the quietest 0.3 s of the last `search_s` of a longer `waveform` (S,)."""
    tail_start = waveform.size - round(search_s * SAMPLE_RATE_HZ)
    energy = np.concatenate(([0.0], np.cumsum(np.square(waveform[tail_start:], dtype=np.float64))))
    window_energy = energy[_QUIET_SAMPLES:] - energy[:-_QUIET_SAMPLES]
    return tail_start + int(window_energy.argmin()) + _QUIET_SAMPLES // 2


def _finite(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    # One NaN spreads through the whole spectrogram and comes out as seconds of "!!!!".
    return np.nan_to_num(waveform, nan=0.0, posinf=0.0, neginf=0.0).clip(-1.0, 1.0)
