"""Lines at the prompt: what they ask, what they may become, and what is kept of them."""

from __future__ import annotations

import io
import os
import stat
import sys

import pytest

from savecli.shell import N_KEPT, command, completions, keep, kept, lines, words

OPTIONS = {"-k": True, "--top-k": True, "--sees": True, "--says": True, "--json": False, "-f": False}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a dog on a beach", ["--", "a", "dog", "on", "a", "beach"]),
        ("a dog -k 3 on a beach", ["-k", "3", "--", "a", "dog", "on", "a", "beach"]),
        ("-k3 --json dog", ["-k3", "--json", "--", "dog"]),
        ("--top-k=3 dog", ["--top-k=3", "--", "dog"]),
        ('--sees "a red car" night', ["--sees", "a red car", "--", "night"]),
        ('--sees="a red car"', ["--sees=a red car"]),
        ('"good boy" 2:dog -cat', ["--", '"good boy"', "2:dog", "-cat"]),
        ("a man who doesn't talk", ["--", "a", "man", "who", "doesn't", "talk"]),
        ("it is 5 o'clock --says yes", ["--says", "yes", "--", "it", "is", "5", "o'clock"]),
        ("-kitten", ["--", "-kitten"]),
        ("--nope dog", ["--nope", "--", "dog"]),
        ("-f -- --json is a word", ["-f", "--", "--json", "is", "a", "word"]),
        ("dog -k", ["-k", "--", "dog"]),
        ('one "open quote', ["--", "one", '"', "open", "quote"]),
        ("C:\\videos\\dog", ["--", "C:\\videos\\dog"]),
        ('sees:(a red car) "good boy"', ["--", "sees:(a red car)", '"good boy"']),
        ("clip (1 of 2", ["--", "clip", "(", "1", "of", "2"]),
        ("", []),
    ],
)
def test_a_line_is_options_and_texts_as_they_were_typed(line, expected):
    assert words(line, OPTIONS) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (":open 2", ["open", "2"]),
        (": open  2 ", ["open", "2"]),
        (':export 1-3 "my clips.mp4" --pad 2', ["export", "1-3", "my clips.mp4", "--pad", "2"]),
        (":", []),
    ],
)
def test_a_line_with_a_colon_is_a_command(line, expected):
    assert command(line) == expected


def test_a_tilde_is_the_home_where_it_would_be_in_another_shell(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anne")
    assert words("--sees ~/a.jpg ~/b", OPTIONS) == ["--sees", "/home/anne/a.jpg", "--", "~/b"]
    assert words('--sees=~/a.jpg --says "~/c"', OPTIONS) == ["--sees=/home/anne/a.jpg", "--says", "~/c"]
    assert command(":export 1 ~/cut.mp4 ~nobody-is-called-so") == [
        "export",
        "1",
        "/home/anne/cut.mp4",
        "~nobody-is-called-so",
    ]


def complete(line):
    return completions(line, OPTIONS, ("open", "export", "list"), frozenset({":export", "--like"}))


def test_options_and_commands_are_completed():
    assert complete("dog --s") == ["--says ", "--sees "]
    assert complete(":") == [":export ", ":list ", ":open "]
    assert complete(":o") == [":open "]
    assert complete("dog :o") == [], "a command begins the line"
    assert complete("a do") == []


def test_files_are_completed_where_one_is_wanted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "dog.mp4").touch()
    (tmp_path / "photo.jpg").touch()
    assert complete("--like ") == ["folder/", "photo.jpg "]
    assert complete("dog --like folder/d") == ["folder/dog.mp4 "]
    assert complete(":export 1-3 ph") == ["photo.jpg "]
    assert complete(f"--like {tmp_path}/ph") == [f"{tmp_path}/photo.jpg "]
    assert complete("--like none/x") == []


def test_what_is_typed_is_kept_for_its_owner_alone(tmp_path):
    file = tmp_path / "history"
    old = os.umask(0)
    try:
        keep(file, "a dog")
    finally:
        os.umask(old)
    keep(file, "größe \udcff")
    assert kept(file) == ["a dog", "größe ?"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_history_does_not_grow_for_ever(tmp_path):
    file = tmp_path / "history"
    for number in range(2 * N_KEPT + 1):
        keep(file, str(number))
    assert kept(file)[-1] == str(2 * N_KEPT)
    assert len(kept(file)) == N_KEPT
    assert len(file.read_text().splitlines()) == N_KEPT, "the file was cut"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["history"]


def test_a_home_that_cannot_be_written_or_read_keeps_nothing(tmp_path):
    file = tmp_path / "none" / "history"
    keep(file, "a dog")
    assert kept(file) == []


def test_a_pipe_gives_its_lines_and_keeps_none(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a dog\n\n  two cats  \nlast"))
    assert list(lines(tmp_path / "history", lambda _: [])) == ["a dog", "two cats", "last"]
    assert not (tmp_path / "history").exists()
