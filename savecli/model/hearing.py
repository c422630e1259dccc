"""Waveform -> what it sounds like: a small convolutional network on log-mel patches.

Architecture and front end are YAMNet's (MobileNetV1 on .96 s patches; github.com/tensorflow/models,
research/audioset, Apache-2.0), with batch norm folded into the convolutions. The weights started from
YAMNet's and were trained on by scripts/train_mini (weights/save-mini/CARD.md).
Shapes: S samples, N patches, K own classes.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SAMPLE_RATE_HZ = 16_000
WINDOW, STEP, N_FFT = 400, 160, 512
PATCH_ROWS, N_MELS = 96, 64
PATCH_S = PATCH_ROWS * STEP / SAMPLE_RATE_HZ
LOWEST_HZ, HIGHEST_HZ = 125.0, 7500.0
OFFSET = np.float32(1e-3)
N_TAGS = 521
"""Classes of AudioSet that YAMNet knows."""
WIDTH = 1024
# stride of each depthwise convolution, and the channels that come out of the pointwise one behind it
STAGES = (
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (2, 1024),
    (1, 1024),
)


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


class SameConv(nn.Module):
    """Convolution with TensorFlow's SAME padding, the odd row right and below, then ReLU."""

    def __init__(self, d_in: int, d_out: int, kernel: int, stride: int, *, depthwise: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(d_in, d_out, kernel, stride, groups=d_in if depthwise else 1)
        self._kernel, self._stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        if self._kernel > 1:
            high, wide = (self._missing(length) for length in x.shape[-2:])
            x = functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return functional.relu(self.conv(x))

    def _missing(self, length: int) -> int:
        return max((-(-length // self._stride) - 1) * self._stride + self._kernel - length, 0)


class SoundNet(nn.Module):
    """Log-mel patches -> features; two heads name them: AudioSet's tags, and the classes of our own data.

    Args:
        n_own: K.
    """

    def __init__(self, n_own: int) -> None:
        super().__init__()
        layers = [SameConv(1, 32, 3, 2)]
        width = 32
        for stride, d_out in STAGES:
            layers += [SameConv(width, width, 3, stride, depthwise=True), SameConv(width, d_out, 1, 1)]
            width = d_out
        self.trunk = nn.Sequential(*layers)
        self.tags = nn.Linear(WIDTH, N_TAGS)
        self.own = nn.Linear(WIDTH, n_own)

    def forward(self, patches: Tensor) -> Tensor:
        """(N, PATCH_ROWS, N_MELS) -> (N, WIDTH)."""
        features: Tensor = self.trunk(patches.unsqueeze(1)).mean(dim=(2, 3))
        return features

    def chances(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, WIDTH) -> (N, N_TAGS), each by itself, and (N, K), which sum to one."""
        return torch.sigmoid(self.tags(features)), self.own(features).softmax(dim=-1)
