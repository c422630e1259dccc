"""What trains and how, tensor by tensor as in the reference's checkpoint, and its first optimiser steps."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.nn.functional import normalize

from savecli.model import loss, optim
from savecli.model.names import reference_name
from savecli.model.network import Save, pool, similarity

from .golden import Golden


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_freezing_rates_and_decay_of_every_tensor(parity, size):
    golden = Golden(parity, size)
    with torch.device("meta"):
        network = Save(golden.dims)
    wanted = {t["name"]: t for t in golden.keys["tensors"]}
    groups = optim.parameter_groups(network, lr=1e-4, clip_lr=1e-3, weight_decay=0.2, freeze=12)
    found = {id(p): group for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found)
    for name, parameter in network.named_parameters():
        reference = wanted[reference_name(name)]
        assert parameter.requires_grad == reference["trainable"], name
        assert (id(parameter) in found) == reference["trainable"], name
        assert optim.lr_multiplier(name, 1e-3) == pytest.approx(reference["lr_multiplier"]), name
        if reference["trainable"]:
            group = found[id(parameter)]
            assert group["lr"] == pytest.approx(1e-4 * reference["lr_multiplier"]), name
            assert group["weight_decay"] == reference["weight_decay"], name


def test_blocks_of_the_spectrogram_transformer_thaw_from_the_last():
    assert not optim.is_trainable("audio_encoder.blocks.9.mlp.fc.weight", 10)
    assert optim.is_trainable("audio_encoder.blocks.10.mlp.fc.weight", 10)
    assert optim.is_trainable("visual_encoder.conv1.weight", None)


def test_schedule(parity):
    for case in json.loads((parity / "optimizer.json").read_text())["schedule"]:
        for step, factor in case["multiplier_at_step"].items():
            assert optim.schedule(int(step) / case["t_total"], case["warmup"]) == pytest.approx(
                factor, abs=1e-12
            )


def total_loss(network, golden):
    features = network.encode_video(golden.inputs())
    text = normalize(network.encode_caption(torch.from_numpy(golden.arrays["in.caption_ids"][:4])), dim=-1)
    scale = network.logit_scale.exp()
    score, _, _ = similarity(text, *pool(features.fused, features.frame_mask), features.frame_mask, scale)
    _, visual = pool(features.visual, features.frame_mask)
    margin = loss.adaptive_margin(text, visual, beta=0.2, limit=0.1)
    student = loss.audio_similarity(features.visual, features.audio)
    return (
        loss.retrieval_loss(score, margin, scale),
        loss.distillation_loss(student, *golden.teacher(), golden.inputs().audio_mask),
    )


def test_four_steps(parity):
    golden = Golden(parity, "tiny")
    wanted = json.loads((parity / "optimizer.json").read_text())
    network = golden.network()
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    groups = optim.parameter_groups(network, lr=1e-4, clip_lr=1e-3, weight_decay=0.2, freeze=12)
    optimiser = optim.BertAdam(groups, n_steps=20)
    for step, (retrieval, distillation, log_scale) in enumerate(wanted["history"]):
        losses = total_loss(network, golden)
        assert float(losses[0].detach()) == pytest.approx(retrieval, abs=1e-4)
        assert float(losses[1].detach()) == pytest.approx(distillation, abs=1e-4)
        sum(losses).backward()
        optim.clip_and_step(network, optimiser)
        assert float(network.logit_scale.detach()) == pytest.approx(log_scale, abs=1e-6)
        for name, tensor in network.state_dict().items():
            moved = float((tensor - start[name]).norm())
            reference = reference_name(name)
            if reference in wanted["unchanged_parameters"]:
                assert moved == 0.0, name
            elif reference in wanted["delta_norm"]:
                assert moved == pytest.approx(wanted["delta_norm"][reference][step], rel=2e-3), name


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(4.6))
        self.other = torch.nn.Parameter(torch.ones(2))


def two_steps(network, optimiser, n):
    for _ in range(n):
        (network.logit_scale * -30 + network.other.square().sum()).backward()
        optim.clip_and_step(network, optimiser)


def build():
    network = Two()
    groups = optim.parameter_groups(network, lr=0.05, clip_lr=1.0, weight_decay=0.2, freeze=None)
    return network, optim.BertAdam(groups, n_steps=10)


def test_the_logit_scale_stops_at_a_hundred():
    network, optimiser = build()
    two_steps(network, optimiser, 6)
    assert float(network.logit_scale.detach()) == pytest.approx(math.log(100))


def test_a_saved_state_goes_on_as_if_it_had_never_stopped():
    network, optimiser = build()
    two_steps(network, optimiser, 6)
    again, resumed = build()
    two_steps(again, resumed, 3)
    names = {p: n for n, p in again.named_parameters()}
    saved = {name: tensor.clone() for name, tensor in resumed.tensors(names).items()}
    third, loaded = build()
    third.load_state_dict(again.state_dict())
    loaded.load_tensors({p: n for n, p in third.named_parameters()}, saved)
    two_steps(third, loaded, 3)
    assert torch.equal(third.other, network.other)


def test_what_has_no_gradient_does_not_age():
    network, optimiser = build()
    network.other.square().sum().backward()
    optim.clip_and_step(network, optimiser)
    assert network.logit_scale not in optimiser.state
    assert float(network.logit_scale.detach()) == pytest.approx(4.6)
