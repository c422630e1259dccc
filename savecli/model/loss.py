"""The two training losses of SAVE: retrieval with an adaptive margin, and soft alignment with a teacher.

docs/save.md, section 2. Shapes: N pairs of a text and its video, F frames, Q audio tokens, D embedding,
E the teacher's own embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

TEACHER_SCALE = 5.0
"""Both sides' cosines are multiplied by it before their softmax."""
MIN_WITH_AUDIO = 3
"""Two numbers always correlate perfectly or not at all, one or none gives 0 / 0."""
FLAT = 1e-12
"""A row of probabilities that varies less than this has no correlation with anything."""


def adaptive_margin(text: Tensor, visual: Tensor, *, beta: float, limit: float) -> Tensor:
    """(N, D) unit texts, (N, D) unit pooled frames -> (N, N) margins without gradient, zero on the diagonal.

    The less alike two pairs are, the further apart they are pushed: ``min(beta (1 - mean cosine), limit)``.
    """
    with torch.no_grad():
        alike = (text @ text.T + visual @ visual.T) / 2
        margin = (beta * (1 - alike)).clamp(max=limit)
        return margin.fill_diagonal_(0)


def retrieval_loss(score: Tensor, margin: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross-entropy of (N, N) logits, row i belonging to column i, with (N, N) margins in cosine.

    The margin itself is constant; `scale`, which turns it into logits, is not.
    """
    logits = score + margin * scale
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def audio_similarity(visual: Tensor, audio: Tensor) -> Tensor:
    """(N, F, D) frames, (N, Q, D) audio tokens -> (N, N) cosines, videos as rows, sounds as columns.

    Every slot of `visual` counts, also a padded one: so the reference's checkpoints were trained.
    """
    pooled = [
        functional.normalize(functional.normalize(tokens, dim=-1).mean(dim=1), dim=-1)
        for tokens in (visual, audio)
    ]
    return pooled[0] @ pooled[1].T


def distillation_loss(
    student: Tensor, teacher_audio: Tensor, teacher_video: Tensor, has_audio: Tensor
) -> Tensor:
    """soft-ALBEF: how far the student's view of which sound fits which picture is from the teacher's.

    One minus the Pearson correlation of their softmax distributions, averaged over rows, plus the same over
    columns; only pairs with sound take part.

    Args:
        student: (N, N) cosines, from `audio_similarity`.
        teacher_audio: (N, E) of any norm.
        teacher_video: (N, E) of any norm.
        has_audio: (N,) bool.

    Returns:
        A scalar; 0 without gradient where fewer than three pairs have sound.
    """
    if int(has_audio.sum()) < MIN_WITH_AUDIO:
        return student.new_zeros(())
    ours = TEACHER_SCALE * student[has_audio][:, has_audio]
    audio, video = (
        functional.normalize(t[has_audio].to(ours.dtype), dim=-1) for t in (teacher_audio, teacher_video)
    )
    theirs = TEACHER_SCALE * (video @ audio.T).detach()
    return _distance(ours, theirs).mean() + _distance(ours.T, theirs.T).mean()


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """(N, N), (N, N) logits -> (N,), one minus the correlation of each pair of rows' softmax."""
    p, q = (x.softmax(dim=-1) for x in (ours, theirs))
    p, q = (x - x.mean(dim=-1, keepdim=True) for x in (p, q))
    square = (p * p).sum(dim=-1) * (q * q).sum(dim=-1)
    flat = square <= FLAT**2
    # The root's derivative at zero is infinite, and infinity times zero would spoil the other rows.
    correlation = (p * q).sum(dim=-1) / torch.where(flat, torch.ones_like(square), square).sqrt()
    return torch.where(flat, torch.ones_like(correlation), 1 - correlation)
