"""The audio branch: a spectrogram transformer, and the resampler that makes a few tokens of its many.

Audio spectrogram transformer (AST): Gong, Chung and Glass 2021, a DeiT-base with two summary tokens on
overlapping patches of a log-mel filter bank. The resampler and its use in SAVE: docs/save.md, section 1.
Shapes: B batch, T tokens, M mel bins, D embedding, Q queries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from savecli.model.dims import ModelDims

AST_EPS = 1e-6
FUSION_EPS = 1e-12


def quick_gelu(x: Tensor) -> Tensor:
    """The GELU that OpenAI's CLIP was trained with: ``x * sigmoid(1.702 x)``."""
    return x * torch.sigmoid(1.702 * x)


class FeedForward(nn.Module):
    """Two linear layers around an activation, (..., `d_in`) -> (..., `d_out`)."""

    def __init__(
        self,
        d_in: int,
        d_hidden: int,
        d_out: int,
        *,
        bias: bool = True,
        activation: Callable[[Tensor], Tensor] = quick_gelu,
    ) -> None:
        super().__init__()
        self.fc = nn.Linear(d_in, d_hidden, bias=bias)
        self.proj = nn.Linear(d_hidden, d_out, bias=bias)
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)."""
        result: Tensor = self.proj(self._activation(self.fc(x)))
        return result


class FusedAttention(nn.Module):
    """Self-attention with one product for query, key and value, as the AST's weights have it."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.n_heads = n_heads

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        n_batch, n_tokens, width = x.shape
        qkv = self.qkv(x).view(n_batch, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*qkv.unbind(0))
        result: Tensor = self.proj(mixed.transpose(1, 2).reshape(n_batch, n_tokens, width))
        return result


class Block(nn.Module):
    """A pre-norm transformer block of the AST."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=AST_EPS)
        self.attn = FusedAttention(width, n_heads)
        self.norm2 = nn.LayerNorm(width, eps=AST_EPS)
        self.mlp = FeedForward(width, 4 * width, width, activation=functional.gelu)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class AudioEncoder(nn.Module):
    """The AST with its projection into the space of the text."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        width = dims.audio_width
        self.patch_embed = nn.Conv2d(1, width, dims.audio_patch, stride=dims.audio_stride)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, dims.n_audio_tokens + 1, width))
        self.blocks = nn.ModuleList(Block(width, dims.audio_heads) for _ in range(dims.audio_layers))
        self.norm = nn.LayerNorm(width, eps=AST_EPS)
        self.projection = nn.Parameter(torch.zeros(width, dims.width))

    def forward(self, fbank: Tensor) -> Tensor:
        """(B, rows, M) normalised log-mel filter bank -> (B, T, D), not normalised.

        T is 1213 for ten seconds' worth of rows: the mean of the two summary tokens, then the patches,
        mel-major.
        """
        patches = self.patch_embed(fbank.transpose(1, 2).unsqueeze(1)).flatten(2).transpose(1, 2)
        summaries = torch.cat([self.cls_token, self.dist_token], dim=1).expand(len(fbank), -1, -1)
        x = torch.cat([summaries.to(patches.dtype), patches], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        x = torch.cat([x[:, :2].mean(dim=1, keepdim=True), x[:, 2:]], dim=1)
        result: Tensor = self.norm(x) @ self.projection
        return result


class ResamplerLayer(nn.Module):
    """Self-attention among the queries, then attention to the sound, then a feed-forward, each pre-norm."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        width, n_heads = dims.width, dims.fusion_heads
        self.self_attn = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.mlp = FeedForward(width, dims.feed_forward * width, width)
        self.ln_self = nn.LayerNorm(width, eps=FUSION_EPS)
        self.ln_cross = nn.LayerNorm(width, eps=FUSION_EPS)
        self.ln_mlp = nn.LayerNorm(width, eps=FUSION_EPS)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """(B, Q, D) queries and (B, T, D) audio tokens -> (B, Q, D)."""
        x = x + attend(self.self_attn, self.ln_self(x))
        # Queries and memory share one norm, here but not in the gated fusion.
        x = x + attend(self.cross_attn, self.ln_cross(x), self.ln_cross(memory))
        result: Tensor = x + self.mlp(self.ln_mlp(x))
        return result


class AudioResampler(nn.Module):
    """Learned queries that read the audio tokens."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(dims.width, dims.n_queries))
        self.positions = nn.Embedding(dims.n_queries, dims.width)
        self.layers = nn.ModuleList(ResamplerLayer(dims) for _ in range(dims.resampler_layers))

    def forward(self, audio: Tensor) -> Tensor:
        """(B, T, D) audio tokens -> (B, Q, D), not normalised."""
        x = (self.queries.T + self.positions.weight).expand(len(audio), -1, -1)
        for layer in self.layers:
            x = layer(x, audio)
        return x


def attend(
    attention: nn.MultiheadAttention, x: Tensor, memory: Tensor | None = None, *, hidden: Tensor | None = None
) -> Tensor:
    """Attention of `x` (B, T, D) to `memory` (B, M, D), or to itself; norms are the caller's.

    `hidden` (B, M) bool is True at positions of the memory that are not attended to.
    """
    memory = x if memory is None else memory
    # Without the weights wanted back, torch takes its fused kernel.
    mixed: Tensor = attention(x, memory, memory, key_padding_mask=hidden, need_weights=False)[0]
    return mixed
