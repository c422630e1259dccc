"""What a training begins with: a checkpoint, public weights, or nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from savecli.errors import ConfigError
from savecli.model import checkpoint, start, weights
from savecli.model.dims import ModelDims
from savecli.model.network import Save
from savecli.train.options import Options

AST = "ast-audioset"


def begin(options: Options, model_dir: Path) -> tuple[Save, list[str]]:
    """The network as it is before the first step, and what its owner should know of it.

    Raises:
        WeightsError: weights that are missing or do not fit.
        ConfigError: sizes that make no network.
    """
    if options.init is not None:
        network, card = checkpoint.load(options.init)
        network.dims = replace(card.dims, **_sizes(options, card.dims))
        return network, []
    dims = _dims(options)
    clip, ast = (None, None) if options.from_scratch else _files(options, model_dir)
    network, copied = start.fresh(dims, seed=options.seed, clip=clip, ast=ast)
    notes = [] if copied else ["the fusions begin from nothing: CLIP's text is not as wide as its embedding"]
    return network, notes


def _sizes(options: Options, dims: ModelDims) -> dict[str, Any]:
    """What may differ from the checkpoint: nothing that a tensor's shape depends on."""
    n_positions = dims.clip["text_cfg"]["context_length"]
    if max(options.n_frames, options.n_words) > n_positions:
        raise ConfigError(
            f"there are positions for {n_positions} frames and words",
            hint="fewer --max-frames or --max-words",
        )
    return {
        "n_frames": options.n_frames,
        "n_words": options.n_words,
        "temperature": options.temperature,
        "reference_compat": options.padding == "reference",
    }


def _dims(options: Options) -> ModelDims:
    given: dict[str, Any] = {
        "n_queries": options.n_queries,
        "fusion_layers": options.fusion_layers,
        "resampler_layers": options.resampler_layers,
    }
    if options.dims is not None:
        dims = start.read_dims(options.dims, **given)
    else:
        dims = ModelDims(clip=start.clip_config(options.clip), **given)
    return replace(dims, **_sizes(options, dims))


def _files(options: Options, model_dir: Path) -> tuple[Path, Path]:
    clip, ast = options.clip_weights, options.ast_weights
    if clip is None:
        if options.clip not in start.PULLED or options.dims is not None:
            raise ConfigError(
                f"no weights are known for {options.dims or options.clip}",
                hint="--clip-weights FILE, or --from-scratch to begin without any",
            )
        (clip,) = weights.locate(start.PULLED[options.clip], model_dir).values()
    if ast is None:
        (ast,) = weights.locate(AST, model_dir).values()
    return clip, ast
