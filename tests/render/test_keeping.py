"""What a person reads of a store that is verified, repaired, exported or joined, or that lacks a graph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from savecli import render
from savecli.datatypes import Results
from savecli.store import Problem
from savecli.store.outcomes import Added, Exported, Joined, Kept, Left, Repaired
from savecli.store.records import Headway

EVIL = "\x1b[2J\x07evil"
PROBLEM = Problem(subject=f"/v/{EVIL}", message=f"is {EVIL}", hint="mend it")
REPAIRED = Repaired(subject="/v/a.mp4", message="built again")


def test_problems_and_repairs(capsys):
    assert not render.verified([REPAIRED, PROBLEM], "/store", as_json=False, quiet=False)
    told = capsys.readouterr()
    assert "repaired /v/a.mp4: built again" in told.out
    assert "mend it" in told.out
    assert "1 problems in /store" in told.err
    assert "\x1b" not in told.out + told.err
    assert "\x07" not in told.out + told.err


def test_quiet_tells_problems_alone(capsys):
    assert render.verified([REPAIRED], "/store", as_json=False, quiet=True)
    assert capsys.readouterr().out == ""
    render.verified([PROBLEM], "/store", as_json=False, quiet=True)
    assert "wrong" in capsys.readouterr().out


def test_problems_as_json(capsys):
    render.verified([REPAIRED, PROBLEM], "/store", as_json=True, quiet=False)
    repaired, problem, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert repaired == {"event": "repaired", "subject": "/v/a.mp4", "message": "built again"}
    assert problem["subject"] == f"/v/{EVIL}"
    assert summary == {"event": "summary", "n_problems": 1, "n_repaired": 1, "ok": False}


def test_headway_is_not_passed_on():
    events = [Headway(part="rows", done=1, total=2), REPAIRED, Headway(part="rows", done=2, total=2)]
    assert list(render.past_headway(events)) == [REPAIRED]


EVENTS = [
    Added(video_id="1", paths=(Path(f"/v/{EVIL}"), Path("/v/b"))),
    Joined(video_id="2", path=Path("/v/c")),
    Kept(video_id="3", path=Path("/v/d")),
    Left(video_id="3"),
]


def test_what_an_import_did(capsys):
    assert not render.merged(EVENTS, dry_run=False, as_json=False, quiet=False)
    told = capsys.readouterr().out
    assert "/v/c" in told
    assert "/v/d: another video is known there" in told
    assert "1 videos added, 1 paths joined" in told
    assert "\x1b" not in told
    assert render.merged(EVENTS[:2], dry_run=True, as_json=False, quiet=False)
    assert "would be added" in capsys.readouterr().out


def test_what_an_import_did_as_json(capsys):
    render.merged(EVENTS, dry_run=True, as_json=True, quiet=False)
    added, joined, kept, left, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert added["paths"] == [f"/v/{EVIL}", "/v/b"]
    assert (joined["path"], kept["path"], left) == ("/v/c", "/v/d", {"event": "left", "video_id": "3"})
    assert summary == {
        "event": "summary",
        "dry_run": True,
        **{f"n_{n}": 1 for n in ("added", "joined", "kept", "left")},
    }


def test_what_was_exported(capsys):
    done = Exported(path=Path(f"/x/{EVIL}"), n_videos=3, n_segments=5, n_files=4, size_bytes=2_500_000)
    render.library_exported(done, as_json=False, quiet=False)
    told = capsys.readouterr().out
    assert "3 videos, 2.5 MB" in told
    assert "\x1b" not in told
    render.library_exported(done, as_json=True, quiet=False)
    assert json.loads(capsys.readouterr().out)["n_segments"] == 5


@pytest.mark.parametrize(
    "tell", [render.results_json, render.results_paths0, lambda results: render.results_table("dog", results)]
)
def test_a_missing_graph_is_told_on_stderr(capsys, tell):
    results = Results(moments=(), nearest=None, exact=True, lacked_graph=True)
    tell(results)
    told = capsys.readouterr().err
    assert "no search graph" in told
    assert "save rebuild" in told
    tell(Results(moments=(), nearest=None, exact=True))
    assert capsys.readouterr().err == ""
