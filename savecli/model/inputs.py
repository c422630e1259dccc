"""Pictures and words as the CLIP half of SAVE reads them.

Source: SAVE, supplementary preprocessing (docs/save.md), which is that of CLIP (Radford et al. 2021).
The tokeniser is open_clip's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

MEAN_RGB = (0.48145466, 0.4578275, 0.40821073)
STD_RGB = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, in 0..1."""
START, END = 49406, 49407
SHORTEST = 5
"""Characters of a caption or of speech, as they came: what has fewer was never read in training."""
_LONGEST = 100
"""Characters that can matter for each token; byte-pair encoding takes quadratic time in a word's length."""


class _Tokeniser(Protocol):
    def encode(self, text: str) -> list[int]: ...


def normalise(frames: NDArray[np.uint8]) -> torch.Tensor:
    """(F, H, W, 3) uint8 RGB -> (F, 3, H, W) float32, each colour less its mean and over its deviation.

    Raises:
        ValueError: frames of another shape or type.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be (F, H, W, 3) uint8: {frames.dtype}{list(frames.shape)}")
    n_frames, height, width, _ = frames.shape
    pictures = torch.empty((n_frames, 3, height, width))
    # In place: half a gigabyte of frames shall not be there twice.
    pictures.numpy()[...] = frames.transpose(0, 3, 1, 2)
    return standardise(pictures)


def standardise(pictures: torch.Tensor) -> torch.Tensor:
    """(..., 3, H, W) float32 in 0..255, on any device: less the mean and over the deviation, in place."""
    mean, std = (torch.tensor(values, device=pictures.device).view(3, 1, 1) for values in (MEAN_RGB, STD_RGB))
    return pictures.div_(255).sub_(mean).div_(std)


def tokenise(texts: Sequence[str | None], n_words: int, *, short_rule: bool) -> torch.Tensor:
    """A row of CLIP's token ids for each text: start, tokens, end, and zeros up to `n_words`.

    A long text loses its last tokens, never its end mark.

    Args:
        texts: None where there is none: a row of zeros.
        n_words: tokens in a row, its marks among them.
        short_rule: whether a text of under 5 characters, white space included, becomes zeros too. The
            captions and the speech that SAVE's checkpoints were trained on want that; a user's query
            ("dog") does not.

    Returns:
        (N, n_words) int64.

    Raises:
        ValueError: no room for both marks.
    """
    if n_words < 2:
        raise ValueError(f"{n_words} tokens have no room for a start and an end")
    rows = torch.zeros((len(texts), n_words), dtype=torch.int64)
    for row, text in zip(rows, texts, strict=True):
        if text is None or (short_rule and len(text) < SHORTEST):
            continue
        if len(text) > _LONGEST * n_words:
            text = " ".join(text.split())[: _LONGEST * n_words]
        ids = [START, *_tokeniser().encode(text)][: n_words - 1]
        row[: len(ids) + 1] = torch.tensor([*ids, END])
    return rows


@cache
def _tokeniser() -> _Tokeniser:
    """open_clip's tokeniser, with the marks that OpenAI's has.

    open_clip spells them "<start_of_text>" and "<end_of_text>", which to SAVE are ordinary words, and reads
    OpenAI's spelling as words, which to SAVE are marks. On all other text the two agree.
    """
    import regex
    from open_clip.tokenizer import SimpleTokenizer  # takes seconds, and is not for those who only look

    tokeniser: Any = SimpleTokenizer()
    pattern = tokeniser.pat.pattern
    for theirs, mark, token in (
        ("<start_of_text>", "<|startoftext|>", START),
        ("<end_of_text>", "<|endoftext|>", END),
    ):
        pattern = pattern.replace(theirs, regex.escape(mark))
        del tokeniser.cache[theirs], tokeniser.encoder[theirs]
        tokeniser.cache[mark] = mark
        tokeniser.encoder[mark] = token
    tokeniser.pat = regex.compile(pattern, regex.IGNORECASE)
    checked: _Tokeniser = tokeniser
    return checked
