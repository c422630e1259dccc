"""How well a segment answers a query, and why.

Per modality the cosine (for pictures: half global, half local, as in SAVE section 3.4) goes through
a logistic curve, fitted on pairs that match and on the best of many that do not, into evidence. The
score is the chance that at least one modality is right, ``1 - prod(1 - p_m)``, which behaves like the
maximum where one modality speaks and does not, as a sum would, lift whatever has every modality.
In logarithms the product is a sum, so each modality's share of the score is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """cosine -> chance: .5 at `centre`, about .73 one `width` above it; never quite 1."""

    centre: float
    width: float

    def __call__(self, cosine: float) -> float:
        return float(1 / (1 + np.exp(-np.clip((cosine - self.centre) / self.width, -30, 8))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The scoring rule of a model.

    Attributes:
        seen, said: the curve of each modality.
        sharpness: of the soft maximum over frames; larger is nearer to the maximum.
        threshold: below this score a person is better told that nothing matches.
    """

    seen: Curve
    said: Curve
    sharpness: float
    threshold: float

    def of(self, evidence: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """Chances by modality -> the score, and what each adds to it; the parts sum to the score."""
        weights = {name: -float(np.log1p(-chance)) for name, chance in evidence.items()}
        total = sum(weights.values())
        score = -float(np.expm1(-total))
        return score, {name: score * weight / total if total else 0.0 for name, weight in weights.items()}

    def seen_cosine(
        self, query: NDArray[np.float32], pooled: NDArray[np.float32], frames: NDArray[np.float32]
    ) -> float:
        """Half the pooled row's cosine, half the soft maximum over frames.

        Args:
            query: (D,).
            pooled: (1, D).
            frames: (F, D), F > 0.
        """
        local = frames @ query
        top = float(local.max())
        soft = top + float(np.log(np.mean(np.exp(self.sharpness * (local - top))))) / self.sharpness
        return 0.5 * float(pooled[0] @ query) + 0.5 * soft
