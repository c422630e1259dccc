"""Prepared videos and their words -> the tensors of one batch, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from savecli.model.inputs import standardise, tokenise
from savecli.model.network import Inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from savecli.model.dims import ModelDims


def make_inputs(
    frames: Sequence[NDArray[np.uint8]],
    fbanks: Sequence[NDArray[np.float32] | None],
    speech: Sequence[str | None],
    dims: ModelDims,
    device: torch.device | str = "cpu",
) -> Inputs:
    """A batch as the network reads it.

    Args:
        frames: (F, H, W, 3) uint8 RGB for each video; those beyond `dims.n_frames` are left out.
        fbanks: (rows, M) for each video, None where there is no sound.
        speech: what is said in each, None or "" where nothing is.
        dims: of the network.
        device: where it lies. Pictures travel as bytes and become numbers there.
    """
    n_videos, px = len(frames), dims.image_px
    pictures = torch.zeros((n_videos, dims.n_frames, px, px, 3), dtype=torch.uint8)
    mask = torch.zeros((n_videos, dims.n_frames), dtype=torch.bool)
    sound = torch.zeros((n_videos, dims.n_rows, dims.n_mels))
    for i, (images, fbank) in enumerate(zip(frames, fbanks, strict=True)):
        n = min(len(images), dims.n_frames)
        pictures[i, :n], mask[i, :n] = torch.from_numpy(images[:n]), True
        if fbank is not None:
            sound[i] = torch.from_numpy(fbank)
    mask = mask.to(device)
    return Inputs(
        frames=_normalised(pictures.to(device, non_blocking=True), mask),
        frame_mask=mask,
        fbank=sound.to(device, non_blocking=True),
        audio_mask=torch.tensor([fbank is not None for fbank in fbanks], device=device),
        speech=tokenise(list(speech), dims.n_words, short_rule=True).to(device),
    )


def _normalised(pictures: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, F, H, W, 3) uint8 -> (B, F, 3, H, W) float32 as `inputs.normalise`; empty slots stay zero."""
    return standardise(pictures.movedim(-1, 2).float()).mul_(mask[:, :, None, None, None])
