"""SAVE networks as files: converting them, and what `model info` says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savecli.errors import WeightsError

if TYPE_CHECKING:
    from savecli.model.checkpoint import Card, State
    from savecli.model.dims import ModelDims


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A network to train, where a source is CLIP's weights.

    Attributes:
        ast: file of the spectrogram transformer's weights.
        clip: the open_clip model that the source holds.
        seed: of all that neither gives.
    """

    ast: Path
    clip: str
    seed: int


def convert(
    source: Path,
    target: Path,
    *,
    reference: bool,
    start: Start | None = None,
    fed: Mapping[str, int | None] | None = None,
) -> dict[str, Any]:
    """Writes a network in the reference's format or in ours, and returns its facts.

    In ours, precision stays as it is; in the reference's, half of the tensors have 16 bits.

    Args:
        source: a file of the reference's, or a folder of ours.
        target: what is written.
        reference: whether the target is the reference's.
        start: how to make a network of CLIP's weights.
        fed: `n_frames`, `frames_per_s` and `n_words`, which a file of the reference's does not tell.

    Raises:
        WeightsError: a source that is not a SAVE network, or a target that exists or cannot be written.
        ConfigError: no such open_clip model.
    """
    from savecli.model import checkpoint

    if not source.exists():
        raise WeightsError(f"{source} is not there", hint="save model convert SOURCE TARGET")
    if target.exists():
        raise WeightsError(f"{target} exists already", hint="name another; nothing is overwritten")
    if start is None:
        card, state = _read(source)
    else:
        card, state = _start(source, start)
    if known := {name: n for name, n in (fed or {}).items() if n is not None}:
        dims = replace(card.dims, **known)  # type: ignore[arg-type]
        card = replace(card, dims=dims, media=checkpoint.media_spec(dims))
    if reference:
        checkpoint.check_reference(source, state, card.dims)
    try:
        if reference:
            checkpoint.write_reference(target, state, card.dims)
        else:
            checkpoint.write_state(target, state, card)
    except OSError as error:
        raise WeightsError(
            f"cannot write {target}: {error.strerror}", hint="is its folder there, and yours to write?"
        ) from error
    kept, state = _read(target)
    return _facts(target, kept, state) | (_lost(card.dims, kept.dims) if reference else {})


def _start(source: Path, start: Start) -> tuple[Card, State]:
    from savecli.model import checkpoint
    from savecli.model.dims import ModelDims
    from savecli.model.start import clip_config, fresh

    dims = ModelDims(clip=clip_config(start.clip))
    network, _ = fresh(dims, seed=start.seed, clip=source, ast=start.ast)
    provenance = {"clip": source.name, "ast": start.ast.name, "seed": start.seed, "trained": False}
    card = checkpoint.Card(dims=dims, media=checkpoint.media_spec(dims), provenance=provenance)
    return card, network.state_dict()


def _lost(dims: ModelDims, kept: ModelDims) -> dict[str, Any]:
    """What a file in the reference's format has no place for, and its readers take to be otherwise."""
    names = [f.name for f in fields(dims) if getattr(dims, f.name) != getattr(kept, f.name)]
    told = [f"{name} {getattr(dims, name)}" for name in names]
    return {"lost in this format": ", ".join([*told, "CLIP and AST weights are rounded to 16 bits"])}


def facts(path: Path) -> dict[str, Any]:
    """What a network's file says of itself.

    Raises:
        WeightsError: it is not a SAVE network.
    """
    return _facts(path, *_read(path))


def _read(path: Path) -> tuple[Card, State]:
    from savecli.model import checkpoint

    card, state = checkpoint.read(path)
    checkpoint.check_network(path, card.dims, state)
    return card, state


def _facts(path: Path, card: Card, state: State) -> dict[str, Any]:
    dims = card.dims
    vision, text = dims.clip["vision_cfg"], dims.clip["text_cfg"]
    return {
        "path": str(path),
        "format": "save" if path.is_dir() else "reference",
        "tensors": len(state),
        "parameters": f"{sum(tensor.numel() for tensor in state.values()) / 1e6:.1f} M",
        "image": f"{vision.get('layers', '?')} layers of {vision.get('width', '?')}, {dims.image_px} px",
        "text": f"{text.get('layers', '?')} layers of {text.get('width', '?')}, {dims.n_words} words",
        "audio": f"{dims.audio_layers} layers of {dims.audio_width}, {dims.n_queries} queries",
        "fusion": f"{dims.fusion_layers} layers of {dims.width}, twice",
        "frames": dims.n_frames,
        "padding": "reference" if dims.reference_compat else "masked",
        "sha256": card.sha256 or card.provenance.get("source_sha256", ""),
        **{
            f"from {name}": value
            for name, value in card.provenance.items()
            if not isinstance(value, dict) and name not in ("format", "source_sha256")
        },
    }
