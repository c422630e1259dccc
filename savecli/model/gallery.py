"""A set of encoded videos, and the score of every text with every one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """Videos: (V, F, D) unit frames, (V, D) unit pooled rows, (V, F) bool mask."""

    local: Tensor
    pooled: Tensor
    mask: Tensor


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
    rows = []
    with torch.inference_mode():
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            ids = tokenise(texts[start : start + TEXTS_AT_ONCE], network.dims.n_words, short_rule=short_rule)
            unit = normalize(network.encode_caption(ids.to(network.device)).float(), dim=-1)
            score, _, _ = similarity(
                unit,
                gallery.local,
                gallery.pooled,
                gallery.mask,
                network.logit_scale.exp(),
                network.dims.temperature,
            )
            rows.append(score.cpu().numpy())
    scores: NDArray[np.float32] = np.concatenate(rows)
    return scores
