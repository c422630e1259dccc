"""CTranslate2's names of Whisper's tensors, beside those of openai-whisper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Renamed(NamedTuple):
    """One stored tensor: its rows, cut into as many pieces as `parts`, go to `target.format(part)`."""

    source: str
    target: str
    parts: tuple[str, ...] = ("",)


_NORM = (("gamma", "weight"), ("beta", "bias"))
_LINEAR = (("weight", "weight"), ("bias", "bias"))

_ENDS = (
    Renamed("encoder/position_encodings/encodings", "encoder.positional_embedding"),
    Renamed("decoder/position_encodings/encodings", "decoder.positional_embedding"),
    Renamed("decoder/embeddings/weight", "decoder.token_embedding.weight"),
)
_CONVS = (Renamed("encoder/conv1", "encoder.conv1"), Renamed("encoder/conv2", "encoder.conv2"))
_LAST_NORMS = (
    Renamed("encoder/layer_norm", "encoder.ln_post"),
    Renamed("decoder/layer_norm", "decoder.ln"),
)
_LAYER_NORMS = (
    Renamed("self_attention/layer_norm", "attn_ln"),
    Renamed("ffn/layer_norm", "mlp_ln"),
)
_LAYER_LINEARS = (
    Renamed("self_attention/linear_0", "attn.{}", ("query", "key", "value")),
    Renamed("self_attention/linear_1", "attn.out"),
    Renamed("ffn/linear_0", "mlp.0"),
    Renamed("ffn/linear_1", "mlp.2"),
)
_CROSS_NORMS = (Renamed("attention/layer_norm", "cross_attn_ln"),)
_CROSS_LINEARS = (
    Renamed("attention/linear_0", "cross_attn.query"),
    Renamed("attention/linear_1", "cross_attn.{}", ("key", "value")),
    Renamed("attention/linear_2", "cross_attn.out"),
)


def renamed(n_encoder_layers: int, n_decoder_layers: int) -> Iterator[Renamed]:
    """Every tensor of a model with so many layers."""
    yield from _ENDS
    yield from _each(_CONVS, _LINEAR)
    yield from _each(_LAST_NORMS, _NORM)
    for layer in range(n_encoder_layers):
        yield from _in_layer("encoder", layer, _LAYER_NORMS, _LAYER_LINEARS)
    for layer in range(n_decoder_layers):
        yield from _in_layer("decoder", layer, _LAYER_NORMS + _CROSS_NORMS, _LAYER_LINEARS + _CROSS_LINEARS)


def _in_layer(
    side: str, layer: int, norms: tuple[Renamed, ...], linears: tuple[Renamed, ...]
) -> Iterator[Renamed]:
    for source, target, parts in (*_each(norms, _NORM), *_each(linears, _LINEAR)):
        yield Renamed(f"{side}/layer_{layer}/{source}", f"{side}.blocks.{layer}.{target}", parts)


def _each(modules: tuple[Renamed, ...], ends: tuple[tuple[str, str], ...]) -> Iterator[Renamed]:
    for source, target, parts in modules:
        for source_end, target_end in ends:
            yield Renamed(f"{source}/{source_end}", f"{target}.{target_end}", parts)
