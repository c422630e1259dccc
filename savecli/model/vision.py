"""Frames -> class logits: EfficientNet-Lite0, frozen.

Architecture: Tan and Le 2019 without squeeze-and-excitation and with ReLU6, as in TensorFlow's
"Lite" release, from which the weights come (hence its SAME padding and batch-norm epsilon).
The network is fixed, so batch norm is folded into the convolutions when the weights are loaded, and
the padding is a constant. timm has the same network, but importing it takes longer than torch itself
(docs/decisions.md); tests/model/test_vision.py holds ours equal to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from savecli.errors import ConfigError, WeightsError
from savecli.model.stages import BATCH_NORM_EPS, N_CLASSES, N_FEATURES, VISION

if TYPE_CHECKING:
    from torch import Tensor


class Convolution(nn.Module):
    """Convolution with TensorFlow's SAME padding for an even input: the odd pixel goes right and below."""

    def __init__(
        self, d_in: int, d_out: int, kernel: int, stride: int, *, depthwise: bool, active: bool
    ) -> None:
        super().__init__()
        total = kernel - stride if stride > 1 else kernel - 1
        before, after = total // 2, total - total // 2
        self.pad = nn.ZeroPad2d((before, after, before, after)) if before != after else nn.Identity()
        groups = d_in if depthwise else 1
        self.conv = nn.Conv2d(d_in, d_out, kernel, stride, before if before == after else 0, groups=groups)
        self.active = nn.ReLU6(inplace=True) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/stride, W/stride)."""
        result: Tensor = self.active(self.conv(self.pad(x)))
        return result


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to its input where the shape stays."""

    def __init__(self, d_in: int, d_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        d_inner = d_in * expansion
        expand = [Convolution(d_in, d_inner, 1, 1, depthwise=False, active=True)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            Convolution(d_inner, d_inner, kernel, stride, depthwise=True, active=True),
            Convolution(d_inner, d_out, 1, 1, depthwise=False, active=False),
        )
        self.residual = stride == 1 and d_in == d_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/stride, W/stride)."""
        result: Tensor = self.layers(x)
        return x + result if self.residual else result


class EfficientNetLite0(nn.Module):
    """(B, 224, 224, 3) uint8 RGB -> (B, 1000) ImageNet logits, and the (B, 1280) features behind them."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [Convolution(3, 32, 3, 2, depthwise=False, active=True)]
        width = 32
        for repeats, kernel, stride, expansion, d_out in VISION:
            for i in range(repeats):
                layers.append(InvertedResidual(width, d_out, kernel, stride if i == 0 else 1, expansion))
                width = d_out
        layers.append(Convolution(width, N_FEATURES, 1, 1, depthwise=False, active=True))
        self.trunk = nn.Sequential(*layers)
        self.classifier = nn.Linear(N_FEATURES, N_CLASSES)

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.classifier.weight.device

    def features(self, frames: Tensor) -> Tensor:
        """Scaling is (x - 127.5) / 127.5; the ImageNet mean and deviation cost 8 points here."""
        # NHWC bytes seen as NCHW are already in channels-last order, which convolutions on CPU prefer.
        x = (frames.permute(0, 3, 1, 2).float() - 127.5) / 127.5
        features: Tensor = self.trunk(x).mean(dim=(2, 3))
        return features

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features."""
        features = self.features(frames)
        return self.classifier(features), features


def choose_device(wanted: str) -> torch.device:
    """What torch calls it; "auto" is the best that this machine has.

    Raises:
        ConfigError: a device that this machine or this build of torch does not have.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present[wanted]:
        raise ConfigError(
            f"torch {torch.__version__} finds no {wanted} device here", hint="--device auto, or cpu"
        )
    return torch.device(wanted)


def load(path: Path, device: torch.device) -> EfficientNetLite0:
    """The network with the weights of `efficientnet-lite0-57934424.pth`, ready to run.

    Raises:
        WeightsError: where the file does not hold exactly this network, naming the first difference.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise WeightsError(f"cannot read {path}: {error}", hint="save doctor") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} is not EfficientNet-Lite0: no tensors in it", hint="save doctor")
    network = EfficientNetLite0()
    tensors = iter([(k, v) for k, v in state.items() if not k.endswith("num_batches_tracked")])
    # The file's names are of another code base, its order is the order of computation.
    for conv in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        weight = _take(tensors, conv.weight.shape, path)
        gamma, beta, mean, variance = (_take(tensors, (conv.out_channels,), path) for _ in range(4))
        scale = gamma / torch.sqrt(variance + BATCH_NORM_EPS)
        conv.load_state_dict({"weight": weight * scale[:, None, None, None], "bias": beta - mean * scale})
    last = network.classifier
    last.load_state_dict(
        {"weight": _take(tensors, last.weight.shape, path), "bias": _take(tensors, last.bias.shape, path)}
    )
    if (extra := next(tensors, None)) is not None:
        raise WeightsError(f"{path} is not EfficientNet-Lite0: unexpected {extra[0]}", hint="save doctor")
    network.requires_grad_(False).eval().to(device)
    return network.to(memory_format=torch.channels_last)


def _take(tensors: Iterator[tuple[str, Any]], shape: Sequence[int], path: Path) -> Tensor:
    """The next tensor of the file, which must have this shape."""
    name, tensor = next(tensors, ("", None))
    if not name:
        raise WeightsError(f"{path} is not EfficientNet-Lite0: it ends too early", hint="save doctor")
    if not isinstance(tensor, torch.Tensor) or tensor.shape != torch.Size(shape):
        found = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise WeightsError(f"{path}: {name} is {found}, not {tuple(shape)}", hint="save doctor")
    return tensor
