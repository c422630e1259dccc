"""SAVE's two large encoders, of frames and of sound, in fewer bits, and on ONNX Runtime where a CPU computes.

Nearly all of a video's cost is their transformer blocks. On a CPU these become ONNX graphs: in 32 bits the
same numbers in half of torch's time, in 8 bits with a scale for each row of the weights, and for each call
one for what comes in. The last linear layer of a block stays in 32 bits: what comes out of a GELU has
outliers that eight bits cannot hold beside the rest. Text, resampler and fusions are small and stay as they
are (docs/decisions.md).
Shapes: N items, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from savecli.errors import ConfigError
from savecli.model.onnx import MICROSOFT, Graph, overflows, session

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from savecli.model.dims import Precision
    from savecli.model.network import Save

    Rows = NDArray[np.float32]

MOST_BYTES = 2**27
"""Of the weights in one graph: ONNX Runtime reads 2 GiB, and a graph is in memory thrice meanwhile."""
LEVELS = 127
REACH = 3
"""Deviations: about as far as a channel that was normalised goes."""


def refit(network: Save, precision: Precision) -> None:
    """Make a network's encoders compute in a precision, where the network lies; it cannot train after this.

    Raises:
        ConfigError: this device, or this network, does not go with it.
    """
    device = network.device.type
    if precision == "int8" and device != "cpu":
        raise ConfigError(
            f"int8 is for a CPU, and this is {device}", hint="--precision bf16, or --device cpu"
        )
    if precision == "bf16":
        network.visual_encoder = Bf16(network.visual_encoder, device)
        network.audio_encoder = Bf16(network.audio_encoder, device)  # type: ignore[assignment]
    elif device == "cpu":
        _on_onnx(network, eight=precision == "int8")


class Bf16(nn.Module):
    """A part in bf16 among others in fp32: its weights too on a CPU, where autocast casts them every time."""

    def __init__(self, part: nn.Module, device: str) -> None:
        super().__init__()
        self._is_cast = device == "cpu"
        self._device = device
        self.part = part.bfloat16() if self._is_cast else part

    def forward(self, x: Tensor) -> Tensor:
        """As the part; float32 in and out."""
        if self._is_cast:
            result: Tensor = self.part(x.bfloat16())
        else:
            with torch.autocast(self._device, torch.bfloat16):
                result = self.part(x)
        return result.float()


class OnnxBlocks(nn.Module):
    """Pre-norm transformer blocks that ONNX Runtime computes, on as many threads as torch has.

    In 8 bits all that is in one call shares a scale, so an item's result hangs a little on its company.
    """

    def __init__(self, blocks: Sequence[Weights], *, eight: bool) -> None:
        super().__init__()
        n_threads, exact = torch.get_num_threads(), eight and overflows()
        self._sessions = [
            session(_graph(part, eight=eight), n_threads=n_threads, exact=exact, arena=False)
            for part in _parts(blocks, MOST_BYTES)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        rows = x.numpy()
        for one in self._sessions:
            (rows,) = one.run(None, {Graph.entry: rows})
        return torch.from_numpy(rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """Those of one block, float32.

    Attributes:
        norms: weight and bias of the two layer norms, which share `eps`.
        qkv, mixed, up, down: (out, in) weight and (out,) bias of the linear layers, in order.
        n_heads: of the attention.
        activation: ONNX Runtime's name of it, "Gelu" or "QuickGelu".
    """

    norms: tuple[tuple[Rows, Rows], tuple[Rows, Rows]]
    eps: float
    qkv: tuple[Rows, Rows]
    mixed: tuple[Rows, Rows]
    up: tuple[Rows, Rows]
    down: tuple[Rows, Rows]
    n_heads: int
    activation: str

    @property
    def n_bytes(self) -> int:
        """In 32 bits."""
        return sum(weight.nbytes for weight, _ in (self.qkv, self.mixed, self.up, self.down))


def _on_onnx(network: Save, *, eight: bool) -> None:
    """In 32 bits, a visual encoder that is none of CLIP's plain transformers stays torch's."""
    seen = _of_clip(network.visual_encoder)
    if seen is not None:
        network.visual_encoder.transformer = OnnxBlocks(seen, eight=eight)
    elif eight:
        raise ConfigError(
            "int8 is for CLIP's plain vision transformers, and this network sees with another",
            hint="--precision fp32",
        )
    heard = [_of_ast(block) for block in network.audio_encoder.blocks]
    network.audio_encoder.blocks = nn.ModuleList([OnnxBlocks(heard, eight=eight)])


def _of_clip(visual: Any) -> list[Weights] | None:  # noqa: ANN401 - open_clip's, whose types are not told
    """The blocks of open_clip's vision transformer; None where it is built in another way."""
    from open_clip.transformer import QuickGELU, ResidualAttentionBlock

    blocks = getattr(getattr(visual, "transformer", None), "resblocks", ())
    if not blocks or not all(type(b) is ResidualAttentionBlock and b.attn.batch_first for b in blocks):
        return None
    activations = {QuickGELU: "QuickGelu", nn.GELU: "Gelu"}
    if any(type(b.mlp.gelu) not in activations for b in blocks):
        return None
    return [
        Weights(
            norms=(_pair(b.ln_1), _pair(b.ln_2)),
            eps=b.ln_1.eps,
            qkv=(_rows(b.attn.in_proj_weight), _rows(b.attn.in_proj_bias)),
            mixed=_scaled(_pair(b.attn.out_proj), b.ls_1),
            up=_pair(b.mlp.c_fc),
            down=_scaled(_pair(b.mlp.c_proj), b.ls_2),
            n_heads=b.attn.num_heads,
            activation=activations[type(b.mlp.gelu)],
        )
        for b in blocks
    ]


def _of_ast(block: Any) -> Weights:  # noqa: ANN401 - what a ModuleList holds is not told
    return Weights(
        norms=(_pair(block.norm1), _pair(block.norm2)),
        eps=block.norm1.eps,
        qkv=_pair(block.attn.qkv),
        mixed=_pair(block.attn.proj),
        up=_pair(block.mlp.fc),
        down=_pair(block.mlp.proj),
        n_heads=block.attn.n_heads,
        activation="Gelu",
    )


def _pair(layer: nn.Module) -> tuple[Rows, Rows]:
    return _rows(layer.weight), _rows(layer.bias)


def _rows(tensor: Any) -> Rows:  # noqa: ANN401 - nn.Module says Tensor or Module of all its parts
    rows: Rows = tensor.detach().float().numpy()
    return rows


def _scaled(layer: tuple[Rows, Rows], scale: Any) -> tuple[Rows, Rows]:  # noqa: ANN401 - open_clip's
    """With what open_clip multiplies the layer's result by, where there is anything."""
    if isinstance(scale, nn.Identity):
        return layer
    gamma = _rows(scale.gamma)
    return layer[0] * gamma[:, None], layer[1] * gamma


def _parts(blocks: Iterable[Weights], most_bytes: int) -> Iterator[list[Weights]]:
    """As many blocks each as have so many bytes together; one at least."""
    part: list[Weights] = []
    for block in blocks:
        if part and sum(b.n_bytes for b in part) + block.n_bytes > most_bytes:
            yield part
            part = []
        part.append(block)
    yield part


def _graph(blocks: Sequence[Weights], *, eight: bool) -> bytes:
    width = len(blocks[0].norms[0][0])
    shape = (None, None, width)
    graph = Graph(shape, "float32")
    affine = _eight_bits if eight else _affine
    x = graph.entry
    for block in map(_evened, blocks) if eight else blocks:
        h = affine(graph, _norm(graph, x, block.norms[0], block.eps), *block.qkv)
        ends = [graph.constant(np.array([at * width])) for at in range(4)]
        last = graph.constant(np.array([2]))
        parts = [graph.add("Slice", h, *ends[at : at + 2], last) for at in range(3)]
        h = graph.add("MultiHeadAttention", *parts, domain=MICROSOFT, num_heads=block.n_heads)
        x = graph.add("Add", x, affine(graph, h, *block.mixed))
        h = affine(graph, _norm(graph, x, block.norms[1], block.eps), *block.up)
        h = graph.add(block.activation, h, domain=MICROSOFT)
        x = graph.add("Add", x, _affine(graph, h, *block.down))
    return graph.to_bytes(x, shape)


def _norm(graph: Graph, x: str, layer: tuple[Rows, Rows], eps: float) -> str:
    return graph.add("LayerNormalization", x, *map(graph.constant, layer), axis=2, epsilon=eps)


def _affine(graph: Graph, x: str, weight: Rows, bias: Rows) -> str:
    return graph.add("Add", graph.add("MatMul", x, graph.constant(weight.T)), graph.constant(bias))


def _evened(block: Weights) -> Weights:
    """The same block, with channels that reach equally far between each norm and its linear layer.

    A norm's channel may be divided by what the layer's column is multiplied with (SmoothQuant, Xiao et al.
    2023; there by measured ranges, here by those that the norm's own weights tell).
    """

    def evened(norm: tuple[Rows, Rows], layer: tuple[Rows, Rows]) -> tuple[tuple[Rows, Rows], Rows]:
        reach = REACH * np.abs(norm[0]) + np.abs(norm[1])
        factor = np.sqrt(reach.clip(1e-8) / np.abs(layer[0]).max(axis=0).clip(1e-8))
        return (norm[0] / factor, norm[1] / factor), layer[0] * factor

    (first, qkv), (second, up) = (
        evened(*pair) for pair in ((block.norms[0], block.qkv), (block.norms[1], block.up))
    )
    return replace(block, norms=(first, second), qkv=(qkv, block.qkv[1]), up=(up, block.up[1]))


def _eight_bits(graph: Graph, x: str, weight: Rows, bias: Rows) -> str:
    scale = np.abs(weight).max(axis=1) / LEVELS
    scale[scale == 0] = 1  # a row of zeros
    levels = np.rint(weight / scale[:, None]).astype(np.int8)
    constants = graph.constant(levels.T), graph.constant(scale)
    return graph.add("DynamicQuantizeMatMul", x, *constants, "", graph.constant(bias), domain=MICROSOFT)
