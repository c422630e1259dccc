"""SAVE in numpy: branches that are kept and fused later give what the whole network gives at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from savecli.errors import ConfigError, WeightsError
from savecli.model import checkpoint
from savecli.model.batch import make_inputs
from savecli.model.dims import ModelDims
from savecli.model.gallery import encode_gallery, score_texts
from savecli.model.init import initialise
from savecli.model.network import Save
from savecli.model.save import Branches, SaveEncoder

CLIP = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
SMALL = {"audio_width": 64, "audio_layers": 1, "audio_heads": 1, "audio_stride": 64, "audio_patch": 32}
TEXTS = ["a man talks about a car", "two dogs play", "dog", "a band performs on stage"]
SPEECH = ["we went to the market", None, "hi", "it is raining again today"]


@pytest.fixture(scope="module", params=["reference", "masked"])
def encoder(request, tmp_path_factory):
    dims = ModelDims(
        clip=CLIP,
        **SMALL,
        n_queries=2,
        resampler_layers=1,
        fusion_layers=2,
        n_frames=3,
        reference_compat=request.param == "reference",
    )
    network = Save(dims)
    initialise(network, seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for fusion in (network.audio_fusion, network.speech_fusion):
            for layer in fusion.layers:  # open gates: what is heard and said shall matter
                layer.attn_gate.proj.weight.add_(torch.randn(1, 32, generator=generator))
                layer.cross_attn.out_proj.weight.mul_(30)
    folder = tmp_path_factory.mktemp("save") / request.param
    checkpoint.write(folder, network, provenance={})
    return SaveEncoder(folder, device="cpu")


@pytest.fixture(scope="module")
def media():
    """Frames and filter bank of four videos; some have fewer frames than there are slots, one no sound."""
    rng = np.random.default_rng(2)
    frames = [rng.integers(0, 256, (n, 32, 32, 3), np.uint8) for n in (3, 1, 2, 3)]
    fbanks = [rng.standard_normal((1024, 128), np.float32) for _ in range(4)]
    fbanks[2] = None
    return frames, fbanks


def branches(encoder, media):
    videos = []
    for frames, fbank, text in zip(*media, SPEECH, strict=True):
        states, n_words = encoder.understand(text or "")
        videos.append(
            Branches(
                visual=encoder.look(frames),
                audio=None if fbank is None else encoder.hear(fbank),
                speech=states if n_words else None,
                n_words=n_words,
            )
        )
    return videos


@pytest.fixture(scope="module")
def videos(encoder, media):
    return branches(encoder, media)


def scores(encoder, videos, **more):
    gallery = encoder.gallery(videos, encoder.blank(), **more)
    return np.concatenate(list(encoder.scores(encoder.read(TEXTS), gallery)))


def at_once(encoder, frames, fbanks, speech):
    inputs = make_inputs(frames, fbanks, speech, encoder.dims)
    return score_texts(encoder._network, encode_gallery(encoder._network, [inputs]), TEXTS, short_rule=True)


def test_fused_later_is_fused_at_once(encoder, media, videos):
    found = scores(encoder, videos)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, at_once(encoder, *media, SPEECH), atol=5e-5)


def test_without_a_branch_it_is_the_video_without_it(encoder, media, videos):
    frames, fbanks = media
    deaf = [replace(v, audio=None) for v in videos]
    mute = [replace(v, speech=None, n_words=0) for v in videos]
    whole = scores(encoder, videos)
    for ablated, (heard, said) in ((deaf, ([None] * 4, SPEECH)), (mute, (fbanks, [None] * 4))):
        found = scores(encoder, ablated)
        np.testing.assert_allclose(found, at_once(encoder, frames, heard, said), atol=5e-5)
        assert np.abs(found - whole).max() > 2e-3


def test_what_is_too_short_is_not_said(encoder, videos):
    assert [v.n_words for v in videos] == [7, 0, 0, 7]  # with start and end


def test_late_fusion_is_the_mean_of_what_there_is(encoder, media, videos):
    network, frames = encoder._network, media[0]
    texts = torch.from_numpy(encoder.read(TEXTS))
    scale = float(network.logit_scale.exp())
    found = scores(encoder, videos, fused=False)
    for i, video in enumerate(videos):
        x = torch.from_numpy(video.visual) + network.frame_positions.weight[: len(frames[i])]
        local = normalize(x, dim=-1)
        pooled = normalize(local.mean(dim=0), dim=-1)
        alone = [(torch.logsumexp(scale * texts @ local.T, dim=1) + scale * texts @ pooled) / 2]
        if video.audio is not None:
            tokens = normalize(torch.from_numpy(video.audio), dim=-1)
            alone.append(scale * texts @ normalize(tokens.mean(dim=0), dim=-1))
        if video.speech is not None:  # as a caption: its state at the end
            alone.append(scale * texts @ torch.from_numpy(encoder.read([SPEECH[i]]))[0])
        np.testing.assert_allclose(found[:, i], torch.stack(alone).mean(dim=0).numpy(), atol=5e-5)
    assert [v.audio is None for v in videos].count(True) == 1


def test_how_many_at_once_does_not_matter(encoder, videos, monkeypatch):
    whole = scores(encoder, videos), scores(encoder, videos, fused=False)
    monkeypatch.setattr("savecli.model.save.VIDEOS_AT_ONCE", 3)
    monkeypatch.setattr("savecli.model.save.TEXTS_AT_ONCE", 3)
    for before, now in zip(
        whole, (scores(encoder, videos), scores(encoder, videos, fused=False)), strict=True
    ):
        np.testing.assert_allclose(now, before, atol=5e-5)


def test_a_network_that_is_not_there_or_a_device_that_is_not(tmp_path, encoder):
    with pytest.raises(WeightsError):
        SaveEncoder(tmp_path / "gone", device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no cuda"):
            SaveEncoder(tmp_path / "gone", device="cuda")
    assert len(encoder.sha256) == 64
