"""Networks as files: every way from one format to another, and what a file says of itself."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch

from savecli.errors import ConfigError, WeightsError
from savecli.model import checkpoint, start
from savecli.model.dims import ModelDims
from savecli.model.init import initialise
from savecli.model.names import is_half, reference_name
from savecli.model.network import Save
from savecli.networks import Start, convert, facts

CLIP = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 600, "width": 64, "heads": 1, "layers": 2},
}
SMALL = ModelDims(
    clip=CLIP,
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
    return made


@pytest.fixture
def ours(network, tmp_path):
    checkpoint.write(tmp_path / "ours", network, provenance={"made": "here", "deep": {"a": 1}})
    return tmp_path / "ours"


@pytest.fixture
def theirs(network, tmp_path):
    checkpoint.write_reference(tmp_path / "pytorch_model.bin.3", network.state_dict(), SMALL)
    return tmp_path / "pytorch_model.bin.3"


def state(path):
    return checkpoint.read(path)[1]


def same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_theirs_to_ours_keeps_every_bit_and_says_where_it_is_from(theirs, tmp_path):
    told = convert(theirs, tmp_path / "new", reference=False)
    same(state(tmp_path / "new"), state(theirs))
    assert (told["format"], told["path"]) == ("save", str(tmp_path / "new"))
    assert told["from source"] == theirs.name
    assert len(told["sha256"]) == 64
    assert "lost in this format" not in told


def test_ours_to_theirs_and_back(ours, theirs, tmp_path):
    told = convert(ours, tmp_path / "back.bin", reference=True)
    assert told["format"] == "reference"
    same(torch.load(tmp_path / "back.bin", weights_only=True), torch.load(theirs, weights_only=True))
    convert(tmp_path / "back.bin", tmp_path / "again", reference=False)
    exact = state(ours)
    for name, tensor in state(tmp_path / "again").items():
        assert torch.equal(tensor, exact[name].half() if is_half(reference_name(name)) else exact[name])


def test_ours_to_ours_and_theirs_to_theirs(ours, theirs, tmp_path):
    convert(ours, tmp_path / "new", reference=False)
    same(state(tmp_path / "new"), state(ours))
    convert(theirs, tmp_path / "new.bin", reference=True)
    same(state(tmp_path / "new.bin"), state(theirs))


def test_what_their_format_has_no_place_for_is_told(network, tmp_path):
    dims = replace(SMALL, n_words=64, reference_compat=False)
    card = checkpoint.Card(dims=dims, media=checkpoint.media_spec(dims))
    checkpoint.write_state(tmp_path / "masked", network.state_dict(), card)
    told = convert(tmp_path / "masked", tmp_path / "new.bin", reference=True)
    assert told["lost in this format"].startswith("n_words 64, reference_compat False, CLIP")
    assert told["padding"] == "reference"
    assert "lost in this format" not in convert(tmp_path / "masked", tmp_path / "new", reference=False)


@pytest.mark.parametrize("reference", [True, False])
def test_a_target_that_exists_is_left_alone(ours, tmp_path, reference):
    (tmp_path / "new").write_text("precious")
    with pytest.raises(WeightsError, match="exists already"):
        convert(ours, tmp_path / "new", reference=reference)
    assert (tmp_path / "new").read_text() == "precious"


@pytest.mark.parametrize("reference", [True, False])
def test_a_target_that_cannot_be_written_is_told(ours, tmp_path, reference):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot write"):
        convert(ours, tmp_path / "file" / "new", reference=reference)
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(WeightsError, match="cannot write"):
            convert(ours, tmp_path / "closed" / "new", reference=reference)


@pytest.mark.parametrize("make", ["nothing", "text", "folder", "other"])
def test_a_source_that_is_no_network_is_told_and_nothing_is_written(tmp_path, make):
    source = tmp_path / "source"
    if make == "text":
        source.write_text("not weights")
    elif make == "folder":
        source.mkdir()
    elif make == "other":
        torch.save({"layer.weight": torch.zeros(1)}, source)
    with pytest.raises(WeightsError) as told:
        convert(source, tmp_path / "new", reference=False)
    assert str(source) in told.value.message
    assert told.value.hint
    assert not (tmp_path / "new").exists()


# -- a network to train --------------------------------------------------------------------------------


@pytest.fixture
def public(network, tmp_path, monkeypatch):
    """CLIP's and the AST's files, as `start` reads them, of a model that open_clip is told to know."""
    monkeypatch.setattr(start, "clip_config", lambda name: CLIP)
    monkeypatch.setattr("savecli.model.dims.ModelDims", lambda **given: replace(SMALL, **given))
    weights = network.state_dict()
    clip = {
        reference_name(name).removeprefix("clip."): tensor
        for name, tensor in weights.items()
        if name.startswith(("visual_encoder.", "text_encoder.", "logit_scale"))
    }
    ast = {
        "module." + reference_name(name).removeprefix("clip.audio."): tensor
        for name, tensor in weights.items()
        if name.startswith("audio_encoder.") and name != "audio_encoder.projection"
    }
    torch.save(clip, tmp_path / "clip.pt")
    torch.save(ast, tmp_path / "ast.pth")
    return tmp_path / "clip.pt", Start(ast=tmp_path / "ast.pth", clip="small", seed=4)


def test_clip_and_ast_make_a_network_to_train(public, network, tmp_path):
    source, begin = public
    told = convert(source, tmp_path / "new", reference=False, start=begin)
    assert (told["from clip"], told["from ast"], told["from seed"]) == ("clip.pt", "ast.pth", 4)
    assert told["from trained"] is False
    made, given = state(tmp_path / "new"), network.state_dict()
    for name, tensor in made.items():
        read = name.startswith(("visual_encoder.", "text_encoder.", "logit_scale", "audio_encoder."))
        if read and name != "audio_encoder.projection":
            assert torch.equal(tensor, given[name]), name
    assert torch.equal(made["frame_positions.weight"], made["text_encoder.positional_embedding"])
    convert(source, tmp_path / "again", reference=False, start=begin)
    same(state(tmp_path / "again"), made)
    convert(source, tmp_path / "other", reference=False, start=replace(begin, seed=5))
    assert not torch.equal(
        state(tmp_path / "other")["audio_resampler.queries"], made["audio_resampler.queries"]
    )


@pytest.mark.parametrize("name", ["clip.pt", "clip.safetensors"])
def test_a_start_from_something_else_is_told(public, theirs, tmp_path, name):
    source, begin = public
    with pytest.raises(WeightsError):
        convert(theirs, tmp_path / "new", reference=False, start=begin)
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(WeightsError):
        convert(tmp_path / name, tmp_path / "new", reference=False, start=begin)
    with pytest.raises(WeightsError, match="cannot read"):
        convert(source, tmp_path / "new", reference=False, start=replace(begin, ast=tmp_path / "gone"))
    with pytest.raises(WeightsError):
        convert(tmp_path, tmp_path / "new", reference=False, start=begin)
    assert not (tmp_path / "new").exists()


def test_an_open_clip_model_that_is_none(theirs, tmp_path):
    with pytest.raises(ConfigError, match="no model 'ViT-Z'"):
        convert(theirs, tmp_path / "new", reference=False, start=Start(ast=theirs, clip="ViT-Z", seed=1))


# -- facts ---------------------------------------------------------------------------------------------


def test_facts_are_for_people_and_programs(ours, theirs):
    told = json.loads(json.dumps(facts(ours)))
    assert told["image"] == "1 layers of 64, 32 px"
    assert told["text"] == "2 layers of 64, 32 words"
    assert told["audio"] == "1 layers of 64, 3 queries"
    assert told["fusion"] == "2 layers of 64, twice"
    assert (told["frames"], told["padding"]) == (12, "reference")
    assert told["tensors"] == len(state(ours))
    assert (told["from made"], "from deep" in told) == ("here", False)
    other = facts(theirs)
    assert (other["format"], other["tensors"], other["parameters"]) == (
        "reference",
        told["tensors"],
        told["parameters"],
    )
    assert len(other["sha256"]) == 64


def test_facts_of_what_is_no_network(tmp_path):
    with pytest.raises(WeightsError):
        facts(tmp_path)


def test_what_the_reference_s_format_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    other = replace(SMALL, audio_stride=16)
    made = Save(other)
    initialise(made, seed=1)
    checkpoint.write(tmp_path / "other", made, provenance={})
    with pytest.raises(WeightsError, match="cannot hold"):
        convert(tmp_path / "other", tmp_path / "new.bin", reference=True)
    assert not (tmp_path / "new.bin").exists()


def test_what_a_file_of_theirs_does_not_tell_can_be_said(theirs, tmp_path):
    fed = {"n_frames": 32, "frames_per_s": 2, "n_words": 64}
    convert(theirs, tmp_path / "charades", reference=False, fed=fed)
    card = checkpoint.read(tmp_path / "charades")[0]
    assert (card.dims.n_frames, card.dims.frames_per_s, card.dims.n_words) == (32, 2, 64)
    assert (card.media.n_frames, card.media.frames_per_s, card.media.window_s) == (32, 2, 16.0)
