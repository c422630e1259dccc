"""Our network is timm's, and loads nothing that is not exactly these weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from savecli.errors import ConfigError, WeightsError
from savecli.model import vision
from savecli.model.weights import locate

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    (path,) = locate("efficientnet-lite0", tmp_path_factory.mktemp("models")).values()
    return path


@pytest.fixture(scope="module")
def state(checkpoint):
    return torch.load(checkpoint, weights_only=True)


@pytest.fixture(scope="module")
def network(checkpoint):
    return vision.load(checkpoint, CPU)


@pytest.fixture
def refused(tmp_path):
    """Loads a made-up file; returns what is said against it."""

    def load(content: object) -> str:
        path = tmp_path / "made.pth"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(WeightsError) as caught:
            vision.load(path, CPU)
        assert caught.value.hint
        return caught.value.message

    return load


def frames(n: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 224, 224, 3), np.uint8))


def test_logits_are_those_of_timm(network, state):
    timm = pytest.importorskip("timm", reason="timm is in the extra dev")
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    named = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    slots = [key for key in theirs.state_dict() if not key.endswith("num_batches_tracked")]
    theirs.load_state_dict(dict(zip(slots, named, strict=True)), strict=False)
    given = frames(2)
    with torch.inference_mode():
        expected = theirs((given.permute(0, 3, 1, 2).float() - 127.5) / 127.5)
        ours, features = network(given)
        torch.testing.assert_close(network.classifier(features), ours)
        torch.testing.assert_close(network.features(given), features)
    assert features.shape == (2, 1280)
    assert expected.std() > 0.1, "a dead network would equal anything dead"
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=0)


def test_a_frame_is_read_the_same_in_any_batch(network):
    given = frames(3, seed=1)
    with torch.inference_mode():
        together = network(given)
        alone = [torch.cat(each) for each in zip(*(network(frame[None]) for frame in given), strict=True)]
    for found, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_a_loaded_network_is_frozen(network):
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("content", [b"", b"no weights at all" * 50], ids=["empty", "garbage"])
def test_what_is_no_checkpoint_is_refused(refused, content):
    assert "cannot read" in refused(content)


def test_half_a_checkpoint_is_refused(refused, checkpoint):
    assert "cannot read" in refused(checkpoint.read_bytes()[: 9 << 20])


def test_code_in_a_pickle_is_not_run(refused, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    assert "cannot read" in refused({"_conv_stem.weight": Evil()})
    assert not (tmp_path / "ran").exists()


def test_another_kind_of_object_is_refused(refused):
    assert "no tensors in it" in refused([torch.zeros(1)])


def test_a_tensor_too_few_or_too_many_is_refused(refused, state):
    assert "it ends too early" in refused({k: v for k, v in state.items() if k != "_fc.bias"})
    assert "unexpected more" in refused({**state, "more": torch.zeros(1)})


@pytest.mark.parametrize("name", ["_conv_stem.weight", "_bn0.weight", "_bn0.running_var", "_fc.weight"])
def test_a_misshapen_tensor_is_named(refused, state, name):
    assert f"{name} is (7,), not" in refused({**state, name: torch.zeros(7)})


def test_a_missing_tensor_in_the_middle_is_told_by_the_next_one(refused, state):
    message = refused({k: v for k, v in state.items() if k != "_conv_stem.weight"})
    assert "_bn0.weight is (32,), not (32, 3, 3, 3)" in message


def test_something_that_is_no_tensor_is_refused(refused, state):
    assert "_bn0.bias is str, not (32,)" in refused({**state, "_bn0.bias": "hello"})


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted", "chosen"),
    [
        (True, True, "auto", "cuda"),
        (False, True, "auto", "mps"),
        (False, False, "auto", "cpu"),
        (True, True, "cpu", "cpu"),
        (True, True, "mps", "mps"),
    ],
)
def test_the_device_is_the_one_named_or_the_best_there_is(monkeypatch, cuda, mps, wanted, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert vision.choose_device(wanted).type == chosen


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no cuda device") as caught:
        vision.choose_device("cuda")
    assert "--device auto" in caught.value.hint
