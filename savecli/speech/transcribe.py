"""The order of things that every engine shares: gather, find speech, pack, hear, place, keep, split."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Transcript, Utterance, WaveformBlock
from savecli.events import ended
from savecli.speech.draft import Draft, is_kept, utterances
from savecli.speech.stretch import gather
from savecli.speech.voice import SpeechOnly, find_speech
from savecli.speech.window import pack

# Below this a guess about one window counts for less than what was spoken before it.
SURE_LANGUAGE_PROBABILITY = 0.5


Submit = Callable[[Callable[[], "_Hearing"]], Callable[[], "_Hearing"]]
"""Takes a call, gives one that waits for its result; its `cancel`, if any, is called where nobody waits."""


class Engine(Protocol):
    """A speech model that knows nothing of blocks, pauses or rules; waveforms are (S,) float32 at 16 kHz.

    What is heard is one window, of 30 s at most.
    """

    def detect_language(self, waveform: NDArray[np.float32]) -> tuple[str, float]:
        """The likeliest language of the first 30 s, ISO 639-1, and its probability."""
        ...

    def hear(self, waveform: NDArray[np.float32], language: str) -> Sequence[Draft]:
        """What is said, with times from the waveform's start."""
        ...


@dataclass
class _LanguageVotes:
    """How many seconds of kept speech speak for each language, weighted by probability."""

    def __post_init__(self) -> None:
        self._votes_s: defaultdict[str, float] = defaultdict(float)
        self._heard_s = 0.0

    def in_doubt(self, language: str, probability: float) -> tuple[str, float]:
        """The language to go by where this one is unsure."""
        return self.winner() if self._votes_s else (language, probability)

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
    return ended(listen(blocks, engine, language))


def listen(
    blocks: Iterable[WaveformBlock],
    engine: Engine,
    language: str | None,
    *,
    submit: Submit | None = None,
    n_ahead: int = 0,
) -> Generator[float, None, Transcript]:
    """What is said in `blocks`, which are read as windows of speech are needed.

    Yields the time up to which has been listened, and returns the transcript, which is the same however many
    windows are heard at a time. With no `language` given, it is detected for every window, so that a video in
    two languages keeps both; the transcript is labelled with the one that most of its speech is in.

    Args:
        blocks: 16 kHz mono, in order of time.
        engine: what hears.
        language: ISO 639-1; None detects it.
        submit: calls a function in another thread; None calls it here.
        n_ahead: so many windows may be in work besides the one that is waited for.
    """
    votes = _LanguageVotes()
    found: list[Utterance] = []
    in_work: deque[tuple[SpeechOnly, Callable[[], _Hearing]]] = deque()
    try:
        for reached_s, window in pack(gather(blocks), find_speech):
            if window is not None:
                hear = partial(_hear, engine, window, language)
                in_work.append((window, submit(hear) if submit else hear))
            if len(in_work) > n_ahead:
                found += _settled(*in_work.popleft(), engine, votes)
            yield reached_s
        while in_work:
            found += _settled(*in_work.popleft(), engine, votes)
    finally:
        for _, hearing in in_work:
            getattr(hearing, "cancel", lambda: None)()
    label, probability = votes.winner()
    found.sort(key=lambda utterance: utterance.start_s)
    return Transcript(language=label, language_probability=probability, utterances=tuple(found))


class _Hearing(NamedTuple):
    """What one window comes to; nothing is heard yet where its language is in doubt."""

    language: str
    probability: float
    drafts: Sequence[Draft] | None


def _hear(engine: Engine, window: SpeechOnly, given: str | None) -> _Hearing:
    language, probability = (given, 1.0) if given else engine.detect_language(window.waveform)
    if not probability >= SURE_LANGUAGE_PROBABILITY:
        return _Hearing(language, probability, None)
    return _Hearing(language, probability, engine.hear(window.waveform, language))


def _settled(
    window: SpeechOnly, hearing: Callable[[], _Hearing], engine: Engine, votes: _LanguageVotes
) -> list[Utterance]:
    """The utterances of a window, when all before it are settled: a doubtful one goes by their language."""
    language, probability, drafts = hearing()
    if drafts is None:
        language, probability = votes.in_doubt(language, probability)
        drafts = engine.hear(window.waveform, language)
    kept = [utterance for draft in drafts if is_kept(draft) for utterance in _placed(draft, window)]
    if kept:
        votes.add(language, probability, window.length_s)
    return kept


def _placed(draft: Draft, window: SpeechOnly) -> Iterator[Utterance]:
    return utterances(replace(draft, words=tuple(window.restore(word) for word in draft.words)))
