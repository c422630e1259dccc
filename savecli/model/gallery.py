"""A set of encoded videos, and the score of every text with every one of them.

With `beside`, the fusion is taken apart (late fusion): frames, sound and speech each have a score of their
own, and the mean of those that there are is the score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import normalize

from savecli.model.inputs import tokenise
from savecli.model.network import Inputs, Save, pool, similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

TEXTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gallery:
    """Videos: (V, F, D) unit frames, (V, D) unit pooled rows, (V, F) bool mask.

    Attributes:
        beside: (V, K, D) unit rows that count like all frames together, zero where there is none; None for
            frames that are fused.
    """

    local: Tensor
    pooled: Tensor
    mask: Tensor
    beside: Tensor | None = None


def encode_gallery(network: Save, batches: Iterable[Inputs]) -> Gallery:
    """All videos, batch by batch; `network` is left in the mode that it was in."""
    parts = []
    with torch.inference_mode():
        for batch in batches:
            features = network.encode_video(batch)
            parts.append((*pool(features.fused.float(), features.frame_mask), features.frame_mask))
    local, pooled, mask = (torch.cat(rows) for rows in zip(*parts, strict=True))
    return Gallery(local=local, pooled=pooled, mask=mask)


def score_texts(
    network: Save, gallery: Gallery, texts: Sequence[str], *, short_rule: bool
) -> NDArray[np.float32]:
    """(Q, V) scores, higher is better.

    Args:
        network: that encoded the gallery.
        gallery: the videos.
        texts: captions or queries.
        short_rule: whether texts under 5 characters are read as nothing, see `inputs.tokenise`.
    """
    with torch.inference_mode():
        rows = (encode_texts(network, some, short_rule=short_rule) for some in _blocks(texts))
        scores: NDArray[np.float32] = np.concatenate([score_rows(network, gallery, row) for row in rows])
    return scores


def encode_texts(network: Save, texts: Sequence[str], *, short_rule: bool) -> Tensor:
    """(N, D) unit rows, see `score_texts`."""
    ids = tokenise(texts, network.dims.n_words, short_rule=short_rule)
    return normalize(network.encode_caption(ids.to(network.device)).float(), dim=-1)


def score_rows(network: Save, gallery: Gallery, rows: Tensor) -> NDArray[np.float32]:
    """(N, D) unit rows of texts -> (N, V) scores."""
    scale = network.logit_scale.exp()
    score, _, _ = similarity(
        rows, gallery.local, gallery.pooled, gallery.mask, scale, network.dims.temperature
    )
    if gallery.beside is not None:
        apart = scale * torch.einsum("nd,vkd->nv", rows, gallery.beside)
        score = (score + apart) / (1 + gallery.beside.any(dim=-1).sum(dim=-1))
    result: NDArray[np.float32] = score.cpu().numpy()
    return result


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE))
