"""Records as JSON and back, to the last bit, and nothing that is half a record."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli import errors
from savecli.datatypes import Ask, Moment, Part, Phrase, Results, Show, Term, Terms, Where
from savecli.errors import MediaCrash, QueryError, SaveError
from savecli.query import parse
from savecli.wire import Line, WireError, decoded, encoded, failure, raised

ANY_PATH = (
    st.binary(min_size=1, max_size=20).filter(lambda b: b"\0" not in b).map(lambda b: Path(os.fsdecode(b)))
)
NUMBER = st.floats(allow_nan=False) | st.integers(-5, 5)
SHARES = st.dictionaries(st.sampled_from(["seen", "heard", "said"]), NUMBER)
TERMS = st.builds(
    Terms,
    text=st.text(),
    aim=st.sampled_from(["text", "sees", "hears", "says", "like"]),
    weight=NUMBER,
    is_against=st.booleans(),
    cosines=SHARES,
    words=NUMBER,
    letters=NUMBER,
    evidence=SHARES,
    usual=SHARES,
    background=st.tuples(NUMBER, NUMBER, st.integers(0)),
    score=NUMBER,
)
MOMENT = st.builds(
    Moment,
    path=ANY_PATH,
    video_id=st.text(),
    start_s=NUMBER,
    end_s=NUMBER,
    score=NUMBER,
    why=SHARES,
    snippet=st.text(),
    best_s=NUMBER,
    mounted=st.booleans(),
    drive=st.text(),
    marks=st.lists(st.tuples(st.integers(0), st.integers(0)), max_size=3).map(tuple),
    copies=st.integers(0),
    terms=st.lists(TERMS, max_size=2).map(tuple),
)
RESULTS = st.builds(
    Results,
    moments=st.lists(MOMENT, max_size=3).map(tuple),
    nearest=st.none() | MOMENT,
    exact=st.booleans(),
    lacked_graph=st.booleans(),
    has_more=st.booleans(),
    n_videos=st.none() | st.integers(0),
    threshold=NUMBER,
)


def through(record):
    """What a record becomes on its way."""
    return decoded(type(record), json.loads(json.dumps(encoded(record))))


@given(RESULTS)
def test_results_arrive_as_they_were(results):
    arrived = through(results)
    assert arrived == results
    assert repr(arrived) == repr(results)  # 1 is 1.0, but is not printed so


@given(st.floats(allow_nan=False))
def test_numbers_arrive_to_the_last_bit(number):
    arrived = through(Show(threshold=number)).threshold
    assert arrived.hex() == number.hex()


@pytest.mark.parametrize(
    "arguments",
    [
        ["a dog on a beach"],
        ["2:dog", "-a cat", 'sees:"a red car"', '"good boy"', '-"bad boy"', '"anne* NEAR/3 cat"'],
        [
            "dog",
            "in:/v",
            "in:/w/caf\udce9",
            "has:speech",
            "has:audio",
            "lang:de",
            "since:2024",
            "max-duration:2h",
        ],
        ["\u4f60\u597d \U0001f415 \udcff"],
    ],
)
def test_queries_arrive_as_they_were(arguments):
    ask = parse(arguments)
    assert through(ask) == ask


def test_every_field_of_a_query_arrives():
    ask = Ask(
        text="a",
        sees="b",
        hears="c",
        says="d",
        more=(Part(text="e", aim="says", weight=2),),
        against=(Part(text="f"),),
        phrases=(Phrase(text="g", runs=((Term("g"), Term("h", is_prefix=True)), (Term("i"),)), gaps=(3,)),),
        banned=(Phrase(text="j", runs=((Term("j"),),)),),
        regexes=("k+",),
        like="l.jpg",
        where=Where(
            below=(Path("/m"),),
            since_s=1.5,
            until_s=2.5,
            min_duration_s=0,
            max_duration_s=9,
            languages=frozenset({"de", "en"}),
            has=frozenset({"speech"}),
        ),
    )
    defaults = Ask()
    assert all(getattr(ask, name) != getattr(defaults, name) for name in Ask.__dataclass_fields__)
    assert through(ask) == ask


GOOD = encoded(Show())


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Show, None),
        (Show, []),
        (Show, "show"),
        (Show, {}),
        (Show, {**GOOD, "more": 1}),
        (Show, {**GOOD, "top_k": 1.5}),
        (Show, {**GOOD, "top_k": True}),
        (Show, {**GOOD, "threshold": "0"}),
        (Show, {**GOOD, "copies": 1}),
        (Part, {"text": "a", "aim": "smells", "weight": 1}),
        (Part, {"text": "a", "aim": ["sees"], "weight": 1}),
        (Part, {"text": "a", "aim": "sees", "weight": -1}),
        (Phrase, {"text": "a", "runs": [], "gaps": []}),
        (Phrase, {"text": "a", "runs": [[["a"]]], "gaps": []}),
        (Where, {**encoded(Where()), "below": ["a", 1]}),
        (Where, {**encoded(Where()), "has": "speech"}),
        (Results, {"moments": [], "nearest": [], "exact": True}),
    ],
)
def test_what_is_no_record_is_refused(kind, value):
    with pytest.raises(WireError):
        decoded(kind, value)


def test_what_json_cannot_hold_is_not_sent():
    with pytest.raises(TypeError):
        encoded(Show(top_k=object()))


def kinds(kind=SaveError):
    return [kind, *(one for own in kind.__subclasses__() for one in kinds(own))]


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind.__module__ == errors.__name__])
def test_a_failure_is_raised_again_as_the_same_class(kind):
    error = raised(json.loads(json.dumps(failure(kind("it broke", hint="mend it")))))
    assert (type(error), error.message, error.hint) == (kind, "it broke", "mend it")


def test_a_failure_that_is_none_is_refused():
    good = failure(MediaCrash("a"))
    for changes in ({"kind": "OSError"}, {"kind": "annotations"}, {"kind": "_rebuild"}, {"message": 5}):
        with pytest.raises(WireError):
            raised({**good, **changes})
    for told in (None, [], "QueryError", {}):
        with pytest.raises(WireError):
            raised(told)
    assert isinstance(raised(failure(QueryError("a"))), QueryError)


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Line(ours), theirs


def test_messages_come_one_by_one_however_they_are_cut(ends):
    line, other = ends
    other.sendall(b'{"a": 1}\n{"b"')
    assert line.receive(most_bytes=100, within_s=1) == {"a": 1}
    with pytest.raises(TimeoutError):
        line.receive(most_bytes=100, within_s=0.05)
    other.sendall(b': "\\udcff"}\n')
    assert line.receive(most_bytes=100, within_s=1) == {"b": "\udcff"}
    other.close()
    assert line.receive(most_bytes=100, within_s=1) is None


@pytest.mark.parametrize("text", [b"nonsense", b"[]", b"5", b"\xff\xfe", b"", b"[" * 100_000])
def test_what_is_no_message_is_refused(ends, text):
    line, other = ends
    other.sendall(text + b"\n")
    with pytest.raises(WireError):
        line.receive(most_bytes=1 << 20, within_s=1)


def test_a_message_without_an_end_is_given_up(ends):
    line, other = ends
    other.sendall(b"x" * 150_000)
    with pytest.raises(WireError, match="more than 1000 bytes"):
        line.receive(most_bytes=1000, within_s=1)


def test_what_is_too_long_is_not_sent(ends):
    line, other = ends
    with pytest.raises(WireError):
        line.send({"a": "b" * 100}, most_bytes=100, within_s=1)
    line.send({"a": "b"}, most_bytes=100, within_s=1)
    assert other.recv(100) == b'{"a": "b"}\n'


def test_an_other_end_that_takes_nothing_is_given_up(ends):
    line, _ = ends
    with pytest.raises(TimeoutError):
        line.send({"a": "b" * (1 << 24)}, most_bytes=1 << 25, within_s=0.1)
