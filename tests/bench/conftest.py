"""A folder for a benchmark's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from .layouts import Benchmark


@pytest.fixture
def bench(tmp_path: Path) -> Benchmark:
    (tmp_path / "data").mkdir()
    return Benchmark(tmp_path / "data")
