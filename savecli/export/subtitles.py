"""The words in the moments as SubRip, on the clock of the clips that .mp4 writes of the same moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap

from savecli.datatypes import Moment, Utterance, Word
from savecli.export.take import Take, within
from savecli.plain import plain

_LINE_CHARACTERS = 42
_LINES = 2
_LONGEST_S = 7.0
_SHORTEST_S = 0.2
"""The habits of subtitlers: two lines of 42 characters, for seven seconds at most."""


def subtitles(takes: Sequence[Take], utterances: Callable[[Moment], Sequence[Utterance]]) -> str:
    """All cues; those of a later take begin where the take before ends."""
    cues: list[tuple[float, float, str]] = []
    at_s = 0.0
    for take in takes:
        for utterance in within(utterances(take.moment), take.start_s, take.end_s):
            for start_s, end_s, text in _cues(utterance, take):
                shift_s = at_s - take.start_s
                cues.append((shift_s + max(start_s, take.start_s), shift_s + min(end_s, take.end_s), text))
        at_s += take.length_s
    return "".join(f"{number}\n{_cue(*cue)}\n" for number, cue in enumerate(_apart(cues), 1))


def _cue(start_s: float, end_s: float, text: str) -> str:
    # An arrow would be read as the times of another cue.
    lines = wrap(plain(text).replace("-->", "→"), _LINE_CHARACTERS) or [""]
    return f"{clock(start_s)} --> {clock(end_s)}\n" + "\n".join(lines) + "\n"


def clock(seconds: float) -> str:
    """01:02:03,456."""
    whole_ms = round(max(0.0, seconds) * 1000)
    minutes, ms = divmod(whole_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02},{ms % 1000:03}"


def _cues(utterance: Utterance, take: Take) -> Iterator[tuple[float, float, str]]:
    """The words of an utterance that are heard in a take, in pieces that can be read."""
    held: list[Word] = []
    for word in utterance.words or _spread(utterance):
        if word.end_s <= take.start_s or word.start_s >= take.end_s:
            continue
        text = " ".join(w.text for w in (*held, word))
        if held and (len(text) > _LINE_CHARACTERS * _LINES or word.end_s - held[0].start_s > _LONGEST_S):
            yield held[0].start_s, held[-1].end_s, " ".join(w.text for w in held)
            held = []
        held.append(word)
    if held:
        yield held[0].start_s, held[-1].end_s, " ".join(w.text for w in held)


def _spread(utterance: Utterance) -> list[Word]:
    """Words whose times are not known, spread out by their length."""
    texts = utterance.text.split()
    n_characters = sum(map(len, texts)) or 1
    step_s = (utterance.end_s - utterance.start_s) / n_characters
    words, at = [], 0
    for text in texts:
        start_s = utterance.start_s + at * step_s
        at += len(text)
        words.append(Word(start_s=start_s, end_s=utterance.start_s + at * step_s, text=text))
    return words


def _apart(cues: Sequence[tuple[float, float, str]]) -> Iterator[tuple[float, float, str]]:
    """In order, none begun before the one before it ends."""
    last_s = 0.0
    for start_s, end_s, text in sorted(cues):
        begins_s = max(start_s, last_s)
        last_s = max(end_s, begins_s + _SHORTEST_S)
        yield begins_s, last_s, text
