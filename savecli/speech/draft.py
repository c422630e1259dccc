"""What an engine believes it heard -> the utterances that are worth keeping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from savecli.datatypes import Utterance, Word

MIN_AVG_LOGPROB = -1.0
MAX_COMPRESSION_RATIO = 2.4
MAX_NO_SPEECH_PROB = 0.6
SURE_AVG_LOGPROB = -0.5
MAX_WORD_GAP_S = 0.5


class DraftWord(NamedTuple):
    """A word as the engine wrote it: `text` keeps its leading space, where the language has spaces."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One segment of an engine's output, with what the engine says about its own certainty.

    Attributes:
        avg_logprob: mean log probability of a token, at most 0.
        compression_ratio: of the text by zlib; high where it repeats itself.
        no_speech_prob: 0..1, for the whole 30 s window.
    """

    words: tuple[DraftWord, ...]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float

    def later(self, by_s: float) -> Draft:
        """The same, said that much later."""
        words = tuple(DraftWord(word.start_s + by_s, word.end_s + by_s, word.text) for word in self.words)
        return replace(self, words=words)


def is_kept(draft: Draft) -> bool:
    """Whether a draft is real speech and not text invented over silence, noise or music.

    On 35 clips without speech the rule dropped everything, on 104 with speech it lost nothing
    (FINDINGS.md, "Speech").
    """
    # Written as "keep if": any comparison with NaN is false, so a broken score drops the draft.
    return (
        draft.avg_logprob >= MIN_AVG_LOGPROB
        and draft.compression_ratio <= MAX_COMPRESSION_RATIO
        and (
            draft.no_speech_prob <= MAX_NO_SPEECH_PROB
            or (draft.avg_logprob >= SURE_AVG_LOGPROB and not math.isnan(draft.no_speech_prob))
        )
    )


def utterances(draft: Draft) -> Iterator[Utterance]:
    """Split a draft wherever its speaker pauses for more than 0.5 s."""
    for words in _runs(word for word in draft.words if word.text.strip()):
        yield Utterance(
            start_s=words[0].start_s,
            end_s=max(word.end_s for word in words),
            text="".join(word.text for word in words).strip(),
            words=tuple(Word(start_s=w.start_s, end_s=w.end_s, text=w.text.strip()) for w in words),
        )


def _runs(words: Iterable[DraftWord]) -> Iterator[list[DraftWord]]:
    run: list[DraftWord] = []
    for word in words:
        if run and word.start_s - run[-1].end_s > MAX_WORD_GAP_S:
            yield run
            run = []
        run.append(word)
    if run:
        yield run
