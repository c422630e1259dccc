"""The weights that a training starts with, where nothing is loaded (docs/save.md, section 3)."""

from __future__ import annotations

import torch
from torch import nn

from savecli.model.network import FusionLayer, Save

STD = 0.02
WIDTH = 512
"""Of the paper's network, in which `STD` keeps what passes a layer at about half its size."""
TABLE_STD = 0.2
"""From scratch, positions must be heard beside patches of about half a unit."""
GATE_STD = 4.0
LOGIT_SCALE = 4.0
"""From scratch, the logarithm of 55. CLIP comes with 100; at the 14 that it once began with, what is heard
and said, small beside what is seen, is not learnt for a long time."""
_TABLES = ("class_embedding", "positional_embedding", "cls_token", "dist_token", "pos_embed")
_COPIED = ("self_attn", "ln_self", "ln_mlp", "mlp")
_FROM_CLIP = ("attn", "ln_1", "ln_2", "mlp")


def initialise(network: Save, *, seed: int, from_scratch: bool = False) -> None:
    """Sets every tensor; for the same seed, to the same values.

    `start_from_clip` and `start_from_ast` then replace the encoders, and `copy_from_clip` makes the copies.
    The paper's own start has one deviation for layers of any width, which all but mutes a narrow network.

    Args:
        network: in which no value is kept.
        seed: of all that is drawn.
        from_scratch: the encoders stay as they are drawn: deviations go by each layer's inputs (those of the
            paper, at its width), and the gates begin open.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            _initialise(module, generator, from_scratch)
        if from_scratch:
            _open_gates(network, generator)
            network.logit_scale.fill_(LOGIT_SCALE)
        table_std = TABLE_STD if from_scratch else STD
        for name, parameter in network.named_parameters():
            if name.endswith(_TABLES):
                parameter.normal_(0, table_std, generator=generator)
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


def _open_gates(network: Save, generator: torch.Generator) -> None:
    """Gates near plus or minus one: a closed one hides what is behind it from the encoders' gradients."""
    layers = [module for module in network.modules() if isinstance(module, FusionLayer)]
    for gate in (gate for layer in layers for gate in (layer.attn_gate, layer.ff_gate)):
        for linear in (gate.fc, gate.proj):
            linear.weight.normal_(0, GATE_STD * linear.in_features**-0.5, generator=generator)


def _initialise(module: nn.Module, generator: torch.Generator, from_scratch: bool) -> None:
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
        std = STD
        if from_scratch and isinstance(module, nn.Embedding):
            std = 1.0  # or the first layers drown the words
        elif from_scratch:
            std = STD * (WIDTH / module.weight[0].numel()) ** 0.5
        module.weight.normal_(0, std, generator=generator)
        if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
            nn.init.zeros_(bias)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
        if module.in_proj_bias is not None:
            nn.init.zeros_(module.in_proj_bias)
