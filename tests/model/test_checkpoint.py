"""Checkpoints in every format that `save` reads: whole, or refused by the name of the tensor."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from savecli.errors import WeightsError
from savecli.model import checkpoint
from savecli.model.dims import VIT_B_32, ModelDims
from savecli.model.init import copy_from_clip, initialise
from savecli.model.names import is_half, reference_name
from savecli.model.network import Save

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
    resampler_layers=1,
    fusion_layers=2,
    n_queries=3,
)


@pytest.fixture(scope="module")
def network():
    made = Save(SMALL)
    initialise(made, seed=1)
    return made.eval()


@pytest.fixture
def reference(network, tmp_path):
    path = tmp_path / "pytorch_model.bin.3"
    checkpoint.write_reference(path, network.state_dict(), SMALL)
    return path


def same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def edited(path, target, edit):
    state = torch.load(path, weights_only=True)
    edit(state)
    torch.save(state, target)
    return target


class TestReference:
    @pytest.mark.parametrize("size", ["tiny", "full"])
    def test_every_official_tensor_with_its_shape_and_precision(self, parity, size):
        golden = Golden(parity, size)
        with torch.device("meta"):
            ours = Save(golden.dims).state_dict()
        theirs = {reference_name(name): list(tensor.shape) for name, tensor in ours.items()}
        theirs |= {name: list(s) for name, s in checkpoint.unused_shapes(golden.dims).items()}
        assert theirs == {t["name"]: t["shape"] for t in golden.keys["tensors"]}
        for tensor in golden.keys["tensors"]:
            assert is_half(tensor["name"]) == (tensor["ref_dtype"] == "float16"), tensor["name"]
            unused = tensor["name"] in checkpoint.unused_shapes(golden.dims)
            assert unused == (not tensor["used_in_forward"]), tensor["name"]

    def test_sizes_come_from_the_shapes(self, parity):
        golden = Golden(parity, "full")
        shapes = {t["name"]: torch.empty(t["shape"], device="meta") for t in golden.keys["tensors"]}
        dims = checkpoint.infer_dims(shapes, "it")
        assert dims == golden.dims
        assert dims.clip == VIT_B_32

    def test_writing_and_reading_keeps_all_that_16_bits_hold(self, network, reference):
        loaded, card = checkpoint.load(reference)
        assert card.dims == SMALL
        for name, tensor in network.state_dict().items():
            kept = tensor.half().float() if is_half(reference_name(name)) else tensor
            assert torch.equal(loaded.state_dict()[name], kept), name

    @pytest.mark.parametrize(
        ("edit", "said"),
        [
            (lambda s: s.pop("query_tokens"), "query_tokens"),
            (
                lambda s: s.pop("transformerClip.resblocks.1.ln_4.bias"),
                "missing: audio_fusion.layers.1.ln_cross_ff",
            ),
            (lambda s: s.update(extra=torch.zeros(1)), "unknown: extra [1]"),
            (
                lambda s: s.update({"clip.ln_final.bias": torch.zeros(63)}),
                "shape: text_encoder.ln_final.bias is [63], not [64]",
            ),
            (lambda s: s.update(asr_query_tokens=torch.zeros(2)), "asr_query_tokens"),
        ],
    )
    def test_one_odd_tensor_is_refused_by_name(self, reference, tmp_path, edit, said):
        with pytest.raises(WeightsError) as refused:
            checkpoint.load(edited(reference, tmp_path / "odd", edit))
        assert said in f"{refused.value.message}\n{refused.value.hint}"

    def test_what_the_forward_pass_never_reads_may_be_missing(self, reference, tmp_path):
        def without_heads(state):
            for name in checkpoint.unused_shapes(SMALL):
                del state[name]

        checkpoint.load(edited(reference, tmp_path / "lean", without_heads))

    def test_the_wrong_file_altogether_is_told_shortly(self, tmp_path):
        torch.save({f"layer.{i}": torch.zeros(1) for i in range(1000)}, tmp_path / "other.pt")
        with pytest.raises(WeightsError, match="not a SAVE checkpoint"):
            checkpoint.load(tmp_path / "other.pt")

    def test_a_pickle_is_never_run(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

        (tmp_path / "bomb.bin").write_bytes(pickle.dumps({"query_tokens": Bomb()}))
        with pytest.raises(WeightsError):
            checkpoint.load(tmp_path / "bomb.bin")
        torch.save({"query_tokens": Bomb()}, tmp_path / "zipped.bin")
        with pytest.raises(WeightsError):
            checkpoint.load(tmp_path / "zipped.bin")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
    def test_a_cut_file_is_told(self, reference, tmp_path, share):
        whole = reference.read_bytes()
        (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(WeightsError):
            checkpoint.load(tmp_path / "cut")

    def test_a_full_checkpoint_scores_the_golden_videos(self, parity, tmp_path):
        """742 tensors in the reference's own precision: half of them are rounded, the score hardly is."""
        from torch.nn.functional import normalize

        from savecli.model.network import pool, similarity

        golden = Golden(parity, "full")
        halved = {t["name"]: t["ref_dtype"] == "float16" for t in golden.keys["tensors"]}
        assert len(halved) == 742
        state = {name: t.half() if halved[name] else t for name, t in golden.state.items()}
        torch.save(state, tmp_path / "pytorch_model.bin.4")
        network, card = checkpoint.load(tmp_path / "pytorch_model.bin.4")
        assert card.dims == golden.dims
        with torch.inference_mode():
            features = network.encode_video(golden.inputs())
            text = network.encode_caption(torch.from_numpy(golden.arrays["in.caption_ids"]))
            score, _, _ = similarity(
                normalize(text, dim=-1),
                *pool(features.fused, features.frame_mask),
                features.frame_mask,
                network.logit_scale.exp(),
            )
        # 16-bit weights move a cosine by about 1e-4, and a logit is a hundred times that.
        assert float((score - torch.from_numpy(golden.arrays["out.sim"])).abs().max()) < 0.05


class TestOurs:
    def test_a_round_trip_is_exact(self, network, tmp_path):
        checkpoint.write(tmp_path / "mine", network, provenance={"made": "here"})
        loaded, card = checkpoint.load(tmp_path / "mine")
        same(loaded.state_dict(), network.state_dict())
        assert card.dims == SMALL
        assert card.provenance == {"made": "here"}
        assert card.media.resampler == "pillow"

    def test_through_ours_a_reference_checkpoint_stays_what_it_was(self, reference, tmp_path):
        card, state = checkpoint.read(reference)
        checkpoint.write_state(tmp_path / "ours", state, card)
        card, state = checkpoint.read(tmp_path / "ours")
        checkpoint.write_reference(tmp_path / "back", state, card.dims)
        same(torch.load(tmp_path / "back", weights_only=True), torch.load(reference, weights_only=True))

    def test_nothing_is_overwritten(self, network, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "precious").write_text("x")
        with pytest.raises(WeightsError, match="exists already"):
            checkpoint.write(tmp_path / "mine", network, provenance={})
        assert (tmp_path / "mine" / "precious").read_text() == "x"

    def test_what_fails_half_way_leaves_nothing(self, network, tmp_path, monkeypatch):
        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoint, "save_file", fail)
        with pytest.raises(WeightsError, match="No space left"):
            checkpoint.write(tmp_path / "mine", network, provenance={})
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "damage",
        [
            lambda f: (f / "model.json").unlink(),
            lambda f: (f / "model.json").write_text("{"),
            lambda f: (f / "model.json").write_text('{"format": "other"}'),
            lambda f: (f / "model.json").write_text("[]"),
            lambda f: (f / "model.safetensors").unlink(),
            lambda f: (f / "model.safetensors").write_bytes(b"x" * 100),
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-8]),
        ],
    )
    def test_damage_is_told(self, network, tmp_path, damage):
        checkpoint.write(tmp_path / "mine", network, provenance={})
        damage(tmp_path / "mine")
        with pytest.raises(WeightsError):
            checkpoint.load(tmp_path / "mine")

    def test_other_weights_beside_the_card_are_told(self, network, tmp_path):
        checkpoint.write(tmp_path / "mine", network, provenance={})
        raw = bytearray((tmp_path / "mine" / "model.safetensors").read_bytes())
        raw[-1] ^= 1
        (tmp_path / "mine" / "model.safetensors").write_bytes(raw)
        with pytest.raises(WeightsError, match="not the file"):
            checkpoint.load(tmp_path / "mine")

    def test_sizes_that_are_none_are_told(self, network, tmp_path):
        checkpoint.write(tmp_path / "mine", network, provenance={})
        card = json.loads((tmp_path / "mine" / "model.json").read_text())
        card["dims"]["audio_stride"] = 400
        (tmp_path / "mine" / "model.json").write_text(json.dumps(card))
        with pytest.raises(WeightsError):
            checkpoint.load(tmp_path / "mine")


def as_openai_archive(network, path):
    """A TorchScript archive with the names and the three numbers of OpenAI's files."""

    class Holder(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    root = Holder()
    tensors = {
        reference_name(name).removeprefix("clip."): tensor
        for name, tensor in network.state_dict().items()
        if name.startswith(("visual_encoder.", "text_encoder.", "logit_scale"))
    }
    tensors |= {name: torch.tensor(7) for name in ("input_resolution", "context_length", "vocab_size")}
    for name, tensor in tensors.items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, Holder())
            module = getattr(module, parent)
        module.register_buffer(leaf, tensor.clone())
    torch.jit.script(root).save(path)


class TestStart:
    def test_clip_from_openai_s_archive(self, network, tmp_path):
        as_openai_archive(network, tmp_path / "clip.pt")
        other = Save(SMALL)
        initialise(other, seed=2)
        checkpoint.start_from_clip(other, tmp_path / "clip.pt")
        for name, tensor in other.state_dict().items():
            is_clip = name.startswith(("visual_encoder.", "text_encoder.", "logit_scale"))
            assert not is_clip or torch.equal(tensor, network.state_dict()[name]), name

    def test_clip_of_another_size_is_refused_by_name(self, network, tmp_path):
        as_openai_archive(network, tmp_path / "clip.pt")
        wider = Save(
            replace(SMALL, clip={**SMALL.clip, "vision_cfg": {**SMALL.clip["vision_cfg"], "width": 128}})
        )
        with pytest.raises(WeightsError) as refused:
            checkpoint.start_from_clip(wider, tmp_path / "clip.pt")
        assert "shape: visual.conv1.weight is [64, 3, 16, 16], not [128, 3, 16, 16]" in refused.value.hint

    def ast(self, network):
        names = [
            n for n in network.state_dict() if n.startswith("audio_encoder.") and not n.endswith("projection")
        ]
        state = {
            "module." + reference_name(n).removeprefix("clip.audio."): network.state_dict()[n] for n in names
        }
        for head in ("module.v.head", "module.v.head_dist", "module.mlp_head.1"):
            state |= {f"{head}.weight": torch.zeros(5, 64), f"{head}.bias": torch.zeros(5)}
        return state

    def test_the_spectrogram_transformer(self, network, tmp_path):
        torch.save(self.ast(network), tmp_path / "ast.pth")
        other = Save(SMALL)
        initialise(other, seed=2)
        checkpoint.start_from_ast(other, tmp_path / "ast.pth")
        same(
            {n: t for n, t in other.audio_encoder.state_dict().items() if n != "projection"},
            {n: t for n, t in network.audio_encoder.state_dict().items() if n != "projection"},
        )

    def test_a_spectrogram_transformer_that_lacks_a_tensor(self, network, tmp_path):
        state = self.ast(network)
        del state["module.v.dist_token"]
        torch.save(state, tmp_path / "ast.pth")
        with pytest.raises(WeightsError) as refused:
            checkpoint.start_from_ast(Save(SMALL), tmp_path / "ast.pth")
        assert refused.value.hint == "missing: module.v.dist_token [1, 1, 64]"


class TestInit:
    def test_every_tensor_begins_as_the_reference_s(self, parity):
        golden = Golden(parity, "tiny")
        network = Save(golden.dims)
        initialise(network, seed=3)
        assert copy_from_clip(network)
        state = {reference_name(name): tensor for name, tensor in network.state_dict().items()}
        wanted = {t["name"]: t["init"] for t in golden.keys["tensors"] if t["name"] in state}
        for name, tensor in state.items():
            kind, _, source = wanted[name].partition(":")
            if kind == "clip" and not name.startswith("clip."):
                assert torch.equal(tensor, state[f"clip.{source}"]), name
            elif kind == "ones":
                assert torch.equal(tensor, torch.ones_like(tensor)), name
            elif kind == "zeros":
                assert torch.equal(tensor, torch.zeros_like(tensor)), name
            elif kind.startswith("normal"):
                std = 0.02 if "0.02" in kind else golden.dims.audio_width**-0.5
                assert float(tensor.std()) == pytest.approx(std, rel=0.25), name
            elif kind == "xavier_uniform":
                bound = math.sqrt(6 / sum(tensor.shape))
                assert 0.95 * bound < float(tensor.abs().max()) <= bound, name
            elif kind.startswith("orthogonal"):
                assert torch.allclose(tensor.T @ tensor, torch.eye(tensor.shape[1]), atol=1e-5), name
            else:
                assert kind in ("clip", "ast"), kind

    def test_a_seed_is_a_network(self):
        one, other = Save(SMALL), Save(SMALL)
        initialise(one, seed=5)
        initialise(other, seed=5)
        same(one.state_dict(), other.state_dict())
        initialise(other, seed=6)
        assert not torch.equal(one.audio_resampler.queries, other.audio_resampler.queries)

    def test_an_embedding_of_another_width_copies_nothing(self):
        clip = {**SMALL.clip, "embed_dim": 128}
        network = Save(replace(SMALL, clip=clip))
        assert not copy_from_clip(network)

    def test_a_text_encoder_without_token_states_is_refused(self):
        with pytest.raises(WeightsError, match="token by token"):
            Save(replace(SMALL, clip={**SMALL.clip, "custom_text": True}))


def test_a_copied_folder_is_the_same_model(network, tmp_path):
    checkpoint.write(tmp_path / "mine", network, provenance={})
    shutil.copytree(tmp_path / "mine", tmp_path / "copy")
    assert checkpoint.load(tmp_path / "copy")[1].sha256 == checkpoint.load(tmp_path / "mine")[1].sha256


class TestFromScratch:
    """Another start than the paper's, for networks of any width that nothing is loaded into."""

    def drawn(self, dims=SMALL):
        network = Save(dims)
        initialise(network, seed=4, from_scratch=True)
        return network

    def test_layers_keep_the_size_of_what_passes(self):
        layer = self.drawn().speech_fusion.layers[0]
        for linear in (layer.mlp.fc, layer.mlp.proj, layer.cross_ff.fc):
            size = float(linear.weight.detach().std()) * linear.in_features**0.5
            assert size == pytest.approx(0.02 * 512**0.5, rel=0.1)

    def test_gates_begin_open(self):
        layer = self.drawn().audio_fusion.layers[0]
        gates = torch.tanh(layer.attn_gate(torch.randn(50, 2 * SMALL.width)))
        assert float(gates.detach().abs().median()) > 0.5

    def test_the_score_begins_sharp(self):
        assert float(self.drawn().logit_scale.detach()) == 4.0
