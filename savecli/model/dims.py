"""The sizes of a SAVE network. They travel with its weights, and are never a user's setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from savecli.errors import WeightsError

Precision = Literal["fp32", "bf16", "int8"]
"""Of the encoders of frames and sound: not a size, and anybody's choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDims:
    """Sizes, defaults of the paper's model (SAVE on CLIP ViT-B/32).

    Attributes:
        clip: an open_clip model configuration: `embed_dim`, `vision_cfg`, `text_cfg`, `quick_gelu`.
        audio_width, audio_layers, audio_heads: of the spectrogram transformer.
        audio_patch, audio_stride: of its patches, in mel bins and rows.
        n_mels, n_rows: of the filter bank.
        n_queries, resampler_layers: of the audio resampler.
        fusion_layers: of each of the two gated fusions.
        feed_forward: width of the feed-forward layers in resampler and fusions, in widths of the model.
        n_frames: slots for frames; fewer are padded where `reference_compat` is set.
        frames_per_s: that a benchmark's video is sampled at, before it is thinned to `n_frames`.
        n_words: tokens of a caption or of the speech, start and end included.
        temperature: of the soft maximum over frames in the score.
        reference_compat: padded frames and padded speech take part as in the reference implementation,
            whose checkpoints were trained so; otherwise they are masked (docs/save.md, section 4).
    """

    clip: Mapping[str, Any]
    audio_width: int = 768
    audio_layers: int = 12
    audio_heads: int = 12
    audio_patch: int = 16
    audio_stride: int = 10
    n_mels: int = 128
    n_rows: int = 1024
    n_queries: int = 12
    resampler_layers: int = 4
    fusion_layers: int = 4
    feed_forward: int = 4
    n_frames: int = 12
    frames_per_s: int = 1
    n_words: int = 32
    temperature: float = 1.0
    reference_compat: bool = True

    @property
    def width(self) -> int:
        """D, of the space that all branches meet in."""
        width: int = self.clip["embed_dim"]
        return width

    @property
    def fusion_heads(self) -> int:
        """Heads of 64, as in CLIP."""
        return max(1, self.width // 64)

    @property
    def image_px(self) -> int:
        """The square picture that the visual branch reads."""
        size: int | tuple[int, int] = self.clip["vision_cfg"]["image_size"]
        return size if isinstance(size, int) else size[0]

    @property
    def n_audio_tokens(self) -> int:
        """Patches of the filter bank and one summary token."""
        rows, columns = ((n - self.audio_patch) // self.audio_stride + 1 for n in (self.n_mels, self.n_rows))
        return rows * columns + 1

    def to_json(self) -> dict[str, Any]:
        """Plain values for `model.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """What `to_json` wrote.

        Raises:
            WeightsError: sizes that are missing, unknown, or not numbers.
        """
        try:
            dims = cls(**record)
            sizes = [dims.width, dims.image_px, dims.n_audio_tokens, dims.fusion_heads]
        except (TypeError, KeyError, ZeroDivisionError) as error:
            raise WeightsError(
                f"these are not the sizes of a model: {error}", hint="save model info"
            ) from error
        if any(size <= 0 for size in sizes):
            raise WeightsError("a model's sizes must be positive", hint="is model.json damaged?")
        return dims


VIT_B_32: Mapping[str, Any] = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
"""CLIP ViT-B/32 as OpenAI published it: open_clip's ViT-B-32-quickgelu."""
