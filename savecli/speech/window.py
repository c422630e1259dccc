"""Stretches of sound -> windows as long as a speech model's own, filled with speech and nothing else.

A Whisper window costs the same whether a second of it is speech or thirty. So speech is packed: what does not
fill a window waits for more, be it minutes away. Pure arithmetic, but for the VAD that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import WaveformBlock
from savecli.speech.stretch import SAMPLE_RATE_HZ, quietest_cut
from savecli.speech.voice import Span, SpeechOnly

WINDOW_S = 30.0
_WINDOW = round(WINDOW_S * SAMPLE_RATE_HZ)
CUT_SEARCH_S = 6.0
_WORTH_A_CUT = round(10.0 * SAMPLE_RATE_HZ)


def pack(
    stretches: Iterable[WaveformBlock], find_speech: Callable[[NDArray[np.float32]], Sequence[Span]]
) -> Iterator[tuple[float, SpeechOnly | None]]:
    """Windows of at most 30 s, in order, each with the time up to which has been read; None where one ended.

    Speech is cut where somebody pauses. What does not fit into 10 s or more that are free is cut within, at
    its quietest place.
    """
    pieces: list[WaveformBlock] = []
    reached_s, room = 0.0, _WINDOW
    for stretch in stretches:
        for span in find_speech(stretch.waveform):
            start, end = span
            while start < end:
                taken = _fitting(stretch.waveform[start:end], room)
                if not taken:
                    yield reached_s, SpeechOnly(pieces)
                    pieces, room = [], _WINDOW
                    continue
                sound = stretch.waveform[start : start + taken].copy()
                piece = WaveformBlock(start_s=stretch.start_s + start / SAMPLE_RATE_HZ, waveform=sound)
                pieces.append(piece)
                start, room, reached_s = start + taken, room - taken, piece.start_s
        reached_s = stretch.start_s + stretch.waveform.size / SAMPLE_RATE_HZ
        yield reached_s, None
    if pieces:
        yield reached_s, SpeechOnly(pieces)


def _fitting(speech: NDArray[np.float32], room: int) -> int:
    """How many of these samples to put into a window with so much room; 0 leaves them for the next."""
    if speech.size <= room:
        return speech.size
    return quietest_cut(speech[:room], CUT_SEARCH_S) if room > _WORTH_A_CUT else 0
