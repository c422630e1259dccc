"""The network against the golden videos, stage by stage, so that a failure names the stage."""

from __future__ import annotations

import math
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from savecli.model import loss
from savecli.model.names import reference_name
from savecli.model.network import Inputs, pool, similarity
from savecli.model.optim import parameter_groups

from .golden import Golden

ENCODER, FUSED, PADDED, GATE, SCORE, LOSS = 5e-5, 1e-4, 2e-3, 1e-4, 5e-4, 1e-4
GATES = {"audio_attn": "av_attn", "audio_ff": "av_ff", "speech_attn": "asr_attn", "speech_ff": "asr_ff"}
GRADIENTS = {
    "grad.query_tokens": ("query_tokens", np.s_[:]),
    "grad.logit_scale": ("clip.logit_scale", np.s_[...]),
    "grad.audio_projection": ("clip.audio_projection", np.s_[:8, :8]),
    "grad.visual.proj": ("clip.visual.proj", np.s_[:8, :8]),
    "grad.text_projection": ("clip.text_projection", np.s_[:8, :8]),
    "grad.frame_position_embeddings": ("frame_position_embeddings.weight", np.s_[:14, :16]),
    "grad.transformerClip.0.attn_gate.ag_fc": (
        "transformerClip.resblocks.0.attn_gate.ag_fc.weight",
        np.s_[:8, :8],
    ),
    "grad.transformerClip_ASR.1.cross_attn.in_proj_weight": (
        "transformerClip_ASR.resblocks.1.cross_attn.in_proj_weight",
        np.s_[:8, :8],
    ),
    "grad.Audio_Resampler.0.ln_3.weight": ("Audio_Resampler.resblocks.0.ln_3.weight", np.s_[:]),
    "grad.clip.visual.block0.c_fc": ("clip.visual.transformer.resblocks.0.mlp.c_fc.weight", np.s_[:8, :8]),
    "grad.clip.text.block0.in_proj": ("clip.transformer.resblocks.0.attn.in_proj_weight", np.s_[:8, :8]),
}


def record(module, kept, key, pick, *, of_input=False):
    def hook(_, given, made):
        found = given[0] if of_input else made
        kept.setdefault(key, []).append(
            pick(found[0] if isinstance(found, tuple) else found).detach().numpy()
        )

    return module.register_forward_hook(hook)


class Run:
    """One forward and one backward pass over the golden videos, with what each stage gave."""

    def __init__(self, golden: Golden) -> None:
        self.golden = golden
        self.network = golden.network()
        self.inputs = golden.inputs()
        parameter_groups(self.network, lr=1e-4, clip_lr=1e-3, weight_decay=0.2, freeze=12)
        self.stages = {}
        with ExitStack() as hooks:
            self._record(hooks)
            self.features = self.network.encode_video(self.inputs)
        ids = torch.from_numpy(golden.arrays["in.caption_ids"])
        self.text = self.network.encode_caption(ids)
        unit = normalize(self.text, dim=-1)
        self.local, self.pooled = pool(self.features.fused, self.features.frame_mask)
        self.visual_local, self.visual_pooled = pool(self.features.visual, self.features.frame_mask)
        self.scale = self.network.logit_scale.exp()
        self.score, self.local_part, self.global_part = similarity(
            unit, self.local, self.pooled, self.features.frame_mask, self.scale
        )
        self.margin = loss.adaptive_margin(unit[:4], self.visual_pooled, beta=0.2, limit=0.1)
        self.retrieval = loss.retrieval_loss(self.score[:4], self.margin, self.scale)
        self.student = loss.audio_similarity(self.features.visual, self.features.audio)
        self.distillation = self.distil(self.inputs.audio_mask)
        named = dict(self.network.named_parameters())
        trained = {name: p for name, p in named.items() if p.requires_grad}
        self.norms = {}
        for which, value in (("sim", self.retrieval), ("distill", self.distillation)):
            found = torch.autograd.grad(value, list(trained.values()), retain_graph=True, allow_unused=True)
            self.norms[which] = {
                n: None if g is None else float(g.norm()) for n, g in zip(trained, found, strict=True)
            }
        (self.retrieval + self.distillation).backward()
        self.norms["total"] = {n: None if p.grad is None else float(p.grad.norm()) for n, p in named.items()}

    def distil(self, has_audio):
        return loss.distillation_loss(self.student, *self.golden.teacher(), has_audio)

    def _record(self, hooks):
        network = self.network

        def on(key, pick, *modules, **options):
            for module in modules:
                hooks.enter_context(record(module, self.stages, key, pick, **options))

        visual, audio = network.visual_encoder, network.audio_encoder
        on("st.visual.ln_pre_out", lambda x: x[:2, [0, 1, -1]], visual.ln_pre)
        on("st.visual.block_cls", lambda x: x[:2, 0], *visual.transformer.resblocks)
        on("st.audio.block_in", lambda x: x[0, [0, 1, 2, 103, 700, 1213]], *audio.blocks, of_input=True)
        on("st.audio.prenorm", lambda x: x[0, [0, 1, 102, 699, 1212]], audio.norm, of_input=True)
        on("st.text.block_asr", lambda x: x[0, [0, 5, 31]], *network.text_encoder.transformer.resblocks)
        on("audio", lambda x: x, audio)
        on("speech", lambda x: x, network.text_encoder)
        on("st.resampler.layer", lambda x: x, *network.audio_resampler.layers)
        on("st.av.layer", lambda x: x, *network.audio_fusion.layers)
        on("st.sv.layer", lambda x: x, *network.speech_fusion.layers)


@pytest.fixture(scope="module", params=["tiny", "full"])
def run(request, parity):
    return Run(Golden(parity, request.param))


def near(run, key, found, tolerance):
    found = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    wanted = run.golden.arrays[key]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance, key


def near_where_valid(run, key, found, axis):
    """Padded slots went through scores of -10,000 in the reference, which cost them digits, and real slots,
    which attend to them, a few: so much may be off as the reference itself is, computed in 64 bits."""
    found = np.moveaxis(np.asarray(found), (axis, axis + 1), (0, 1))
    wanted = np.moveaxis(run.golden.arrays[key], (axis, axis + 1), (0, 1))
    valid = run.inputs.frame_mask.numpy()
    its_own = run.golden.tolerances[key]["float32_vs_float64"]
    assert np.abs(found - wanted)[valid].max() <= max(FUSED, its_own)
    assert np.abs(found - wanted)[~valid].max() <= PADDED


def test_weights_and_inputs_are_the_golden_ones(run):
    golden = run.golden
    for tensor in golden.keys["tensors"]:
        values = golden.state[tensor["name"]].flatten().double()
        assert float(values[0]) == tensor["rule_first"]
        assert float(values[-1]) == tensor["rule_last"]
        assert math.isclose(float(values.sum()), tensor["rule_sum"], rel_tol=1e-9, abs_tol=1e-6)
    near(run, "in.frames_slice", run.inputs.frames[:3, :2, :, :8:4, :24:4], 0)
    near(run, "in.fbank_slice", run.inputs.fbank[:, :64:8, :64:8], 0)


@pytest.mark.parametrize(
    "key", ["st.visual.block_cls", "st.audio.block_in", "st.text.block_asr", "st.resampler.layer"]
)
def test_each_layer_of_the_encoders(run, key):
    near(run, key, run.stages[key], ENCODER)


@pytest.mark.parametrize("key", ["st.visual.ln_pre_out", "st.audio.prenorm"])
def test_the_ends_of_the_encoders(run, key):
    near(run, key, run.stages[key][0], ENCODER)


def test_each_layer_of_a_caption(run):
    network, kept = run.network, {}
    ids = torch.from_numpy(run.golden.arrays["in.caption_ids"])
    with ExitStack() as hooks:
        for block in network.text_encoder.transformer.resblocks:
            hooks.enter_context(record(block, kept, "blocks", lambda x: x[0, [0, 5, 31]]))
        network.text_encoder(ids)
    near(run, "st.text.block_caption", kept["blocks"], ENCODER)


def test_branches(run):
    arrays = run.golden.arrays
    audio = run.stages["audio"][0]
    # Videos without sound share one blank, which is encoded last.
    audio = audio[[0, 1, 2, -1]]
    near(run, "out.audio_output_tokens", audio[:, [0, 1, 2, 101, 102, 600, 1212]], ENCODER)
    near(run, "out.audio_output_mean", audio.mean(axis=1), ENCODER)
    near(run, "out.audio_output_std", audio.std(axis=1), ENCODER)
    near(run, "out.asr_output", run.stages["speech"][0], ENCODER)
    near(run, "out.qa_output", run.features.audio, ENCODER)
    near(run, "out.text_output", run.text, ENCODER)
    positions = run.network.frame_positions.weight[: arrays["out.visual_output"].shape[1]]
    near(run, "out.visual_output", run.features.visual - positions, ENCODER)


@pytest.mark.parametrize("key", ["st.av.layer", "st.sv.layer"])
def test_each_layer_of_the_fusions(run, key):
    near_where_valid(run, key, run.stages[key], 1)


def test_gates(run):
    for ours, theirs in GATES.items():
        near(run, f"out.{theirs}_gates", run.features.gates[ours], GATE)


def test_combination(run):
    near_where_valid(run, "out.fused_frames", run.local.detach(), 0)
    near(run, "out.fused_global", run.pooled, FUSED)
    near(run, "out.visual_local", run.visual_local, FUSED)
    near(run, "out.visual_global", run.visual_pooled, FUSED)


def test_score(run):
    unit = normalize(run.text, dim=-1)
    logits = (run.scale * torch.einsum("nd,bfd->nbf", unit, run.local)).detach()
    near_where_valid(run, "out.frame_logits", logits, 1)
    near(run, "out.sim_local", run.local_part, SCORE)
    near(run, "out.sim_global", run.global_part, SCORE)
    near(run, "out.sim", run.score, SCORE)
    near(run, "out.v2a_sim", run.student, ENCODER)


def test_losses(run):
    near(run, "tr.margin", run.margin, ENCODER)
    near(run, "tr.sim_with_margin", run.score[:4] + run.margin * run.scale, SCORE)
    near(run, "tr.sim_loss", run.retrieval, LOSS)
    near(run, "tr.distill_loss", run.distillation, LOSS)
    near(run, "tr.distill_loss_all4", run.distil(torch.ones(4, dtype=torch.bool)), LOSS)
    near(run, "tr.total_loss", run.retrieval + run.distillation, LOSS)
    unit = normalize(run.text[:4], dim=-1)
    narrow = loss.adaptive_margin(unit, run.visual_pooled, beta=0.2, limit=0.05)
    near(run, "tr.margin_005", narrow, ENCODER)
    near(run, "tr.sim_loss_005", loss.retrieval_loss(run.score[:4], narrow, run.scale), LOSS)


@pytest.mark.parametrize("which", ["sim", "distill", "total"])
def test_norm_of_every_gradient(run, which):
    wanted = run.golden.grad_norms[which]
    for name, _ in run.network.named_parameters():
        norm = wanted[reference_name(name)]
        # A loss that does not reach a parameter has no gradient there, or one of zero.
        assert (run.norms[which].get(name) or 0.0) == pytest.approx(norm or 0.0, rel=1e-3, abs=1e-7), name


def test_norm_of_all_gradients_together(run):
    norms = [p.grad.norm() for p in run.network.parameters() if p.grad is not None]
    near(run, "tr.total_grad_norm", torch.stack(norms).norm(), 1e-3 * run.golden.arrays["tr.total_grad_norm"])


@pytest.mark.parametrize("key", GRADIENTS)
def test_slices_of_gradients(run, key):
    name, part = GRADIENTS[key]
    parameter = next(p for n, p in run.network.named_parameters() if reference_name(n) == name)
    scale = max(1e-3, float(parameter.grad.abs().max()))
    found = parameter.grad[part]
    if key == "grad.query_tokens":  # of the full size, only the first rows are stored
        found = found[: len(run.golden.arrays[key])]
    near(run, key, found, 1e-3 * scale)


@pytest.fixture(scope="module")
def tiny(parity):
    golden = Golden(parity, "tiny")
    return golden, golden.network().requires_grad_(False).eval()


def one(inputs, i, **changed):
    rows = {name: getattr(inputs, name)[i : i + 1] for name in Inputs.__slots__}
    return Inputs(**{**rows, **changed})


def test_a_video_does_not_depend_on_its_batch(tiny):
    golden, network = tiny
    together = network.encode_video(golden.inputs())
    for i in range(4):
        alone = network.encode_video(one(golden.inputs(), i))
        assert torch.allclose(alone.fused[0], together.fused[i], atol=1e-5)


def test_a_caption_is_read_up_to_its_end_alone(tiny):
    golden, network = tiny
    ids = torch.from_numpy(golden.arrays["in.caption_ids"])
    whole = network.text_encoder(ids)[torch.arange(len(ids)), ids.argmax(dim=1)]
    assert torch.allclose(network.encode_caption(ids), whole, atol=2e-5)


def test_equal_frames_score_as_a_sum_and_not_as_a_mean():
    text = torch.tensor([[1.0, 0.0]])
    frames = text.expand(1, 12, 2)
    mask = torch.ones(1, 12, dtype=torch.bool)
    _, twelve, _ = similarity(text, frames, text, mask, 10.0)
    _, single, _ = similarity(text, frames[:, :1], text, mask[:, :1], 10.0)
    assert float(twelve - single) == pytest.approx(math.log(12), abs=1e-5)


def test_a_perfect_match_does_not_overflow():
    text = torch.tensor([[1.0, 0.0]])
    score, _, _ = similarity(text, text.unsqueeze(0), text, torch.ones(1, 1, dtype=torch.bool), 100.0)
    assert float(score) == pytest.approx(100.0)


def test_a_video_without_frames_is_never_found():
    text = torch.tensor([[1.0, 0.0]])
    score, _, _ = similarity(text, text.unsqueeze(0), text, torch.zeros(1, 1, dtype=torch.bool), 100.0)
    assert float(score) == -math.inf


class TestTrueMask:
    """`reference_compat=False`: what is not there has no say."""

    @pytest.fixture
    def masked(self, tiny):
        golden, network = tiny
        from dataclasses import replace

        from savecli.model.network import Save

        other = Save(replace(network.dims, reference_compat=False))
        other.load_state_dict(network.state_dict())
        return golden.inputs(), other.requires_grad_(False).eval()

    def test_padding_changes_nothing(self, masked):
        inputs, network = masked
        padded = one(inputs, 1)
        cut = one(inputs, 1, frames=inputs.frames[1:2, :7], frame_mask=inputs.frame_mask[1:2, :7])
        assert torch.allclose(
            network.encode_video(padded).fused[:, :7], network.encode_video(cut).fused, atol=1e-5
        )

    def test_full_slots_with_sound_and_full_speech_are_the_reference(self, masked, tiny):
        inputs, network = masked
        _, compat = tiny
        speech = inputs.speech[3:4]  # the one that fills all words
        assert (speech != 0).all()
        whole = one(inputs, 0, speech=speech)
        assert torch.allclose(network.encode_video(whole).fused, compat.encode_video(whole).fused, atol=1e-5)

    def test_padding_matters_to_the_reference(self, masked, tiny):
        inputs, network = masked
        _, compat = tiny
        short = one(inputs, 1)
        assert not torch.allclose(
            network.encode_video(short).fused[:, :7], compat.encode_video(short).fused[:, :7], atol=1e-3
        )

    def test_silence_and_no_speech_leave_frames_finite_and_unmoved_by_noise(self, masked):
        inputs, network = masked
        mute = one(inputs, 2, audio_mask=torch.tensor([False]), speech=torch.zeros(1, 32, dtype=torch.long))
        noisy = one(
            inputs,
            2,
            fbank=torch.randn(1, 1024, 128),
            audio_mask=torch.tensor([False]),
            speech=torch.zeros(1, 32, dtype=torch.long),
        )
        quiet = network.encode_video(mute).fused
        assert torch.isfinite(quiet).all()
        assert torch.equal(quiet, network.encode_video(noisy).fused)
