"""CTranslate2 Whisper weights -> an openai-whisper checkpoint, so that both engines run the same model.

The layout of model.bin is the one that `ctranslate2.specs.model_spec.ModelSpec` writes: a header, named
tensors, aliases. The names on the other side are those of `whisper.model.Whisper`'s state dict.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from savecli.errors import WeightsError
from savecli.speech.names import renamed
from savecli.speech.settings import check_files

_BINARY_VERSION = 6
_DTYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")

Tensors = dict[str, NDArray[Any]]


def convert_ct2_to_openai(weights: Path, checkpoint: Path) -> None:
    """Write the model in the folder `weights` as `checkpoint`, which `whisper.load_model(path)` opens.

    Besides "dims" and "model_state_dict" it holds "alignment_heads", a list of (layer, head): whisper
    itself has no place for them in a file, and `OpenAIWhisper` sets them.

    Raises:
        SpeechError: a file is missing.
        WeightsError: model.bin is damaged, of another format, or stored in a way that cannot be undone.
    """
    import torch

    content = openai_checkpoint(weights)
    state = content["model_state_dict"]
    content["model_state_dict"] = {name: torch.from_numpy(array) for name, array in state.items()}
    partial = checkpoint.with_name(f"{checkpoint.name}.{os.getpid()}.partial")
    try:
        torch.save(content, partial)
        partial.replace(checkpoint)
    finally:
        partial.unlink(missing_ok=True)


def openai_checkpoint(weights: Path) -> dict[str, Any]:
    """The checkpoint's content, tensors as arrays: float16 where stored so, else float32."""
    check_files(weights, ("model.bin", "config.json"))
    try:
        tensors = _read_tensors(weights / "model.bin")
        state = dict(_state_dict(tensors))
        dims = _dims(tensors)
        config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    except (struct.error, KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{weights} does not hold a whole CTranslate2 Whisper model: {error!r}",
            hint="compare model.bin with its SHA-256: save model list",
        ) from error
    return {"dims": dims, "model_state_dict": state, "alignment_heads": config.get("alignment_heads")}


class _Reader:
    def __init__(self, path: Path) -> None:
        self._file = np.memmap(path, dtype=np.uint8, mode="r")
        self._position = 0

    def take(self, n_bytes: int) -> NDArray[np.uint8]:
        taken = self._file[self._position : self._position + n_bytes]
        if taken.size != n_bytes:
            raise ValueError(f"ends early, after {self._file.size} bytes")
        self._position += n_bytes
        return taken

    def numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(f"<{layout}", self.take(struct.calcsize(f"<{layout}")).tobytes())

    def text(self) -> str:
        (n_bytes,) = self.numbers("H")
        return self.take(n_bytes).tobytes()[:-1].decode()


def _read_tensors(path: Path) -> Tensors:
    """Every tensor of the file by name, with 8 and 16 bit integers turned back into floats."""
    reader = _Reader(path)
    (version,) = reader.numbers("I")
    kind = reader.text() if version == _BINARY_VERSION else ""
    if kind != "WhisperSpec":
        raise ValueError(
            f"binary version {version}, kind {kind!r}; {_BINARY_VERSION}, 'WhisperSpec' is known"
        )
    _revision, n_tensors = reader.numbers("II")
    stored = dict(_read_tensor(reader) for _ in range(n_tensors))
    if packed := [name for name in stored if name.endswith("_zero")]:
        raise ValueError(f"{packed[0]}: weights packed by AWQ cannot be unpacked here")
    return {
        name: _dequantized(array, stored.get(f"{name}_scale"))
        for name, array in stored.items()
        if not name.endswith("_scale")
    }


def _read_tensor(reader: _Reader) -> tuple[str, NDArray[Any]]:
    name = reader.text()
    (n_axes,) = reader.numbers("B")
    shape = reader.numbers(f"{n_axes}I")
    dtype_id, n_bytes = reader.numbers("BI")
    dtype, raw = _DTYPES[dtype_id], reader.take(n_bytes)
    if dtype == "bfloat16":
        # A bfloat16 is the upper half of a float32.
        return name, (raw.view("<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return name, raw.view(np.dtype(dtype).newbyteorder("<")).reshape(shape)


def _dequantized(array: NDArray[Any], scale: NDArray[np.float32] | None) -> NDArray[Any]:
    if scale is None:
        return array
    # One scale for each row of an int8 matrix, a single one for an int16 matrix.
    return array.astype(np.float32) / scale.reshape(-1, *[1] * (array.ndim - 1))


def _dims(tensors: Tensors) -> dict[str, int]:
    n_audio_ctx, n_audio_state = tensors["encoder/position_encodings/encodings"].shape
    n_text_ctx, n_text_state = tensors["decoder/position_encodings/encodings"].shape
    return {
        "n_mels": tensors["encoder/conv1/weight"].shape[1],
        "n_audio_ctx": n_audio_ctx,
        "n_audio_state": n_audio_state,
        "n_audio_head": int(tensors["encoder/num_heads"]),
        "n_audio_layer": _n_layers(tensors, "encoder"),
        "n_vocab": tensors["decoder/embeddings/weight"].shape[0],
        "n_text_ctx": n_text_ctx,
        "n_text_state": n_text_state,
        "n_text_head": int(tensors["decoder/num_heads"]),
        "n_text_layer": _n_layers(tensors, "decoder"),
    }


def _n_layers(tensors: Tensors, side: str) -> int:
    return sum(
        name.startswith(f"{side}/layer_") and name.endswith("self_attention/layer_norm/gamma")
        for name in tensors
    )


def _state_dict(tensors: Tensors) -> Iterator[tuple[str, NDArray[Any]]]:
    for source, target, parts in renamed(_n_layers(tensors, "encoder"), _n_layers(tensors, "decoder")):
        for part, rows in zip(parts, np.split(tensors[source], len(parts)), strict=True):
            name = target.format(part)
            # Whisper's keys have no bias; CTranslate2 stores zeros for it.
            if not name.endswith("key.bias"):
                yield name, np.array(rows)
