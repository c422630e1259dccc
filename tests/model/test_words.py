"""Which words of a text count, and how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.model.words import Lexicon, content

LEXICON = Lexicon(worth={"dog": 3.0, "park": 1.0, "everywher": 0.0}, rare=6.0)


@pytest.mark.parametrize(
    ("text", "stems"),
    [
        ("a man says good boy", ["man", "good", "boy"]),
        ("The DOGS, walking!", ["dog", "walk"]),
        ("she talked about dishes", ["about", "dish"]),
        ("Élan naïve", ["elan", "naiv"]),
        ("the is of", []),
        ("gas bus", ["gas", "bus"]),  # a stem keeps three letters
        ("4 dogs in 1984", ["4", "dog", "1984"]),
        ("", []),
        ("?! ...", []),
    ],
)
def test_content_is_the_stems_of_what_means_something(text, stems):
    assert content(text) == stems


@pytest.mark.parametrize("apostrophe", ["'", "\u2019"])
def test_what_hangs_on_an_apostrophe_is_no_word(apostrophe):
    text = "it's the dog's bone, don't you think that's fine? I'm here, we'll rock'n'roll"
    assert content(text.replace("'", apostrophe)) == ["dog", "bon", "think", "fin", "her", "rock"]


def test_a_word_and_its_plural_meet():
    for singular, plural in (
        ("dog", "dogs"),
        ("dish", "dishes"),
        ("horse", "horses"),
        ("time", "times"),
        ("ride", "riding"),
    ):
        assert content(singular) == content(plural)


@given(st.text(max_size=60))
def test_any_text_has_a_content_that_case_does_not_change(text):
    stems = content(text)
    assert all(stems)
    assert content(text.casefold()) == stems


@given(st.lists(st.sampled_from(["dog", "dogs", "park", "the", "zebra", "everywhere", "it's"]), max_size=8))
def test_shares_sum_to_one_or_there_are_none(words):
    shares = LEXICON.weigh(" ".join(words))
    assert all(share >= 0 for share in shares.values())
    if shares:
        assert sum(shares.values()) == pytest.approx(1)
    else:
        assert not {"dog", "park", "zebra"} & set(content(" ".join(words)))


def test_a_word_counts_by_its_worth_an_unknown_one_most_and_each_once():
    assert LEXICON.weigh("dogs dog park zebra") == pytest.approx({"dog": 0.3, "park": 0.1, "zebra": 0.6})


def test_words_that_stand_in_every_text_are_worth_nothing():
    assert LEXICON.weigh("everywhere") == {}
