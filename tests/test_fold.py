"""Words as they are compared: case, accents and scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli import fold


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop\u2014twenty-one DOGS!", ["dont", "stop", "twenty", "one", "dogs"]),
        ("don\u2019t", ["dont"]),
        ("Caf\xe9 na\xefve Stra\xdfe \ufb01n", ["cafe", "naive", "strasse", "fin"]),
        ("cafe\u0301", ["cafe"]),
        ("\u0130stanbul \u0141\xd3D\u0179 \xd8re", ["istanbul", "lodz", "ore"]),
        ("\u0395\u03bb\u03bb\u03ac\u03b4\u03b1", ["\u03b5\u03bb\u03bb\u03b1\u03b4\u03b1"]),
        ("\u5f8c\u4f86 iPhone\u624b\u6a5f", ["\u540e", "\u6765", "iphone", "\u624b", "\u673a"]),
        ("\u304c\u304b", ["\u304c", "\u304b"]),
        ("\uc548\ub155 \ud558\uc138\uc694", ["\uc548\ub155", "\ud558\uc138\uc694"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
        ("\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f", ["\u0645\u062d\u0645\u062f"]),
        ("a_b \u2026 '' 3,000", ["a", "b", "3", "000"]),
        ("", []),
        ("?!", []),
    ],
)
def test_words(text, words):
    assert fold.words(text) == words


def test_both_scripts_of_chinese_are_one():
    assert fold.words("\u4f60\u5f8c\u4f86\u8aaa\u4ec0\u9ebc") == fold.words(
        "\u4f60\u540e\u6765\u8bf4\u4ec0\u4e48"
    )


def test_japanese_voicing_is_no_accent():
    assert fold.words("\u304b") != fold.words("\u304c")


@given(st.text())
def test_any_text_comes_apart_into_words_that_sqlite_leaves_whole(text):
    for token in fold.tokens(text):
        assert token.text
        assert 0 <= token.start < token.end <= len(text)
        assert not any(c.isspace() for c in token.text)
        assert all(c.isalnum() for c in token.text if c.isascii())
        assert fold.fold(text[token.start : token.end]) == token.text


@given(st.text(alphabet=st.characters(codec="latin-1")))
def test_case_does_not_matter(text):
    assert fold.words(text.upper()) == fold.words(text.upper().lower())


@given(st.characters())
def test_a_letter_stays_one(character):
    assert len(fold.letter(character)) == 1
