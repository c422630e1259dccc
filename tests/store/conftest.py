"""A store in a temporary folder, and the made-up videos to fill it with."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from savecli.store import Store


def _load_samples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("store_samples", Path(__file__).with_name("samples.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["store_samples"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    return _load_samples()


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(home, samples):
    with Store.open(home, identity=samples.IDENTITY, mode="write") as opened:
        yield opened
