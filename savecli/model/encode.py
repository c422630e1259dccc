"""Media or text -> embedding, numpy in and out: the encoder of save-mini's frozen part.

Pictures are read through a frozen ImageNet classifier and a bank of concepts: a frame's embedding is the
mean of the class names' text embeddings, weighted by the classifier's probabilities, so pictures and
words share MiniLM's space and the vocabulary stays open (weights/save-mini/CARD.md has the figures).
What is said is read by the same text encoder as the query. The audio branch and the gated fusion of
SAVE are not part of this model yet: sound is transcribed, not embedded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from savecli.datatypes import Embedding, Media, MediaSpec, Sound, Utterance
from savecli.errors import WeightsError
from savecli.model.score import Curve, Score
from savecli.model.text import TextEncoder, map_safetensors
from savecli.model.weights import bundled, locate, manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from savecli.model.vision import EfficientNetLite0

FRAMES_PER_BATCH = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """A query as the branches read it: (D,) float32 unit rows by modality."""

    text: str
    seen: NDArray[np.float32]
    said: NDArray[np.float32]


class MiniEncoder:
    """save-mini.

    Args:
        model_dir: where weights lie that are not used straight from their packages.
        device: "auto", "cpu", "cuda" or "mps"; only the pictures go there.

    Raises:
        WeightsError: weights that are missing or damaged.
    """

    name = "save-mini"

    def __init__(self, model_dir: Path, *, device: str = "auto") -> None:
        home = bundled(self.name)
        card = json.loads((home / "model.json").read_text("utf-8"))
        concepts = map_safetensors(home / "concepts.safetensors")
        self.spec = MediaSpec(**card["media"])
        self.score = Score(
            seen=Curve(**card["score"]["seen"]),
            said=Curve(**card["score"]["said"]),
            sharpness=card["score"]["sharpness"],
            threshold=card["score"]["threshold"],
        )
        self.dim: int = card["dim"]
        self._device = device
        self._model_dir = model_dir
        self._temperature: float = card["concepts"]["temperature"]
        self._concepts = concepts["concepts"].astype(np.float32)
        self._mean = concepts["mean"]
        self._frozen: dict[str, str] = card["frozen"]
        text = locate(self._frozen["text"], model_dir)
        self._text = TextEncoder(text["model.safetensors"], text["tokenizer.json"])
        self._vision: EfficientNetLite0 | None = None
        self.identity: Mapping[str, str] = {
            "model": self.name,
            "weights": _digest(home, [manifest()[name].digest for name in self._frozen.values()]),
            "dim": str(self.dim),
        }

    @property
    def device(self) -> str:
        """Where pictures are encoded."""
        return str(self._load_vision().device)

    def query(self, text: str) -> Query:
        """A query's rows; both come from one reading of the text."""
        said = self._text.encode([text])[0]
        return Query(text=text, seen=_unit(said - self._mean), said=said)

    def hear(self, waveform: NDArray[np.float32]) -> Sound:  # noqa: ARG002 - no audio branch yet
        """Nothing: this model has no audio branch."""
        return Sound(rows=self._nothing(), tokens=self._nothing())

    def embed(self, media: Sequence[Media]) -> list[Embedding]:
        """One embedding for each segment."""
        frames = self._see([m.frames for m in media])
        said = self._read([m.utterances for m in media])
        return [
            Embedding(seen=_unit(f.mean(axis=0, keepdims=True)) if len(f) else f, frames=f, said=s)
            for f, s in zip(frames, said, strict=True)
        ]

    def see(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(F, H, W, 3) uint8 RGB -> (F, D) float32 unit rows."""
        return self._embed_logits(self.logits(frames))

    def logits(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(F, H, W, 3) uint8 RGB -> (F, 1000) float32: what the classifier says of each frame."""
        import torch

        network = self._load_vision()
        batches = []
        with torch.inference_mode():
            for start in range(0, len(frames), FRAMES_PER_BATCH):
                batch = torch.from_numpy(frames[start : start + FRAMES_PER_BATCH])
                batches.append(network(batch.to(network.device)).float().cpu().numpy())
        return np.concatenate(batches) if batches else np.zeros((0, len(self._concepts)), np.float32)

    def _embed_logits(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / self._temperature)
        return _unit(scaled / scaled.sum(axis=1, keepdims=True) @ self._concepts - self._mean)

    def _see(self, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        rows = self.see(np.concatenate(frames)) if any(len(f) for f in frames) else self._nothing()
        return np.split(rows, np.cumsum([len(f) for f in frames])[:-1])

    def _read(self, spoken: Sequence[Sequence[Utterance]]) -> list[NDArray[np.float32]]:
        # Each utterance, and the segment's words as a whole where a sentence may span several.
        texts = [
            [u.text for u in us] + ([" ".join(u.text for u in us)] if len(us) > 1 else []) for us in spoken
        ]
        flat = [text for group in texts for text in group]
        rows = self._text.encode(flat) if flat else self._nothing()
        return np.split(rows, np.cumsum([len(group) for group in texts])[:-1])

    def _nothing(self) -> NDArray[np.float32]:
        return np.zeros((0, self.dim), np.float32)

    def _load_vision(self) -> EfficientNetLite0:
        if self._vision is None:
            # torch takes seconds to import, and a query never needs it.
            from savecli.model import vision

            (path,) = locate(self._frozen["vision"], self._model_dir).values()
            self._vision = vision.load(path, vision.choose_device(self._device))
        return self._vision


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)
    result: NDArray[np.float32] = (rows / norms).astype(np.float32)
    return result


def _digest(home: Path, frozen: Sequence[str]) -> str:
    try:
        ours = sha256((home / "concepts.safetensors").read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(
            f"cannot read the bundled weights in {home}: {error}", hint="save doctor"
        ) from error
    return sha256("".join([ours, *frozen]).encode()).hexdigest()[:16]
