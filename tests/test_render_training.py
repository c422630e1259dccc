"""A training as a person and a program read it."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import pytest

from savecli import render
from savecli.events import Evaluated, Preparing, Stepped, Taught, Trained, TrainingBegins

EVIL = "a\x1b]0;owned\x07b\rc\x9bd\u202ee"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
STRANGE = Path(os.fsdecode(b"/videos/caf\xe9 \xff.mp4"))
RECALL = {"R@1": 41.25, "R@5": 70.0, "R@10": 80.0, "MdR": 2.0, "MnR": 7.5}


def begins(**changes):
    fields = {"n_samples": 60, "n_train": 10, "n_val": 2, "n_test": 3, "n_steps": 8, "n_done": 0}
    return TrainingBegins(**{**fields, "device": "cpu", "precision": "fp32", **changes})


def stepped(step=1, **changes):
    fields = {"epoch": 0, "retrieval": 1.5, "distillation": 0.25, "lr": 1e-4, "grad_norm": 2.0}
    return Stepped(step=step, **{**fields, "elapsed_s": 0.5, "n_videos": 16, **changes})


EVENTS = [
    Preparing(n_done=1, n_videos=2),
    Preparing(n_done=2, n_videos=2, path=STRANGE, reason="no picture"),
    begins(notes=("no teacher",)),
    stepped(),
    Evaluated(epoch=0, split="val", t2v=RECALL, v2t=RECALL, is_best=True),
    Trained(epoch=0, path=Path("/runs/best-epoch-0")),
    Taught(path=Path("/t.safetensors"), n_videos=9, n_new=4, n_failed=1),
]


def test_every_event_is_an_object_of_its_own_name(capsys):
    render.training_json(EVENTS)
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    names = ["preparing", "preparing", "begins", "step", "evaluated", "trained", "taught"]
    assert [record["event"] for record in told] == names
    assert told[1]["path"] == str(STRANGE)
    assert told[3]["grad_norm"] == 2.0
    assert told[4]["t2v"] == RECALL
    assert told[5] == {"event": "trained", "epoch": 0, "path": "/runs/best-epoch-0"}


def test_a_pipe_gets_what_matters_as_lines(capsys):
    render.training_table(EVENTS)
    out, err = capsys.readouterr()
    assert err == ""
    assert len(out.splitlines()) == 6  # neither steps nor what was decoded as it should
    for fact in (
        "no picture",
        "60 captions of 10 videos, 2 to choose by, 3 to test on; 8 steps on cpu in fp32",
        "note: no teacher",
        "R@1 41.2",
        "best so far",
        "/runs/best-epoch-0",
        "9 videos, 4 of them new, 1 failed",
    ):
        assert fact in out
    assert "goes on" not in out


def test_a_training_that_goes_on_says_where(capsys):
    render.training_table([begins(n_done=5)])
    assert "goes on after step 5" in capsys.readouterr().out


def test_quietly_there_is_nothing(capsys):
    render.training_table(EVENTS, quiet=True)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("tty", [False, True])
def test_nothing_that_a_file_says_moves_the_cursor(monkeypatch, capsys, tty):
    if tty:
        monkeypatch.setenv("TERM", "dumb")  # so that rich itself sends no control characters
        monkeypatch.setattr(sys, "stdout", Terminal())
        monkeypatch.setattr(sys, "stderr", Terminal())
    evil = Path(f"/videos/{EVIL}.mp4")
    render.training_table(
        [
            Preparing(n_done=1, n_videos=1, path=evil, reason=EVIL),
            begins(notes=(EVIL, f"[red]{EVIL}")),
            Trained(epoch=0, path=evil),
            Taught(path=STRANGE, n_videos=1, n_new=1, n_failed=0),
        ]
    )
    shown = sys.stdout.getvalue() + sys.stderr.getvalue() if tty else capsys.readouterr().out
    assert "owned" in shown
    assert "[red]" in shown  # a name is no markup either
    assert not CONTROL.search(shown.replace("\r\n", "\n"))


def test_a_terminal_sees_the_steps_and_how_long_it_will_take(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", screen)
    seen = []

    def events():
        yield begins()
        for step in (1, 2, 3):
            yield stepped(step)
        seen.append(screen.getvalue())
        yield Trained(epoch=0, path=Path("/runs/best-epoch-0"))

    class AtOnce(render.training.Progress):
        def update(self, *args, **given):
            super().update(*args, **given, refresh=True)

    monkeypatch.setattr(render.training, "Progress", AtOnce)
    render.training_table(events())
    assert "step 3/8" in seen[0]
    assert "loss 1.500 + 0.250" in seen[0]
    assert "32.0 videos/s" in seen[0]
    assert "ETA 0:02" in seen[0]
    assert "/runs/best-epoch-0" in screen.getvalue()
