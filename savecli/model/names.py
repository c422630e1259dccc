"""What the reference checkpoint calls each tensor. The only place that knows its names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from savecli.model.dims import ModelDims

# Ours -> the reference's, tried in this order on the beginning of a name.
_STARTS = (
    ("visual_encoder.", "clip.visual."),
    ("text_encoder.", "clip."),
    ("logit_scale", "clip.logit_scale"),
    ("audio_encoder.projection", "clip.audio_projection"),
    ("audio_encoder.patch_embed.", "clip.audio.v.patch_embed.proj."),
    ("audio_encoder.", "clip.audio.v."),
    ("audio_resampler.queries", "query_tokens"),
    ("audio_resampler.positions.", "query_position_embeddings."),
    ("audio_resampler.layers.", "Audio_Resampler.resblocks."),
    ("audio_fusion.layers.", "transformerClip.resblocks."),
    ("speech_fusion.layers.", "transformerClip_ASR.resblocks."),
    ("frame_positions.", "frame_position_embeddings."),
)
_IN_FUSION = {
    "self_attn": "attn",
    "ln_self": "ln_1",
    "ln_mlp": "ln_2",
    "ln_cross": "ln_3",
    "ln_cross_ff": "ln_4",
    "mlp.fc": "mlp.c_fc",
    "mlp.proj": "mlp.c_proj",
    "cross_ff.fc": "cross_ff.cross_fc",
    "cross_ff.proj": "cross_ff.cross_proj",
    "attn_gate.fc": "attn_gate.ag_fc",
    "attn_gate.proj": "attn_gate.ag_proj",
    "ff_gate.fc": "ff_gate.fg_fc",
    "ff_gate.proj": "ff_gate.fg_proj",
}
_IN_AUDIO = {"mlp.fc": "mlp.fc1", "mlp.proj": "mlp.fc2"}
_LAYER = re.compile(r"(?P<start>.+?\.\d+\.)(?P<part>.+)(?P<end>\.\w+)$")
N_AST_CLASSES = 1000


def reference_name(name: str) -> str:
    """What the reference calls one of our tensors.

    Raises:
        KeyError: it is none of ours.
    """
    ours, theirs = next(((o, t) for o, t in _STARTS if name.startswith(o)), ("", ""))
    if not ours:
        raise KeyError(name)
    inner = {"audio_encoder": _IN_AUDIO, "visual_encoder": {}, "text_encoder": {}}.get(
        name.partition(".")[0], _IN_FUSION
    )
    renamed = theirs + name.removeprefix(ours)
    layer = _LAYER.match(renamed)
    if layer is None:
        return renamed
    part, _, rest = layer["part"].partition(".")
    whole = inner.get(layer["part"]) or ".".join(filter(None, (inner.get(part, part), rest)))
    return layer["start"] + whole + layer["end"]


def unused_shapes(dims: ModelDims) -> dict[str, tuple[int, ...]]:
    """Tensors of a reference checkpoint that no forward pass reads, with their shapes."""
    heads = {
        f"clip.audio.v.{head}.{part}": shape
        for head in ("head", "head_dist")
        for part, shape in (("weight", (N_AST_CLASSES, dims.audio_width)), ("bias", (N_AST_CLASSES,)))
    }
    return {"asr_query_tokens": (dims.width, dims.n_queries), **heads}


def is_half(reference: str) -> bool:
    """Whether the reference keeps a tensor of this name in 16 bits.

    These are the convolutions, linear layers and attentions of CLIP and of the AST, and CLIP's projections.
    """
    if not reference.startswith("clip."):
        return False
    parts = reference.split(".")
    if parts[-1] in ("weight", "bias", "in_proj_weight", "in_proj_bias"):
        norms = ("ln_", "norm")
        return not parts[-2].startswith(norms) and parts[-2] != "token_embedding"
    return parts[-1] in ("proj", "text_projection", "audio_projection")
