"""The networks of save-mini: pictures, sound and fusion, numpy in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

from savecli.errors import WeightsError
from savecli.model import vision
from savecli.model.dims import ModelDims
from savecli.model.hearing import SoundNet
from savecli.model.network import Features, Fusion, Masks, pool
from savecli.model.stages import N_FEATURES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Rows = NDArray[np.float32]

EPS = 1e-12  # as torch's normalize has it
Network = TypeVar("Network", bound=nn.Module)


class ConceptHead(nn.Module):
    """EfficientNet-Lite0's features -> logits of the concepts that ImageNet lacks.

    Args:
        n_hidden, n_concepts: sizes.
    """

    def __init__(self, n_hidden: int, n_concepts: int) -> None:
        super().__init__()
        self.fc = nn.Linear(N_FEATURES, n_hidden)
        self.proj = nn.Linear(n_hidden, n_concepts)

    def forward(self, features: Tensor) -> Tensor:
        """(B, N_FEATURES) -> (B, n_concepts)."""
        result: Tensor = self.proj(functional.gelu(self.fc(features)))
        return result


def fusion_dims(width: int, sizes: Mapping[str, int]) -> ModelDims:
    """Of save-mini's fusion: `sizes` as in model.json; there is no CLIP around it."""
    return ModelDims(clip={"embed_dim": width}, reference_compat=False, **sizes)


def fused_parts(features: Features, masks: Masks) -> Tensor:
    """(B, 3, D): what seen, heard and said each put into the unit row of the fused frames; they sum to it.

    A fused frame is twice the frame and half of what each fusion changed in it, and pooling is linear once
    its norms are known. What a fusion without a memory changes is the frames' own.
    """
    x = features.visual
    heard, said = (0.5 * (after - x) for after in (features.heard, features.said))
    deaf, mute = (~m.view(-1, 1, 1) for m in (masks.audio, masks.speech.any(dim=1)))
    own = 2 * x + heard * deaf + said * mute
    parts = torch.stack([own, heard * ~deaf, said * ~mute], dim=1)
    weights = masks.frames / features.fused.norm(dim=-1).clamp(min=EPS)
    pooled = (parts * weights[:, None, :, None]).sum(dim=2)
    result: Tensor = pooled / pooled.sum(dim=1, keepdim=True).norm(dim=-1, keepdim=True).clamp(min=EPS)
    return result


class MiniNetworks:
    """What runs in torch; each network is loaded when it is first needed.

    Args:
        home: the folder of save-mini's own weights.
        frozen_vision: EfficientNet-Lite0's file.
        width: D.
        sizes: of the fusion, as in model.json.
        device: see `vision.choose_device`; pictures go there, sound and fusion are too small to gain.
    """

    def __init__(
        self, home: Path, frozen_vision: Path, width: int, sizes: Mapping[str, int], *, device: str
    ) -> None:
        self._home = home
        self._frozen_vision = frozen_vision
        self._width = width
        self._sizes = sizes
        self.device = vision.choose_device(device)
        self._loaded: dict[str, nn.Module] = {}

    def look(self, frames: NDArray[np.uint8]) -> tuple[Rows, Rows]:
        """(F, H, W, 3) uint8 RGB -> logits: (F, 1000) of ImageNet's classes, (F, K) of further concepts."""
        classifier = self._network("vision", lambda: vision.load(self._frozen_vision, self.device))
        head = self._network("seen", lambda: load_head(self._home).to(self.device))
        with torch.inference_mode():
            logits, features = classifier(torch.from_numpy(frames).to(self.device))
            return logits.float().cpu().numpy(), head(features.float()).cpu().numpy()

    def listen(self, patches: Rows) -> tuple[Rows, Rows]:
        """(N, 96, 64) log-mel patches -> the chances of AudioSet's tags, and of our own classes."""
        network = self._network("heard", lambda: load_sound(self._home))
        with torch.inference_mode():
            tags, own = network.chances(network(torch.from_numpy(patches)))
        return tags.numpy(), own.numpy()

    def fuse(self, frames: Rows, sound: Rows, words: Rows) -> tuple[Rows, Rows]:
        """(F, D) frames, (T, D) sound, (W, D) states of speech -> (1, D) fused row, its (3, D) parts."""
        network = self._network("fusion", lambda: load_fusion(self._home, self._width, self._sizes))
        with torch.inference_mode(), _one_thread():
            visual, audio, speech = (torch.from_numpy(rows).unsqueeze(0) for rows in (frames, sound, words))
            masks = Masks(
                frames=torch.ones(1, len(frames), dtype=torch.bool),
                audio=torch.tensor([len(sound) > 0]),
                speech=torch.ones(1, max(len(words), 1), dtype=torch.bool) & bool(len(words)),
            )
            audio, speech = (
                rows if rows.shape[1] else torch.zeros(1, 1, self._width) for rows in (audio, speech)
            )
            features = network.fuse(visual, network.audio_resampler(audio), speech, masks)
            fused = pool(features.fused, masks.frames)[1]
            parts = fused_parts(features, masks)[0]
        return fused.numpy(), parts.numpy()

    def _network(self, name: str, load: Callable[[], Network]) -> Network:
        if name not in self._loaded:
            self._loaded[name] = load()
        return self._loaded[name]  # type: ignore[return-value]


@contextmanager
def _one_thread() -> Iterator[None]:
    """For work so small that threads cost more than they do, on a busy machine ten times as much."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def load_head(home: Path) -> ConceptHead:
    """The concept head of save-mini.

    Raises:
        WeightsError: a file that does not hold it.
    """
    state = read_state(home / "seen.safetensors", ("fc.", "proj."))
    return _filled(
        lambda: ConceptHead(len(state["fc.bias"]), len(state["proj.bias"])), state, home / "seen.safetensors"
    )


def load_sound(home: Path) -> SoundNet:
    """The sound network of save-mini.

    Raises:
        WeightsError: a file that does not hold it.
    """
    state = read_state(home / "heard.safetensors", ("trunk.", "tags.", "own."))
    return _filled(lambda: SoundNet(len(state["own.bias"])), state, home / "heard.safetensors")


def load_fusion(home: Path, width: int, sizes: Mapping[str, int]) -> Fusion:
    """The gated fusion of save-mini.

    Raises:
        WeightsError: a file that does not hold it.
    """
    path = home / "fusion.safetensors"
    state = read_state(path, ("",))
    dims = fusion_dims(width, sizes)
    return _filled(lambda: Fusion(dims, len(state["frame_positions.weight"])), state, path)


def read_state(path: Path, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors whose names begin so, in 32 bits.

    Raises:
        WeightsError: a file that is missing or is not in the safetensors format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read {path}: {error}", hint="save doctor") from error
    return {name: tensor.float() for name, tensor in tensors.items() if name.startswith(prefixes)}


def _filled(make: Callable[[], Network], state: dict[str, Any], path: Path) -> Network:
    try:
        network = make()
        network.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"{path} does not hold this network: {error}", hint="save doctor") from error
    return network.requires_grad_(False).eval()
