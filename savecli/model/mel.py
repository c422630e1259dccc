"""Waveform -> log-mel patches, in numpy: the front end of the network that hears.

As YAMNet has it (github.com/tensorflow/models, research/audioset, Apache-2.0). Shapes: S samples, N patches.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
WINDOW, STEP, N_FFT = 400, 160, 512
PATCH_ROWS, N_MELS = 96, 64
PATCH_S = PATCH_ROWS * STEP / SAMPLE_RATE_HZ
LOWEST_HZ, HIGHEST_HZ = 125.0, 7500.0
OFFSET = np.float32(1e-3)


def log_mel_patches(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S,) float32 at 16 kHz in -1..1 -> (N, PATCH_ROWS, N_MELS) float32, side by side; a rest is left out.

    What is shorter than one patch is filled up with silence to one.
    """
    least = WINDOW + (PATCH_ROWS - 1) * STEP
    if len(waveform) < least:
        waveform = np.pad(waveform, (0, least - len(waveform)))
    windows = sliding_window_view(waveform, WINDOW)[::STEP]
    windows = windows[: len(windows) // PATCH_ROWS * PATCH_ROWS]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(windows * hann, N_FFT)).astype(np.float32)
    rows = np.log(spectrum @ _mel_filters() + OFFSET)
    patches: NDArray[np.float32] = rows.reshape(-1, PATCH_ROWS, N_MELS)
    return patches


@cache
def _mel_filters() -> NDArray[np.float32]:
    """(N_FFT / 2 + 1, N_MELS) triangles, linear in mel; the constant part belongs to none."""
    mel = 1127 * np.log1p(np.linspace(0, SAMPLE_RATE_HZ / 2, N_FFT // 2 + 1) / 700)[:, None]
    edges = np.linspace(1127 * np.log1p(LOWEST_HZ / 700), 1127 * np.log1p(HIGHEST_HZ / 700), N_MELS + 2)
    rise = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    filters: NDArray[np.float32] = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
    filters[0] = 0
    return filters
