"""SAVE: decoded videos and texts -> branches, galleries and scores, numpy in and out.

The branches of a video are what the encoders make of it, each by itself: all that takes long. Fusing them,
whole or without one of them, runs no encoder (docs/save.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from savecli.model import checkpoint
from savecli.model.gallery import TEXTS_AT_ONCE, Gallery, encode_texts, score_rows
from savecli.model.inputs import normalise, tokenise
from savecli.model.network import Features, Masks, pool, word_mask
from savecli.model.precision import refit
from savecli.model.vision import choose_device

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from savecli.model.dims import Precision

    Rows = NDArray[np.float32]

VIDEOS_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Branches:
    """One video before fusion; no norms.

    Attributes:
        visual: (F, D) float32, its frames without positions; F is 1 or more.
        audio: (Q, D) what the resampler makes of its sound; None where there is none.
        speech: (W, D) states of all words that there is room for; None where nothing is said.
        n_words: of them, those that are real, start and end included.
    """

    visual: Rows
    audio: Rows | None
    speech: Rows | None
    n_words: int = 0


class SaveEncoder:
    """A SAVE checkpoint at work.

    Args:
        path: a folder of ours, or a file of the reference implementation's.
        device: "auto", "cpu", "cuda" or "mps".
        precision: of the encoders of frames and sound, see `precision`.

    Raises:
        WeightsError: it is not a SAVE network.
        ConfigError: no such device here, or a precision that does not go with it.
    """

    def __init__(self, path: Path, *, device: str = "auto", precision: Precision = "fp32") -> None:
        chosen = choose_device(device)
        self._network, card = checkpoint.load(path)
        refit(self._network.to(chosen), precision)
        self.dims = card.dims
        self.spec = card.media
        self.sha256: str = card.sha256 or card.provenance["source_sha256"]
        self.device = str(chosen)

    def look(self, frames: NDArray[np.uint8]) -> Rows:
        """(F, H, W, 3) uint8 RGB -> (F, D)."""
        mask = torch.ones(1, len(frames), dtype=torch.bool, device=self.device)
        with torch.inference_mode():
            return _rows(self._network.encode_frames(normalise(frames).unsqueeze(0).to(self.device), mask))

    def hear(self, fbank: Rows) -> Rows:
        """(rows, M) filter bank -> (Q, D)."""
        mask = torch.ones(1, dtype=torch.bool, device=self.device)
        with torch.inference_mode():
            return _rows(
                self._network.resample_audio(torch.from_numpy(fbank).unsqueeze(0).to(self.device), mask)
            )

    def understand(self, text: str) -> tuple[Rows, int]:
        """What is said -> (W, D) states, and how many of them are real: 0 of what is too short to be read."""
        ids = tokenise([text], self.dims.n_words, short_rule=True).to(self.device)
        with torch.inference_mode():
            return _rows(self._network.text_encoder(ids)), int(word_mask(ids).sum())

    def blank(self) -> Branches:
        """What stands where a frame, sound or speech is missing.

        In the reference's way it takes part, and is an encoded blank; under a mask any number will do.
        """
        dims = self.dims
        if not dims.reference_compat:
            visual, audio, speech = (
                np.zeros((n, dims.width), np.float32) for n in (1, dims.n_queries, dims.n_words)
            )
            return Branches(visual=visual, audio=audio, speech=speech)
        network, px = self._network, dims.image_px
        with torch.inference_mode():
            frames = torch.zeros(1, 1, 3, px, px, device=self.device)
            fbank = torch.zeros(1, dims.n_rows, dims.n_mels, device=self.device)
            ids = torch.zeros(1, dims.n_words, dtype=torch.int64, device=self.device)
            none = torch.zeros(1, 1, dtype=torch.bool, device=self.device)
            return Branches(
                visual=_rows(network.encode_frames(frames, none)),
                audio=_rows(network.resample_audio(fbank, none[0])),
                speech=_rows(network.text_encoder(ids)),
            )

    def read(self, captions: Sequence[str]) -> Rows:
        """(N, D) unit rows of a benchmark's captions, which are read as in training."""
        with torch.inference_mode():
            parts = [
                encode_texts(self._network, captions[start : start + TEXTS_AT_ONCE], short_rule=True)
                for start in range(0, len(captions), TEXTS_AT_ONCE)
            ]
            return torch.cat(parts).cpu().numpy()

    def gallery(self, videos: Iterable[Branches], blank: Branches, *, fused: bool = True) -> Gallery:
        """All videos, fused; or without the fusion, each branch for itself (see `gallery`)."""
        parts: list[tuple[Tensor, ...]] = []
        going = iter(videos)
        with torch.inference_mode():
            while some := list(islice(going, VIDEOS_AT_ONCE)):
                features, masks = self._fused(some, blank)
                rows = features.fused if fused else features.visual
                beside = () if fused else (self._beside(features, some),)
                parts.append((*pool(rows, masks.frames), masks.frames, *beside))
            local, pooled, mask, *apart = (torch.cat(rows) for rows in zip(*parts, strict=True))
        return Gallery(local=local, pooled=pooled, mask=mask, beside=apart[0] if apart else None)

    def scores(self, rows: Rows, gallery: Gallery) -> Iterator[Rows]:
        """(N, D) rows of captions -> (n, V) scores of some captions at a time, in order."""
        for start in range(0, len(rows), TEXTS_AT_ONCE):
            with torch.inference_mode():
                some = torch.from_numpy(rows[start : start + TEXTS_AT_ONCE]).to(self.device)
                yield score_rows(self._network, gallery, some)

    def indexed(self, gallery: Gallery) -> tuple[Rows, NDArray[np.int64]]:
        """(R, D) all unit rows of a gallery, and (R,) the video that each is of."""
        beside = () if gallery.beside is None else (gallery.beside,)
        rows = torch.cat([gallery.local, gallery.pooled.unsqueeze(1), *beside], dim=1)
        there = torch.cat([gallery.mask, torch.ones_like(gallery.mask[:, :1])], dim=1)
        there = torch.cat([there, *(b.any(dim=-1) for b in beside)], dim=1)
        owners = torch.arange(len(rows), device=self.device).unsqueeze(1).expand(there.shape)
        return rows[there].cpu().numpy(), owners[there].cpu().numpy()

    def _fused(self, videos: Sequence[Branches], blank: Branches) -> tuple[Features, Masks]:
        n_frames = self.dims.n_frames
        empty = np.repeat(blank.visual, n_frames, axis=0)
        visual = np.stack([np.concatenate([v.visual, empty])[:n_frames] for v in videos])
        audio = np.stack([blank.audio if v.audio is None else v.audio for v in videos])  # type: ignore[misc]
        speech = np.stack([blank.speech if v.speech is None else v.speech for v in videos])  # type: ignore[misc]
        masks = Masks(
            frames=self._first([len(v.visual) for v in videos], n_frames),
            audio=torch.tensor([v.audio is not None for v in videos], device=self.device),
            speech=self._first([v.n_words for v in videos], self.dims.n_words),
        )
        x, heard, said = (torch.from_numpy(rows).to(self.device) for rows in (visual, audio, speech))
        return self._network.fuse(x, heard, said, masks), masks

    def _first(self, counts: Sequence[int], n: int) -> Tensor:
        """(B, n) bool, True at the first so many of each row."""
        return torch.arange(n, device=self.device) < torch.tensor(counts, device=self.device).unsqueeze(1)

    def _beside(self, features: Features, videos: Sequence[Branches]) -> Tensor:
        """(B, 2, D) unit rows of what is heard and of what is said, read as a caption would be; or zero."""
        heard = pool(
            features.audio, torch.ones(features.audio.shape[:2], dtype=torch.bool, device=self.device)
        )[1]
        heard *= torch.tensor([[v.audio is not None] for v in videos], device=self.device)
        nothing = np.zeros(self.dims.width, np.float32)
        said = np.stack([nothing if v.speech is None else v.speech[v.n_words - 1] for v in videos])
        rows = torch.nn.functional.normalize(torch.from_numpy(said).to(self.device), dim=-1)
        return torch.stack([heard, rows], dim=1)


def _rows(result: Tensor) -> Rows:
    """(1, N, D) -> (N, D), numpy."""
    rows: Rows = result[0].float().cpu().numpy()
    return rows
