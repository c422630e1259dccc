"""The gated fusion in numpy, for one segment: what `network.Fusion` computes, without torch.

A dozen frames, a handful of sounds and words: little work, for which torch would take six times as long, and
seconds to import. tests/model/test_cpu.py holds it equal to the network that is trained.
Shapes: F frames, T sounds, W words, M of either, Q queries, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from savecli.model.text import layer_norm, softmax, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

FUSED_SHARE = np.float32(0.5)
EPS = np.float32(1e-12)


class NumpyFusion:
    """Frames with what is heard, and with what is said.

    Args:
        tensors: float32, by the names of `network.Fusion`.
        n_heads: of its attentions.
    """

    def __init__(self, tensors: Mapping[str, Rows], n_heads: int) -> None:
        self._tensors = tensors
        self._n_heads = n_heads
        self._queries = (
            tensors["audio_resampler.queries"].T + tensors["audio_resampler.positions.weight"]
        ).copy()

    def __call__(self, frames: Rows, sound: Rows, words: Rows) -> tuple[Rows, Rows]:
        """(F, D) frames, (T, D) sound, (W, D) states of speech -> (1, D) fused row, its (3, D) parts.

        The parts are what seen, heard and said each put into the fused row; they sum to it.
        """
        x = frames + self._tensors["frame_positions.weight"][: len(frames)]
        heard = self._fused(x, self._resampled(sound), "audio_fusion") - x
        said = self._fused(x, words, "speech_fusion") - x
        # What a fusion without a memory changes is the frames' own.
        own = 2 * x + FUSED_SHARE * ((0 if len(sound) else heard) + (0 if len(words) else said))
        nothing = np.zeros_like(x)
        parts = np.stack(
            [
                own,
                FUSED_SHARE * heard if len(sound) else nothing,
                FUSED_SHARE * said if len(words) else nothing,
            ]
        )
        fused = x + FUSED_SHARE * (heard + x + said + x)
        norms = np.linalg.norm(fused, axis=-1, keepdims=True).clip(EPS)
        pooled = (parts / norms).sum(axis=1)
        whole = np.linalg.norm(pooled.sum(axis=0)).clip(EPS)
        return unit((fused / norms).mean(axis=0, keepdims=True)), (pooled / whole).astype(np.float32)

    def _resampled(self, sound: Rows) -> Rows:
        """(T, D) -> (Q, D); nothing stays nothing."""
        if not len(sound):
            return sound
        x = self._queries
        for layer in self._layers("audio_resampler.layers"):
            x = x + self._attend(self._norm(x, f"{layer}.ln_self"), None, f"{layer}.self_attn")
            memory = self._norm(sound, f"{layer}.ln_cross")
            x = x + self._attend(self._norm(x, f"{layer}.ln_cross"), memory, f"{layer}.cross_attn")
            x = x + self._feed(self._norm(x, f"{layer}.ln_mlp"), f"{layer}.mlp")
        return x

    def _fused(self, x: Rows, memory: Rows, name: str) -> Rows:
        """(F, D) frames, (M, D) memory, perhaps empty -> (F, D)."""
        for layer in self._layers(f"{name}.layers"):
            met = np.concatenate(
                [x.mean(axis=0), memory.mean(axis=0) if len(memory) else np.zeros_like(x[0])]
            )
            gates: list[Rows] = [
                np.tanh(self._feed(met, f"{layer}.{part}")) for part in ("attn_gate", "ff_gate")
            ]
            gate, ff_gate = gates
            if len(memory):
                x = x + gate * self._attend(self._norm(x, f"{layer}.ln_cross"), memory, f"{layer}.cross_attn")
            x = x + ff_gate * self._feed(self._norm(x, f"{layer}.ln_cross_ff"), f"{layer}.cross_ff")
            x = x + self._attend(self._norm(x, f"{layer}.ln_self"), None, f"{layer}.self_attn")
            x = x + self._feed(self._norm(x, f"{layer}.ln_mlp"), f"{layer}.mlp")
        return x

    def _layers(self, name: str) -> list[str]:
        numbers = {
            key.removeprefix(f"{name}.").split(".")[0] for key in self._tensors if key.startswith(name)
        }
        return [f"{name}.{number}" for number in sorted(numbers, key=int)]

    def _attend(self, x: Rows, memory: Rows | None, name: str) -> Rows:
        """`nn.MultiheadAttention` of (F, D) to (M, D), or to itself."""
        weight, bias = (self._tensors[f"{name}.in_proj_{kind}"] for kind in ("weight", "bias"))
        query, key, value = (
            (rows @ w.T + b).reshape(len(rows), self._n_heads, -1).swapaxes(0, 1)
            for rows, w, b in zip(
                (x, *[x if memory is None else memory] * 2),
                np.split(weight, 3),
                np.split(bias, 3),
                strict=True,
            )
        )
        logits = query @ key.swapaxes(1, 2) / np.float32(np.sqrt(query.shape[-1]))
        mixed = (softmax(logits) @ value).swapaxes(0, 1).reshape(x.shape)
        return self._linear(mixed, f"{name}.out_proj")

    def _feed(self, x: Rows, name: str) -> Rows:
        hidden = self._linear(x, f"{name}.fc")
        return self._linear(hidden / (1 + np.exp(np.float32(-1.702) * hidden)), f"{name}.proj")

    def _linear(self, x: Rows, name: str) -> Rows:
        result: Rows = x @ self._tensors[f"{name}.weight"].T
        bias = self._tensors.get(f"{name}.bias")
        return result if bias is None else result + bias

    def _norm(self, x: Rows, name: str) -> Rows:
        return layer_norm(x, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"], EPS)
