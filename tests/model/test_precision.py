"""SAVE's encoders on ONNX Runtime and in fewer bits: the same network, as near as each precision says."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from savecli.errors import ConfigError
from savecli.model import onnx, precision
from savecli.model.dims import ModelDims
from savecli.model.init import initialise
from savecli.model.network import Masks, Save, pool, word_mask

from .golden import Golden

CLIP = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 128, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1},
}
SMALL = {"audio_width": 128, "audio_layers": 3, "audio_heads": 2, "audio_stride": 64, "audio_patch": 32}
EXACT, WITHIN = 1e-5, 5e-3


def made(**clip):
    dims = ModelDims(clip={**CLIP, **clip}, **SMALL, n_queries=2, resampler_layers=1, fusion_layers=1)
    network = Save(dims)
    initialise(network, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in [*network.visual_encoder.parameters(), *network.audio_encoder.parameters()]:
            if parameter.dim() == 1:  # a norm or a bias that does nothing would hide its absence
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.requires_grad_(False).eval()


def encoded(network):
    """Frames and sound at random, encoded."""
    generator = torch.Generator().manual_seed(3)
    frames = torch.randn(1, 5, 3, 32, 32, generator=generator)
    fbank = torch.randn(1, 1024, 128, generator=generator)
    with torch.inference_mode():
        seen = network.encode_frames(frames, torch.ones(1, 5, dtype=torch.bool))
        return seen, network.encode_audio(fbank, torch.ones(1, dtype=torch.bool))


def apart(found, expected):
    """The largest 1 - cosine of any row."""
    return float((1 - (normalize(found, dim=-1) * normalize(expected, dim=-1)).sum(dim=-1)).max())


@pytest.mark.parametrize(
    "clip",
    [
        {},
        {"quick_gelu": False},
        {"vision_cfg": {**CLIP["vision_cfg"], "ls_init_value": 0.5, "mlp_ratio": 2.0}},
    ],
    ids=["as CLIP's", "another activation", "scaled layers"],
)
@pytest.mark.parametrize(
    ("bits", "least", "most"), [("fp32", 0, EXACT), ("int8", 1e-6, WITHIN), ("bf16", 1e-7, WITHIN)]
)
def test_a_refitted_network_encodes_the_same(clip, bits, least, most):
    network = made(**clip)
    expected = encoded(network)
    precision.refit(network, bits)
    for found, right in zip(encoded(network), expected, strict=True):
        assert found.dtype == torch.float32
        assert least < apart(found, right) + 1e-9 <= most
    if bits == "fp32":
        torch.testing.assert_close(encoded(network), expected, atol=2e-5, rtol=1e-4)


def test_onnx_runtime_computes_the_blocks_and_torch_keeps_no_copy_of_them():
    network = made()
    n_before = sum(p.numel() for p in network.visual_encoder.transformer.parameters())
    precision.refit(network, "int8")
    assert n_before > 0
    for part in (network.visual_encoder.transformer, network.audio_encoder.blocks):
        assert [*part.parameters()] == []


def test_many_blocks_are_several_graphs(monkeypatch):
    one = made()
    several = copy.deepcopy(one)
    precision.refit(one, "fp32")
    monkeypatch.setattr(precision, "MOST_BYTES", 2 * 12 * 128**2 * 4)  # two blocks and no third
    precision.refit(several, "fp32")
    assert [len(n.visual_encoder.transformer._sessions) for n in (one, several)] == [1, 2]
    torch.testing.assert_close(encoded(several), encoded(one))


def test_where_products_would_overflow_the_slower_way_gives_the_same(monkeypatch):
    fast, slow = made(), made()
    precision.refit(fast, "int8")
    asked = []

    def noted(*args, **given):
        asked.append(given["exact"])
        return onnx.session(*args, **given)

    monkeypatch.setattr(precision, "overflows", lambda: True)
    monkeypatch.setattr(precision, "session", noted)
    precision.refit(slow, "int8")
    assert asked == [True, True]
    if not onnx.overflows():
        for found, right in zip(encoded(slow), encoded(fast), strict=True):
            assert apart(found, right) < 1e-6


def test_a_row_of_zeros_has_no_scale_and_stays_nothing():
    network = made()
    network.audio_encoder.blocks[0].mlp.fc.weight[3] = 0
    expected = encoded(network)[1]
    precision.refit(network, "int8")
    assert apart(encoded(network)[1], expected) <= WITHIN


def test_int8_is_for_a_cpu_and_for_plain_transformers():
    other = {"vision_cfg": {**CLIP["vision_cfg"], "layers": [1, 1, 1, 1], "width": 8, "image_size": 32}}
    network = made(**other)
    expected = encoded(network)
    with pytest.raises(ConfigError, match="plain vision transformers") as caught:
        precision.refit(copy.deepcopy(network), "int8")
    assert caught.value.hint == "--precision fp32"
    precision.refit(network, "fp32")  # frames by torch, sound by ONNX Runtime
    torch.testing.assert_close(encoded(network), expected, atol=2e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="int8 is for a CPU, and this is meta") as caught:
        precision.refit(made().to("meta"), "int8")
    assert "--precision bf16" in caught.value.hint


def test_off_a_cpu_weights_stay_and_autocast_computes():
    part = precision.Bf16(torch.nn.Linear(8, 8), "cpu")
    assert part.part.weight.dtype == torch.bfloat16
    part = precision.Bf16(torch.nn.Linear(8, 8), "meta")
    assert part.part.weight.dtype == torch.float32
    part._device = "cpu"  # which has autocast as well
    x = torch.randn(4, 8)
    found = part(x)
    assert found.dtype == torch.float32
    assert 0 < (found - part.part(x)).abs().max() < 0.05


@pytest.fixture(scope="module")
def full(parity):
    """The golden videos at full size, with the cosines that torch has of them."""
    golden = Golden(parity, "full")
    network = golden.network().requires_grad_(False).eval()
    return golden, network, cosines(network, golden)


@pytest.mark.parametrize(("bits", "most"), [("fp32", 1e-5), ("bf16", WITHIN), ("int8", WITHIN)])
def test_the_golden_videos_keep_their_cosines(full, bits, most):
    """Text against frames and videos, with the weights of the spec's rule."""
    golden, network, expected = full
    refitted = copy.deepcopy(network)
    precision.refit(refitted, bits)
    for found, right in zip(cosines(refitted, golden), expected, strict=True):
        assert np.abs(found - right).max() <= most


def cosines(network, golden):
    """Of every caption with every video, and with every real frame."""
    captions, inputs = torch.from_numpy(golden.arrays["in.caption_ids"]), golden.inputs()
    masks = Masks(frames=inputs.frame_mask, audio=inputs.audio_mask, speech=word_mask(inputs.speech))
    with torch.inference_mode():
        seen = network.encode_frames(inputs.frames, inputs.frame_mask)
        heard = network.resample_audio(inputs.fbank, inputs.audio_mask)
        fused = network.fuse(seen, heard, network.text_encoder(inputs.speech), masks).fused
        local, pooled = pool(fused, inputs.frame_mask)
        text = normalize(network.encode_caption(captions), dim=-1)
        near = torch.einsum("nd,bfd->nbf", text, local)[:, inputs.frame_mask]
        return (text @ pooled.T).numpy(), near.numpy()
