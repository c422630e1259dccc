"""A benchmark of six made-up videos, a small SAVE network, and runs whose features all tests share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from savecli import config as settings
from savecli.bench.datasets import load
from savecli.bench.records import Dataset
from savecli.bench.report import Report
from savecli.config import Config
from savecli.evaluate.options import Options
from savecli.evaluate.run import evaluate
from savecli.model import checkpoint
from savecli.model.dims import ModelDims
from savecli.model.encode import MiniEncoder
from savecli.model.init import initialise
from savecli.model.network import Save
from savecli.model.save import SaveEncoder
from savecli.toy import make_toy

N_VIDEOS = 6
CLIP = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
SMALL = {"audio_width": 64, "audio_layers": 1, "audio_heads": 1, "audio_stride": 64, "audio_patch": 32}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a network is no work to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> Path:
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("toy") / "data"
    make_toy(folder, n_train=1, n_test=N_VIDEOS, seed=5)
    return folder


@pytest.fixture(scope="session")
def dataset(toy) -> Dataset:
    return replace(load("csv", toy / "toy_queries.csv", parts=("test",)), name="toy")


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def config(model_dir) -> Config:
    return settings.load(model_dir=model_dir, device="cpu", asr="off")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def network(tmp_path_factory) -> Path:
    """A SAVE checkpoint of random weights whose fusions matter."""
    dims = ModelDims(clip=CLIP, **SMALL, n_queries=2, resampler_layers=1, fusion_layers=1, n_frames=3)
    network = Save(dims)
    initialise(network, seed=1)
    with torch.no_grad():
        for fusion in (network.audio_fusion, network.speech_fusion):
            for layer in fusion.layers:
                layer.attn_gate.proj.weight.add_(0.5)
                layer.cross_attn.out_proj.weight.mul_(50)
    folder = tmp_path_factory.mktemp("network") / "small"
    checkpoint.write(folder, network, provenance={})
    return folder


@pytest.fixture
def run(dataset, config, shared_cache) -> Callable[..., tuple[list[object], Report]]:
    """Evaluates; returns the events and the report."""

    def run_(*, of=dataset, config=config, **given):
        events = list(evaluate(Options(**{"cache": shared_cache, **given}), of, config))
        return events[:-1], events[-1]

    return run_


@pytest.fixture
def calls(monkeypatch) -> Counter[str]:
    """How often each encoder is asked for anything."""
    counted: Counter[str] = Counter()

    def count(encoder, name):
        original = getattr(encoder, name)

        def counting(self, *args, **more):
            counted[name] += 1
            return original(self, *args, **more)

        monkeypatch.setattr(encoder, name, counting)

    for name in ("see", "hear", "understand", "read"):
        count(MiniEncoder, name)
    for name in ("look", "hear", "understand", "read", "blank"):
        count(SaveEncoder, name)
    return counted
