"""The losses against stored tensors, and where they must not become NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from savecli.model import loss
from savecli.model.network import pool, similarity


@pytest.fixture(scope="module")
def stored(parity):
    with np.load(parity / "loss_unit.npz") as file:
        return {name: torch.from_numpy(values) for name, values in file.items()}


def scores(stored, *, temperature=1.0):
    leaves = {
        name: stored[name].clone().requires_grad_(True)
        for name in ("text", "fused_frames", "log_logit_scale")
    }
    mask = stored["video_mask"].bool()
    local, pooled = pool(leaves["fused_frames"], mask)
    unit = normalize(leaves["text"], dim=-1)
    scale = leaves["log_logit_scale"].exp()
    return leaves, unit, scale, similarity(unit, local, pooled, mask, scale, temperature)


def margin(stored, unit, limit):
    _, visual = pool(stored["visual_frames"], stored["video_mask"].bool())
    return loss.adaptive_margin(unit, visual, beta=0.2, limit=limit)


def near(found, wanted, tolerance=1e-5):
    assert found.shape == wanted.shape
    assert float((found.detach() - wanted).abs().max()) <= tolerance


def test_score_and_its_parts(stored):
    _, _, _, (score, local, pooled) = scores(stored)
    near(score, stored["sim"], 1e-4)
    near(local, stored["sim_local"], 1e-4)
    near(pooled, stored["sim_global"], 1e-4)


def test_temperature_sharpens_the_local_part(stored):
    near(scores(stored, temperature=2.0)[3][1], stored["sim_local_tau2"], 1e-4)


@pytest.mark.parametrize(("limit", "suffix"), [(0.1, ""), (0.05, "_005")])
def test_retrieval_loss(stored, limit, suffix):
    _, unit, scale, (score, _, _) = scores(stored)
    margins = margin(stored, unit, limit)
    near(margins, stored[f"margin{suffix}"])
    near(loss.retrieval_loss(score, margins, scale), stored[f"sim_loss{suffix}"])


def test_gradients_of_the_retrieval_loss(stored):
    leaves, unit, scale, (score, _, _) = scores(stored)
    margins = margin(stored, unit, 0.1)
    near(score + margins * scale, stored["sim_with_margin"], 1e-4)
    loss.retrieval_loss(score, margins, scale).backward()
    near(leaves["text"].grad, stored["g_text"])
    near(leaves["fused_frames"].grad, stored["g_fused_frames"])
    near(leaves["log_logit_scale"].grad, stored["g_log_logit_scale"], 1e-4)


def teacher(stored):
    return stored["teacher_audio"], stored["teacher_video"]


def test_distillation_and_its_gradients(stored):
    visual, audio = (stored[name].clone().requires_grad_(True) for name in ("visual_frames", "qa_tokens"))
    student = loss.audio_similarity(visual, audio)
    near(student, stored["v2a_sim"])
    has_audio = stored["audio_mask"].bool()
    distance = loss.distillation_loss(student, *teacher(stored), has_audio)
    near(distance, stored["distill_loss"])
    near(stored["distill_rows"].mean() + stored["distill_cols"].mean(), distance.detach())
    distance.backward()
    near(visual.grad, stored["g_visual"])
    near(audio.grad, stored["g_qa"])
    every = torch.ones_like(has_audio)
    near(loss.distillation_loss(student, *teacher(stored), every), stored["distill_loss_all"])


@pytest.mark.parametrize("n_with_audio", [0, 1, 2])
def test_too_few_sounds_teach_nothing_and_spoil_nothing(stored, n_with_audio):
    student = stored["v2a_sim"].clone().requires_grad_(True)
    has_audio = torch.arange(6) < n_with_audio
    distance = loss.distillation_loss(student, *teacher(stored), has_audio)
    (student.sum() * 0 + distance).backward()
    assert float(distance) == 0.0
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_a_row_without_variation_is_as_far_as_can_be_and_finite(stored):
    student = torch.zeros(6, 6, requires_grad=True)
    distance = loss.distillation_loss(student, *teacher(stored), torch.ones(6, dtype=torch.bool))
    distance.backward()
    assert float(distance.detach()) == pytest.approx(2.0)
    assert torch.isfinite(student.grad).all()


def test_equal_views_are_no_distance(stored):
    audio, video = (normalize(rows, dim=-1) for rows in teacher(stored))
    same = loss.distillation_loss(video @ audio.T, audio, video, torch.ones(6, dtype=torch.bool))
    assert float(same) == pytest.approx(0.0, abs=1e-5)


def test_the_margin_is_constant_and_its_scale_is_not():
    text = torch.eye(3, requires_grad=True)
    scale = torch.tensor(10.0, requires_grad=True)
    margins = loss.adaptive_margin(text, torch.eye(3), beta=0.2, limit=0.1)
    loss.retrieval_loss(torch.zeros(3, 3), margins, scale).backward()
    assert text.grad is None
    assert float(scale.grad) != 0.0
    assert torch.equal(margins.diagonal(), torch.zeros(3))
