"""One training in several processes, as `torchrun` starts them: who is who, and what they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = timedelta(hours=12)
"""One process may decode a whole benchmark before the others hear of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The processes of a training.

    Attributes:
        rank: of this one.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            distributed.barrier()

    def agree(self, said: str) -> bool:
        """Whether all processes say the same; waits for all."""
        if self.size == 1:
            return True
        heard: list[str | None] = [None] * self.size
        distributed.all_gather_object(heard, said)
        return set(heard) == {said}


@contextmanager
def team(device: torch.device) -> Iterator[Team]:
    """Joins the others where `torchrun` started this process; alone otherwise."""
    if not distributed.is_torchelastic_launched():
        yield Team()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what is gathered as an object passes through the current one
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Team(rank=distributed.get_rank(), size=distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """This process's own GPU, where there are several."""
    if device.type != "cuda" or not distributed.is_torchelastic_launched():
        return device
    return torch.device("cuda", distributed.get_node_local_rank(fallback_rank=0))


class _Gather(torch.autograd.Function):
    """Rows of all processes, in order of rank.

    Each process evaluates the same loss of the whole batch, so its own slice of the gradient is the whole
    truth about its own rows. The data-parallel wrapper then averages over processes, which the factor undoes:
    the training is the same for any number of them. The reference leaves the factor out.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, members: Team, factor: float) -> Tensor:  # noqa: ANN401 - torch's
        ctx.members, ctx.n_rows, ctx.factor = members, len(rows), factor
        everyone = [torch.empty_like(rows) for _ in range(members.size)]
        distributed.all_gather(everyone, rows.contiguous())
        return torch.cat(everyone)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        start = ctx.members.rank * ctx.n_rows
        return gradient[start : start + ctx.n_rows] * ctx.factor, None, None


def gather(tensors: Sequence[Tensor], members: Team, *, reference: bool = False) -> list[Tensor]:
    """Each tensor's rows from all processes, (N, ...) -> (N * size, ...), with gradients to this one's own.

    Args:
        tensors: of as many rows in every process.
        members: who takes part.
        reference: gradients as the reference has them, 1 / size of those of a single process.
    """
    if members.size == 1:
        return list(tensors)
    factor = 1.0 if reference else float(members.size)
    gathered = []
    for tensor in tensors:
        # Not every backend sends booleans.
        sent = tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor
        rows: Tensor = _Gather.apply(sent, members, factor)
        gathered.append(rows.bool() if tensor.dtype == torch.bool else rows)
    return gathered
