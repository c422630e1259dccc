"""What a search found is known by its numbers afterwards."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli import last
from savecli.datatypes import Moment
from savecli.errors import QueryError


def moment(n: int, **changes: object) -> Moment:
    fields = {"path": Path(f"/videos/{n}.mp4"), "video_id": "ab" * 16, "start_s": float(n), "end_s": n + 1.5}
    return Moment(**{**fields, "score": 0.5, "why": {"seen": 0.5}, "snippet": "good boy", **changes})


FIVE = tuple(moment(n) for n in range(1, 6))
LAST = last.Last(asked='"dog"', moments=FIVE)


def test_what_is_remembered_is_recalled(tmp_path):
    odd = moment(9, path=Path(os.fsdecode(b"/videos/caf\xe9\n.mp4")), drive="Trip-2019", mounted=False)
    last.remember(tmp_path, 'say "x"', [*FIVE, odd])
    found = last.recall(tmp_path)
    assert found.asked == 'say "x"'
    assert found.moments == (*FIVE, odd)


@pytest.mark.skipif(os.name == "nt", reason="modes are for POSIX")
def test_others_cannot_read_what_was_looked_for(tmp_path):
    (tmp_path / last.FILE).write_text("older")
    (tmp_path / last.FILE).chmod(0o644)
    last.remember(tmp_path, "dog", FIVE)
    assert stat.S_IMODE((tmp_path / last.FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [last.FILE]


def test_a_home_that_cannot_be_written_is_no_failure(tmp_path):
    assert not last.remember(tmp_path / "absent", "dog", FIVE)
    (tmp_path / "file").touch()
    assert not last.remember(tmp_path / "file", "dog", FIVE)
    assert not (tmp_path / "absent").exists()


def test_however_many_are_remembered_all_are_recalled(tmp_path):
    assert last.remember(tmp_path, "dog", FIVE * 8000)
    assert len(last.recall(tmp_path).moments) == 40_000


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2", [2]),
        ("1-3", [1, 2, 3]),
        ("1,3", [1, 3]),
        ("3-1", [3, 2, 1]),
        ("4, 1-2,4", [4, 1, 2]),
        ("all", [1, 2, 3, 4, 5]),
    ],
)
def test_numbers_name_moments_in_their_order(text, numbers):
    assert last.are_numbers(text)
    assert LAST.pick(text) == [(n, FIVE[n - 1]) for n in numbers]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("6", "no result 6: the last search found 5"),
        ("0", "no result 0"),
        ("1-99999999", "no result 99999999"),
        ("-3", "names no results"),
        ("1-", "names no results"),
        (",", "names no results"),
        ("1-2-3", "names no results"),
        ("9" * 5000, "names no results"),
        ("²", "names no results"),
    ],
)
def test_numbers_that_name_none(text, match):
    with pytest.raises(QueryError, match=match) as caught:
        LAST.pick(text)
    assert caught.value.hint


@given(st.text())
def test_any_text_names_moments_or_is_refused(text):
    with suppress(QueryError):
        assert all(1 <= number <= 5 for number, _ in LAST.pick(text))


@pytest.mark.parametrize("text", ["dog.mp4", "./2", "", "2.mp4", "/2"])
def test_a_path_is_no_number(text):
    assert not last.are_numbers(text)


def test_before_any_search(tmp_path):
    with pytest.raises(QueryError, match="no search yet"):
        last.recall(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 99, "asked": "", "moments": []}',
        b'{"version": 1, "asked": "x", "moments": [{}]}',
        b"null",
        b'{"version": 2}',
        b'{"version": 2, "last": {"asked": "x", "moments": [null]}}',
        b"[" * 200_000,
        b"\xff",
    ],
)
def test_a_damaged_file_is_told_of(tmp_path, content):
    (tmp_path / last.FILE).write_bytes(content)
    with pytest.raises(QueryError, match=r"cannot be read: (.* is damaged|another version)") as caught:
        last.recall(tmp_path)
    assert "search again" in caught.value.hint
