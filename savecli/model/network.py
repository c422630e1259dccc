"""SAVE: three branches, two gated fusions, one score.

SAVE (CVPR 2026, arXiv 2603.08224); docs/save.md describes what is computed, and where a true mask departs
from the reference implementation. Frames and text are read by CLIP (open_clip's modules), sound by
an audio spectrogram transformer and a resampler, speech by CLIP's text encoder, token by token.
Shapes: B videos, N texts, F frames, W words, T tokens, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from savecli.errors import WeightsError
from savecli.model.audio import FUSION_EPS, AudioEncoder, AudioResampler, FeedForward, attend
from savecli.model.dims import ModelDims

if TYPE_CHECKING:
    from torch import Tensor

FUSED_SHARE = 0.5
"""Of each fusion's frames in the sum; the frames themselves count whole."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """A batch of videos as the network reads it.

    Attributes:
        frames: (B, F, 3, H, W) normalised pictures, zero where there is none.
        frame_mask: (B, F) bool, True at real frames.
        fbank: (B, rows, M) normalised log-mel filter bank, zero where there is no sound.
        audio_mask: (B,) bool, True where there is sound.
        speech: (B, W) int64 token ids of what is said, zero where nothing is.
    """

    frames: Tensor
    frame_mask: Tensor
    fbank: Tensor
    audio_mask: Tensor
    speech: Tensor

    def to(self, device: torch.device | str) -> Inputs:
        """The same batch on another device."""
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in self.__slots__}
        return Inputs(**moved)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Masks:
    """What of a batch is real: (B, F) frames, (B,) sound, (B, W) words; all bool."""

    frames: Tensor
    audio: Tensor
    speech: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """A batch of videos before normalisation: what the losses need of it.

    Attributes:
        visual: (B, F, D) frames with their positions.
        heard, said: (B, F, D) frames after the fusion with the one, and with the other.
        fused: (B, F, D) all three together.
        audio: (B, Q, D) the resampler's tokens.
        frame_mask: (B, F) bool.
        gates: (B, layers) by name, "audio_attn", "audio_ff", "speech_attn", "speech_ff".
    """

    visual: Tensor
    heard: Tensor
    said: Tensor
    fused: Tensor
    audio: Tensor
    frame_mask: Tensor
    gates: dict[str, Tensor]


class TextEncoder(nn.Module):
    """CLIP's text transformer, giving every token and not the last alone."""

    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    transformer: Any  # open_clip's, whose types are not told
    ln_final: nn.LayerNorm
    text_projection: nn.Parameter

    def __init__(self, clip: Any) -> None:  # noqa: ANN401 - an open_clip model
        super().__init__()
        self.token_embedding = clip.token_embedding
        self.positional_embedding = clip.positional_embedding
        self.transformer = clip.transformer
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection

    def forward(self, ids: Tensor) -> Tensor:
        """(N, W) int64 token ids -> (N, W, D), not normalised; causal, padding is read like words."""
        n_words = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[:n_words]
        mask = torch.full((n_words, n_words), -torch.inf, device=x.device, dtype=x.dtype).triu(1)
        result: Tensor = self.ln_final(self.transformer(x, attn_mask=mask)) @ self.text_projection
        return result

    def caption(self, ids: Tensor) -> Tensor:
        """(N, W) int64 -> (N, D), the state at the first end token (at 0 where a row is all zero)."""
        ends = ids.argmax(dim=1)
        # Causal: nothing after the last end token is looked at, so it need not be computed.
        hidden: Tensor = self(ids[:, : int(ends.max()) + 1]) if len(ids) else self(ids)
        return hidden[torch.arange(len(ids), device=ids.device), ends]


class FusionLayer(nn.Module):
    """Frames attend to a memory through a gate, then to one another (docs/save.md, section 1)."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        width, n_heads = dims.width, dims.fusion_heads
        inner = dims.feed_forward * width
        self.cross_attn = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.cross_ff = FeedForward(width, inner, width, bias=False)
        self.attn_gate = FeedForward(2 * width, width // 2, 1, bias=False)
        self.ff_gate = FeedForward(2 * width, width // 2, 1, bias=False)
        self.self_attn = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.mlp = FeedForward(width, inner, width)
        self.ln_cross = nn.LayerNorm(width, eps=FUSION_EPS)
        self.ln_cross_ff = nn.LayerNorm(width, eps=FUSION_EPS)
        self.ln_self = nn.LayerNorm(width, eps=FUSION_EPS)
        self.ln_mlp = nn.LayerNorm(width, eps=FUSION_EPS)

    def forward(
        self, x: Tensor, memory: Tensor, x_mask: Tensor | None, memory_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, F, D) frames and (B, M, D) memory -> frames, (B, 1) attention gate, (B, 1) feed-forward gate.

        The memory is taken as it is, without a norm. The masks, (B, F) and (B, M) bool, are True at what
        counts; None lets everything count.
        """
        met = torch.cat([masked_mean(x, x_mask), masked_mean(memory, memory_mask)], dim=-1)
        # Both gates look at the layer's input, whatever the attention adds to it.
        attn_gate, ff_gate = torch.tanh(self.attn_gate(met)), torch.tanh(self.ff_gate(met))
        gate, hidden = attn_gate.unsqueeze(-1), None
        if memory_mask is not None:
            # A softmax over nothing is not a number: attend to all of an empty memory, and drop the answer.
            empty = ~memory_mask.any(dim=1, keepdim=True)
            hidden, gate = ~memory_mask & ~empty, gate * ~empty.unsqueeze(-1)
        x = x + gate * attend(self.cross_attn, self.ln_cross(x), memory, hidden=hidden)
        x = x + ff_gate.unsqueeze(-1) * self.cross_ff(self.ln_cross_ff(x))
        x = x + attend(self.self_attn, self.ln_self(x), hidden=_hidden_frames(x_mask))
        return x + self.mlp(self.ln_mlp(x)), attn_gate, ff_gate


class GatedFusion(nn.Module):
    """A stack of fusion layers: frames with what is heard, or with what is said."""

    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FusionLayer(dims) for _ in range(dims.fusion_layers))

    def forward(
        self, x: Tensor, memory: Tensor, x_mask: Tensor | None, memory_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `FusionLayer`; the gates come back as (B, layers)."""
        attn_gates, ff_gates = [], []
        for layer in self.layers:
            x, attn_gate, ff_gate = layer(x, memory, x_mask, memory_mask)
            attn_gates.append(attn_gate)
            ff_gates.append(ff_gate)
        return x, torch.cat(attn_gates, dim=1), torch.cat(ff_gates, dim=1)


class Fusion(nn.Module):
    """The part of SAVE behind its encoders: frames with what is heard, and with what is said."""

    def __init__(self, dims: ModelDims, n_positions: int) -> None:
        super().__init__()
        self._add_fusion(dims, n_positions)

    def _add_fusion(self, dims: ModelDims, n_positions: int) -> None:
        self.dims = dims
        self.audio_resampler = AudioResampler(dims)
        self.audio_fusion = GatedFusion(dims)
        self.speech_fusion = GatedFusion(dims)
        self.frame_positions = nn.Embedding(n_positions, dims.width)

    def fuse(self, visual: Tensor, audio: Tensor, speech: Tensor, masks: Masks) -> Features:
        """(B, F, D) frames, (B, Q, D) resampled audio, (B, W, D) speech -> features."""
        x = visual + self.frame_positions.weight[: visual.shape[1]]
        frames: Tensor | None = None
        heard_mask: Tensor | None = None
        said_mask: Tensor | None = None
        if not self.dims.reference_compat:
            frames, said_mask = masks.frames, masks.speech
            heard_mask = masks.audio.unsqueeze(1).expand(audio.shape[:2])
        heard, heard_attn, heard_ff = self.audio_fusion(x, audio, frames, heard_mask)
        said, said_attn, said_ff = self.speech_fusion(x, speech, frames, said_mask)
        return Features(
            visual=x,
            heard=heard,
            said=said,
            fused=FUSED_SHARE * (heard + said) + x,
            audio=audio,
            frame_mask=masks.frames,
            gates={
                "audio_attn": heard_attn,
                "audio_ff": heard_ff,
                "speech_attn": said_attn,
                "speech_ff": said_ff,
            },
        )


class Save(Fusion):
    """The whole network; its weights are whatever is loaded into it.

    Raises:
        WeightsError: an open_clip configuration whose text encoder gives no states for single tokens.
    """

    visual_encoder: Any  # open_clip's, whose types are not told

    def __init__(self, dims: ModelDims) -> None:
        # Not by Fusion's own: a seed's draws go by the order of the parts, and the encoders come first.
        nn.Module.__init__(self)
        clip = build_clip(dims.clip)
        self.visual_encoder = clip.visual
        self.text_encoder = TextEncoder(clip)
        self.audio_encoder = AudioEncoder(dims)
        self._add_fusion(dims, len(clip.positional_embedding))
        self.logit_scale = nn.Parameter(clip.logit_scale.detach().clone())

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.logit_scale.device

    def encode_caption(self, ids: Tensor) -> Tensor:
        """(N, W) int64 -> (N, D), not normalised."""
        return self.text_encoder.caption(ids)

    def encode_video(self, inputs: Inputs) -> Features:
        """A batch of videos -> features; a video's do not depend on what else is in its batch."""
        visual = self.encode_frames(inputs.frames, inputs.frame_mask)
        audio = self.resample_audio(inputs.fbank, inputs.audio_mask)
        masks = Masks(frames=inputs.frame_mask, audio=inputs.audio_mask, speech=word_mask(inputs.speech))
        return self.fuse(visual, audio, self.text_encoder(inputs.speech), masks)

    def resample_audio(self, fbank: Tensor, mask: Tensor) -> Tensor:
        """As `encode_audio`, (B, Q, D) of the resampler's tokens: what the fusion reads."""
        result: Tensor = self.audio_resampler(self.encode_audio(fbank, mask))
        return result

    def encode_audio(self, fbank: Tensor, mask: Tensor) -> Tensor:
        """(B, rows, M), (B,) bool -> (B, T, D); what has no sound is read as a filter bank of zeros."""
        return _encode_real(self.audio_encoder, fbank, mask)

    def encode_frames(self, frames: Tensor, mask: Tensor) -> Tensor:
        """(B, F, 3, H, W), (B, F) bool -> (B, F, D), not normalised, without positions."""
        rows = _encode_real(self.visual_encoder, frames.flatten(0, 1), mask.flatten())
        return rows.view(*mask.shape, -1)


def build_clip(config: Any) -> Any:  # noqa: ANN401 - open_clip ships no types
    """An open_clip model of this configuration, without weights worth anything.

    Raises:
        WeightsError: a configuration that open_clip does not build, or whose text encoder is not CLIP's own.
    """
    from open_clip.model import CLIP

    text = config.get("text_cfg", {})
    if config.get("custom_text") or text.get("hf_model_name") or "multimodal_cfg" in config:
        raise WeightsError(
            "SAVE reads speech token by token, which this open_clip model's text encoder does not offer",
            hint="choose one with CLIP's own text transformer, such as ViT-B-32-quickgelu or ViT-L-14",
        )
    known = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
    try:
        return CLIP(**{name: config[name] for name in known if name in config})
    except (TypeError, KeyError, AssertionError) as error:
        raise WeightsError(
            f"open_clip cannot build this model: {error}", hint="choose one that open_clip lists"
        ) from error


def _encode_real(encode: nn.Module, items: Tensor, mask: Tensor) -> Tensor:
    """`encode` of each of N items; all that `mask` (N,) leaves out share the encoding of one blank item.

    The reference reads every blank picture and every blank sound anew, to the same end.
    """
    if bool(mask.all()):
        whole: Tensor = encode(items)
        return whole
    rows = encode(torch.cat([items[mask], torch.zeros_like(items[:1])]))
    at = torch.full(mask.shape, len(rows) - 1, device=mask.device)
    at[mask] = torch.arange(len(rows) - 1, device=mask.device)
    result: Tensor = rows[at]
    return result


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """(B, T, D) -> (B, D), over the True positions of `mask` (B, T), or all; zero where there are none."""
    if mask is None:
        return x.mean(dim=1)
    weights = mask.to(x.dtype).unsqueeze(-1)
    return (x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def word_mask(ids: Tensor) -> Tensor:
    """(B, W) int64 -> (B, W) bool: True up to the end token; nowhere in a row without one."""
    at = torch.arange(ids.shape[1], device=ids.device)
    return (at <= ids.argmax(dim=1, keepdim=True)) & (ids != 0).any(dim=1, keepdim=True)


def _hidden_frames(mask: Tensor | None) -> Tensor | None:
    """What self-attention leaves out; a video without any frame attends to its blanks."""
    return None if mask is None else ~mask & mask.any(dim=1, keepdim=True)


def pool(frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, F, D), (B, F) bool -> unit rows (B, F, D), and the unit row (B, D) of the mean of the real ones."""
    local = functional.normalize(frames, dim=-1)
    return local, functional.normalize(masked_mean(local, mask), dim=-1)


def similarity(
    text: Tensor, local: Tensor, pooled: Tensor, mask: Tensor, scale: Tensor | float, temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """The score of every text with every video: half a soft maximum over frames, half the pooled cosine.

    Args:
        text: (N, D) unit rows.
        local: (B, F, D) unit rows.
        pooled: (B, D) unit rows.
        mask: (B, F) bool.
        scale: of the logits, ``exp(logit_scale)``.
        temperature: of the soft maximum; larger is nearer to the maximum.

    Returns:
        (N, B) score, its local part (a log-sum-exp, so 12 equal frames score log 12 above one), and its
        global part, all as logits. A video without a frame scores -inf.
    """
    logits = scale * torch.einsum("nd,bfd->nbf", text, local)
    logits = logits.masked_fill(~mask, -torch.inf)
    local_part = torch.logsumexp(temperature * logits, dim=-1) / temperature
    global_part = scale * text @ pooled.T
    return (local_part + global_part) / 2, local_part, global_part
