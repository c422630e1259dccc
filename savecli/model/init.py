"""The weights that a training starts with, where nothing is loaded (docs/save.md, section 3)."""

from __future__ import annotations

import torch
from torch import nn

from savecli.model.network import Save

STD = 0.02
_TABLES = ("class_embedding", "positional_embedding", "cls_token", "dist_token", "pos_embed")
_COPIED = ("self_attn", "ln_self", "ln_mlp", "mlp")
_FROM_CLIP = ("attn", "ln_1", "ln_2", "mlp")


def initialise(network: Save, *, seed: int) -> None:
    """Sets every tensor that does not come from CLIP or from the AST; for the same seed, to the same values.

    CLIP and the AST themselves get values to train from scratch with, which `start_from_clip` and
    `start_from_ast` then replace. Copies from CLIP are made by `copy_from_clip`, after that.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            _initialise(module, generator)
        for name, parameter in network.named_parameters():
            if name.endswith(_TABLES):
                parameter.normal_(0, STD, generator=generator)
        text, audio = network.text_encoder, network.audio_encoder
        text.text_projection.normal_(0, text.text_projection.shape[0] ** -0.5, generator=generator)
        if isinstance(getattr(network.visual_encoder, "proj", None), nn.Parameter):
            proj = network.visual_encoder.proj
            proj.normal_(0, proj.shape[0] ** -0.5, generator=generator)
        audio.projection.normal_(0, audio.projection.shape[0] ** -0.5, generator=generator)
        nn.init.orthogonal_(network.audio_resampler.queries, generator=generator)


def copy_from_clip(network: Save) -> bool:
    """Frame positions, and the self-attention of the fusions and the resampler, become CLIP's text encoder's.

    Returns:
        Whether they could: an embedding that is not as wide as the text encoder has nothing to copy.
    """
    text = network.text_encoder
    if text.positional_embedding.shape[1] != network.dims.width:
        return False
    network.frame_positions.weight.data.copy_(text.positional_embedding.data)
    stacks = (network.audio_resampler, network.audio_fusion, network.speech_fusion)
    for stack in stacks:
        for layer, block in zip(stack.layers, text.transformer.resblocks, strict=False):
            for ours, theirs in zip(_COPIED, _FROM_CLIP, strict=True):
                source = getattr(block, theirs).state_dict()
                renamed = {
                    name.replace("c_fc", "fc").replace("c_proj", "proj"): t for name, t in source.items()
                }
                getattr(layer, ours).load_state_dict(renamed)
    return True


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
        module.weight.normal_(0, STD, generator=generator)
        if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
            nn.init.zeros_(bias)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
        if module.in_proj_bias is not None:
            nn.init.zeros_(module.in_proj_bias)
