"""What is told of a measurement: the same figures to a person and to a program."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from savecli import render
from savecli.events import Indexed
from savecli.figures import Tried
from savecli.render.measuring import FACTS, STAGES
from savecli.tuned import Choice, Tuned

from .. import figured

EVIL = "a\x1b]0;owned\x07b"
TUNED = Tuned(
    machine="m",
    device="auto",
    jobs=3,
    without_speech_x=50.0,
    speech_x={"base": 20.0},
    measured_on="2026-11-28",
)
AUTO = Choice("base", "it is good")


def figures(**changes):
    round_ones = {
        "footage_s": 90.0,
        "stage_s": {"decode": 4.5, "hear": 6.0, "see": 2.0, "store": 0.0},
        "index_bytes": 250_000,
        "searches_s": (0.02, 0.03, 0.04),
    }
    return figured.figures(**round_ones | changes)


def test_the_record_has_everything_by_the_hour_and_by_the_second():
    record = render.bench_record(figures())
    assert record["x"] == 18.0
    assert [record[f"{stage}_x"] for stage in STAGES] == [20.0, 15.0, 45.0, None]
    assert record["cpu_s_per_hour"] == 360.0
    assert [record[f"{stage}_cpu_s_per_hour"] for stage in STAGES] == [40.0, 240.0, 80.0, 0.0]
    assert (record["limit"], record["limit_share"]) == ("hear", 0.667)
    assert record["index_mb_per_hour"] == 10.0
    assert (record["first_search_ms"], record["search_p50_ms"], record["search_p99_ms"]) == (100, 30, 40)
    assert FACTS.keys() <= record.keys()
    json.dumps(record)


def test_the_table_tells_stages_limit_and_facts(capsys):
    render.bench_table(figures(n_skipped=1))
    shown = capsys.readouterr().out
    assert "2 videos, 1:30 of footage, 0:30 of it speech; 1 could not be read" in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["hear"] == ["limits:", "67%", "of", "the", "CPU", "time"], "the last line that begins so"
    assert rows["decode"] == ["20", "40", "11%"]
    assert rows["store"] == ["-", "0", "0%"]
    assert rows["whole"] == ["18.0", "360"]
    assert "hear             15         240    67%" in shown
    assert "memory at most, MB              900" in shown


def test_what_was_not_measured_is_left_out(capsys):
    silent = figures(memory=None, speech_s=0.0)
    render.bench_table(silent)
    shown = capsys.readouterr().out
    assert "memory" not in shown
    assert "speech" not in shown
    assert render.bench_record(silent)["memory_mb"] is None


def test_a_machines_name_does_not_reach_the_terminal_raw(capsys):
    render.bench_table(figures(machine=EVIL))
    assert "\x1b" not in capsys.readouterr().out


def test_a_watch_returns_what_comes_of_the_work(capsys):
    def work():
        yield Indexed(
            path=Path("/a.mp4"),
            duration_s=1.0,
            n_segments=1,
            has_audio=True,
            speech_s=0,
            elapsed_s=1,
            size_bytes=1,
        )
        return 42

    assert render.bench_watch(work(), quiet=False) == 42
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("as_json", [True, False])
def test_a_tuning_is_told_try_by_try(capsys, as_json):
    def work():
        yield Tried(setting="jobs", value="2", x=17.26)
        yield Tried(setting="asr", value="off", x=60.0)
        yield Tried(setting="asr", value="tiny.en", x=40.0)
        return TUNED

    assert render.tune_watch(work(), as_json=as_json) == TUNED
    first, second, third = capsys.readouterr().out.splitlines()
    if as_json:
        assert json.loads(first) == {"tried": "jobs", "value": "2", "x": 17.26}
        assert [json.loads(told)["value"] for told in (second, third)] == ["off", "tiny.en"]
    else:
        assert first == "jobs 2              17.3x  of footage full of talk, indexed"
        assert second == "asr off             60.0x  of footage, indexed without speech"
        assert third == "asr tiny.en         40.0x  of speech, heard"


def test_what_is_remembered_is_told(capsys):
    path = Path("/home/tuned.json")
    render.tuned(TUNED, path, AUTO, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "path": str(path),
        "asr_auto": {"name": "base", "why": "it is good"},
        "tuned": {
            "machine": "m",
            "device": "auto",
            "jobs": 3,
            "without_speech_x": 50.0,
            "speech_x": {"base": 20.0},
            "measured_on": "2026-11-28",
            "was_busy": False,
        },
    }
    render.tuned(TUNED, path, AUTO, as_json=False)
    told = capsys.readouterr()
    assert told.out.splitlines() == ["jobs 3, kept in /home/tuned.json", "asr auto is base: it is good"]
    assert told.err == ""


def test_other_work_meanwhile_is_told(capsys):
    render.tuned(replace(TUNED, was_busy=True), Path("/t.json"), AUTO, as_json=False)
    assert "too low" in capsys.readouterr().err
