"""The words in the moments as SubRip, on the clock of the clips that .mp4 writes of the same moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap

from savecli.datatypes import Moment, Utterance, Word
from savecli.export.take import Take, within
from savecli.plain import plain

Cue = tuple[float, float, str]
_LINE_CHARACTERS = 42
_LINES = 2
_LONGEST_S = 7.0
_SHORTEST_S = 0.2
_PAUSE_S = 0.6
_ENDS = (".", "?", "!", "…", "。", "？", "！")
# The habits of subtitlers: two lines of 42 characters, for seven seconds at most.


def subtitles(takes: Sequence[Take], utterances: Callable[[Moment], Sequence[Utterance]]) -> str:
    """All cues; those of a later take begin where the take before ends."""
    cues: list[Cue] = []
    at_s = 0.0
    for take in takes:
        words = [
            word
            for utterance in within(utterances(take.moment), take.start_s, take.end_s)
            for word in _words(utterance)
            if word.start_s < take.end_s and word.end_s > take.start_s
        ]
        shift_s = at_s - take.start_s
        cues += [
            (shift_s + max(start_s, take.start_s), shift_s + min(end_s, take.end_s), text)
            for start_s, end_s, text in _cues(sorted(words, key=lambda word: word.start_s))
        ]
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


def _cues(words: Sequence[Word]) -> Iterator[Cue]:
    """Words in pieces that can be read: they end with a pause or a sentence, or when they are full."""
    held: list[Word] = []
    for word in words:
        text = _joined([*held, word])
        if held and (
            len(text) > _LINE_CHARACTERS * _LINES
            or word.end_s - held[0].start_s > _LONGEST_S
            or word.start_s - held[-1].end_s > _PAUSE_S
            or (len(_joined(held)) > _LINE_CHARACTERS and _joined(held).endswith(_ENDS))
        ):
            yield held[0].start_s, held[-1].end_s, _joined(held)
            held = []
        held.append(word)
    if held:
        yield held[0].start_s, held[-1].end_s, _joined(held)


def _joined(words: Sequence[Word]) -> str:
    return "".join(word.text for word in words).strip()


def _words(utterance: Utterance) -> list[Word]:
    """The words of an utterance, each with the blank before it, where its text has one."""
    timed = utterance.words or _spread(utterance)
    at, found = 0, []
    for word in timed:
        place = utterance.text.find(word.text, at)
        apart = place < 0 or place > at or not at
        at = max(at, place + len(word.text))
        found.append(Word(start_s=word.start_s, end_s=word.end_s, text=f"{' ' * apart}{word.text}"))
    return found


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


def _apart(cues: Sequence[Cue]) -> Iterator[Cue]:
    """In order, none begun before the one before it ends."""
    last_s = 0.0
    for start_s, end_s, text in sorted(cues):
        begins_s = max(start_s, last_s)
        last_s = max(end_s, begins_s + _SHORTEST_S)
        yield begins_s, last_s, text
