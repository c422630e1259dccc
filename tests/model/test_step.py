"""One step's losses: the golden ones, in 16 bits, with hardly any sound, and over two processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch

from savecli.model.dims import ModelDims
from savecli.model.init import initialise
from savecli.model.network import Inputs, Save
from savecli.model.parallel import Team, gather
from savecli.model.step import LossOptions, Step, Teacher

from .golden import Golden

SMALL = ModelDims(
    clip={
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 600, "width": 64, "heads": 1, "layers": 1},
    },
    audio_width=64,
    audio_layers=1,
    audio_heads=1,
    audio_patch=32,
    audio_stride=64,
    resampler_layers=1,
    fusion_layers=1,
    n_queries=3,
    n_frames=4,
)


@pytest.fixture(autouse=True)
def _one_thread():
    """So small a network is no work to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network():
    made = Save(SMALL)
    initialise(made, seed=1)
    return made


def batch():
    """Inputs, captions and teacher of four made-up pairs, of which the last is mute."""
    torch.manual_seed(2)
    mask = torch.tensor([[True] * n + [False] * (4 - n) for n in (4, 2, 4, 1)])
    heard = torch.tensor([True, True, True, False])
    inputs = Inputs(
        frames=torch.randn(4, 4, 3, 32, 32) * mask[:, :, None, None, None],
        frame_mask=mask,
        fbank=torch.randn(4, 1024, 128) * heard[:, None, None],
        audio_mask=heard,
        speech=torch.randint(1, 600, (4, 32)),
    )
    audio, video = torch.randn(4, 1024), torch.randn(4, 1024)
    taught = Teacher(audio=audio, video=video, knows=torch.ones(4, dtype=torch.bool))
    return inputs, torch.randint(1, 600, (4, 32)), taught


def losses(network, given, **options):
    return Step(network, LossOptions(**options), Team())(*given)


def finite_gradients(network):
    found = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return bool(found) and all(bool(gradient.isfinite().all()) for gradient in found)


@torch.no_grad()
def test_the_golden_losses(parity):
    golden = Golden(parity, "tiny")
    audio, video = golden.teacher()
    taught = Teacher(audio=audio, video=video, knows=torch.ones(4, dtype=torch.bool))
    given = golden.inputs(), torch.from_numpy(golden.arrays["in.caption_ids"][:4]), taught
    network = golden.network()
    for margin, key in ((0.1, "tr.sim_loss"), (0.05, "tr.sim_loss_005")):
        retrieval, distillation = losses(network, given, margin=margin)
        assert float(retrieval) == pytest.approx(float(golden.arrays[key]), abs=1e-4)
        assert float(distillation) == pytest.approx(float(golden.arrays["tr.distill_loss"]), abs=1e-4)


def test_the_second_loss_has_a_weight_and_may_be_left_out(network):
    inputs, captions, taught = batch()
    whole = losses(network, (inputs, captions, taught))
    half = losses(network, (inputs, captions, taught), distillation=0.5)
    assert half[1].item() == pytest.approx(whole[1].item() / 2, rel=1e-5)
    for without in (
        losses(network, (inputs, captions, None)),
        losses(network, (inputs, captions, taught), distillation=0.0),
    ):
        assert without[0].item() == pytest.approx(whole[0].item(), abs=1e-5)
        assert float(without[1]) == 0


def test_in_16_bits_it_is_near_and_finite(network):
    exact = [float(loss.detach()) for loss in losses(network, batch())]
    with torch.autocast("cpu", torch.bfloat16):
        half = losses(network, batch())
    assert all(loss.dtype == torch.float32 for loss in half)
    assert [float(loss.detach()) for loss in half] == pytest.approx(exact, abs=0.3)
    assert [float(loss.detach()) for loss in half] != exact
    sum(half).backward()
    assert finite_gradients(network)


@pytest.mark.parametrize("n_sounds", [0, 1, 2, 3])
@pytest.mark.parametrize("compat", [True, False])
def test_hardly_any_sound_leaves_losses_and_gradients_finite(network, n_sounds, compat):
    network.dims = replace(network.dims, reference_compat=compat)
    inputs, captions, taught = batch()
    heard = torch.arange(4) < n_sounds
    inputs = replace(inputs, audio_mask=heard, fbank=inputs.fbank * heard[:, None, None])
    retrieval, distillation = losses(network, (inputs, captions, taught))
    assert torch.isfinite(retrieval)
    assert (distillation.item() > 0) == (n_sounds >= 3)
    (retrieval + distillation).backward()
    assert finite_gradients(network)


def test_what_the_teacher_does_not_know_is_not_learnt_from_it(network):
    inputs, captions, taught = batch()
    nobody = replace(taught, knows=torch.zeros(4, dtype=torch.bool))
    assert losses(network, (inputs, captions, nobody))[1].item() == 0
    # What stands in its row is of no account.
    unknown = torch.tensor([True, True, True, False])
    odd = replace(taught, audio=taught.audio.clone(), knows=unknown)
    odd.audio[3] = 1e6
    inputs = replace(inputs, audio_mask=torch.ones(4, dtype=torch.bool))
    known = losses(network, (inputs, captions, replace(taught, knows=unknown)))
    assert losses(network, (inputs, captions, odd))[1].item() == pytest.approx(known[1].item(), abs=1e-6)


def test_no_speech_and_the_same_video_twice(network):
    inputs, captions, taught = batch()
    inputs = replace(inputs, speech=torch.zeros_like(inputs.speech))
    captions[1] = captions[0]
    for name in ("frames", "frame_mask", "fbank", "audio_mask"):
        getattr(inputs, name)[1] = getattr(inputs, name)[0]
    sum(losses(network, (inputs, captions, taught))).backward()
    assert finite_gradients(network)


def test_alone_gathering_is_nothing():
    rows = torch.rand(3, 2, requires_grad=True)
    assert gather([rows], Team())[0] is rows


TWO = """
    import sys, torch
    from torch import distributed, multiprocessing
    from savecli.model.parallel import Team, gather

    def whole():
        torch.manual_seed(1)
        return torch.rand(6, 3), torch.rand(3, 3), torch.tensor([True, False, True, True, False, False])

    def loss(rows, heard):
        return (rows @ rows.T)[heard].square().sum()

    def alone():
        x, weight, heard = whole()
        weight.requires_grad_()
        loss(x @ weight, heard).backward()
        return weight.grad

    def one(rank, store):
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
        members = Team(rank=rank, size=2)
        for reference, share in ((False, 1.0), (True, 0.5)):
            x, weight, heard = whole()
            weight.requires_grad_()
            mine = slice(3 * rank, 3 * rank + 3)
            rows, mask = gather([x[mine] @ weight, heard[mine]], members, reference=reference)
            assert torch.equal(mask, heard) and mask.dtype == torch.bool
            assert torch.allclose(rows, x @ weight)
            loss(rows, mask).backward()
            distributed.all_reduce(weight.grad)  # what the data-parallel wrapper does: the mean
            assert torch.allclose(weight.grad / 2, share * alone(), rtol=1e-4), (reference, rank)
        assert members.agree("same")
        assert not members.agree(str(rank))
        members.wait()
        distributed.destroy_process_group()

    if __name__ == "__main__":
        multiprocessing.start_processes(one, (sys.argv[1],), nprocs=2, start_method="fork")
"""


def test_two_processes_have_the_gradients_of_one(tmp_path):
    (tmp_path / "two.py").write_text(textwrap.dedent(TWO))
    command = [sys.executable, str(tmp_path / "two.py"), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
