"""Log-mel patches -> what they sound like: a small convolutional network, as torch trains it.

Architecture: YAMNet's (MobileNetV1 on .96 s patches; github.com/tensorflow/models, research/audioset,
Apache-2.0), with batch norm folded into the convolutions. The weights started from YAMNet's and were trained
on by scripts/train_mini (weights/save-mini/CARD.md). model/cpu.py runs them without torch.
Shapes: N patches, K own classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from savecli.model.stages import N_TAGS, SOUND, WIDTH

if TYPE_CHECKING:
    from torch import Tensor


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
        for stride, d_out in SOUND:
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
