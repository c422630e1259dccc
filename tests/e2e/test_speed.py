"""`save bench`, `--asr auto` and what was tuned, as a person meets them; no test here asks how fast."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FINGERPRINT = "from savecli.machine import fingerprint; print(fingerprint())"


@pytest.fixture
def tuned(save):
    """Puts a record in the home folder, of this machine or of another."""

    def write(machine=None, **speech_x):
        here = subprocess.run(
            [sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True
        ).stdout.strip()
        record = {
            "machine": machine or here,
            "device": "auto",
            "jobs": 5,
            "without_speech_x": 100.0,
            "speech_x": {"tiny.en": 50.0, **speech_x},
            "measured_on": "2026-11-28",
        }
        save.home.mkdir(exist_ok=True)
        (save.home / "tuned.json").write_text(json.dumps(record))

    return write


def setting(save, name):
    """What `save status` says of a setting; an empty library will do."""
    return save("status", "--json").records[0]["settings"][name]


@pytest.fixture
def indexed(save, samples):
    assert save("index", samples / "cat.mp4", "--asr", "off", "--json").code == 0
    return save


def test_bench_measures_and_touches_neither_the_videos_nor_the_library(
    save, samples, samples_as_made, digests_of
):
    run = save("bench", samples, "--asr", "off", "--limit", "25", "--json")
    assert run.code == 0, run.err
    (figures,) = run.records
    assert run.err == ""
    assert (figures["asr"], figures["n_skipped"]) == ("off", 0)
    assert 15 < figures["footage_s"] < 45
    for name in ("x", "see_x", "cpu_s_per_hour", "index_mb_per_hour", "first_search_ms", "search_p99_ms"):
        assert figures[name] > 0, name
    assert figures["limit"] in ("decode", "hear", "see", "store")
    assert figures["command_mb"] > figures["decoder_mb"] > 10
    assert not save.home.exists()
    assert digests_of(samples) == samples_as_made


def test_bench_makes_the_samples_where_no_video_is_named(save):
    run = save("bench", "--asr", "off", "--limit", "30")
    assert run.code == 0, run.err
    assert "of footage" in run.out.splitlines()[0]
    assert " limits: " in run.out


def test_bench_of_no_video_is_a_hint(save, tmp_path):
    run = save("bench", tmp_path)
    assert (run.code, run.out) == (2, "")
    assert "no video that can be measured" in run.err


def test_what_was_tuned_here_is_named_as_a_source(indexed, tuned):
    tuned()
    assert setting(indexed, "jobs") == {"value": "5", "source": "tuned"}
    assert setting(indexed.using(SAVE_JOBS="2"), "jobs") == {"value": "2", "source": "SAVE_JOBS"}


def test_what_was_tuned_on_another_machine_does_not_count(indexed, tuned):
    tuned(machine="another")
    assert setting(indexed, "jobs")["source"] == "default"


def test_asr_auto_says_what_it_is_and_why(indexed, tuned):
    tuned(base=2.0)
    auto = indexed.using(SAVE_ASR="auto", SAVE_LANGUAGE="en")
    told = setting(auto, "asr")
    assert told["value"] == "tiny.en"
    assert told["source"].startswith("SAVE_ASR: auto, the best that")
    checks = {check["check"]: check["message"] for check in auto("doctor", "--json").records}
    assert "asr auto is tiny.en" in checks["speed"]
    assert checks["speech"] == "Whisper tiny.en loads"


def test_another_model_reads_nothing_again(own_library, samples):
    before = own_library.stored()
    assert {video["asr"] for video in before} == {"tiny.en"}
    again = own_library("index", samples, "--json", "--asr", "auto")
    assert again.code == 0
    assert again.events("indexed") == []
    assert own_library.stored() == before
