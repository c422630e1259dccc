"""Where a line ends: a path comes out whole at any width; prose is folded, on a terminal alone."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from savecli import render
from savecli.datatypes import Moment, Results, Transcript, Utterance
from savecli.events import Indexed, Moved, Relinked, Removed, Skipped, Summary
from savecli.store import KnownFile, Problem, StoredSegment, StoredVideo
from savecli.store.outcomes import Added, Exported, Joined, Kept
from savecli.twins import Copies, Dupes, Member, Twins

COLUMNS = 40
LONG = Path("/videos of the summer") / ("a folder with a long name " * 8).strip() / "a clip.mp4"
PROSE = " ".join(f"word{i}" for i in range(40))
ESCAPES = re.compile(r"\x1b\]8;.*?\x1b\\|\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=[Terminal, io.StringIO], ids=["terminal", "pipe"])
def kind(request):
    return request.param


@pytest.fixture
def lines(kind, monkeypatch):
    """Gives what a call writes to a narrow terminal or a pipe, as lines without their colours."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setenv("TERM", "xterm")

    def told(call):
        out = kind()
        monkeypatch.setattr(sys, "stdout", out)
        call()
        monkeypatch.undo()
        return ESCAPES.sub("", out.getvalue()).splitlines()

    return told


def video():
    return StoredVideo(
        video_id="ab",
        paths=(LONG,),
        duration_s=31.2,
        has_audio=True,
        has_video=True,
        n_segments=1,
        speech_s=8.4,
        language="en",
        asr="base",
        notes=(f"a copy of {LONG}",),
        partial=False,
        indexed_at=1.0,
    )


def results(**changes):
    fields = {
        **{"path": LONG, "video_id": "ab", "start_s": 12.0, "end_s": 24.0, "best_s": 14.0, "score": 0.4},
        **{"why": {"seen": 0.4}, "snippet": PROSE},
    }
    return Results(moments=(Moment(**fields | changes),), nearest=None, exact=True)


def show():
    said = Transcript(language="en", utterances=(Utterance(start_s=1, end_s=2, text=PROSE),))
    segment = StoredSegment(
        segment_id=1, video_id="x", paths=(LONG,), start_s=0, end_s=12, n_seen=1, n_frames=1, n_said=1
    )
    render.show_table(video(), [segment], said)


def index():
    of_indexed = {"duration_s": 1.0, "n_segments": 1, "has_audio": True, "speech_s": 0, "elapsed_s": 1}
    summary = Summary(n_indexed=1, n_unchanged=0, n_moved=0, n_skipped=0, footage_s=1, elapsed_s=1)
    events = [
        Indexed(path=LONG, size_bytes=1, **of_indexed),
        Moved(path=LONG, old_path=Path("/old")),
        Removed(path=LONG),
        Skipped(path=LONG, reason="broken", hint=""),
        summary,
    ]
    render.index_table(events)


def dupes():
    member = Member(video_id="ab", paths=(LONG,), start_s=0, end_s=1, duration_s=1)
    twins = Twins(kind="video", members=(member, member), likeness=0.9, looked=True, other_words=False)
    copies = Copies(video_id="ab", paths=(LONG, LONG))
    render.dupes_table(Dupes(n_videos=2, copies=(copies,), twins=(twins,), n_blind=0, n_unlooked=0))


def merged():
    events = [
        Added(video_id="1", paths=(LONG,)),
        Joined(video_id="2", path=LONG),
        Kept(video_id="3", path=LONG),
    ]
    render.merged(events, dry_run=False, as_json=False, quiet=False)


def kept():
    problem = Problem(subject=str(LONG), message="is damaged", hint="")
    render.verified([problem], "/store", as_json=False, quiet=False)
    exported = Exported(path=LONG, n_videos=1, n_segments=1, n_files=1, size_bytes=1)
    render.library_exported(exported, as_json=False, quiet=False)
    render.exported([LONG], 1, 1.0, (), as_json=False, quiet=False)


WEIGHTS = ("name", "role", "size", "licence", "state", "origin")
FAILED = {LONG: KnownFile(1, 1, None, "broken", "", 1)}
PRINTED = {
    "search": lambda: render.results_table("x", results()),
    "search --by-video": lambda: render.results_table("x", results(), by_video=True),
    "search, not mounted": lambda: render.results_table("x", results(mounted=False, drive="USB")),
    "list": lambda: render.list_table([video()], FAILED, {LONG: "USB"}),
    "list --failed": lambda: render.failed_table(FAILED),
    "show": show,
    "status": lambda: render.status(None, {}, {"home": (str(LONG), "--home")}, as_json=False),
    "index": index,
    "relink": lambda: render.relinked(
        [Relinked(path=LONG, old_path=Path("/old")), Relinked(path=LONG, old_path=LONG, reason="gone")],
        dry_run=True,
        as_json=False,
    ),
    "dupes": dupes,
    "import": merged,
    "verify, export": kept,
    "model list": lambda: render.weights_table([dict.fromkeys(WEIGHTS, "x") | {"origin": str(LONG)}]),
    "facts": lambda: render.facts({"home": LONG}),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_path_is_never_folded(lines, name):
    told = lines(PRINTED[name])
    assert any(str(LONG) in line for line in told)
    # Each line with a part of it has the whole.
    assert [line for line in told if "a folder with" in line and str(LONG) not in line] == []


@pytest.mark.parametrize("name", ["search", "show"])
def test_prose_is_folded_between_words_and_on_a_terminal_alone(lines, kind, name):
    told = [line for line in lines(PRINTED[name]) if "word" in line]
    if kind is Terminal:
        assert len(told) > 5
        assert max(map(len, told)) <= COLUMNS
        assert re.findall(r"word\d+", " ".join(told)) == PROSE.split()
    else:
        assert len(told) == 1
        assert PROSE in told[0]


def test_names_and_values_stand_in_columns(lines):
    told = lines(lambda: render.facts({"a": 1, "what is long": LONG}))
    assert told == ["a             1", f"what is long  {LONG}"]
