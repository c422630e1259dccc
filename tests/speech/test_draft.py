from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.speech.draft import Draft, DraftWord, is_kept, utterances


def draft(*words: DraftWord, logprob: float = -0.3, ratio: float = 1.5, no_speech: float = 0.1) -> Draft:
    return Draft(words=words, avg_logprob=logprob, compression_ratio=ratio, no_speech_prob=no_speech)


@pytest.mark.parametrize(
    ("logprob", "ratio", "no_speech", "kept"),
    [
        (-0.3, 1.5, 0.1, True),
        (-1.0, 2.4, 0.6, True),
        (-1.01, 1.5, 0.1, False),
        (-0.3, 2.41, 0.1, False),
        (-0.51, 1.5, 0.61, False),
        (-0.5, 1.5, 0.61, True),
        (-0.51, 1.5, 0.6, True),
        (math.nan, 1.5, 0.1, False),
        (-0.3, math.nan, 0.1, False),
        (-0.3, 1.5, math.nan, False),
    ],
)
def test_the_keep_rule(logprob: float, ratio: float, no_speech: float, kept: bool):
    assert is_kept(draft(logprob=logprob, ratio=ratio, no_speech=no_speech)) is kept


def test_a_pause_over_half_a_second_splits():
    said = draft(
        DraftWord(1.0, 1.4, " Ask"),
        DraftWord(1.9, 2.0, " not,"),
        DraftWord(2.6, 3.0, " what"),
    )
    first, second = utterances(said)
    assert (first.start_s, first.end_s, first.text) == (1.0, 2.0, "Ask not,")
    assert (second.start_s, second.end_s, second.text) == (2.6, 3.0, "what")
    assert [word.text for word in first.words] == ["Ask", "not,"]


def test_languages_without_spaces_stay_without():
    (only,) = utterances(draft(DraftWord(0.0, 0.2, "你"), DraftWord(0.2, 0.4, "好")))
    assert only.text == "你好"


def test_blank_words_are_nothing_said():
    assert list(utterances(draft(DraftWord(0.0, 0.2, " "), DraftWord(0.2, 0.4, "")))) == []
    assert list(utterances(draft())) == []


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1)), max_size=30))
def test_splitting_keeps_every_word_once_and_leaves_no_long_pause(steps: list[tuple[float, float]]):
    words, clock_s = [], 0.0
    for n, (gap_s, length_s) in enumerate(steps):
        words.append(DraftWord(clock_s + gap_s, clock_s + gap_s + length_s, f" w{n}"))
        clock_s += gap_s + length_s
    split = list(utterances(draft(*words)))
    assert [word.text for u in split for word in u.words] == [f"w{n}" for n in range(len(words))]
    for utterance in split:
        assert all(after.start_s - before.end_s <= 0.5 for before, after in pairwise(utterance.words))
    for before, after in pairwise(split):
        assert after.start_s - before.end_s > 0.5
