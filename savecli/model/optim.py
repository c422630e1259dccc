"""What trains, how fast, and in which steps (docs/save.md, section 3)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

MAX_LOGIT_SCALE = 100.0
QUERY_LR = 100.0
"""The audio resampler's queries learn this many times faster."""
_CLIP = ("visual_encoder.", "text_encoder.", "audio_encoder.", "logit_scale")
_ALWAYS_FROZEN = re.compile(
    r"visual_encoder\.(conv1|class_embedding|positional_embedding|ln_pre)"
    r"|text_encoder\.(token_embedding|positional_embedding)"
    r"|audio_encoder\.(cls_token|dist_token|pos_embed|patch_embed)"
)
_AUDIO_BLOCK = re.compile(r"audio_encoder\.blocks\.(\d+)\.")


def is_trainable(name: str, freeze: int | None) -> bool:
    """Whether a parameter is trained.

    Args:
        name: of the parameter.
        freeze: blocks of the spectrogram transformer that are frozen, from the first, along with the
            embeddings of all three encoders; None freezes nothing, for training from scratch.
    """
    if freeze is None:
        return True
    block = _AUDIO_BLOCK.match(name)
    if block is not None:
        return int(block[1]) >= freeze
    return _ALWAYS_FROZEN.match(name) is None


def lr_multiplier(name: str, clip_lr: float, query_lr: float = QUERY_LR) -> float:
    """The learning rate of a parameter in units of the base rate; `clip_lr` is that of pretrained ones."""
    if name == "audio_encoder.projection":
        return 1.0
    if name == "audio_resampler.queries":
        return query_lr
    return clip_lr if name.startswith(_CLIP) else 1.0


def parameter_groups(
    network: nn.Module,
    *,
    lr: float,
    clip_lr: float,
    query_lr: float = QUERY_LR,
    weight_decay: float,
    freeze: int | None,
) -> list[dict[str, Any]]:
    """Freezes what is not trained, and groups the rest by learning rate and weight decay.

    Biases do not decay; norms, positions and the logit scale do, as in the reference.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(is_trainable(name, freeze))
        if parameter.requires_grad:
            decay = 0.0 if "bias" in name else weight_decay
            groups.setdefault((lr * lr_multiplier(name, clip_lr, query_lr), decay), []).append(parameter)
    return [
        {"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()
    ]


def schedule(progress: float, warmup: float) -> float:
    """The learning rate at a share of all steps: up in a line, then a cosine that began at the first step.

    So the rate falls a little, from 1 to .976, where a warm-up of .1 ends.
    """
    return progress / warmup if progress < warmup else (1 + math.cos(math.pi * progress)) / 2


class BertAdam(torch.optim.Optimizer):
    """Adam without bias correction, with decay inside the scheduled rate, as BERT was fine-tuned with.

    Each tensor's gradient is clipped to a norm of one first. A parameter without a gradient is left alone,
    and its count of steps stands still.

    Args:
        groups: as `parameter_groups` makes them.
        n_steps: of the whole training, for the schedule.
        warmup: share of them in which the rate rises.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        n_steps: float,
        warmup: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        max_norm: float = 1.0,
    ) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self._n_steps, self._warmup = n_steps, warmup
        self._betas, self._eps, self._max_norm = betas, eps, max_norm

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch's signature
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, group["lr"], group["weight_decay"])

    def rate(self, n_done: int) -> float:
        """The schedule's factor after `n_done` steps."""
        return schedule(n_done / self._n_steps, self._warmup)

    def _step(self, parameter: Tensor, lr: float, weight_decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["n_done"] = 0
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None  # noqa: S101 - the caller looked
        gradient.mul_((self._max_norm / (gradient.norm() + 1e-6)).clamp(max=1.0))
        first, second = self._betas
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        # In place: the token embeddings alone are 25 million numbers, and memory is what this waits for.
        update = torch.div(state["mean"], state["square"].sqrt().add_(self._eps)).add_(
            parameter, alpha=weight_decay
        )
        parameter.add_(update, alpha=-lr * self.rate(state["n_done"]))
        state["n_done"] += 1

    def tensors(self, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
        """Its state as named tensors, for a checkpoint without pickles; `names` has each parameter's own."""
        saved: dict[str, Tensor] = {}
        for parameter, state in self.state.items():
            name = names[parameter]
            saved[f"{name}/mean"], saved[f"{name}/square"] = state["mean"], state["square"]
            saved[f"{name}/n_done"] = torch.tensor(state["n_done"])
        return saved

    def load_tensors(self, names: Mapping[Tensor, str], saved: Mapping[str, Tensor]) -> None:
        """What `tensors` gave."""
        for group in self.param_groups:
            for parameter in group["params"]:
                name = names[parameter]
                if f"{name}/n_done" in saved:
                    self.state[parameter] = {
                        "n_done": int(saved[f"{name}/n_done"]),
                        "mean": saved[f"{name}/mean"].to(parameter.device),
                        "square": saved[f"{name}/square"].to(parameter.device),
                    }


def clip_and_step(network: nn.Module, optimiser: BertAdam, *, max_norm: float = 1.0) -> float:
    """Clips the norm of all gradients together, steps, forgets them, and keeps the logit scale below 100.

    Returns:
        The norm before it was clipped.
    """
    norm = nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    logit_scale: Tensor = network.logit_scale  # type: ignore[assignment]
    logit_scale.data.clamp_(max=math.log(MAX_LOGIT_SCALE))
    return float(norm)
