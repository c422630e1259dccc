"""The language of `save search`: what is typed -> an Ask."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.datatypes import Ask, Part, Term, Where
from savecli.errors import QueryError
from savecli.query import MAX_NEAR_WORDS, NEAR_WORDS, parse, phrase, require

NOW = datetime(2024, 3, 31, 15, 30)


def outcome(read, value):
    """What is read, or how that was refused."""
    try:
        return read(value), None
    except QueryError as error:
        return None, error


def part(text, weight=1.0, aim="text"):
    return Part(text=text, weight=weight, aim=aim)


CASES = {
    "a text": (["a dog"], {"text": "a dog"}),
    "texts are one": (["a", "dog", "on grass"], {"text": "a dog on grass"}),
    "weight and minus": (["2:dog", "-cat"], {"more": (part("dog", 2),), "against": (part("cat"),)}),
    "weight of all": (["2:a black dog", "grass"], {"text": "grass", "more": (part("a black dog", 2),)}),
    "part of a weight": (["0.5:dog"], {"more": (part("dog", 0.5),)}),
    "minus within": (["dog -cat"], {"text": "dog", "against": (part("cat"),)}),
    "both": (["dog -2:cat grass"], {"text": "dog grass", "against": (part("cat", 2),)}),
    "minus of all": (["dog", "-a white cat"], {"text": "dog", "against": (part("a white cat"),)}),
    "minus apart": (["dog", "- cat"], {"text": "dog", "against": (part("cat"),)}),
    "groups": (
        ["dog -(a white cat) 2:(green grass)"],
        {"text": "dog", "against": (part("a white cat"),), "more": (part("green grass", 2),)},
    ),
    "aims": (
        ["sees:(a red car) 3:SAYS:hello"],
        {"more": (part("a red car", aim="sees"), part("hello", 3, aim="says"))},
    ),
    "minus and aim": (
        ["-hears:(loud music) dog"],
        {"text": "dog", "against": (part("loud music", aim="hears"),)},
    ),
    "quotes": (['"good boy" at home'], {"text": "at home", "phrases": (phrase("good boy"),)}),
    "curly quotes": (["\u201cgood boy\u201d"], {"phrases": (phrase("good boy"),)}),
    "minus and quotes": (['-"bad boy" dog'], {"text": "dog", "banned": (phrase("bad boy"),)}),
    "quotes around a minus": (
        ['"2:dog" "-a cat" "3:green grass"'],
        {"more": (part("dog", 2), part("green grass", 3)), "against": (part("a cat"),)},
    ),
    "parentheses": (["(a dog)"], {"text": "(a dog)"}),
    "times": (["at 2:30", "5:1"], {"text": "at 2:30 5:1"}),
    "a number below zero": (["-5 degrees"], {"text": "-5 degrees"}),
    "dashes": (["a well-known dog - and -- a -"], {"text": "a well-known dog - and -- a -"}),
    "two dashes": (["--dog"], {"text": "--dog"}),
    "no letters": (["-!?"], {"text": "-!?"}),
    "inches": (['6" screen'], {"text": '6" screen'}),
    "colons": (["note: https://x.org says:"], {"text": "note: https://x.org says:"}),
    "filters": (
        ["dog has:speech HAS:video lang:de-AT language:en in:/v in:'x y"],
        {
            "text": "dog y",
            "where": Where(
                has=frozenset({"speech", "video"}),
                languages=frozenset({"de", "en"}),
                below=(Path("/v"), Path("'x").absolute()),
            ),
        },
    ),
    "a path with spaces": (
        ['in:"/my videos" dog'],
        {"text": "dog", "where": Where(below=(Path("/my videos"),))},
    ),
    "bounds": (
        ["dog since:2024-01 until:yesterday min-duration:1:30 max-duration:2h"],
        {
            "text": "dog",
            "where": Where(
                since_s=datetime(2024, 1, 1).timestamp(),
                until_s=datetime(2024, 3, 31).timestamp(),
                min_duration_s=90,
                max_duration_s=7200,
            ),
        },
    ),
}


@pytest.mark.parametrize(("arguments", "fields"), CASES.values(), ids=CASES)
def test_what_is_typed_is_what_is_asked(arguments, fields):
    assert parse(arguments, now=NOW) == Ask(**fields)


def test_options_come_first_and_stay():
    given = Ask(sees="a car", more=(part("x"),), where=Where(has=frozenset({"audio"})))
    asked = parse(["2:dog has:speech"], given)
    assert asked.sees == "a car"
    assert asked.more == (part("x"), part("dog", 2))
    assert asked.where.has == {"audio", "speech"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dog", ""], "empty"),
        (["dog since:someday"], "no date"),
        (["dog since:2024 until:2023"], "no time is since"),
        (["dog since:2024 since:2023"], "given twice"),
        (["dog min-duration:2h max-duration:1h"], "no video is at least"),
        (["dog has:fun"], "cannot have 'fun'"),
        (["dog lang:!"], "no code of a language"),
        (["dog -has:speech"], "cannot be turned round"),
        (['dog has:""'], "has no value"),
        (["0:dog"], "no weight"),
        (["dog 1000:cat"], "no weight"),
        (['dog ""'], "no words"),
        (['"b*"'], "fits too many words"),
        (["x" * 10_001], "10001 characters"),
        (["dog in:a\0b"], "no path"),
        (["dog in:~nobody-is-called-so/films"], "nobody's home"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(QueryError, match=message) as caught:
        parse(arguments)
    assert caught.value.hint


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_any_text_is_a_query_or_refused_with_a_hint(arguments):
    asked, error = outcome(parse, arguments)
    if error is None:
        asked, error = (asked, outcome(require, asked)[1])
    assert error.hint if error else asked.parts or asked.is_exact


PIECES = st.sampled_from(
    ["dog", "-cat", '"good', 'boy"', "2:", "has:speech", "(", ")", "NEAR/2", "*", '""', "sees:x", " "]
)


@given(st.lists(PIECES, max_size=8).map(" ".join).filter(str.strip))
def test_pieces_of_the_language_in_any_order_are_read_or_refused(text):
    asked, error = outcome(parse, [text])
    assert error.hint if error else isinstance(asked, Ask)


def runs(text):
    return [[term.text + "*" * term.is_prefix for term in run] for run in phrase(text).runs]


@pytest.mark.parametrize(
    ("text", "expected", "gaps"),
    [
        ("Good, boy!", [["good", "boy"]], ()),
        ("ann*", [["ann*"]], ()),
        ("ann* smith", [["ann*", "smith"]], ()),
        ("good NEAR boy", [["good"], ["boy"]], (NEAR_WORDS,)),
        ("a b NEAR/3 c NEAR/0 d", [["a", "b"], ["c"], ["d"]], (3, 0)),
        ("a NEAR/99999 b", [["a"], ["b"]], (MAX_NEAR_WORDS,)),
        ("NEAR", [["near"]], ()),
        ("NEAR a NEAR", [["near", "a", "near"]], ()),
        ("so near", [["so", "near"]], ()),
        ("\u732b*", [["\u732b*"]], ()),
        ("twenty-on*", [["twenty", "on*"]], ()),
    ],
)
def test_phrases(text, expected, gaps):
    assert runs(text) == expected
    assert phrase(text).gaps == gaps


@given(st.text())
def test_any_text_is_a_phrase_or_refused(text):
    found, error = outcome(phrase, text)
    if error:
        assert error.hint
    else:
        assert all(isinstance(term, Term) and term.text for run in found.runs for term in run)
        assert len(found.gaps) == len(found.runs) - 1


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (Ask(), "the query is empty"),
        (Ask(text=" "), "the query is empty"),
        (Ask(text="x", against=(part(" "),)), "the query is empty"),
        (Ask(against=(part("cat"),)), "only left out"),
        (Ask(banned=(phrase("cat"),)), "only left out"),
        (Ask(where=Where(has=frozenset({"speech"}))), "only filters"),
    ],
)
def test_a_query_must_look_for_something(ask, message):
    with pytest.raises(QueryError, match=message) as caught:
        require(ask)
    assert caught.value.hint
