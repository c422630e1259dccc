"""ImageBind, the teacher of soft-ALBEF: sound or pictures -> a vector. For training only, never for a search.

Source: ImageBind (Girdhar et al., CVPR 2023) and its public code, for sizes and for what the network is fed.
The network is the one of the package imagebind-unofficial; its code, like the weights, is licensed
CC BY-NC-SA 4.0, so it is installed by hand and is no part of the product (docs/decisions.md).
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from savecli.errors import WeightsError
from savecli.model.checkpoint import check
from savecli.model.fbank import N_MELS, SAMPLE_RATE_HZ, WINDOW, log_energies
from savecli.model.inputs import normalise

HUGE: Mapping[str, int] = MappingProxyType(
    {
        "vision_embed_dim": 1280,
        "vision_num_blocks": 32,
        "vision_num_heads": 16,
        "text_embed_dim": 1024,
        "text_num_blocks": 24,
        "text_num_heads": 16,
        "out_embed_dim": 1024,
    }
)
"""Where imagebind_huge.pth differs from the sizes that the package's class has by itself."""
INSTALL = "pip install 'savecli[teacher]' && pip install --no-deps imagebind-unofficial==0.1.1"
SIZE_PX = 224
N_CLIPS = 3
CLIP_SAMPLES = 2 * SAMPLE_RATE_HZ
CLIP_STEP = SAMPLE_RATE_HZ // 100
CLIP_ROWS = 204
"""Rows of 10 ms; the 198 that 2 s fill are followed by 6 of log energy 0."""
MEAN, STD = -4.268, 9.138
"""Of log energies, as the network was trained; here a row is divided by STD once, in SAVE's own twice."""
_VERSION = 1  # of what the network is fed; another number makes all features anew
_WANTED = {"vision", "audio"}
_DAMAGED = (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError)


class ImageBind:
    """The teacher, in 32 bits. Its towers for text, depth, heat and movement are checked and left on disk.

    What it gives is the output of the network as published, its last step included: a picture's vector has
    length 1, a sound's 20 (a fixed temperature). A video is the mean of its pictures, a sound that of its
    clips, and such means are shorter. They are not normalised again: the loss takes their directions.

    Args:
        weights: imagebind_huge.pth, as `weights.locate` has it.
        device: where it runs; its tower for pictures is a ViT-H, so rather not on a CPU.
        sizes: of the network; tests have a small one.

    Raises:
        WeightsError: the package is not installed, or the file is not exactly this network; the hint says
            what to install, or names the tensors.
    """

    def __init__(self, weights: Path, device: torch.device | str, *, sizes: Mapping[str, int] = HUGE) -> None:
        network = _empty_network(sizes)
        state = _read(weights)
        check(weights, {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, state)
        for part in network.children():
            for modality in {name for name, _ in part.named_children()} - _WANTED:
                delattr(part, modality)
        kept = {name: state[name].float() for name in network.state_dict()}
        network.load_state_dict(kept, assign=True)
        self._network: nn.Module = network.requires_grad_(False).eval().to(device)
        self._device = torch.device(device)
        self.identity = f"imagebind-{_VERSION}-{_digest(kept)}"

    def embed_audio(self, waveform: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """(S,) float32 at 16 kHz in -1..1 -> (D,) float32, the mean over three clips.

        Without sound (None, or less than a window of 25 ms) two seconds of digital silence stand in, as in
        SAVE's own features. Such a row says nothing: training leaves videos without sound out of this loss.

        Raises:
            ValueError: a waveform of another shape or type.
        """
        clips = torch.from_numpy(audio_clips(waveform))
        return self._embed("audio", clips[None, :, None]).reshape(-1)

    def embed_video(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(F, 224, 224, 3) uint8 RGB -> (D,) float32, the mean of the frames' vectors.

        Raises:
            ValueError: no frames, or frames of another shape or type.
        """
        if frames.shape[1:3] != (SIZE_PX, SIZE_PX) or not len(frames):
            raise ValueError(f"frames must be (F, {SIZE_PX}, {SIZE_PX}, 3): {list(frames.shape)}")
        return np.asarray(self._embed("vision", normalise(frames)).mean(axis=0), np.float32)

    def _embed(self, modality: str, batch: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            rows: Tensor = self._network({modality: batch.to(self._device)})[modality]
        found: NDArray[np.float32] = rows.cpu().numpy()
        return found


def audio_clips(waveform: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """(S,) float32 at 16 kHz -> (N_CLIPS, N_MELS, CLIP_ROWS) float32: what ImageBind's audio tower reads.

    Clips of two seconds begin at the start, in the middle and two seconds before the end; of a shorter
    sound, each is all of it. Each becomes 128 Kaldi mel bands of 25 ms every 10 ms, cut or filled to 204
    rows with zeros, and only then normalised. None is silence, as is what is shorter than 25 ms.

    Raises:
        ValueError: a waveform of another shape or type.
    """
    if waveform is None:
        waveform = np.zeros(CLIP_SAMPLES, np.float32)
    if waveform.ndim != 1 or waveform.dtype != np.float32:
        raise ValueError(f"waveform must be (S,) float32: {waveform.dtype}{list(waveform.shape)}")
    if len(waveform) < WINDOW:
        waveform = np.zeros(CLIP_SAMPLES, np.float32)
    # In seconds and then exactly, as the teacher's own code has it: rounding decides which sample is first.
    spare_s = Fraction(max(0.0, len(waveform) / SAMPLE_RATE_HZ - CLIP_SAMPLES // SAMPLE_RATE_HZ))
    clips = np.zeros((N_CLIPS, N_MELS, CLIP_ROWS), np.float32)
    for number, clip in enumerate(clips):
        start = int(spare_s * number / (N_CLIPS - 1) * SAMPLE_RATE_HZ)
        samples = waveform[start : start + CLIP_SAMPLES]
        mean = np.float32(samples.mean(dtype=np.float64))
        rows = log_energies(samples, mean=mean, step=CLIP_STEP, max_rows=CLIP_ROWS)
        clip[:, : len(rows)] = rows.T
    clips -= np.float32(MEAN)
    clips /= np.float32(STD)
    return clips


def _empty_network(sizes: Mapping[str, int]) -> nn.Module:
    """The network without memory for its weights: 4.8 GB would be drawn at random to be thrown away."""
    with torch.device("meta"), _CountingOnCPU():
        network: nn.Module = _network_class()(**sizes)
    return network


class _CountingOnCPU(TorchFunctionMode):
    """The network draws up its list of drop rates from a tensor, and on "meta" that has no values."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


@cache
def _network_class() -> Any:  # noqa: ANN401 - the package is not typed
    try:
        with _bare_package():
            from imagebind.models.imagebind_model import ImageBindModel
    except ImportError as error:
        raise WeightsError(f"the teacher's code cannot be loaded: {error}", hint=INSTALL) from error
    return ImageBindModel


@contextmanager
def _bare_package() -> Iterator[None]:
    """Lets `imagebind.models` be imported without running the package's own `__init__`.

    That one imports its data module, which needs pkg_resources, torchaudio and pytorchvideo, of which the
    network uses nothing. A package is a module with a `__path__`, so an empty one stands in, and is taken
    away again with all that was imported through it: who wants the real package can still have it.
    """
    spec = importlib.util.find_spec("imagebind") if "imagebind" not in sys.modules else None
    if spec is None:  # imported already, whole; or not installed, as the import will say
        yield
        return
    bare = ModuleType("imagebind")
    bare.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["imagebind"] = bare
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "imagebind"]:
            del sys.modules[name]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        # Mapped, so that the towers that are not used are never read; PyTorch's old format cannot be.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _DAMAGED as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(f"cannot read {path}: {reason}", hint="save model pull imagebind-huge") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{path} holds no plain state dict", hint="save model pull imagebind-huge")
    return state


def _digest(state: Mapping[str, Tensor]) -> str:
    """16 hex digits that tell weights apart: of the last projections, as all would take a minute to read."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.startswith("modality_heads."):
            digest.update(state[name].numpy().tobytes())
    return digest.hexdigest()[:16]
