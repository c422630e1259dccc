"""The network that a training begins with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from savecli.errors import ConfigError, WeightsError
from savecli.model import checkpoint
from savecli.model.dims import ModelDims
from savecli.model.init import copy_from_clip, initialise
from savecli.model.network import Save

PULLED = {"ViT-B-32-quickgelu": "clip-vit-b-32", "ViT-B-16-quickgelu": "clip-vit-b-16"}
"""open_clip models whose weights `save model pull` fetches, by the manifest's name."""


def clip_config(name: str) -> Mapping[str, Any]:
    """An open_clip model's sizes by its name.

    Raises:
        ConfigError: open_clip knows no such model.
    """
    import open_clip

    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise ConfigError(
            f"open_clip knows no model {name!r}",
            hint="such as ViT-B-32-quickgelu, ViT-B-16-quickgelu, ViT-L-14",
        )
    sizes: Mapping[str, Any] = config
    return sizes


def read_dims(path: Path, **given: Any) -> ModelDims:  # noqa: ANN401 - sizes and a config
    """Sizes from a JSON file; what it does not say comes from `given`.

    Raises:
        ConfigError: no such file, no JSON, or a size that the network does not have.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        return ModelDims.from_json({**given, **record})
    except (OSError, ValueError, TypeError, WeightsError) as error:
        known = ", ".join(field.name for field in fields(ModelDims))
        raise ConfigError(
            f"cannot take sizes from {path}: {error}", hint=f"a JSON object of {known}"
        ) from error


def fresh(dims: ModelDims, *, seed: int, clip: Path | None, ast: Path | None) -> tuple[Save, bool]:
    """A network to train, from CLIP and the AST where their files are given, from nothing where not.

    Returns:
        The network, and whether its fusions could begin as copies of CLIP's text encoder.

    Raises:
        WeightsError: a file that does not fit.
    """
    torch.manual_seed(seed)  # some of open_clip's image encoders draw their own first values
    network = Save(dims)
    initialise(network, seed=seed, from_scratch=clip is None)
    if clip is not None:
        checkpoint.start_from_clip(network, clip)
    if ast is not None:
        checkpoint.start_from_ast(network, ast)
    return network, copy_from_clip(network)
