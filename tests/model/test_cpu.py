"""Without torch the networks compute what they compute in it, and load nothing that is not theirs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from savecli.errors import WeightsError
from savecli.model import cpu, mini
from savecli.model.legacy import read_floats
from savecli.model.weights import bundled, locate

WIDTH = 128
SIZES = {"n_queries": 4, "resampler_layers": 2, "fusion_layers": 2, "feed_forward": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    (path,) = locate("efficientnet-lite0", tmp_path_factory.mktemp("models")).values()
    return path


@pytest.fixture
def home(tmp_path):
    """Files of small networks at random, every tensor of them alive."""
    torch.manual_seed(1)
    head, sound = mini.ConceptHead(8, 5), mini.SoundNet(6)
    fusion = mini.Fusion(mini.fusion_dims(WIDTH, SIZES), 12)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    for name, network in (("seen", head), ("heard", sound), ("fusion", fusion)):
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
    return tmp_path


@pytest.fixture
def both(home, checkpoint):
    """Without torch, and in it."""
    ours = cpu.CpuNetworks(home, checkpoint, WIDTH)
    return ours, mini.MiniNetworks(home, checkpoint, WIDTH, SIZES, device="cpu")


def rows(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, WIDTH)).astype(np.float32)


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), np.uint8)


def test_pictures_are_seen_as_torch_sees_them(both):
    ours, theirs = (networks.look(pictures(6)) for networks in both)
    for found, expected in zip(ours, theirs, strict=True):
        assert expected.std() > 0.05, "a dead network would equal anything dead"
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_sound_is_heard_as_torch_hears_it(both):
    patches = np.random.default_rng(0).standard_normal((7, 96, 64)).astype(np.float32)
    ours, theirs = (networks.listen(patches) for networks in both)
    for found, expected in zip(ours, theirs, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_bundled_sound_network_is_the_same_in_both(checkpoint):
    home = bundled("save-mini")
    patches = np.random.default_rng(0).standard_normal((5, 96, 64)).astype(np.float32)
    ours = cpu.CpuNetworks(home, checkpoint, 384).listen(patches)
    theirs = mini.MiniNetworks(home, checkpoint, 384, {}, device="cpu").listen(patches)
    assert theirs[0].max() > 0.01
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("n_frames", "n_sound", "n_words"), [(12, 9, 7), (3, 0, 4), (5, 2, 0), (1, 0, 0)])
def test_fusing_is_what_torch_fuses(both, n_frames, n_sound, n_words):
    given = rows(n_frames, 0), rows(n_sound, 1), rows(n_words, 2)
    ours, theirs = (networks.fuse(*given) for networks in both)
    for found, expected in zip(ours, theirs, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_frame_is_seen_the_same_in_any_batch(both):
    ours, _ = both
    given = pictures(2 * cpu.PER_CALL + 1)
    together = ours.look(given)[0]
    alone = np.concatenate([ours.look(one[np.newaxis])[0] for one in given])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_torch_is_not_imported(home, checkpoint):
    code = (
        "import sys; import numpy as np; from pathlib import Path\n"
        "from savecli.model.cpu import CpuNetworks\n"
        f"n = CpuNetworks(Path({str(home)!r}), Path({str(checkpoint)!r}), {WIDTH})\n"
        "n.look(np.zeros((1, 224, 224, 3), np.uint8)); n.listen(np.zeros((1, 96, 64), np.float32))\n"
        f"n.fuse(*[np.ones((1, {WIDTH}), np.float32)] * 3); print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        *(("seen", "proj.weight"), ("heard", "tags.bias"), ("heard", "trunk.3.conv.weight")),
        *(("fusion", "audio_resampler.queries"), ("fusion", "speech_fusion.layers.1.mlp.fc.weight")),
    ],
)
def test_a_misshapen_or_missing_tensor_is_refused(home, checkpoint, name, tensor):
    def use():
        networks = cpu.CpuNetworks(home, checkpoint, WIDTH)
        networks.look(pictures(1))
        networks.listen(np.zeros((1, 96, 64), np.float32))
        networks.fuse(rows(1, 0), rows(1, 0), rows(1, 0))

    use()
    path = home / f"{name}.safetensors"
    state = load_file(path)
    for broken in (state | {tensor: torch.zeros(3, 5, 7)}, {k: v for k, v in state.items() if k != tensor}):
        save_file(broken, path)
        with pytest.raises(WeightsError, match=f"{name}.*does not hold this network") as caught:
            use()
        assert caught.value.hint


@pytest.mark.parametrize("change", ["short", "long", "misshapen"])
def test_another_vision_network_is_refused(checkpoint, change):
    tensors = dict(read_floats(checkpoint))
    last = next(reversed(tensors))
    match change:
        case "short":
            del tensors[last]
        case "long":
            tensors["more"] = tensors[last]
        case "misshapen":
            tensors[last] = tensors[last][:10]
    with pytest.raises(WeightsError, match=r"ends too early|unexpected more|is \(10,\)"):
        cpu.vision_graph(tensors, checkpoint)


def test_the_legacy_file_is_read_as_torch_reads_it(checkpoint):
    state = {k: v for k, v in torch.load(checkpoint, weights_only=True).items() if "num_batches" not in k}
    found = read_floats(checkpoint)
    assert list(found) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


def test_a_file_of_another_make_is_refused(tmp_path, checkpoint):
    path = tmp_path / "x.pth"
    whole = checkpoint.read_bytes()
    for content in (b"", b"no weights at all" * 9, whole[:1000], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="cannot read"):
            read_floats(path)
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="cannot read"):
        read_floats(path)


def test_nothing_in_a_legacy_file_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "proof"), "w")

    path = tmp_path / "x.pth"
    torch.save({"a": Evil()}, path, _use_new_zipfile_serialization=False)
    read_floats(path)
    assert not (tmp_path / "proof").exists()


def test_a_cpu_is_known_without_torch(monkeypatch):
    monkeypatch.setattr(cpu, "_DRIVERS", ())
    monkeypatch.setattr(sys, "platform", "linux")
    assert cpu.is_alone("cpu")
    assert cpu.is_alone("auto")
    assert not cpu.is_alone("cuda")
    monkeypatch.setattr(cpu, "_DRIVERS", ("/",))
    assert not cpu.is_alone("auto")
    assert cpu.is_alone("cpu")


def test_a_sound_that_is_surely_none_of_a_tag_warns_of_nothing():
    with np.errstate(over="raise"):
        chances = cpu._sigmoid(np.array([-200, -20, 0, 200], np.float32))
    assert chances.dtype == np.float32
    assert chances == pytest.approx([0, 2.0611537e-9, 0.5, 1])
