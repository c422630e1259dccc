"""Dates, durations and times as people type them."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli.errors import QueryError
from savecli.when import day, length, moment, seconds

NOW = datetime(2024, 3, 31, 15, 30)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024", (2024, 1, 1), (2025, 1, 1)),
        ("2024-05", (2024, 5, 1), (2024, 6, 1)),
        ("2024-12", (2024, 12, 1), (2025, 1, 1)),
        ("2024-02-29", (2024, 2, 29), (2024, 3, 1)),
        ("20240229", (2024, 2, 29), (2024, 3, 1)),
        (" 2024-5-1 ", (2024, 5, 1), (2024, 5, 2)),
        ("2024-05-31T18:30", (2024, 5, 31, 18, 30), (2024, 5, 31, 18, 31)),
        ("2024-05-31 18:30:05", (2024, 5, 31, 18, 30, 5), (2024, 5, 31, 18, 30, 5)),
        ("today", (2024, 3, 31), (2024, 4, 1)),
        ("Yesterday", (2024, 3, 30), (2024, 3, 31)),
        ("7d", (2024, 3, 24, 15, 30), (2024, 3, 24, 15, 30)),
        ("2w", (2024, 3, 17, 15, 30), (2024, 3, 17, 15, 30)),
        ("12h", (2024, 3, 31, 3, 30), (2024, 3, 31, 3, 30)),
        ("now", (2024, 3, 31, 15, 30), (2024, 3, 31, 15, 30)),
    ],
)
def test_a_date_is_the_span_that_it_names(text, start, end):
    assert moment(text, is_end=False, now=NOW) == datetime(*start).timestamp()
    assert moment(text, is_end=True, now=NOW) == datetime(*end).timestamp()


def test_a_zone_is_heeded():
    assert moment("2024-05-31T18:30+02:00", is_end=False) == 1717173000


def test_twelve_hours_ago_are_twelve_hours_when_clocks_are_changed(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        noon = datetime(2024, 3, 31, 12)  # two o'clock was three that night
        assert moment("12h", is_end=False, now=noon) == noon.timestamp() - 12 * 3600
        assert moment("today", is_end=True, now=noon) - moment("today", is_end=False, now=noon) == 23 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text",
    ["", "someday", "2024-13", "2024-02-30", "99999d9", "0000", "31.5.2024", "2024-05-31T25:00", "-7d"],
)
def test_what_is_no_date_is_refused_with_the_forms_that_are(text):
    with pytest.raises(QueryError, match="is no date") as caught:
        moment(text, is_end=False, now=NOW)
    assert "2024-05-31" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1:30", 90),
        ("90:00", 5400),
        ("1:02:03", 3723),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h30", 5400),
        ("5m30", 330),
        ("1h 30min", 5400),
        ("45s", 45),
        ("20MIN", 1200),
        ("1.5h", 5400),
        ("0", 0),
        ("0:07.5", 7.5),
    ],
)
def test_a_duration_in_seconds(text, seconds):
    assert length(text) == seconds


@pytest.mark.parametrize("text", ["", "long", "-5", "1:99", "h", "1:2:3:4", "1e5", "9" * 12])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(QueryError) as caught:
        length(text)
    assert "1:30" in caught.value.hint


@given(st.text())
def test_any_text_is_a_date_and_a_duration_or_refused(text):
    for read in (lambda: moment(text, is_end=True), lambda: length(text)):
        try:
            found = read()
        except QueryError as error:
            found = error.hint
        assert isinstance(found, float) or found


def test_a_day_is_shown_as_it_was_typed():
    assert day(moment("2024-05-31", is_end=False)) == "2024-05-31"
    assert day(moment("2024-05-31T18:30", is_end=False)) == "2024-05-31 18:30"


@pytest.mark.parametrize(
    ("text", "value"),
    [("80", 80), ("80.5", 80.5), ("80s", 80), ("1:20", 80), ("1:02:03.5", 3723.5), ("0:00", 0)],
)
def test_a_time(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", ":", "1:2:3:4", "1.5:20", "-3", "abc", "1:", "\u0664", "1e3", "nan"])
def test_no_time(text):
    with pytest.raises(QueryError, match="no time"):
        seconds(text)
