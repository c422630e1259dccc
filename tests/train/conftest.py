"""A benchmark of a dozen videos, and a network that learns it in seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from savecli.bench.datasets import load
from savecli.toy import make_toy
from savecli.train.options import Options

SIZES = {
    "clip": {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
    },
    "audio_width": 32,
    "audio_layers": 1,
    "audio_heads": 1,
    "audio_patch": 32,
    "audio_stride": 64,
    "n_queries": 2,
    "resampler_layers": 1,
    "fusion_layers": 1,
}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch) -> Iterator[None]:
    """So small a network is no work to share: on a busy machine threads that wait cost minutes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "data"
    make_toy(folder, n_train=10, n_test=3, seed=3)
    return folder


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture
def sizes(tmp_path) -> Path:
    path = tmp_path / "sizes.json"
    path.write_text(json.dumps(SIZES))
    return path


@pytest.fixture
def options(toy, shared_cache, sizes, tmp_path):
    def make(**given) -> Options:
        chosen = {
            "out": tmp_path / "run",
            "from_scratch": True,
            "dims": sizes,
            "epochs": 2,
            "batch_size": 16,
            "n_frames": 3,
            "lr": 1e-3,
            "n_val": 2,
            "log_every": 1,
            "device": "cpu",
            **given,
        }
        return Options.of("msrvtt", toy, shared_cache, chosen)

    return make


@pytest.fixture
def dataset(toy):
    return load("msrvtt", toy, n_val=2)
