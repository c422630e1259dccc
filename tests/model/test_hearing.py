"""The front end and the network that hear are what YAMNet's authors wrote down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from savecli.model import mel as front
from savecli.model.hearing import SameConv, SoundNet
from savecli.model.mel import N_MELS, PATCH_ROWS, PATCH_S, SAMPLE_RATE_HZ
from savecli.model.stages import N_TAGS, WIDTH


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)


def mel(hz: float) -> float:
    return 1127.0 * np.log(1 + hz / 700.0)


def mel_filters() -> np.ndarray:
    """Bin by bin, as TensorFlow's linear_to_mel_weight_matrix computes them."""
    edges = np.linspace(mel(125), mel(7500), N_MELS + 2)
    filters = np.zeros((257, N_MELS))
    for k in range(1, 257):  # the constant part is left out
        at = mel(k * 16_000 / 512)
        for m in range(N_MELS):
            low, middle, high = edges[m : m + 3]
            filters[k, m] = max(0.0, min((at - low) / (middle - low), (high - at) / (high - middle)))
    return filters


def test_patches_are_what_a_short_time_fourier_transform_gives():
    wave = noise(3 * SAMPLE_RATE_HZ)
    padded = torch.zeros(512, dtype=torch.float64)
    padded[:400] = torch.hann_window(400, periodic=True, dtype=torch.float64)
    # The transform's window ends where ours does, so its last frames reach past the end: give it zeros.
    spectrum = torch.stft(
        functional.pad(torch.from_numpy(wave).double(), (0, 112)),
        n_fft=512,
        hop_length=160,
        win_length=512,
        window=padded,
        center=False,
        return_complex=True,
    ).abs()
    expected = np.log(spectrum.numpy().T @ mel_filters() + 1e-3)
    patches = front.log_mel_patches(wave)
    n_rows = len(patches) * PATCH_ROWS
    np.testing.assert_allclose(patches.reshape(-1, N_MELS), expected[:n_rows], atol=2e-4)
    assert 0 <= len(expected) - n_rows < PATCH_ROWS


@pytest.mark.parametrize(("hz", "louder_band"), [(200, "low"), (6000, "high")])
def test_a_tone_is_loud_where_it_sounds(hz, louder_band):
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    mean = front.log_mel_patches(np.sin(2 * np.pi * hz * time_s).astype(np.float32)).mean(axis=(0, 1))
    assert (mean[:8].max() > mean[-8:].max()) == (louder_band == "low")


@pytest.mark.parametrize(
    ("length_s", "n_patches"),
    [(0.0, 1), (0.5, 1), (0.975, 1), (1.9, 1), (1.95, 2), (5.0, 5), (12.0, 12), (15.0, 15)],
)
def test_patches_lie_side_by_side(length_s, n_patches):
    patches = front.log_mel_patches(noise(int(length_s * SAMPLE_RATE_HZ)))
    assert patches.shape == (n_patches, PATCH_ROWS, N_MELS)
    assert patches.dtype == np.float32
    assert np.isfinite(patches).all()
    assert patches.flags.c_contiguous
    assert patches.flags.writeable


def test_a_short_waveform_is_filled_up_with_silence():
    wave = noise(8000)
    filled = np.concatenate([wave, np.zeros(SAMPLE_RATE_HZ, np.float32)])[:15_600]
    np.testing.assert_array_equal(front.log_mel_patches(wave), front.log_mel_patches(filled))
    silence = front.log_mel_patches(np.zeros(0, np.float32))
    np.testing.assert_allclose(silence, np.log(1e-3), atol=1e-5)


def test_a_patch_does_not_depend_on_what_comes_after_it():
    wave = noise(5 * SAMPLE_RATE_HZ)
    first = front.log_mel_patches(wave[: 2 * SAMPLE_RATE_HZ])
    np.testing.assert_allclose(front.log_mel_patches(wave)[: len(first)], first, atol=1e-5)
    assert pytest.approx(0.96) == PATCH_S


def same(x: torch.Tensor, stride: int, kernel: int) -> torch.Tensor:
    """TensorFlow's SAME padding: ceil(n / stride) places, what is missing halved, the odd one behind."""
    for dim in (2, 3):
        n_out = -(-x.shape[dim] // stride)
        missing = max(0, (n_out - 1) * stride + kernel - x.shape[dim])
        before, after = missing // 2, missing - missing // 2
        shape = list(x.shape)
        sides = []
        for n in (before, after):
            shape[dim] = n
            sides.append(torch.zeros(shape))
        x = torch.cat([sides[0], x, sides[1]], dim=dim)
    return x


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]), st.booleans()
)
def test_a_convolution_pads_as_tensorflow_does(high, wide, kernel, stride, depthwise):
    torch.manual_seed(0)
    x = torch.randn(2, 4, high, wide)
    layer = SameConv(4, 4, kernel, stride, depthwise=depthwise)
    with torch.inference_mode():
        found = layer(x)
        expected = functional.conv2d(
            same(x, stride, kernel),
            layer.conv.weight,
            layer.conv.bias,
            stride,
            groups=4 if depthwise else 1,
        ).clamp(min=0)
    assert found.shape[2:] == (-(-high // stride), -(-wide // stride))
    torch.testing.assert_close(found, expected)


@pytest.fixture(scope="module")
def network() -> SoundNet:
    torch.manual_seed(0)
    made = SoundNet(7).eval()
    for parameter in made.parameters():
        parameter.requires_grad_(False)
        # Else the signal is gone after so many layers without norms.
        if parameter.dim() == 4:
            parameter.mul_((2 / parameter[0].numel()) ** 0.5 / parameter.std())
    return made


def test_the_network_is_mobilenet_written_out(network):
    x = patches = torch.from_numpy(front.log_mel_patches(noise(3 * SAMPLE_RATE_HZ)))
    strides = [2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    widths = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    convolutions = iter([m for m in network.modules() if isinstance(m, torch.nn.Conv2d)])
    with torch.inference_mode():
        x = x[:, None]
        for i, (stride, width) in enumerate(zip(strides, widths, strict=True)):
            conv = next(convolutions)
            x = functional.conv2d(
                same(x, stride, 3), conv.weight, conv.bias, stride, groups=x.shape[1] if i else 1
            ).relu()
            if i:
                conv = next(convolutions)
                assert conv.weight.shape == (width, x.shape[1], 1, 1)
                x = functional.conv2d(x, conv.weight, conv.bias).relu()
            assert x.shape[1] == width
        features = network(patches)
    assert x.shape[2:] == (3, 2)
    assert next(convolutions, None) is None
    assert features.std() > 1e-4, "a dead network would equal anything dead"
    torch.testing.assert_close(features, x.mean(dim=(2, 3)), atol=1e-5, rtol=1e-4)


def test_tags_have_chances_each_and_own_classes_share_one(network):
    features = network(torch.from_numpy(front.log_mel_patches(noise(5 * SAMPLE_RATE_HZ))))
    assert features.shape == (5, WIDTH)
    tags, own = network.chances(features)
    assert tags.shape == (5, N_TAGS)
    assert own.shape == (5, 7)
    torch.testing.assert_close(tags, torch.sigmoid(network.tags(features)))
    torch.testing.assert_close(own.sum(dim=1), torch.ones(5))


def test_a_patch_is_heard_the_same_in_any_batch(network):
    patches = torch.from_numpy(front.log_mel_patches(noise(4 * SAMPLE_RATE_HZ)))
    alone = torch.cat([network(patch[None]) for patch in patches])
    torch.testing.assert_close(network(patches), alone, atol=1e-4, rtol=1e-3)
