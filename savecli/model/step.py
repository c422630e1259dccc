"""One training step's loss: a batch of videos with their captions, and what a teacher makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import normalize

from savecli.model import loss
from savecli.model.network import Inputs, Save, pool, similarity
from savecli.model.parallel import Team, gather

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LossOptions:
    """The numbers of the losses.

    Attributes:
        beta, margin: of the adaptive margin, see `loss.adaptive_margin`.
        distillation: weight of the second loss; 0 leaves it out.
        reference_gather: see `parallel.gather`.
    """

    beta: float = 0.2
    margin: float = 0.1
    distillation: float = 1.0
    reference_gather: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """What the teacher says of a batch: (N, E) sounds, (N, E) videos, (N,) bool whether it knows them."""

    audio: Tensor
    video: Tensor
    knows: Tensor


class Step(nn.Module):
    """The losses of a batch, gathered over all processes.

    A module, so that torch's data-parallel wrapper sees one forward pass and reduces its gradients.
    """

    def __init__(self, network: Save, options: LossOptions, members: Team) -> None:
        super().__init__()
        self.network = network
        self._options = options
        self._members = members

    def forward(self, inputs: Inputs, captions: Tensor, teacher: Teacher | None) -> tuple[Tensor, Tensor]:
        """N videos, (N, W) int64 captions -> the two losses, of the batch of all processes."""
        network, options = self.network, self._options
        features = network.encode_video(inputs)
        text = network.encode_caption(captions)
        known = teacher.knows if teacher else torch.zeros(len(text), dtype=torch.bool, device=text.device)
        mine = [text, features.visual, features.fused, features.audio, features.frame_mask]
        mine += [inputs.audio_mask & known]
        mine += [teacher.audio, teacher.video] if teacher else []
        # In 32 bits: a logit of a hundred has no digits left in 16.
        floats = [t.float() if t.is_floating_point() else t for t in mine]
        text, visual, fused, audio, mask, heard, *taught = gather(
            floats, self._members, reference=options.reference_gather
        )
        with torch.autocast(text.device.type, enabled=False):
            unit, scale = normalize(text, dim=-1), network.logit_scale.exp()
            score, _, _ = similarity(unit, *pool(fused, mask), mask, scale, network.dims.temperature)
            margin = loss.adaptive_margin(
                unit, pool(visual, mask)[1], beta=options.beta, limit=options.margin
            )
            retrieval = loss.retrieval_loss(score, margin, scale)
            if not taught or not options.distillation:
                return retrieval, retrieval.new_zeros(())
            student = loss.audio_similarity(visual, audio)
            by_audio, by_video = taught
            distilled = loss.distillation_loss(student, by_audio, by_video, heard)
            return retrieval, options.distillation * distilled
