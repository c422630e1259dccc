"""Moments in videos that count, and a store that knows what was said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from savecli.datatypes import Moment, Utterance, Word
from savecli.export.options import Options
from savecli.export.run import export
from savecli.export.target import target


class Facts:
    """What a store would tell; every word lasts half a second."""

    def __init__(self) -> None:
        self.texts: dict[Path, list[tuple[float, str]]] = {}
        self.durations_s: dict[Path, float] = {}

    def utterances(self, moment: Moment) -> list[Utterance]:
        return [self._utterance(*told) for told in self.texts.get(moment.path, [])]

    def duration_s(self, moment: Moment) -> float | None:
        return self.durations_s.get(moment.path)

    @staticmethod
    def _utterance(start_s: float, text: str) -> Utterance:
        words = tuple(
            Word(start_s=start_s + i / 2, end_s=start_s + i / 2 + 0.5, text=word)
            for i, word in enumerate(text.split())
        )
        return Utterance(start_s=start_s, end_s=words[-1].end_s, text=text, words=words)


@pytest.fixture
def facts() -> Facts:
    return Facts()


@pytest.fixture
def moment() -> Callable[..., Moment]:
    def make(path: Path, start_s: float, end_s: float, **changes: object) -> Moment:
        fields = {"video_id": "ab" * 16, "score": 0.6, "why": {"seen": 0.4, "said": 0.2}, "best_s": start_s}
        return Moment(path=path, start_s=start_s, end_s=end_s, **fields | changes)

    return make


@pytest.fixture
def write(facts: Facts):
    """Exports moments, numbered from 1, and returns the file."""

    def write_(path: Path, *moments: Moment, **options: object) -> Path:
        chosen = Options(**options)
        numbered = list(enumerate(moments, 1))
        return export(numbered, target(path, each=chosen.each), chosen, facts).paths[0]

    return write_
