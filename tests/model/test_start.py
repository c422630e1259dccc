"""Any open_clip model with CLIP's own text transformer, by name."""

from __future__ import annotations

import pytest
import torch

from savecli.errors import ConfigError, WeightsError
from savecli.model.dims import VIT_B_32, ModelDims
from savecli.model.network import Save
from savecli.model.start import clip_config


def test_the_paper_s_clip_is_the_one_that_open_clip_names():
    assert dict(clip_config("ViT-B-32-quickgelu")) == dict(VIT_B_32)


@pytest.mark.parametrize(
    "name", ["ViT-B-16-quickgelu", "ViT-L-14", "ViT-H-14", "RN50-quickgelu", "convnext_base"]
)
def test_others_make_a_network(name):
    with torch.device("meta"):
        network = Save(ModelDims(clip=clip_config(name)))
    assert network.frame_positions.weight.shape[1] == clip_config(name)["embed_dim"]


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "coca_ViT-B-32"])
def test_a_text_encoder_of_another_kind_is_refused(name):
    with pytest.raises(WeightsError, match="token by token"):
        Save(ModelDims(clip=clip_config(name)))


def test_a_name_that_open_clip_does_not_know():
    with pytest.raises(ConfigError, match="no model"):
        clip_config("ViT-Z-1")
