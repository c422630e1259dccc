"""Text -> words as they are compared: without case, accents or Chinese script variants.

Scripts that put no spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) come apart into
characters, so that any run of them can be looked for. Accents are folded where they are marks on a letter
(Latin, Greek, Cyrillic, Hebrew, Arabic), not where they make another one (Japanese voicing, Indic vowels).
Traditional Chinese becomes simplified, character by character, by OpenCC's table.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

_ASCII_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9']*")
_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_PATTERNS = {
    "word": rf"[[{_SPACELESS}]&&[\p{{L}}\p{{N}}ー]]\p{{M}}*"
    rf"|[[\p{{L}}\p{{N}}]--[{_SPACELESS}]][[\p{{L}}\p{{M}}\p{{N}}'\u2019\u02bc]--[{_SPACELESS}]]*",
    "marks": r"[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff]",
    "rest": r"[^\p{L}\p{M}\p{N}]|^\p{M}+",
    "han": r"\p{Han}",
}
# Letters that Unicode takes for letters of their own, though a person without their key types another.
_PLAIN = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
)


class Token(NamedTuple):
    """A word as it is compared, and ``[start, end)``, where it stands in the text."""

    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """The words of a text, in order. "Don't" is one word, "dont"; "twenty-one" is two."""
    pattern = _ASCII_WORD if text.isascii() else _pattern("word")
    found = ((fold(match[0]), match) for match in pattern.finditer(text))
    return [Token(word, match.start(), match.end()) for word, match in found if word]


def words(text: str) -> list[str]:
    """The words of a text without their places."""
    return [token.text for token in tokens(text)]


def fold(word: str) -> str:
    """One word as it is compared: letters, digits and their marks alone; "" where nothing is left."""
    if word.isascii():
        return "".join(c for c in word if c.isalnum()).lower()
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word).casefold())
    bare = _pattern("rest").sub("", _pattern("rest").sub("", _pattern("marks").sub("", apart)))
    whole = unicodedata.normalize("NFC", bare).translate(_PLAIN)
    return str(_pattern("han").sub(lambda match: _simplified(match[0]), whole))


def letter(character: str) -> str:
    """One character without accent or script variant, always one; its case stays."""
    if character.isascii():
        return character
    apart = _pattern("marks").sub("", unicodedata.normalize("NFD", character))
    whole = unicodedata.normalize("NFC", apart)
    if len(whole) != 1:
        return character
    return _simplified(whole) if _pattern("han").match(whole) else whole


@functools.cache
def _pattern(name: str) -> Any:  # noqa: ANN401 - regex has no types
    """A pattern with Unicode's properties, compiled with the first text that is not ASCII."""
    import regex

    return regex.compile(_PATTERNS[name], regex.V1)


@functools.cache
def _simplified(character: str) -> str:
    """A Chinese character in simplified script; one character for one."""
    simple = _converter()(character)
    return simple if len(simple) == 1 else character


@functools.cache
def _converter() -> Callable[[str], str]:
    """OpenCC, loaded with the first Chinese character."""
    import opencc

    convert: Callable[[str], str] = opencc.OpenCC("t2s").convert
    return convert
