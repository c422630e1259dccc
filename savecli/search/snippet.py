"""What is said in a moment, cut to a line or two, and which of its words were looked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from savecli import fold
from savecli.datatypes import Utterance
from savecli.model.words import content

CHARACTERS = 160
_BEFORE = 40  # of what leads to the words that were looked for, where a text must be cut
_CUT = "\N{HORIZONTAL ELLIPSIS}"


class Snippet(NamedTuple):
    """A text, and in it the ``[start, end)`` of the words that were looked for."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()


def around(utterances: Sequence[Utterance], best: int | None, wanted: Collection[str]) -> Snippet:
    """The utterance that fits best and those after it, as far as there is room.

    Args:
        utterances: of a segment.
        best: which of them; None for no snippet.
        wanted: words to mark, folded or by stem.
    """
    if best is None:
        return Snippet("")
    chosen, length = [best], len(utterances[best].text)
    for i in range(best + 1, len(utterances)):
        length += len(utterances[i].text)
        if length >= CHARACTERS:
            break
        chosen.append(i)
    text = " ".join(utterances[i].text for i in chosen)
    return Snippet(text, tuple(_wanted(text, wanted)))


def quoted(utterances: Sequence[Utterance], marks: Sequence[Sequence[tuple[int, int]]]) -> Snippet:
    """The utterances in which exact words are said, cut around them.

    Args:
        utterances: one after the other.
        marks: for each, the ``[start, end)`` in its text of the words that were looked for.
    """
    text, placed = "", []
    for utterance, own in zip(utterances, marks, strict=True):
        text += " " if text else ""
        placed += [(len(text) + start, len(text) + end) for start, end in own if end > start]
        text += utterance.text
    return _cut(Snippet(text, tuple(placed)))


def _cut(whole: Snippet) -> Snippet:
    """At most `CHARACTERS` around the first mark, from word to word."""
    text = whole.text
    if len(text) <= CHARACTERS:
        return whole
    first = whole.marks[0][0] if whole.marks else 0
    start = 0
    if first > _BEFORE:
        start = text.rfind(" ", 0, first - _BEFORE) + 1 or first - _BEFORE
    end = min(len(text), start + CHARACTERS)
    if end < len(text):
        space = text.rfind(" ", start, end)
        end = space if space > first else end
    lead, rest = _CUT * (start > 0), _CUT * (end < len(text))
    shift = len(lead) - start
    inside = [(max(a, start) + shift, min(b, end) + shift) for a, b in whole.marks if a < end and b > start]
    return Snippet(lead + text[start:end] + rest, tuple(inside))


def _wanted(text: str, wanted: Collection[str]) -> list[tuple[int, int]]:
    if not wanted:
        return []
    return [
        (token.start, token.end)
        for token in fold.tokens(text)
        if token.text in wanted or not set(content(text[token.start : token.end])).isdisjoint(wanted)
    ]
