"""What a training begins with: a checkpoint, public weights, or nothing."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from savecli.errors import ConfigError, WeightsError
from savecli.model import checkpoint, start, weights
from savecli.model.dims import ModelDims
from savecli.model.fbank import N_MELS, N_ROWS
from savecli.model.inputs import END
from savecli.model.network import Save
from savecli.train.options import Options

AST = "ast-audioset"
_NO_NETWORK = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
    WeightsError,
)
"""What torch and open_clip raise on sizes that make none."""


def begin(options: Options, model_dir: Path) -> tuple[Save, list[str]]:
    """The network as it is before the first step, and what its owner should know of it.

    Raises:
        WeightsError: weights that are missing or do not fit.
        ConfigError: sizes that make no network.
    """
    if options.init is not None:
        network, card = checkpoint.load(options.init)
        _check_unused(options, card.dims)
        _check_fed(card.dims, options.init)
        network.dims = replace(card.dims, **_sizes(options, card.dims))
        return network, _changes(card.dims, network.dims)
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
            hint="fewer --n-frames or --n-words",
        )
    return _settings(options)


def _settings(options: Options) -> dict[str, Any]:
    padding = {} if options.padding is None else {"reference_compat": options.padding == "reference"}
    return {
        "n_frames": options.n_frames,
        "frames_per_s": options.frames_per_s,
        "n_words": options.n_words,
        "temperature": options.temperature,
        **padding,
    }


def _changes(was: ModelDims, now: ModelDims) -> list[str]:
    """What a checkpoint is run with now, and was not before."""
    return [
        f"{f.name} was {getattr(was, f.name)} in the checkpoint, and is {getattr(now, f.name)} here"
        for f in fields(was)
        if getattr(was, f.name) != getattr(now, f.name)
    ]


def _check_sizes(options: Options, dims: ModelDims) -> None:
    """Sizes are positive, heads share the width, and options are repeated at most, not contradicted."""
    for each in fields(dims):
        value = getattr(dims, each.name)
        if type(each.default) is int and not (type(value) is int and value > 0):
            raise ValueError(f"{each.name} cannot be {value!r}")
    if dims.audio_width % dims.audio_heads:
        raise ValueError(f"{dims.audio_heads} heads cannot share a width of {dims.audio_width}")
    other = [name for name, value in _settings(options).items() if getattr(dims, name) != value]
    if other:
        raise ValueError(f"the options say otherwise of {', '.join(other)}")


def _dims(options: Options) -> ModelDims:
    given: dict[str, Any] = {
        "n_queries": options.n_queries,
        "fusion_layers": options.fusion_layers,
        "resampler_layers": options.resampler_layers,
    }
    dims = ModelDims(clip=start.clip_config(options.clip), **given)
    if options.dims is not None:
        try:
            dims = start.read_dims(options.dims, **given, clip=dims.clip, **_settings(options))
            _check_sizes(options, dims)
            with torch.device("meta"):
                Save(dims)
            _check_fed(dims, options.dims)
        except _NO_NETWORK as error:
            raise ConfigError(
                f"the sizes in {options.dims} make no network: {error}",
                hint="save model info shows a network's",
            ) from error
    return replace(dims, **_sizes(options, dims))


def _check_unused(options: Options, dims: ModelDims) -> None:
    """What cannot be heeded beside a checkpoint is told, unless it says the same or is the default."""
    for name, its in (
        ("n_queries", dims.n_queries),
        ("fusion_layers", dims.fusion_layers),
        ("resampler_layers", dims.resampler_layers),
        ("clip", None),
    ):
        given, default = getattr(options, name), Options.__dataclass_fields__[name].default
        if given not in (default, its):
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} {given} is not what {options.init} has", hint=f"leave out --{flag}")


def _check_fed(dims: ModelDims, source: Path) -> None:
    """What the network reads must be what we can give it.

    Raises:
        WeightsError: a filter bank of another size, or fewer tokens than the tokeniser knows.
    """
    fed = (dims.n_mels, dims.n_rows) == (N_MELS, N_ROWS)
    if not fed or dims.clip["text_cfg"].get("vocab_size", END + 1) <= END:
        raise WeightsError(
            f"{source} is of a network that reads other sounds or words than ours",
            hint=f"{N_MELS} mel bands, {N_ROWS} rows and {END + 1} tokens are given",
        )


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
