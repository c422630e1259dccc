"""What a bar tells at any width: it stays, beside it what matters most, and a long name is shortened."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from savecli import render
from savecli.events import Indexed, Planned, Progress, Skipped, Stepped, Summary, TrainingBegins
from savecli.render.basics import fitting, shortened

LONG = Path("/v/a clip with [a] long name of its own, from the summer when all was well, number 13.mp4")
WIDE = Path("/v/日本語の長い名前のビデオ、夏の休みの、日本語の長い名前のビデオ、夏の休みの 13.mp4")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def frame(monkeypatch):
    """Gives the last rows that a bar shows on a terminal of so many columns."""

    def drawn(columns, call):
        err = Terminal()
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stdout", Terminal())
        monkeypatch.setattr(sys, "stderr", err)
        call()
        monkeypatch.undo()
        rows = [row for row in re.split(r"[\r\n]+", ESCAPES.sub("", err.getvalue())) if row.strip()]
        first = max(i for i, row in enumerate(rows) if "━" in row)
        return rows[first : first + 2]

    return drawn


@pytest.fixture
def indexing(monkeypatch):
    """Gives an index run that stands at a file."""

    def run(path):
        clock = iter([0.0, *[10.0] * 9])
        monkeypatch.setattr("savecli.render.indexing.time", SimpleNamespace(monotonic=lambda: next(clock)))
        facts = {"n_segments": 1, "has_audio": True, "speech_s": 0, "elapsed_s": 9}
        spent = {"decode": 2.0, "hear": 6.0, "see": 1.5, "store": 0.5}
        events = [
            Planned(n_files=1200, n_bytes=240_000),
            Indexed(path=Path("/v/1.mp4"), duration_s=600, size_bytes=1000, stage_s=spent, **facts),
            Progress(path=path, stage="hear", done_s=100, duration_s=3725),
            Summary(n_indexed=1, n_unchanged=0, n_moved=0, n_skipped=0, footage_s=600, elapsed_s=10),
        ]
        render.index_table(events)

    return run


@pytest.mark.parametrize("path", [LONG, WIDE], ids=["long", "wide"])
@pytest.mark.parametrize("columns", [80, 100, 120])
def test_the_bar_of_an_index_run_keeps_what_matters(frame, indexing, columns, path):
    first, second = frame(columns, lambda: indexing(path))
    assert max(cell_len(first.rstrip()), cell_len(second.rstrip())) <= columns
    assert re.match(r"[\u2800-\u28ff] [━╸╺]{20} 1/1200  60x real time, hear takes longest  ETA \d", first)
    assert ("of footage left" in first) == (columns == 120)
    told = re.fullmatch(r" +listening 1:40 of 1:02:05  (\S.*)…(.* ?13\.mp4)\s*", second)
    assert told, second
    assert path.name.startswith(told[1])
    assert path.name.endswith(told[2])


def test_a_wide_terminal_shows_all_of_it(frame, indexing):
    first, second = frame(200, lambda: indexing(LONG))
    assert first.rstrip().endswith("of footage left  decode 300x, hear 100x, see 400x, store 1200x")
    assert second.rstrip().endswith(f"listening 1:40 of 1:02:05  {LONG.name}")


def test_a_single_long_file_moves_the_bar_and_what_is_skipped_is_done(frame, monkeypatch):
    """It was listened to for 10 s and looked at for 90, a quarter of it: 270 are left of 370."""
    at = [0.0]
    monkeypatch.setattr("savecli.render.indexing.time", SimpleNamespace(monotonic=lambda: at[0]))
    long, broken = Path("/v/long.mp4"), Path("/v/broken.mp4")

    def events():
        yield Planned(n_files=2, n_bytes=4000, sizes={long: 3000, broken: 1000})
        yield Skipped(path=broken, reason="it is cut off", hint="copy it again")
        yield Progress(path=long, stage="hear", done_s=0, duration_s=7200)
        at[0] = 10.0
        yield Progress(path=long, stage="hear", done_s=7200, duration_s=7200)
        at[0] = 100.0
        yield Progress(path=long, stage="see", done_s=1800, duration_s=7200)
        yield Summary(n_indexed=1, n_unchanged=0, n_moved=0, n_skipped=1, footage_s=7200, elapsed_s=100)

    first, second = frame(120, lambda: render.index_table(events()))
    told = re.match(
        r"[\u2800-\u28ff] (━+)[╸╺]━+ 1/2  19x real time  ETA 4:(29|30)  1:27:34 of footage", first
    )
    assert told, first
    assert len(told[1]) == 5
    assert second.strip() == "seeing 30:00 of 2:00:00  long.mp4"


@pytest.mark.parametrize("columns", [10, 24, 40, 60])
def test_the_bar_of_an_index_run_is_the_last_to_go(frame, indexing, columns):
    rows = frame(columns, lambda: indexing(LONG))
    assert max(cell_len(row.rstrip()) for row in rows) <= columns
    assert columns < 40 or rows[0].startswith(tuple(f"{c} " for c in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"))


def test_the_bar_of_a_training_keeps_what_matters(frame):
    begins = TrainingBegins(
        **{"n_samples": 60, "n_train": 10, "n_val": 2, "n_test": 3, "n_steps": 12_000, "n_done": 0},
        **{"device": "cpu", "precision": "fp32"},
    )
    step = Stepped(
        **{"step": 1234, "epoch": 3, "retrieval": 1.5, "distillation": 0.25, "lr": 1e-4, "grad_norm": 2.0},
        **{"elapsed_s": 0.5, "n_videos": 16},
    )
    first = frame(80, lambda: render.training_table([begins, step]))[0]
    assert re.match(r"[\u2800-\u28ff] [━╸╺]{20} step 1234/12000  loss 1\.500 \+ 0\.250  ETA 1:29:43", first)
    assert cell_len(first.rstrip()) <= 80


@given(st.text(), st.integers(-5, 60))
def test_a_name_is_never_wider_than_its_room(name, room):
    assert cell_len(shortened(name, room)) <= max(room, 0)


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126)), min_size=1), st.integers(-5, 60))
def test_a_line_is_never_wider_than_its_room(parts, room):
    assert len(fitting(parts, room)) <= max(room, 0)
