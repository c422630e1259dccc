"""The order of things that every engine shares: gather, find speech, hear, restore times, keep, split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Transcript, Utterance, WaveformBlock
from savecli.speech.draft import Draft, is_kept, utterances
from savecli.speech.stretch import SAMPLE_RATE_HZ, gather
from savecli.speech.voice import SpeechOnly, find_speech

# Below this a guess about one stretch counts for less than what was spoken before it.
SURE_LANGUAGE_PROBABILITY = 0.5


class Engine(Protocol):
    """A speech model that knows nothing of blocks, pauses or rules; waveforms are (S,) float32 at 16 kHz."""

    def detect_language(self, waveform: NDArray[np.float32]) -> tuple[str, float]:
        """The likeliest language of the first 30 s, ISO 639-1, and its probability."""
        ...

    def hear(self, waveform: NDArray[np.float32], language: str) -> Sequence[Draft]:
        """What is said, with times from the waveform's start."""
        ...


@dataclass
class _LanguageVotes:
    """How many seconds of kept speech speak for each language, weighted by probability."""

    given: str | None

    def __post_init__(self) -> None:
        self._votes_s: defaultdict[str, float] = defaultdict(float)
        self._heard_s = 0.0

    def choose(self, engine: Engine, waveform: NDArray[np.float32]) -> tuple[str, float]:
        if self.given is not None:
            return self.given, 1.0
        language, probability = engine.detect_language(waveform)
        if self._votes_s and not probability >= SURE_LANGUAGE_PROBABILITY:
            return self.winner()
        return language, probability

    def add(self, language: str, probability: float, heard_s: float) -> None:
        self._votes_s[language] += probability * heard_s
        self._heard_s += heard_s

    def winner(self) -> tuple[str, float]:
        if not self._votes_s:
            return "", 0.0
        language = max(self._votes_s, key=self._votes_s.__getitem__)
        return language, self._votes_s[language] / self._heard_s


def transcribe(blocks: Iterable[WaveformBlock], engine: Engine, language: str | None) -> Transcript:
    """What is said in `blocks`, all at once."""
    listening = listen(blocks, engine, language)
    while True:
        try:
            next(listening)
        except StopIteration as end:
            result: Transcript = end.value
            return result


def listen(
    blocks: Iterable[WaveformBlock], engine: Engine, language: str | None
) -> Generator[float, None, Transcript]:
    """What is said in `blocks`, which are read one stretch at a time.

    Yields the time up to which has been listened, after each stretch, and returns the transcript.

    With no `language` given, it is detected for every stretch, so that a video in two languages keeps
    both; the transcript is labelled with the one that most of its speech is in.
    """
    votes = _LanguageVotes(language)
    found: list[Utterance] = []
    for stretch in gather(blocks):
        if spans := find_speech(stretch.waveform):
            speech = SpeechOnly(stretch.waveform, spans)
            spoken, probability = votes.choose(engine, speech.waveform)
            kept = _utterances(engine.hear(speech.waveform, spoken), speech, stretch.start_s)
            if kept:
                votes.add(spoken, probability, speech.length_s)
            found += kept
        yield stretch.start_s + stretch.waveform.size / SAMPLE_RATE_HZ
    label, probability = votes.winner()
    found.sort(key=lambda utterance: utterance.start_s)
    return Transcript(language=label, language_probability=probability, utterances=tuple(found))


def _utterances(drafts: Iterable[Draft], speech: SpeechOnly, offset_s: float) -> list[Utterance]:
    return [
        utterance
        for draft in drafts
        if is_kept(draft)
        for utterance in utterances(
            replace(draft, words=tuple(speech.restore(word, offset_s) for word in draft.words))
        )
    ]
