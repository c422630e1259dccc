"""A network as ONNX, written byte by byte, for ONNX Runtime.

ONNX is a Protocol Buffers format, and what our networks need of it is fifty lines: so the graph is built
from the weights that are there, each time, and neither the onnx package nor a second copy of the weights is
needed. Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

IR_VERSION, OPSET = 8, 17
MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7}
_FLOAT, _INT, _INTS = 1, 2, 7


class Graph:
    """Nodes and constants, added in the order of computation; names are made up on the way.

    Args:
        shape: of the one input; a dimension of None may be any.
        dtype: of the input, "float32" or "uint8".
    """

    entry = "x"

    def __init__(self, shape: Sequence[int | None], dtype: str) -> None:
        self._input = _value(self.entry, dtype, shape)
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def constant(self, values: NDArray[Any] | Sequence[int] | float) -> str:
        """The name of an array of 8-bit integers or of int64, as given, or of float32."""
        array, name = np.asarray(values), f"c{len(self._constants)}"
        if array.dtype.name not in _TYPES:
            array = array.astype(np.float32)
        dims = b"".join(_number(1, size) for size in array.shape)
        head = dims + _number(2, _TYPES[array.dtype.name]) + _bytes(8, name.encode())
        self._constants.append(_bytes(5, head + _bytes(9, array.tobytes())))
        return name

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: int | float | Sequence[int]) -> str:
        """The name of what an operator makes of its inputs; "" for an input that is left out."""
        name = f"n{len(self._nodes)}"
        node = b"".join(_bytes(1, one.encode()) for one in inputs)
        node += _bytes(2, name.encode()) + _bytes(3, name.encode()) + _bytes(4, op.encode())
        node += b"".join(_bytes(5, _attribute(key, value)) for key, value in attributes.items())
        self._nodes.append(_bytes(1, node + _bytes(7, domain.encode())))
        return name

    def conv(
        self,
        x: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        stride: int,
        pads: tuple[int, int, int, int],
        groups: int = 1,
    ) -> str:
        """A convolution; `pads` are above, left, below, right."""
        kernel = weight.shape[2:]
        given = (x, self.constant(weight), self.constant(bias))
        return self.add(
            "Conv", *given, kernel_shape=kernel, strides=(stride, stride), pads=pads, group=groups
        )

    def to_bytes(self, result: str, shape: Sequence[int | None]) -> bytes:
        """The whole model; `result` is its one output, float32 of this shape."""
        graph = b"".join((*self._nodes, _bytes(2, b"save"), *self._constants))
        graph += _bytes(11, self._input) + _bytes(12, _value(result, "float32", shape))
        opsets = ((b"", OPSET), (MICROSOFT.encode(), 1))
        known = b"".join(_bytes(8, _bytes(1, domain) + _number(2, version)) for domain, version in opsets)
        return _number(1, IR_VERSION) + _bytes(7, graph) + known


def same_pads(size: tuple[int, int], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's SAME padding of (H, W): above, left, below, right; what is odd goes below and right."""
    missing = [max((-(-length // stride) - 1) * stride + kernel - length, 0) for length in size]
    before = [total // 2 for total in missing]
    return before[0], before[1], missing[0] - before[0], missing[1] - before[1]


def session(model: bytes, *, n_threads: int = 1, exact: bool = False, arena: bool = True) -> InferenceSession:
    """On one thread of the caller's: several files at a time fill the cores better than threads that wait.

    Args:
        model: what `Graph.to_bytes` wrote.
        n_threads: the caller's own included.
        arena: memory is kept for the next call, which large weights would leave full of their copies.
        exact: products of 8-bit integers never overflow, on CPUs where the faster way would.
    """
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 3
    # A thread that waits shall sleep: there is other work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.x64quantprecision", str(int(exact)))
    made = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # The graph, weights and all, which is kept for a retreat to other providers: there are none here.
    vars(made).pop("_model_bytes", None)
    return made


@cache
def overflows() -> bool:
    """Whether sums of 8-bit products go wrong here: x86 without VNNI adds pairs of them in 16 bits."""
    n = 64
    graph = Graph((n, n), "float32")
    x = graph.add("Cast", graph.entry, to=_TYPES["uint8"])
    product = graph.add("MatMulInteger", x, graph.constant(np.full((n, n), 127, np.int8)))
    model = graph.to_bytes(graph.add("Cast", product, to=_TYPES["float32"]), (n, n))
    (found,) = session(model).run(None, {Graph.entry: np.full((n, n), 255, np.float32)})
    return bool((found != n * 255 * 127).any())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _attribute(name: str, value: int | float | Sequence[int]) -> bytes:
    head = _bytes(1, name.encode())
    if isinstance(value, int):
        return head + _number(3, value) + _number(20, _INT)
    if isinstance(value, float):
        return head + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, _FLOAT)
    return head + b"".join(_number(8, one) for one in value) + _number(20, _INTS)


def _value(name: str, dtype: str, shape: Sequence[int | None]) -> bytes:
    dims = b"".join(_bytes(1, _bytes(2, b"n") if size is None else _number(1, size)) for size in shape)
    kind = _bytes(1, _number(1, _TYPES[dtype]) + _bytes(2, dims))
    return _bytes(1, name.encode()) + _bytes(2, kind)
