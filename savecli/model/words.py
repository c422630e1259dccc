"""The words of a text that mean something, as far as exact words count in the score."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Collection, Mapping

_WORD = re.compile(r"(\w+)(?:['\u2019]\w+)*")  # of "dog's" and "it's" the first part alone
_ENDINGS = ("ing", "ed", "es", "s")
_LEAST_STEM = 3
_STOP_WORDS = """
a an and are as at be been being but by can could did do does for from had has have he her hers him
his how i if in into is it its just me my no not of off on or our out over said say says she so some
someone something that the their them then there these they this to up us was we were what when
where which who will with would you your person people heard hear hears talk talks talking speak
speaks speaking spoke spoken talked voice
ain aren couldn didn doesn don hadn hasn haven isn let ll re shouldn ve wasn weren won wouldn
"""
_STOP = frozenset(_STOP_WORDS.split())


def content(text: str) -> list[str]:
    """The stems of its words without those that stand in every sentence; case and accents folded."""
    return [_stem(word) for word in _WORD.findall(_plain(text)) if word not in _STOP]


def mentioned(text: str, stems: Collection[str]) -> list[str]:
    """The `content` of a text, or nothing where none of `stems` is in it: that is told without its words."""
    plain = _plain(text)  # a word begins with its stem
    return content(text) if any(stem in plain for stem in stems) else []


def _plain(text: str) -> str:
    plain = text.casefold()
    if plain.isascii():
        return plain
    folded = unicodedata.normalize("NFKD", plain)
    return "".join(c for c in folded if not unicodedata.combining(c))


@functools.lru_cache(maxsize=1 << 16)  # a search stems all that is said in hundreds of segments
def _stem(word: str) -> str:
    """Without a common English ending, nor an e before it: "horses" meets "horse", "riding" meets "ride"."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > _LEAST_STEM else word


class Lexicon:
    """How much a word tells.

    Args:
        worth: -log of the share of texts that hold a stem; others are worth `rare`.
        rare: what a word is worth that none held.
    """

    def __init__(self, worth: Mapping[str, float], rare: float) -> None:
        self._worth = worth
        self._rare = rare

    def knows(self, word: str) -> bool:
        """Whether a word tells nothing, or what it tells was learned."""
        return all(stem in self._worth for stem in content(word))

    def weigh(self, text: str) -> dict[str, float]:
        """The stems of a query, each with its share of the whole: they sum to one, or there are none."""
        worth = {stem: self._worth.get(stem, self._rare) for stem in content(text)}
        total = sum(worth.values())
        return {stem: value / total for stem, value in worth.items()} if total > 0 else {}
