"""Captions by what they speak of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.bench.kinds import KINDS, LEGEND, SOUND, SPEECH, kind_of
from savecli.toy import Scene

SCENE = Scene(seen=("turquoise", "ring", "left"), heard=("bell", "rising sweep"), said=("piano", "bakery"))


@pytest.mark.parametrize(
    ("caption", "kind"),
    [
        ("a woman sings on a stage", "sound"),
        ("Dogs BARKING at a car.", "sound"),
        ("loud engine noise", "sound"),
        ("the crowd's applause", "sound"),
        ("a man talks about his car", "speech"),
        ('two people in an interview: "why?"', "speech"),
        ("someone EXPLAINS a recipe", "speech"),
        ("a girl speaks while music plays", "both"),
        ("a man says something and people laugh", "both"),
        ("a cat sleeps", "neither"),
        ("", "neither"),
        # Whole words only, and none that mostly mean something else.
        ("a tree with grey bark and a ring", "neither"),
        ("kids play a musically themed essay", "neither"),
        ("a soundproofed talkative speechless saying_so", "neither"),
        ("a dog plays with a bell and a drum", "neither"),
    ],
)
def test_the_kind_is_a_matter_of_words(caption, kind):
    assert kind_of(caption) == kind


@given(st.sampled_from(sorted(SOUND)), st.sampled_from(sorted(SPEECH)), st.booleans())
def test_every_word_counts_in_any_case_and_punctuation(sound, speech, upper):
    def said(text):
        return kind_of(text.upper() if upper else text)

    assert said(f"a dog ({sound})!") == "sound"
    assert said(f"{speech}, a dog") == "speech"
    assert said(f"{speech}-{sound}") == "both"
    assert said(f"x{sound} {speech}x") == "neither" or {f"x{sound}", f"{speech}x"} & (SOUND | SPEECH)


@given(st.text())
def test_any_text_has_a_kind(text):
    assert kind_of(text) in KINDS


def test_the_lists_share_no_word_and_are_folded():
    assert not SOUND & SPEECH
    assert all(word == word.casefold() for word in SOUND | SPEECH)


def test_the_toy_s_captions_are_what_they_are_made_as():
    kinds = {"seen": "neither", "heard": "sound", "said": "speech"}
    for made, kind in kinds.items():
        assert {kind_of(caption) for caption in SCENE.captions(made)} == {kind}


def test_the_legend_names_words_of_the_lists():
    sound, speech = LEGEND.split("such as ")[1:]
    assert set(sound.split(";")[0].split(", ")) <= SOUND
    assert set(speech.split(";")[0].split(", ")) <= SPEECH
    assert all(kind in LEGEND for kind in KINDS)
