"""Where somebody speaks, and the clock of the speech without the pauses between."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import WaveformBlock
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
    """Sound with its pauses taken out: one window of a speech model.

    Attributes:
        waveform: (S,) float32, the pieces one after the other.
        length_s: its length.
        end_s: when its last piece ends, in the clock of the video.
    """

    def __init__(self, pieces: Sequence[WaveformBlock]) -> None:
        self.waveform = np.concatenate([piece.waveform for piece in pieces])
        self.length_s = self.waveform.size / SAMPLE_RATE_HZ
        lengths_s = [piece.waveform.size / SAMPLE_RATE_HZ for piece in pieces]
        self._spans = [(p.start_s, p.start_s + length) for p, length in zip(pieces, lengths_s, strict=True)]
        self._starts_s = np.cumsum([0.0, *lengths_s[:-1]]).tolist()
        self.end_s = self._spans[-1][1]

    def restore(self, word: DraftWord) -> DraftWord:
        """A word of the window in the clock of the video.

        The middle of the word decides which piece it belongs to, and it ends with that piece: a word never
        reaches into a pause.
        """
        index = max(0, bisect_right(self._starts_s, (word.start_s + word.end_s) / 2) - 1)
        span_start_s, span_end_s = self._spans[index]
        shift_s = span_start_s - self._starts_s[index]
        start_s, end_s = (
            min(max(time_s + shift_s, span_start_s), span_end_s)
            for time_s in (word.start_s, max(word.start_s, word.end_s))
        )
        return DraftWord(start_s, end_s, word.text)
