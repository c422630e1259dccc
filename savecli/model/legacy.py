"""A file of PyTorch's first format -> its tensors, without torch and without unpickling.

Four pickles, of which the last says of each tensor its name, its storage, its shape and its strides; then a
pickled list of the storages, in the order in which their bytes follow, each behind its length. The pickles
are read as lists of opcodes, so nothing in them is ever run; what is understood is a dictionary of plain
tensors.
Source: torch/serialization.py, `_legacy_save`.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from savecli.errors import WeightsError

_COUNTER = "num_batches_tracked"
"""Of batch norm: the one kind of tensor with 64-bit integers in it."""
_NO_NAMES = {"storage", "cpu"}
_INTEGERS = {"BININT", "BININT1", "BININT2"}


@dataclass(slots=True, kw_only=True)
class _Entry:
    name: str
    storage: str
    layout: list[int] = field(default_factory=list)
    """Offset, shape and strides, in elements."""

    def of(self, stored: NDArray[np.float32]) -> NDArray[np.float32]:
        n_dims = len(self.layout) // 2
        shape, strides = self.layout[1 : 1 + n_dims], self.layout[1 + n_dims :]
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if self.layout[0] or last >= len(stored):
            raise ValueError(f"{self.name} does not lie in its storage")
        in_bytes = [stored.itemsize * stride for stride in strides]
        return np.ascontiguousarray(as_strided(stored, shape, in_bytes))


def read_floats(path: Path) -> dict[str, NDArray[np.float32]]:
    """Every float32 tensor, in the order of the file's dictionary.

    Raises:
        WeightsError: a file that is missing or of another make.
    """
    try:
        with path.open("rb") as file:
            for _ in range(3):  # what it is, its version, and the sizes of its types
                list(pickletools.genops(file))
            entries = list(_entries(file))
            n_bytes = {e.storage: 8 if e.name.endswith(_COUNTER) else 4 for e in entries}
            order = [str(given) for op, given, _ in pickletools.genops(file) if op.name == "BINUNICODE"]
            stored = {key: _storage(file, n_bytes[key]) for key in order}
            return {e.name: e.of(stored[e.storage]) for e in entries if not e.name.endswith(_COUNTER)}
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise WeightsError(f"cannot read {path}: {error!r}", hint="save doctor") from error


def _entries(file: BinaryIO) -> Iterator[_Entry]:
    """What the next pickle says of each tensor."""
    name, entry = "", None
    for op, given, _ in pickletools.genops(file):
        if op.name == "BINUNICODE" and str(given).isdigit():
            entry = _Entry(name=name, storage=str(given))
        elif op.name == "BINUNICODE" and given not in _NO_NAMES:
            name = str(given)
        elif entry and op.name == "BINPERSID":
            entry.layout.clear()  # the length of the storage came before
        elif entry and op.name in _INTEGERS:
            entry.layout.append(int(str(given)))
        elif entry and op.name in {"NEWFALSE", "NEWTRUE"}:
            yield entry
            entry = None


def _storage(file: BinaryIO, n_bytes: int) -> NDArray[np.float32]:
    (count,) = struct.unpack("<q", file.read(8))
    return np.frombuffer(file.read(count * n_bytes), "<f4" if n_bytes == 4 else "<i8", count)
