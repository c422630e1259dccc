"""Text -> embedding: the MiniLM sentence encoder, in numpy.

One encoder reads the query and the transcript, so both live in one space. It runs on numpy and a
mapped weights file because a query must not wait for torch to be imported (docs/decisions.md).
Architecture: BERT with 6 layers (Devlin et al. 2019); weights: sentence-transformers/all-MiniLM-L6-v2,
mean pooling, unit norm.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from savecli.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_LAYERS = 6
N_HEADS = 12
WIDTH = 384
MAX_TOKENS = 256  # what the weights were trained on; the rest of a longer text is not read
MAX_BATCH = 64
LAYER_NORM_EPS = 1e-12


class TextEncoder:
    """Sentences in, unit rows out.

    Args:
        weights: `model.safetensors` of all-MiniLM-L6-v2.
        tokenizer: its `tokenizer.json`.

    Raises:
        WeightsError: where a tensor is missing or has another shape than this network's.
    """

    dim = WIDTH

    def __init__(self, weights: Path, tokenizer: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._weights = _load(weights)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, 384) float32 rows of unit norm, in the order of `texts`."""
        rows = np.zeros((len(texts), WIDTH), np.float32)
        for members, hidden in self._read(texts):
            rows[members] = hidden.mean(axis=1)
        return unit(rows)

    def states(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The states of each text's tokens, (T, 384) float32; `encode` gives their mean at unit norm."""
        states = [np.zeros((0, WIDTH), np.float32)] * len(texts)
        for members, hidden in self._read(texts):
            for i, rows in zip(members, hidden, strict=True):
                states[i] = rows
        return states

    def n_pieces(self, word: str) -> int:
        """Of how many pieces a word is made here: of one, if it was met as a whole."""
        return len(self._tokenizer.encode(_encodable(word), add_special_tokens=False).ids)

    def _read(self, texts: Sequence[str]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Texts of one length are one batch: no padding, so no mask and no work on it."""
        by_length: defaultdict[int, list[int]] = defaultdict(list)
        encodings = self._tokenizer.encode_batch([_encodable(text) for text in texts])
        tokens = [encoding.ids for encoding in encodings]
        for i, ids in enumerate(tokens):
            by_length[len(ids)].append(i)
        for members in by_length.values():
            for start in range(0, len(members), MAX_BATCH):
                batch = members[start : start + MAX_BATCH]
                yield batch, self._forward(np.array([tokens[i] for i in batch]))

    def _forward(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, T) token ids -> (B, T, 384) hidden states."""
        w = self._weights
        hidden: NDArray[np.float32] = (
            w["embeddings.word_embeddings.weight"][ids]
            + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        for layer in range(N_LAYERS):
            name = f"encoder.layer.{layer}"
            attended = self._linear(
                self._attend(hidden, f"{name}.attention.self"), f"{name}.attention.output.dense"
            )
            hidden = self._norm(hidden + attended, f"{name}.attention.output.LayerNorm")
            inner = gelu(self._linear(hidden, f"{name}.intermediate.dense"))
            hidden = self._norm(
                hidden + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm"
            )
        return hidden

    def _attend(self, hidden: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        n_batch, n_tokens, _ = hidden.shape
        query, key, value = (
            self._linear(hidden, f"{name}.{part}").reshape(n_batch, n_tokens, N_HEADS, -1).swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        logits = query @ key.swapaxes(2, 3) / np.float32(np.sqrt(WIDTH // N_HEADS))
        mixed = softmax(logits) @ value
        result: NDArray[np.float32] = mixed.swapaxes(1, 2).reshape(n_batch, n_tokens, WIDTH)
        return result

    def _linear(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        # One product for all texts, not one for each, and few rows on the right: there BLAS copies them and
        # not the weights.
        flat = x.reshape(-1, x.shape[-1])
        bias = self._weights[f"{name}.bias"]
        product = (self._weights[f"{name}.weight"] @ flat.T).T
        result: NDArray[np.float32] = np.add(product, bias, order="C")
        return result.reshape(*x.shape[:-1], len(bias))

    def _norm(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        return layer_norm(
            x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], np.float32(LAYER_NORM_EPS)
        )


def _encodable(text: str) -> str:
    """A text without what is in no encoding: bytes that a shell handed over and that are no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., D) -> the same directions at norm one; zero stays zero."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)
    result: NDArray[np.float32] = (rows / norms).astype(np.float32)
    return result


def softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """(..., N) -> the same, each row summing to one."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = raised / raised.sum(axis=-1, keepdims=True)
    return result


def layer_norm(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32], eps: np.float32
) -> NDArray[np.float32]:
    """(..., D) -> the same, each row at mean 0 and variance 1, and then scaled and moved."""
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    result: NDArray[np.float32] = centred / scale * weight + bias
    return result


def gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """x * Phi(x), with erf by formula 7.1.26 of Abramowitz and Stegun (error below 2e-7)."""
    z = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = np.float32(0.5) * series.astype(np.float32) * np.exp(-z * z)
    result: NDArray[np.float32] = np.where(x >= 0, x * (1 - tail), x * tail).astype(np.float32)
    return result


def _load(path: Path) -> dict[str, NDArray[np.float32]]:
    tensors = map_safetensors(path)
    # The pooler and the stored position ids belong to BERT's other heads.
    names = {name for name in tensors if not name.startswith("pooler.") and not name.endswith("position_ids")}
    shapes = _shapes()
    if names != shapes.keys():
        odd = ", ".join(sorted(names ^ shapes.keys()))
        raise WeightsError(f"{path} is not all-MiniLM-L6-v2: {odd}", hint="save doctor")
    for name, shape in shapes.items():
        found = tensors[name]
        if found.shape != shape or found.dtype != np.float32:
            raise WeightsError(
                f"{path}: {name} is {found.dtype}{list(found.shape)}, not float32{list(shape)}",
                hint="save doctor",
            )
    return {name: tensors[name] for name in shapes}


def map_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a file as views of its mapped bytes: a query reads only the pages that it needs.

    The safetensors library copies each tensor that it hands to numpy: .4 s for this file, .01 s mapped.
    The format is eight bytes of header length, a JSON header, the data.
    """
    try:
        raw = np.memmap(path, np.uint8, mode="r")
        begin = 8 + int.from_bytes(raw[:8].tobytes(), "little")
        header = json.loads(raw[8:begin].tobytes())
        header.pop("__metadata__", None)
        return {
            name: raw[slice(*(begin + at for at in entry["data_offsets"]))]
            .view({"F32": np.float32, "F16": np.float16, "I64": np.int64}[entry["dtype"]])
            .reshape(entry["shape"])
            for name, entry in header.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}", hint="save doctor") from error


def _shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor that the network reads, with its shape."""

    def linear(name: str, d_in: int, d_out: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (d_out, d_in), f"{name}.bias": (d_out,)}

    def norm(name: str) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}

    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (30522, WIDTH),
        "embeddings.position_embeddings.weight": (512, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        **norm("embeddings.LayerNorm"),
    }
    for layer in range(N_LAYERS):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{name}.attention.self.{part}", WIDTH, WIDTH)
        shapes |= linear(f"{name}.attention.output.dense", WIDTH, WIDTH) | norm(
            f"{name}.attention.output.LayerNorm"
        )
        shapes |= linear(f"{name}.intermediate.dense", WIDTH, 4 * WIDTH)
        shapes |= linear(f"{name}.output.dense", 4 * WIDTH, WIDTH) | norm(f"{name}.output.LayerNorm")
    return shapes
