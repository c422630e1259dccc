"""The shared order of things, with a made-up engine and a made-up VAD."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from savecli.datatypes import Transcript, WaveformBlock
from savecli.speech import transcribe as transcribe_module
from savecli.speech.draft import Draft, DraftWord
from savecli.speech.faster import _Threads
from savecli.speech.transcribe import listen, transcribe
from savecli.speech.voice import Span, SpeechOnly
from savecli.speech.window import pack

RATE_HZ = 16_000


class FakeEngine:
    """Says one word a second of speech; its languages are given window by window."""

    def __init__(self, *languages: tuple[str, float], logprob: float = -0.2) -> None:
        self.languages = list(languages)
        self.logprob = logprob
        self.heard: list[tuple[int, str]] = []

    def detect_language(self, waveform: NDArray[np.float32]) -> tuple[str, float]:
        return self.languages[len(self.heard)]

    def hear(self, waveform: NDArray[np.float32], language: str) -> Sequence[Draft]:
        self.heard.append((waveform.size, language))
        words = tuple(DraftWord(s + 0.1, s + 0.9, f" {s}") for s in range(waveform.size // RATE_HZ))
        return [Draft(words=words, avg_logprob=self.logprob, compression_ratio=1.0, no_speech_prob=0.0)]


@pytest.fixture
def _all_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe_module, "find_speech", lambda waveform: [Span(0, waveform.size)])


def tone(start_s: float, length_s: float) -> WaveformBlock:
    waveform = np.full(round(length_s * RATE_HZ), 0.1, dtype=np.float32)
    return WaveformBlock(start_s=start_s, waveform=waveform)


@pytest.mark.usefixtures("_all_is_speech")
def test_times_are_those_of_the_video():
    transcript = transcribe([tone(3.0, 2.0), tone(20.0, 1.0)], FakeEngine(), "en")
    starts_s = [word.start_s for u in transcript.utterances for word in u.words]
    assert starts_s == pytest.approx([3.1, 4.1, 20.1])
    assert (transcript.language, transcript.language_probability) == ("en", 1.0)


@pytest.mark.usefixtures("_all_is_speech")
def test_the_language_is_that_of_most_speech():
    engine = FakeEngine(("de", 0.9), ("en", 0.8))
    transcript = transcribe([tone(0.0, 20.0), tone(30.0, 25.0)], engine, None)
    assert [language for _, language in engine.heard] == ["de", "en"]
    assert transcript.language == "en"
    assert transcript.language_probability == pytest.approx(0.8 * 25 / 45)


@pytest.mark.parametrize("doubt", [0.3, float("nan")])
@pytest.mark.usefixtures("_all_is_speech")
def test_a_doubtful_window_takes_the_language_spoken_before(doubt: float):
    engine = FakeEngine(("de", 0.9), ("cy", doubt))
    transcript = transcribe([tone(0.0, 20.0), tone(30.0, 25.0)], engine, None)
    assert [language for _, language in engine.heard] == ["de", "de"]
    assert transcript.language_probability == pytest.approx(0.9)


@pytest.mark.usefixtures("_all_is_speech")
def test_what_the_keep_rule_drops_has_no_language():
    assert transcribe([tone(0.0, 5.0)], FakeEngine(("en", 0.9), logprob=-1.5), None) == Transcript()


def test_no_speech_never_reaches_the_engine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transcribe_module, "find_speech", lambda waveform: [])
    engine = FakeEngine(("en", 0.9))
    assert transcribe([tone(0.0, 5.0)], engine, None) == Transcript()
    assert engine.heard == []


def test_no_blocks_make_an_empty_transcript():
    assert transcribe([], FakeEngine(), None) == Transcript()


@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 9000)), min_size=1, max_size=6), st.data())
def test_a_sample_of_speech_finds_its_own_time_again(plan: list[tuple[int, int]], data: st.DataObject):
    spans, position = [], 0
    for pause, length in plan:
        spans.append(Span(position + pause, position + pause + length))
        position += pause + length
    stretch = np.arange(position, dtype=np.float32)
    speech = SpeechOnly([WaveformBlock(start_s=100.0 + s / RATE_HZ, waveform=stretch[s:e]) for s, e in spans])

    sample = data.draw(st.integers(0, speech.waveform.size - 1))
    inside = DraftWord((sample + 0.25) / RATE_HZ, (sample + 0.75) / RATE_HZ, " x")
    restored = speech.restore(inside)
    assert restored.start_s - 100.0 == pytest.approx((speech.waveform[sample] + 0.25) / RATE_HZ, abs=1e-9)


def test_a_word_does_not_reach_into_a_pause():
    speech = SpeechOnly([tone(0.0, 1.0), tone(5.0, 1.0)])
    assert speech.restore(DraftWord(0.5, 1.3, " early"))[:2] == (0.5, 1.0)
    assert speech.restore(DraftWord(0.9, 1.5, " late"))[:2] == (5.0, 5.5)
    assert speech.restore(DraftWord(1.8, 1.2, " backwards"))[:2] == (5.8, 5.8)


@pytest.mark.usefixtures("_all_is_speech")
def test_what_does_not_fill_a_window_waits_for_more():
    engine = FakeEngine()
    transcript = transcribe([tone(0.0, 9.0), tone(100.0, 9.0), tone(200.0, 9.0)], engine, "en")
    assert [size / RATE_HZ for size, _ in engine.heard] == [27.0]
    assert [round(u.start_s) for u in transcript.utterances][:1] == [0]
    assert {round(word.start_s) for u in transcript.utterances for word in u.words} >= {8, 100, 208}


@given(st.lists(st.floats(0.2, 100), min_size=1, max_size=5))
def test_windows_hold_all_speech_once_and_none_is_too_long(lengths_s: list[float]):
    stretches = [tone(200.0 * n, length_s) for n, length_s in enumerate(lengths_s)]
    windows = [w for _, w in pack(stretches, lambda waveform: [Span(0, waveform.size)]) if w is not None]
    assert all(0 < window.length_s <= 30.0 for window in windows)
    total = sum(stretch.waveform.size for stretch in stretches)
    assert sum(window.waveform.size for window in windows) == total
    ends = [window.end_s for window in windows]
    assert ends == sorted(ends)


@pytest.mark.usefixtures("_all_is_speech")
def test_the_transcript_is_the_same_in_several_threads():
    blocks = [tone(40.0 * n, 25.0) for n in range(7)]
    languages = [("de", 0.9), ("cy", 0.2), ("en", 0.8), ("cy", 0.1), ("en", 0.9), ("xx", 0.3), ("de", 0.6)]

    class Slow(FakeEngine):
        """Detects by what it is given, and takes its time for some."""

        def detect_language(self, waveform: NDArray[np.float32]) -> tuple[str, float]:
            time.sleep(0.02 * float(waveform[0] * 10 % 2))
            return languages[round(float(waveform[0]) * 10)]

    numbered = [replace(b, waveform=np.full_like(b.waveform, n / 10)) for n, b in enumerate(blocks)]
    alone = transcribe(numbered, Slow(), None)
    assert alone.language == "de"
    with ThreadPoolExecutor(3) as pool:
        listening = listen(numbered, Slow(), None, submit=_Threads(pool), n_ahead=3)
        told, together = [], None
        while together is None:
            try:
                told.append(next(listening))
            except StopIteration as end:
                together = end.value
    assert together == alone
    assert told == sorted(told)


@pytest.mark.usefixtures("_all_is_speech")
def test_a_listening_that_is_given_up_starts_no_further_window():
    engine = FakeEngine()
    with ThreadPoolExecutor(1) as pool:
        listening = listen(
            [tone(40.0 * n, 25.0) for n in range(9)], engine, "en", submit=_Threads(pool), n_ahead=2
        )
        next(listening)
        listening.close()
    assert len(engine.heard) < 4
