"""The networks of save-mini on a CPU: ONNX Runtime convolves, numpy does the rest; torch is not imported.

In fp32 on one thread ONNX Runtime takes less than half of torch's time for the same numbers
(docs/decisions.md has the ways that were tried). Graphs are built from the weights that are there, so nothing
is exported or kept. Several threads may call at a time.
Shapes: F frames, N patches, K concepts or classes, D embedding.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from savecli.errors import WeightsError
from savecli.model.fusing import NumpyFusion
from savecli.model.legacy import read_floats
from savecli.model.mel import N_MELS, PATCH_ROWS
from savecli.model.onnx import Graph, same_pads, session
from savecli.model.stages import BATCH_NORM_EPS, N_CLASSES, N_FEATURES, N_TAGS, SOUND, VISION, WIDTH
from savecli.model.text import gelu, map_safetensors, softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]
    Tensors = Mapping[str, Rows]

PER_CALL = 4
"""Frames or patches in one run: more of them are no faster, and take more memory."""
IMAGE_PX = 224
HEADS_OF = 64
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")


def is_alone(device: str) -> bool:
    """Whether pictures have nothing but this CPU, told without torch; False where torch must tell."""
    is_apple = sys.platform == "darwin" and platform.machine() == "arm64"
    has_driver = is_apple or any(Path(sign).exists() for sign in _DRIVERS)
    return device == "cpu" or (device == "auto" and not has_driver)


class CpuNetworks:
    """What `mini.MiniNetworks` computes, to rounding; each network is loaded when it is first needed.

    Args:
        home: the folder of save-mini's own weights.
        frozen_vision: EfficientNet-Lite0's file.
        width: D.
    """

    device = "cpu"

    def __init__(self, home: Path, frozen_vision: Path, width: int) -> None:
        self._home = home
        self._frozen_vision = frozen_vision
        self._width = width
        self._lock = Lock()
        self._loaded: dict[str, Any] = {}

    def look(self, frames: NDArray[np.uint8]) -> tuple[Rows, Rows]:
        """(F, H, W, 3) uint8 RGB -> logits: (F, 1000) of ImageNet's classes, (F, K) of further concepts."""
        trunk, classify, head = self._once("vision", self._load_vision)
        features = _in_parts(trunk, frames)
        return classify(features), head[1](gelu(head[0](features)))

    def listen(self, patches: Rows) -> tuple[Rows, Rows]:
        """(N, 96, 64) log-mel patches -> the chances of AudioSet's tags, and of our own classes."""
        trunk, tags, own = self._once("heard", self._load_sound)
        features = _in_parts(trunk, patches)
        return _sigmoid(tags(features)), softmax(own(features))

    def fuse(self, frames: Rows, sound: Rows, words: Rows) -> tuple[Rows, Rows]:
        """(F, D) frames, (T, D) sound, (W, D) states of speech -> (1, D) fused row, its (3, D) parts."""
        fused: tuple[Rows, Rows] = self._once("fusion", self._load_fusion)(frames, sound, words)
        return fused

    def _once(self, name: str, load: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `load` returns
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load()
            return self._loaded[name]

    def _load_vision(self) -> tuple[Any, ...]:
        tensors = read_floats(self._frozen_vision)
        trunk, classifier = vision_graph(tensors, self._frozen_vision)
        path = self._home / "seen.safetensors"
        seen = floats(path, ("fc.", "proj."))
        hidden = seen["fc.weight"].shape[0] if "fc.weight" in seen else 0
        return (
            session(trunk),
            classifier,
            (_linear(seen, "fc", N_FEATURES, path), _linear(seen, "proj", hidden, path)),
        )

    def _load_sound(self) -> tuple[Any, ...]:
        path = self._home / "heard.safetensors"
        tensors = floats(path, ("trunk.", "tags.", "own."))
        tags = _linear(tensors, "tags", WIDTH, path, N_TAGS)
        return session(sound_graph(tensors, path)), tags, _linear(tensors, "own", WIDTH, path)

    def _load_fusion(self) -> NumpyFusion:
        path = self._home / "fusion.safetensors"
        tensors = floats(path, ("",))
        try:
            fusion = NumpyFusion(tensors, max(1, self._width // HEADS_OF))
            one = np.ones((1, self._width), np.float32)
            fusion(one, one, one)  # every tensor is read, and fits
        except (KeyError, ValueError) as error:
            raise WeightsError(f"{path} does not hold this network: {error}", hint="save doctor") from error
        return fusion


def vision_graph(tensors: Tensors, path: Path) -> tuple[bytes, Callable[[Rows], Rows]]:
    """EfficientNet-Lite0 up to its features, (F, 224, 224, 3) uint8 -> (F, 1280), and its classifier.

    Architecture: see `vision.EfficientNetLite0`; the file's names are of another code base, its order is the
    order of computation.

    Raises:
        WeightsError: where the file does not hold exactly this network, naming the first difference.
    """
    rest = iter(tensors.items())
    graph = Graph((None, IMAGE_PX, IMAGE_PX, 3), "uint8")
    x = graph.add("Transpose", graph.add("Cast", graph.entry, to=1), perm=(0, 3, 1, 2))
    x = graph.add("Div", graph.add("Sub", x, graph.constant(127.5)), graph.constant(127.5))
    least, most = graph.constant(0.0), graph.constant(6.0)
    size = IMAGE_PX

    def convolve(
        x: str, d_in: int, d_out: int, kernel: int, stride: int, *, active: bool, groups: int = 1
    ) -> str:
        nonlocal size
        weight = _take(rest, (d_out, d_in // groups, kernel, kernel), path)
        gamma, beta, mean, variance = (_take(rest, (d_out,), path) for _ in range(4))
        scale = gamma / np.sqrt(variance + np.float32(BATCH_NORM_EPS))
        folded, bias = weight * scale[:, None, None, None], beta - mean * scale
        pads = same_pads((size, size), kernel, stride)
        size = -(-size // stride)
        y = graph.conv(x, folded, bias, stride=stride, pads=pads, groups=groups)
        return graph.add("Clip", y, least, most) if active else y

    x, width = convolve(x, 3, 32, 3, 2, active=True), 32
    for repeats, kernel, first_stride, expansion, d_out in VISION:
        for number in range(repeats):
            stride, inner = first_stride if number == 0 else 1, width * expansion
            y = convolve(x, width, inner, 1, 1, active=True) if expansion > 1 else x
            y = convolve(y, inner, inner, kernel, stride, active=True, groups=inner)
            y = convolve(y, inner, d_out, 1, 1, active=False)
            x, width = graph.add("Add", x, y) if stride == 1 and width == d_out else y, d_out
    x = convolve(x, width, N_FEATURES, 1, 1, active=True)
    weight, bias = _take(rest, (N_CLASSES, N_FEATURES), path), _take(rest, (N_CLASSES,), path)
    if (extra := next(rest, None)) is not None:
        raise WeightsError(f"{path} is not EfficientNet-Lite0: unexpected {extra[0]}", hint="save doctor")
    return _pooled(graph, x, N_FEATURES), _affine(weight, bias)


def sound_graph(tensors: Tensors, path: Path) -> bytes:
    """The trunk of `hearing.SoundNet`, (N, 96, 64) -> (N, 1024).

    Raises:
        WeightsError: a tensor that is missing or of another shape.
    """
    graph = Graph((None, 1, PATCH_ROWS, N_MELS), "float32")
    size, number = (PATCH_ROWS, N_MELS), 0

    def convolve(x: str, d_in: int, d_out: int, kernel: int, stride: int, groups: int = 1) -> str:
        nonlocal size, number
        weight = _named(tensors, f"trunk.{number}.conv.weight", (d_out, d_in // groups, kernel, kernel), path)
        bias = _named(tensors, f"trunk.{number}.conv.bias", (d_out,), path)
        pads = same_pads(size, kernel, stride)
        size, number = (-(-size[0] // stride), -(-size[1] // stride)), number + 1
        return graph.add("Relu", graph.conv(x, weight, bias, stride=stride, pads=pads, groups=groups))

    x, width = convolve(graph.entry, 1, 32, 3, 2), 32
    for stride, d_out in SOUND:
        x, width = convolve(convolve(x, width, width, 3, stride, width), width, d_out, 1, 1), d_out
    return _pooled(graph, x, WIDTH)


def floats(path: Path, prefixes: tuple[str, ...]) -> dict[str, Rows]:
    """The tensors whose names begin so, in 32 bits.

    Raises:
        WeightsError: a file that is missing or is not in the safetensors format.
    """
    tensors = map_safetensors(path)
    return {name: t.astype(np.float32) for name, t in tensors.items() if name.startswith(prefixes)}


def _pooled(graph: Graph, x: str, width: int) -> bytes:
    return graph.to_bytes(graph.add("Flatten", graph.add("GlobalAveragePool", x)), (None, width))


def _in_parts(trunk: Any, items: NDArray[Any]) -> Rows:  # noqa: ANN401 - an InferenceSession
    shape = trunk.get_inputs()[0].shape[1:]
    rows = [
        trunk.run(None, {Graph.entry: part.reshape(len(part), *shape)})[0]
        for part in (items[at : at + PER_CALL] for at in range(0, len(items), PER_CALL))
    ]
    return np.concatenate(rows)


def _affine(weight: Rows, bias: Rows) -> Callable[[Rows], Rows]:
    return lambda x: x @ weight.T + bias


def _linear(
    tensors: Tensors, name: str, d_in: int, path: Path, d_out: int | None = None
) -> Callable[[Rows], Rows]:
    known = tensors.get(f"{name}.bias")
    d_out = d_out or (known.size if known is not None else 0)
    weight = _named(tensors, f"{name}.weight", (d_out, d_in), path)
    return _affine(weight, _named(tensors, f"{name}.bias", (d_out,), path))


def _take(rest: Iterator[tuple[str, Rows]], shape: tuple[int, ...], path: Path) -> Rows:
    """The next tensor of the file, which must have this shape."""
    name, tensor = next(rest, ("", None))
    if tensor is None:
        raise WeightsError(f"{path} is not EfficientNet-Lite0: it ends too early", hint="save doctor")
    if tensor.shape != shape:
        raise WeightsError(f"{path}: {name} is {tensor.shape}, not {shape}", hint="save doctor")
    return tensor


def _named(tensors: Tensors, name: str, shape: tuple[int, ...], path: Path) -> Rows:
    found = tensors.get(name)
    if found is None or found.shape != shape:
        is_there = "not there" if found is None else f"{found.shape}"
        raise WeightsError(
            f"{path} does not hold this network: {name} is {is_there}, not {shape}", hint="save doctor"
        )
    return found


def _sigmoid(logits: Rows) -> Rows:
    # Below, the sum is no number of 32 bits any more; the chance is none either way.
    return (1 / (1 + np.exp(-np.maximum(logits, -80)))).astype(np.float32, copy=False)
