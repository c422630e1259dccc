"""The networks of save-mini: the fusion by itself, the parts of its row, and files that do not hold them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from savecli.errors import WeightsError
from savecli.model import mini
from savecli.model.network import Fusion, Masks, pool

WIDTH, N_POSITIONS = 64, 16
SIZES = {"n_queries": 4, "resampler_layers": 1, "fusion_layers": 2, "feed_forward": 2}
PARTS = ("seen", "heard", "said")


def fusion(seed: int) -> Fusion:
    """Random, also where a network begins with zeros."""
    torch.manual_seed(seed)
    network = Fusion(mini.fusion_dims(WIDTH, SIZES), N_POSITIONS).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def inputs(
    seed: int, n_frames: list[int], has_sound: list[bool], n_words: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Masks]:
    """A batch of videos: frames, sound tokens and states of words, padded to the longest."""
    random = torch.Generator().manual_seed(seed)
    n, most, words = len(n_frames), max(n_frames), max([1, *n_words])
    visual, audio, speech = (torch.randn(n, t, WIDTH, generator=random) for t in (most, 5, words))
    masks = Masks(
        frames=torch.arange(most) < torch.tensor(n_frames)[:, None],
        audio=torch.tensor(has_sound),
        speech=torch.arange(words) < torch.tensor(n_words)[:, None],
    )
    return visual, audio, speech, masks


def parts_of(network: Fusion, visual, audio, speech, masks) -> tuple[torch.Tensor, torch.Tensor]:
    """The (B, D) fused rows and their (B, 3, D) parts."""
    features = network.fuse(visual, network.audio_resampler(audio), speech, masks)
    return pool(features.fused, masks.frames)[1], mini.fused_parts(features, masks)


VIDEOS = st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 7)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), VIDEOS)
def test_the_parts_sum_to_the_fused_row_and_what_is_absent_puts_in_nothing(seed, videos):
    n_frames, has_sound, n_words = (list(column) for column in zip(*videos, strict=True))
    fused, parts = parts_of(fusion(seed), *inputs(seed, n_frames, has_sound, n_words))
    assert parts.shape == (len(videos), 3, WIDTH)
    torch.testing.assert_close(parts.sum(dim=1), fused, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fused.norm(dim=-1), torch.ones(len(videos)))
    for part, sound, words in zip(parts, has_sound, n_words, strict=True):
        assert bool(part[0].any())
        assert bool(part[1].any()) == sound
        assert bool(part[2].any()) == (words > 0)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), VIDEOS)
def test_a_video_fuses_the_same_alone_and_in_any_batch(seed, videos):
    n_frames, has_sound, n_words = (list(column) for column in zip(*videos, strict=True))
    network = fusion(seed)
    visual, audio, speech, masks = inputs(seed, n_frames, has_sound, n_words)
    fused, parts = parts_of(network, visual, audio, speech, masks)
    one = Masks(
        frames=masks.frames[:1, : n_frames[0]],
        audio=masks.audio[:1],
        speech=masks.speech[:1, : max(1, n_words[0])],
    )
    alone = parts_of(network, visual[:1, : n_frames[0]], audio[:1], speech[:1, : max(1, n_words[0])], one)
    torch.testing.assert_close(alone[0], fused[:1], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(alone[1], parts[:1], atol=1e-4, rtol=1e-3)


def test_what_is_masked_is_not_read():
    network = fusion(1)
    visual, audio, speech, masks = inputs(1, [3, 2], [False, True], [0, 2])
    before = parts_of(network, visual, audio, speech, masks)
    visual[1, 2:], audio[0], speech[0], speech[1, 2:] = 7.0, 7.0, 7.0, 7.0
    for old, new in zip(before, parts_of(network, visual, audio, speech, masks), strict=True):
        torch.testing.assert_close(old, new, atol=1e-5, rtol=1e-4)


def test_a_blank_frame_that_is_masked_leaves_numbers():
    network = Fusion(mini.fusion_dims(WIDTH, SIZES), N_POSITIONS).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.zero_()
    visual, audio, speech, masks = inputs(2, [3, 2], [True, True], [2, 2])
    visual[1, 2:] = 0
    fused, parts = parts_of(network, visual, audio, speech, masks)
    assert bool(torch.isfinite(parts).all())
    torch.testing.assert_close(parts.sum(dim=1), fused)


@pytest.fixture
def home(tmp_path):
    """Files of small random networks, but no EfficientNet."""
    torch.manual_seed(0)
    head = mini.ConceptHead(8, 5)
    sound = mini.SoundNet(6)
    more = {"concepts": torch.zeros(3, WIDTH), "mean": torch.zeros(WIDTH)}
    for name, state in (
        ("seen", head.state_dict() | more),
        ("heard", sound.state_dict() | more),
        ("fusion", fusion(3).state_dict()),
    ):
        save_file({k: v.half() for k, v in state.items()}, tmp_path / f"{name}.safetensors")
    return tmp_path


@pytest.fixture
def networks(home):
    return mini.MiniNetworks(home, home / "no-vision.pth", WIDTH, SIZES, device="cpu")


def rows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, WIDTH)).astype(np.float32)


@pytest.mark.parametrize(("n_sound", "n_words"), [(5, 4), (0, 4), (5, 0), (0, 0), (1, 1)])
def test_fusing_takes_what_there_is(networks, n_sound, n_words):
    fused, parts = networks.fuse(rows(3), rows(n_sound, 1), rows(n_words, 2))
    assert (fused.shape, parts.shape) == ((1, WIDTH), (3, WIDTH))
    assert fused.dtype == parts.dtype == np.float32
    np.testing.assert_allclose(parts.sum(axis=0), fused[0], atol=1e-5)
    assert np.linalg.norm(fused) == pytest.approx(1, abs=1e-5)
    assert [bool(part.any()) for part in parts] == [True, n_sound > 0, n_words > 0]


def test_listening_gives_the_chances_of_each_patch(networks):
    patches = np.random.default_rng(0).standard_normal((4, 96, 64)).astype(np.float32)
    tags, own = networks.listen(patches)
    assert (tags.shape, own.shape) == ((4, 521), (4, 6))
    assert tags.min() >= 0
    assert tags.max() <= 1
    np.testing.assert_allclose(own.sum(axis=1), 1, atol=1e-5)


def test_a_network_is_read_once_and_frozen(networks, home):
    networks.fuse(rows(1), rows(0), rows(0))
    (home / "fusion.safetensors").unlink()
    networks.fuse(rows(1), rows(0), rows(0))
    loaded = mini.load_sound(home)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


LOADERS = {
    "seen": mini.load_head,
    "heard": mini.load_sound,
    "fusion": lambda home: mini.load_fusion(home, WIDTH, SIZES),
}


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize(
    "content", [None, b"", b"no weights at all" * 9], ids=["missing", "empty", "garbage"]
)
def test_what_cannot_be_read_is_refused(home, name, content):
    path = home / f"{name}.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"cannot read .*{name}") as caught:
        LOADERS[name](home)
    assert caught.value.hint


@pytest.mark.parametrize("name", LOADERS)
def test_another_networks_file_is_refused(home, name):
    save_file({"x": torch.zeros(1)}, home / f"{name}.safetensors")
    with pytest.raises(WeightsError, match="does not hold this network"):
        LOADERS[name](home)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("seen", "proj.weight"), ("heard", "tags.bias"), ("fusion", "audio_resampler.queries")],
)
def test_a_misshapen_or_missing_tensor_is_refused(home, name, tensor):
    from safetensors.torch import load_file

    path = home / f"{name}.safetensors"
    state = load_file(path)
    save_file(state | {tensor: torch.zeros(3, 5, 7)}, path)
    with pytest.raises(WeightsError, match=tensor):
        LOADERS[name](home)
    save_file({k: v for k, v in state.items() if k != tensor}, path)
    with pytest.raises(WeightsError, match=tensor):
        LOADERS[name](home)
