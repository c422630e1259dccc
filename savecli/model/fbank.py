"""Waveform -> log-mel rows, as the audio branch of SAVE was trained on them.

Source: SAVE, supplementary preprocessing (docs/save.md); the filter bank is Kaldi's, the scaling that of
the Audio Spectrogram Transformer (Gong et al. 2021). Numpy only. Not kaldi-native-fbank: it refuses 128
filters on 512 points, of which one holds no frequency at all (docs/decisions.md).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
N_ROWS, N_MELS = 1024, 128
MEAN, STD = -5.118, 3.2527153
"""Of AudioSet's log-mel energies; a row is divided by twice STD."""
WINDOW = 400
"""Samples, 25 ms."""
N_FFT = 512
LOWEST_HZ, HIGHEST_HZ = 20.0, 8000.0
PRE_EMPHASIS = np.float32(0.97)
FLOOR = np.float32(2.0**-23)
"""Energies below it count as this much: what digital silence comes to."""
_BLOCK = 128  # rows at a time: they stay in the cache, and a long clip needs no more memory than a short one


def log_mel(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """The clip as N_ROWS rows of N_MELS log energies, normalised; short or long, it fills them all.

    The step between rows is the clip's length over N_ROWS, so tempo is not kept. What rounding leaves over
    is cut; rows that it leaves out are log energy 0, which normalising makes 0.787 (silence is -1.664).
    A clip without any audio is no business of this function: SAVE reads zeros there.

    Args:
        waveform: (S,) or (C, S) float32 in -1..1 at 16 kHz. The mean of all channels is taken off, and
            then the first alone is read.

    Returns:
        (N_ROWS, N_MELS) float32.

    Raises:
        ValueError: another shape or type, or fewer than N_ROWS samples: SAVE has no rows for those, and
            the caller treats them as a clip without audio.
    """
    if waveform.ndim not in (1, 2) or waveform.dtype != np.float32 or not waveform.size:
        raise ValueError(f"waveform must be (S,) or (C, S) float32: {waveform.dtype}{list(waveform.shape)}")
    channels = np.atleast_2d(waveform)
    step = channels.shape[1] // N_ROWS
    if step == 0:
        raise ValueError(f"{channels.shape[1]} samples are too few for {N_ROWS} rows")
    # A running sum of ten million float32 would lose the mean.
    mean = np.float32(channels.mean(dtype=np.float64))
    rows = np.zeros((N_ROWS, N_MELS), np.float32)
    found = log_energies(channels[0], mean=mean, step=step, max_rows=N_ROWS)
    rows[: len(found)] = found
    rows -= np.float32(MEAN)
    rows /= np.float32(2 * STD)
    return rows


def log_energies(
    samples: NDArray[np.float32], *, mean: np.float32, step: int, max_rows: int
) -> NDArray[np.float32]:
    """(S,) float32 -> (R, N_MELS) float32 log energies, R up to `max_rows`; a window's rest has no row.

    Args:
        samples: at 16 kHz in -1..1.
        mean: taken off every sample.
        step: samples from one row to the next.
        max_rows: what comes later is not read.

    Raises:
        ValueError: fewer samples than a WINDOW.
    """
    windows = sliding_window_view(samples, WINDOW)[::step][:max_rows]
    rows = np.empty((len(windows), N_MELS), np.float32)
    for first in range(0, len(windows), _BLOCK):
        block = windows[first : first + _BLOCK] - mean
        rows[first : first + len(block)] = np.log(np.maximum(_power(block) @ mel_filters().T, FLOOR))
    return rows


def _power(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """(R, WINDOW) samples, which it overwrites -> (R, N_FFT / 2) power below the Nyquist frequency."""
    block -= block.mean(axis=1, keepdims=True)
    block[:, 1:] -= PRE_EMPHASIS * block[:, :-1]
    # The first sample has none before it; the window is 0 there in any case.
    block *= np.hanning(WINDOW).astype(np.float32)
    spectrum = np.fft.rfft(block, N_FFT)[:, : N_FFT // 2]
    return np.asarray(spectrum.real**2 + spectrum.imag**2, np.float32)


@cache
def mel_filters() -> NDArray[np.float32]:
    """(N_MELS, N_FFT / 2) float32: triangles of height 1, equally wide and linear in mel, read-only.

    Filter 3 lies between two frequencies of the transform and is all zeros, as in SAVE.
    """
    frequencies_hz = np.arange(N_FFT // 2) * SAMPLE_RATE_HZ / N_FFT
    corners = np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), N_MELS + 2)
    distance = (_mel(frequencies_hz) - corners[:, None]) / (corners[1] - corners[0])
    triangles = np.maximum(0, np.minimum(distance[:-2], -distance[2:]))
    filters: NDArray[np.float32] = triangles.astype(np.float32)
    filters.flags.writeable = False
    return filters


def _mel(frequency_hz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1127 * np.log(1 + np.asarray(frequency_hz) / 700))
