"""An example among the texts of a query: how segments answer it, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from savecli.datatypes import Terms
from savecli.model import likeness
from savecli.model.likeness import Example, Likeness
from savecli.model.score import MODALITIES, Candidates
from savecli.search.scoring import Answer, Sample, sample
from savecli.store import Store


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alike:
    """An example in one library.

    Attributes:
        library: a sample of all segments: how alike what is there usually is.
        own: the segments that the example itself is made of; they are no answer to it.
    """

    example: Example
    library: Sample
    own: frozenset[int]

    @classmethod
    def of(cls, example: Example, store: Store) -> Self:
        """An example beside what a store has."""
        segments = store.stored_segments(example.video_id) if example.video_id else []
        own = frozenset(
            s.segment_id for s in segments if s.start_s < example.end_s and s.end_s > example.start_s
        )
        return cls(example=example, library=sample(store, in_detail=True), own=own)

    def answer(self, candidates: Candidates) -> Answer:
        """How segments answer."""
        found = self._found(candidates)
        return Answer(
            why=found.shares,
            evidence=found.shares.sum(axis=1),
            kept=np.ones(candidates.n),
            best=found.best,
        )

    def explain(self, candidates: Candidates) -> list[Terms]:
        """For each segment, how alike it is and how alike is usual; see `Terms`."""
        found = self._found(candidates)
        return [
            Terms(
                text=self.example.name,
                aim="like",
                weight=1.0,
                is_against=False,
                cosines=_finite(found.cosines, i),
                words=0.0,
                letters=0.0,
                evidence=dict(zip(MODALITIES, shares.tolist(), strict=True)),
                usual=found.usual,
                background=(0.0, 0.0, self.library.n_segments),
                score=float(shares.sum()),
            )
            for i, shares in enumerate(found.shares)
        ]

    def _found(self, candidates: Candidates) -> Likeness:
        return likeness.likeness(self.example, candidates, self.library.candidates)


def threshold(text: float, *, has_text: bool, has_example: bool) -> float:
    """Scores of text and example are joined by their geometric mean, and so are their thresholds."""
    if not has_example:
        return text
    return float(np.sqrt(text * likeness.THRESHOLD)) if has_text else likeness.THRESHOLD


def _finite(cosines: likeness.Cosines, i: int) -> dict[str, float]:
    return {term: float(values[i]) for term, values in cosines.items() if np.isfinite(values[i])}
