"""Where in a stretch somebody speaks, and the clock of the speech without the pauses between."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from savecli.speech.draft import DraftWord
from savecli.speech.stretch import SAMPLE_RATE_HZ

VAD_THRESHOLD = 0.5
# One step of 16-bit sound: what is quieter than that is digital silence.
SILENCE_PEAK = 1 / 32768


class Span(NamedTuple):
    """Samples ``[start, end)`` of a stretch in which somebody speaks."""

    start: int
    end: int


def find_speech(waveform: NDArray[np.float32]) -> list[Span]:
    """The spans of a stretch (S,) that hold speech, in order and apart, by Silero VAD; none for silence."""
    if np.abs(waveform).max(initial=0.0) < SILENCE_PEAK:
        return []
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    found = get_speech_timestamps(waveform, VadOptions(threshold=VAD_THRESHOLD))
    return [Span(int(span["start"]), int(span["end"])) for span in found]


class SpeechOnly:
    """A stretch with its pauses taken out.

    Attributes:
        waveform: (S,) float32, the spans of speech one after the other.
        length_s: its length.
    """

    def __init__(self, waveform: NDArray[np.float32], spans: Sequence[Span]) -> None:
        self.waveform = np.concatenate([waveform[span.start : span.end] for span in spans])
        self.length_s = self.waveform.size / SAMPLE_RATE_HZ
        self._spans = [(span.start / SAMPLE_RATE_HZ, span.end / SAMPLE_RATE_HZ) for span in spans]
        lengths_s = [end_s - start_s for start_s, end_s in self._spans]
        self._starts_s = np.cumsum([0.0, *lengths_s[:-1]]).tolist()

    def restore(self, word: DraftWord, offset_s: float) -> DraftWord:
        """A word's times in the stretch's own clock, plus `offset_s`.

        The middle of the word decides which span it belongs to, and it ends with that span: a word
        never reaches into a pause.
        """
        index = max(0, bisect_right(self._starts_s, (word.start_s + word.end_s) / 2) - 1)
        span_start_s, span_end_s = self._spans[index]
        shift_s = span_start_s - self._starts_s[index]
        start_s, end_s = (
            offset_s + min(max(time_s + shift_s, span_start_s), span_end_s)
            for time_s in (word.start_s, max(word.start_s, word.end_s))
        )
        return DraftWord(start_s, end_s, word.text)
