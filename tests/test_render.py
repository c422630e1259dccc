"""What reaches a terminal, and what a program is promised."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savecli import render
from savecli.config import DEFAULTS
from savecli.datatypes import Ask, Check, Moment, Results, Transcript, Utterance, Word
from savecli.events import Indexed, Moved, Planned, Progress, Relinked, Removed, Skipped, Summary, Unchanged
from savecli.plain import plain
from savecli.store import Counts, KnownFile, StoredSegment, StoredVideo

EVIL = "a\x1b]0;owned\x07b\rc\x9bd\u202ee\nf"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
STRANGE = Path(os.fsdecode(b"/videos/caf\xe9 \xff.mp4"))


def moment(path=Path("/abs/dog.mp4"), **changes):
    fields = {
        "path": path,
        "video_id": "ab" * 16,
        "start_s": 12.0,
        "end_s": 24.0,
        "score": 0.41,
        "why": {"seen": 0.25, "heard": 0.0, "said": 0.16},
        "snippet": "good boy, sit",
        "best_s": 14.25,
    }
    return Moment(**fields | changes)


def video(path=Path("/abs/dog.mp4"), **changes):
    fields = {
        "video_id": "ab" * 16,
        "paths": (path,),
        "duration_s": 31.2,
        "has_audio": True,
        "has_video": True,
        "n_segments": 3,
        "speech_s": 8.4,
        "language": "en",
        "asr": "base",
        "notes": (),
        "partial": False,
        "indexed_at": 1.0,
    }
    return StoredVideo(**fields | changes)


def indexed(path=Path("/abs/dog.mp4"), **changes):
    fields = {
        "duration_s": 31.2,
        "n_segments": 3,
        "has_audio": True,
        "speech_s": 8.4,
        "elapsed_s": 1.9,
        "size_bytes": 1000,
    }
    return Indexed(path=path, **fields | changes)


SUMMARY = Summary(
    n_indexed=1, n_unchanged=2, n_moved=3, n_skipped=4, footage_s=31.2, elapsed_s=2.0, stage_s={"see": 1.0}
)


def records(capsys):
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


# -- the contract --------------------------------------------------------------------------------------------


def test_a_moment_has_the_fields_of_the_contract(capsys):
    render.results_json(
        Results(moments=(moment(), moment(mounted=False, drive="USB")), nearest=None, exact=True)
    )
    first, second = records(capsys)
    assert first == {
        "rank": 1,
        "path": "/abs/dog.mp4",
        "start_s": 12.0,
        "end_s": 24.0,
        "score": 0.41,
        "why": {"seen": 0.25, "heard": 0.0, "said": 0.16},
        "snippet": "good boy, sit",
        "best_s": 14.25,
        "video_id": "ab" * 16,
        "mounted": True,
        "drive": None,
        "marks": [],
        "copies": 0,
    }
    assert (second["rank"], second["mounted"], second["drive"]) == (2, False, "USB")


def test_the_contract_names_each_field_of_a_moment_and_each_setting():
    told = Path(__file__).parents[1].joinpath("docs", "cli.md").read_text("utf-8").split("\n## ")[0]
    fields = [*render.moment_record(1, moment(), explain=True), "query"]
    settings = [f"SAVE_{name.upper()}" for name in ("home", "model_dir", *DEFAULTS)]
    assert [name for name in (*fields, *settings) if f"`{name}`" not in told] == []


def test_events_have_the_fields_of_the_contract(capsys):
    dog, cat = Path("/abs/dog.mp4"), Path("/abs/cat.mp4")
    events = [
        Planned(n_files=1, n_bytes=9),
        Progress(path=dog, stage="see", done_s=1, duration_s=2),
        indexed(notes=("no speech",)),
        Unchanged(path=dog),
        Moved(path=dog, old_path=cat),
        Skipped(path=dog, reason="broken", hint="copy it again"),
        Removed(path=cat),
        SUMMARY,
    ]
    assert render.index_json(events) == SUMMARY
    told = records(capsys)
    names = ["indexed", "unchanged", "moved", "skipped", "removed", "summary"]
    assert [one["event"] for one in told] == names
    assert told[0] == {
        "event": "indexed",
        "path": "/abs/dog.mp4",
        "duration_s": 31.2,
        "n_segments": 3,
        "has_audio": True,
        "speech_s": 8.4,
        "elapsed_s": 1.9,
        "notes": ["no speech"],
        "partial": False,
    }
    assert told[1] == {"event": "unchanged", "path": "/abs/dog.mp4"}
    assert told[2] == {"event": "moved", "path": "/abs/dog.mp4", "old_path": "/abs/cat.mp4"}
    assert told[3] == {
        "event": "skipped",
        "path": "/abs/dog.mp4",
        "reason": "broken",
        "hint": "copy it again",
        "known": False,
        "unfinished": False,
    }
    assert told[4] == {"event": "removed", "path": "/abs/cat.mp4"}
    assert told[5].keys() == {
        *("event", "n_indexed", "n_unchanged", "n_moved", "n_skipped", "footage_s", "elapsed_s", "stage_s"),
        *("n_removed", "n_missing", "n_away"),
    }


def test_a_video_is_shown_as_one_object(capsys):
    word = Word(start_s=1.0, end_s=1.5, text="sit")
    said = Transcript(language="en", utterances=(Utterance(start_s=1, end_s=2, text="sit", words=(word,)),))
    segment = StoredSegment(
        segment_id=1, video_id="x", paths=(), start_s=0.0, end_s=12.0, n_seen=1, n_frames=12, n_said=1
    )
    render.show_json(video(), [segment], said)
    (shown,) = records(capsys)
    assert shown["segments"] == [{"start_s": 0.0, "end_s": 12.0, "n_frames": 12}]
    assert shown["utterances"] == [
        {"start_s": 1, "end_s": 2, "text": "sit", "words": [[1.0, 1.5, "sit"]]},
    ]
    assert shown["paths"] == ["/abs/dog.mp4"]


COUNTS = Counts(
    n_videos=1,
    n_files=3,
    n_failed=1,
    n_segments=3,
    n_utterances=2,
    duration_s=3600.0,
    speech_s=8.4,
    n_rows={"seen": 3, "frames": 36, "said": 2},
    dead_share=0.0,
    size_bytes=2_000_000,
)


def test_status_says_where_each_setting_comes_from(capsys):
    render.status(COUNTS, {"model": "mini"}, {"asr": ("base", "SAVE_ASR")}, as_json=True)
    (told,) = records(capsys)
    assert told["settings"] == {"asr": {"value": "base", "source": "SAVE_ASR"}}
    assert (told["videos"], told["files"], told["skipped"]) == (1, 2, 1)
    assert told["mb_per_hour"] == 2.0
    render.status(COUNTS, {"model": "mini"}, {"asr": ("base", "SAVE_ASR")}, as_json=False)
    assert re.search(r"asr +base +\(SAVE_ASR\)", capsys.readouterr().out)


def test_status_tells_a_person_no_raw_names_or_numbers(capsys):
    settings = {"batch_size": ("auto", "default"), "data": ("", "default"), "offline": ("True", "--offline")}
    render.status(COUNTS, {"model": "save-mini", "dim": "384"}, settings, as_json=False)
    counted, chosen = capsys.readouterr().out.split("\n\nsettings\n")
    rows = dict(re.split("  +", line, maxsplit=1) for line in counted.splitlines())
    assert rows["footage"] == "1:00:00"
    assert rows["speech"] == "0:08"
    assert rows["size"] == "2.0 MB, 2.0 MB for an hour of footage"
    assert rows["model"] == "save-mini, dimensions 384"
    assert "_" not in counted
    assert [re.split("  +", line) for line in chosen.splitlines()] == [
        ["batch_size", "auto", "(default)"],
        ["data", "-", "(default)"],
        ["offline", "yes", "(--offline)"],
    ]


def test_status_before_the_first_index_has_the_same_fields(capsys):
    render.status(COUNTS, {"model": "mini"}, {}, as_json=True)
    render.status(None, {}, {"asr": ("base", "default")}, as_json=True)
    after, before = records(capsys)
    assert before.keys() == after.keys()
    assert (before["videos"], before["mb_per_hour"], before["model"]) == (0, 0, {})
    assert before["settings"] == {"asr": {"value": "base", "source": "default"}}


DOG, CAT, COW = (Path(f"/abs/{name}.mp4") for name in ("dog", "cat", "cow"))
AWAY = {DOG: "USB", CAT: ""}


def test_a_moment_that_cannot_be_played_is_told_with_the_reason(capsys):
    told = (moment(mounted=False, drive="USB"), moment(mounted=False), moment())
    render.results_table("dog", Results(moments=told, nearest=None, exact=True))
    first, second, third = (line for line in capsys.readouterr().out.splitlines() if "/abs/" in line)
    assert first.endswith("(on drive USB, not mounted)")
    assert second.endswith("(not there now)")
    assert third.endswith("/abs/dog.mp4")


def test_a_list_tells_the_state_only_of_what_is_away(capsys):
    videos = [video(paths=(DOG, COW)), video(CAT)]
    render.list_table(videos, {})
    assert "(" not in capsys.readouterr().out
    render.list_table(videos, {COW: KnownFile(1, 1, None, "broken", "", 1)}, AWAY)
    rows = {line.split("/abs/")[-1].split()[0]: line for line in capsys.readouterr().out.splitlines()[1:4]}
    assert rows["dog.mp4"].endswith("/abs/dog.mp4  (on drive USB, not mounted)")
    assert rows["cat.mp4"].endswith("/abs/cat.mp4  (not there now)")
    assert rows["cow.mp4"].endswith("/abs/cow.mp4")


def test_a_video_is_mounted_if_any_of_its_files_is(capsys):
    copied, lost = video(paths=(DOG, COW)), video(paths=(DOG, CAT))
    assert render.video_record(copied, AWAY)["mounted"]
    assert not render.video_record(lost, AWAY)["mounted"]
    assert render.video_record(lost)["mounted"]
    render.line(render.video_record(lost, AWAY))
    (told,) = records(capsys)
    assert told["away"] == [{"path": str(DOG), "drive": "USB"}, {"path": str(CAT), "drive": None}]
    render.show_table(lost, [], Transcript(), AWAY)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert (first, second) == (f"{DOG}  (on drive USB, not mounted)", f"{CAT}  (not there now)")


def test_status_counts_what_is_away(capsys):
    render.status(COUNTS, {}, {}, AWAY | {COW: "USB"}, as_json=True)
    (told,) = records(capsys)
    assert (told["not_there"], told["not_mounted"]) == (1, {"USB": 2})
    render.status(COUNTS, {}, {}, AWAY | {COW: "USB"}, as_json=False)
    out = capsys.readouterr().out
    assert re.search(r"on drive USB, not mounted +2 *\n", out)
    assert re.search(r"not there +1 *\n", out)


def test_failed_files_are_told_with_reason_hint_and_attempts(capsys):
    failed = {
        DOG: KnownFile(1, 1, None, "no headway", "does a player show it?", 3),
        CAT: KnownFile(1, 1, None, "damaged", None, 1),
    }
    render.failed_table(failed)
    out = capsys.readouterr().out
    for fact in (str(DOG), "no headway", "tried 3 times", "does a player show it?", "damaged", "tried once"):
        assert fact in out
    assert "None" not in out
    assert render.failure_record(DOG, failed[DOG]) == {
        "path": DOG,
        "skipped": "no headway",
        "hint": "does a player show it?",
        "attempts": 3,
    }
    render.failed_table({})
    assert capsys.readouterr().out == "no file has failed\n"


def test_what_was_relinked_and_what_was_left_is_told(capsys):
    files = [Relinked(path=DOG, old_path=CAT), Relinked(path=COW, old_path=STRANGE, reason=EVIL)]
    assert render.relinked(files, dry_run=False, as_json=True) == 1
    moved, left, summary = records(capsys)
    assert moved == {"event": "relinked", "path": str(DOG), "old_path": str(CAT)}
    assert left == {"event": "left", "path": str(STRANGE), "new_path": str(COW), "reason": EVIL}
    assert summary == {"event": "summary", "n_relinked": 1, "n_left": 1, "dry_run": False}
    assert render.relinked(files, dry_run=False, as_json=False) == 1
    done = capsys.readouterr().out
    assert "1 relinked, 1 left as they were" in done
    assert CONTROL.findall(done) == []
    assert render.relinked(files[:1], dry_run=True, as_json=False) == 0
    assert f"{CAT} -> {DOG}" in (wished := capsys.readouterr().out)
    assert "1 would be relinked; nothing was changed" in wished


def test_a_summary_says_what_is_gone_and_what_is_away(capsys):
    summary = Summary(
        n_indexed=0,
        n_unchanged=9,
        n_moved=0,
        n_skipped=0,
        footage_s=0,
        elapsed_s=1,
        n_removed=2,
        n_missing=3,
        n_away=4,
    )
    render.index_table([Removed(path=DOG), summary])
    out, err = capsys.readouterr()
    assert "removed  /abs/dog.mp4" in out
    assert "2 removed" in out
    assert "3 files are not there any more" in err
    assert "save relink" in err
    assert "4 files are on drives that are not mounted" in err
    render.index_table([summary], quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_path_that_is_no_unicode_comes_back_from_json(capsys):
    render.results_json(Results(moments=(moment(STRANGE),), nearest=None, exact=True))
    raw = capsys.readouterr().out
    assert raw.isascii()
    assert os.fsencode(json.loads(raw)["path"]) == b"/videos/caf\xe9 \xff.mp4"


@given(st.text())
def test_any_text_is_one_line_of_json(snippet):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        render.line(render.moment_record(1, moment(snippet=snippet)))
    (told,) = out.getvalue().splitlines()
    assert json.loads(told)["snippet"] == snippet


def test_paths_for_pipes_are_the_file_systems_bytes_each_once(capfdbinary, monkeypatch):
    results = Results(moments=(moment(STRANGE), moment(), moment(STRANGE)), nearest=None, exact=True)
    render.results_paths(results)
    assert capfdbinary.readouterr().out == b"/videos/caf\xe9 \xff.mp4\n/abs/dog.mp4\n"


def test_json_never_has_colour_even_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    render.results_json(Results(moments=(moment(snippet=EVIL),), nearest=None, exact=True))
    (told,) = records(capsys)
    assert told["snippet"] == EVIL


# -- what people read ----------------------------------------------------------------------------------------


def everything_printed():
    """Calls every function that prints text out of files."""
    evil = Path(f"/videos/{EVIL}.mp4")
    said = Transcript(language="en", utterances=(Utterance(start_s=1, end_s=2, text=EVIL),))
    segment = StoredSegment(
        segment_id=1, video_id="x", paths=(evil,), start_s=0, end_s=12, n_seen=1, n_frames=1, n_said=1
    )
    for path in (evil, STRANGE):
        one = moment(path, snippet=EVIL, mounted=False, drive=EVIL)
        render.results_table(EVIL, Results(moments=(one,), nearest=None, exact=False))
        render.results_table(Ask(text=EVIL, sees=EVIL), Results(moments=(), nearest=one, exact=True))
        events = [
            indexed(path, notes=(EVIL,)),
            Moved(path=path, old_path=path),
            Skipped(path=path, reason=EVIL, hint=EVIL),
            Removed(path=path),
            Unchanged(path=path),
            SUMMARY,
        ]
        render.index_table(events, verbose=True)
        failed = {path: KnownFile(1, 1, None, EVIL, EVIL, 1)}
        render.list_table([video(path, notes=(f"a copy of {path}",))], failed, {path: EVIL})
        render.failed_table(failed)
        render.show_table(video(path, notes=(EVIL,)), [segment], said, {path: EVIL})
        render.status(COUNTS, {"model": EVIL}, {"asr": (EVIL, EVIL)}, {path: EVIL}, as_json=False)
        render.checks([Check(name="x", ok=False, message=EVIL, hint=EVIL)], {"python": "3"}, as_json=False)
        render.facts({"name": EVIL})
        render.warn(EVIL, f"{EVIL} {path}")


def test_nothing_from_a_file_reaches_a_pipe_raw(capsys):
    everything_printed()
    out, err = capsys.readouterr()
    assert CONTROL.findall(out + err) == []
    assert "owned" in out
    assert "owned" in err


def test_a_table_in_a_pipe_folds_no_line(capsys):
    long = Path("/videos") / ("long " * 50) / "a.mp4"
    render.list_table([video(long)], {})
    assert any(line.rstrip().endswith(str(long)) for line in capsys.readouterr().out.splitlines())


def test_markup_in_a_name_is_text(capsys):
    path = Path("/videos/[bold red]x[/] :smile:.mp4")
    render.results_table("[red]", Results(moments=(moment(path, snippet="[/]"),), nearest=None, exact=True))
    render.list_table([video(path, notes=("[red]note[/]",))], {path: KnownFile(1, 1, None, "[/oops]", "", 1)})
    render.index_table([Skipped(path=path, reason="[/oops]", hint="[x]"), SUMMARY])
    render.status(COUNTS, {"model": "[/a]"}, {"asr": ("[/b]", "[/c]")}, as_json=False)
    render.facts({"name": "[/x]"})
    render.warn("[/x]")
    out, err = capsys.readouterr()
    assert out.count("[bold red]x[/] :smile:.mp4") == 4
    for raw in ("[red]note[/]", "[/oops]", "[/a]", "[/b]", "[/c]", "[/x]"):
        assert raw in out
    assert "[/x]" in err


@given(st.text())
def test_plain_text_can_be_printed_anywhere(text):
    shown = plain(text)
    assert not CONTROL.search(shown)
    assert "\n" not in shown
    shown.encode("utf-8")
    assert len(shown) == len(text)


@pytest.mark.parametrize("text", ["naïve café", "日本語", "العربية", "emoji 🐕", "👩\u200d🚀"])
def test_plain_text_keeps_what_people_write(text):
    assert plain(text) == text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"),
        (0.99, "0:00"),
        (59.999, "0:59"),
        (60, "1:00"),
        (3599.9, "59:59"),
        (3600, "1:00:00"),
        (3723, "1:02:03"),
        (360_000, "100:00:00"),
    ],
)
def test_clock_is_as_players_show_it(seconds, shown):
    assert render.clock(seconds) == shown


@given(st.floats(0, 1e6))
def test_a_clock_reads_back_to_the_second_it_was_set(seconds):
    whole = 0
    for part in render.clock(seconds).split(":"):
        whole = 60 * whole + int(part)
    assert whole == int(seconds)


def test_results_are_told_with_time_score_and_reason(capsys):
    render.results_table("dog", Results(moments=(moment(),), nearest=None, exact=True))
    out, err = capsys.readouterr()
    for fact in (
        "1.",
        "0:12-0:24",
        "/abs/dog.mp4",
        "0.41",
        "seen 0.25",
        "said 0.16",
        "0:14",
        '"good boy, sit"',
    ):
        assert fact in out
    assert err == ""


def test_a_reason_of_nothing_is_left_out(capsys):
    results = Results(moments=(moment(why={"seen": 0.41, "said": 0.0}),), nearest=None, exact=True)
    render.results_table("dog", results)
    assert "said" not in capsys.readouterr().out


def test_no_match_is_told_with_the_nearest(capsys):
    render.results_table("dog", Results(moments=(), nearest=moment(score=0.3), exact=True))
    out = capsys.readouterr().out
    assert 'nothing here matches "dog"' in out
    assert "dog.mp4 0:12-0:24" in out
    assert "--all" in out
    render.results_table("dog", Results(moments=(), nearest=None, exact=True))
    assert "nearest" not in capsys.readouterr().out


def test_each_modality_that_adds_to_a_score_is_told(capsys):
    why = {"seen": 0.2, "heard": 0.1, "said": 0.11}
    render.results_table("dog", Results(moments=(moment(why=why),), nearest=None, exact=True))
    assert "seen 0.20  heard 0.10  said 0.11" in capsys.readouterr().out
    render.results_json(Results(moments=(moment(why=why),), nearest=None, exact=True))
    assert records(capsys)[0]["why"] == why


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (Ask(text="dog"), '"dog"'),
        (Ask(text="dog", hears="barking"), '"dog", heard "barking"'),
        (Ask(sees="a beach", says="come here"), 'seen "a beach", said "come here"'),
    ],
)
def test_no_match_repeats_what_was_asked_for(capsys, ask, told):
    render.results_table(ask, Results(moments=(), nearest=None, exact=True))
    assert capsys.readouterr().out == f"nothing here matches {told}\n"


def test_unchanged_and_known_failures_are_told_only_when_asked(capsys):
    events = [
        Unchanged(path=Path("/a.mp4")),
        Skipped(path=Path("/b.mp4"), reason="broken", hint="", known=True),
        SUMMARY,
    ]
    render.index_table(events)
    quietly = capsys.readouterr().out
    assert "/a.mp4" not in quietly
    assert "/b.mp4" not in quietly
    render.index_table(events, verbose=True)
    loudly = capsys.readouterr().out
    assert "/a.mp4" in loudly
    assert "/b.mp4: broken" in loudly


def test_a_quiet_run_prints_nothing(capsys):
    assert render.index_table([indexed(), SUMMARY], quiet=True) == SUMMARY
    assert capsys.readouterr() == ("", "")


def test_a_summary_counts_and_tells_the_speed(capsys):
    render.index_table([indexed(), SUMMARY])
    out = capsys.readouterr().out
    assert "1 indexed, 2 unchanged, 4 skipped, 3 moved" in out
    assert "15.6x real time" in out


def test_copies_that_were_not_read_have_no_speed(capsys):
    copies = Summary(n_indexed=1, n_unchanged=0, n_moved=0, n_skipped=0, footage_s=0.0, elapsed_s=0.1)
    assert render.index_table([indexed(elapsed_s=0.0), copies]) == copies
    out = capsys.readouterr().out
    assert "1 indexed" in out
    assert "real time" not in out


def test_silent_videos_of_before_are_told_on_stderr(capsys):
    mute = Summary(
        n_indexed=0, n_unchanged=2, n_moved=0, n_skipped=0, footage_s=0.0, elapsed_s=1.0, n_without_speech=2
    )
    render.index_table([mute])
    err = capsys.readouterr().err
    assert "2 unchanged videos were indexed without speech" in err
    assert "--force" in err


@pytest.mark.parametrize("as_json", [True, False])
def test_checks_tell_whether_all_is_right(capsys, as_json):
    right, wrong = (
        Check(name="disk", ok=True, message="fine"),
        Check(name="store", ok=False, message="bad", hint="h"),
    )
    assert render.checks([right], {}, as_json=as_json)
    assert not render.checks([wrong, right], {}, as_json=as_json)
    assert "bad" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_a_bar_that_moves_and_leaves_only_results(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    events = [
        Planned(n_files=2, n_bytes=2000),
        Progress(path=Path(f"/videos/{EVIL}.mp4"), stage="hear", done_s=5, duration_s=31.2),
        Progress(path=Path("/abs/dog.mp4"), stage="see", done_s=5, duration_s=31.2),
        indexed(stage_s={"see": 1.0}),
        SUMMARY,
    ]
    render.index_table(events)
    assert "\x1b]0;" not in out.getvalue() + err.getvalue()
    assert "/abs/dog.mp4" in out.getvalue() + err.getvalue()


def test_every_name_of_the_room_is_found_in_one_of_its_files():
    assert sorted(render._HOMES) == sorted(render.__all__)
    for name in render.__all__:
        assert getattr(render, name) is not None
