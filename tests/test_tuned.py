"""What was measured on a machine, when it holds, and what `--asr auto` makes of it."""

from __future__ import annotations

import json

import pytest

from savecli import machine, tuned
from savecli.tuned import Tuned, choose, talk_x

SLOW, FAST = 5.0, 50.0


def measured(speech_x=None, **changes):
    fields = {
        "machine": machine.fingerprint(),
        "device": "auto",
        "jobs": 2,
        "without_speech_x": 100.0,
        "speech_x": speech_x or {"tiny.en": FAST, "base": FAST},
        "measured_on": "2026-11-28",
    }
    return Tuned(**fields | changes)


def chosen(record, language="", n_cores=2, there=lambda name: True):
    return choose(record, language=language, n_cores=n_cores, is_there=there)


def test_what_was_written_is_read(tmp_path):
    record = measured(was_busy=True)
    assert tuned.write(tmp_path / "new" / "home", record) == tmp_path / "new" / "home" / "tuned.json"
    assert tuned.read(tmp_path / "new" / "home", "auto") == record


def test_it_holds_on_its_machine_and_device_only(tmp_path, monkeypatch):
    tuned.write(tmp_path, measured())
    assert tuned.read(tmp_path, "cuda") is None
    monkeypatch.setattr(machine, "n_cores", lambda: 77)
    assert tuned.read(tmp_path, "auto") is None


def test_nothing_was_measured_where_there_is_no_record(tmp_path):
    assert tuned.read(tmp_path, "auto") is None


@pytest.mark.parametrize(
    "change",
    [
        {"jobs": 0},
        {"jobs": 10**9},
        {"jobs": "2"},
        {"jobs": True},
        {"without_speech_x": 0},
        {"without_speech_x": "fast"},
        {"speech_x": [10.0]},
        {"speech_x": {"base": float("nan")}},
        {"speech_x": {"base": -1.0}},
        {"measured_on": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_record_that_makes_no_sense_is_none(tmp_path, change):
    file = tuned.write(tmp_path, measured())
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert tuned.read(tmp_path, "auto") is None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{}", b"\xff", b'{"machine": ', pytest.param(b"[" * 100_000, id="deep")]
)
def test_a_damaged_record_is_none(tmp_path, content):
    (tmp_path / "tuned.json").write_bytes(content)
    assert tuned.read(tmp_path, "auto") is None


def test_talk_costs_both_kinds_of_work():
    assert talk_x(20.0, 20.0) == 10.0
    assert talk_x(1e9, 12.0) == pytest.approx(12.0)


def test_the_best_model_that_is_fast_enough_is_chosen():
    speeds = {"tiny.en": 90.0, "base": 40.0, "small": 12.0, "medium": 5.0}
    assert chosen(measured(speeds)).name == "small"
    assert talk_x(100.0, 11.0) < tuned.LEAST_X
    assert chosen(measured(speeds | {"small": 11.0})).name == "base", "seeing takes its time too"


def test_the_english_model_is_for_english_only():
    speeds = {"tiny.en": FAST, "base": SLOW}
    assert chosen(measured(speeds), language="en").name == "tiny.en"
    for language in ("", "de"):
        assert chosen(measured(speeds), language=language).name == "base"


def test_where_none_is_fast_enough_it_is_the_fastest():
    choice = chosen(measured({"tiny.en": 4.0, "base": 2.0, "small": 1.0}), language="en")
    assert choice.name == "tiny.en"
    assert "the fastest" in choice.why


def test_a_model_that_was_removed_since_is_not_chosen():
    speeds = {"base": FAST, "small": FAST}
    assert chosen(measured(speeds)).name == "small"
    assert chosen(measured(speeds), there=lambda name: False).name == "base"


def test_without_a_record_it_goes_by_the_cores():
    assert chosen(None, n_cores=2).name == "base"
    assert chosen(None, n_cores=1, language="en").name == "tiny.en"
    assert chosen(None, n_cores=1).name == "base", "whatever is spoken"
    assert "save doctor --tune" in chosen(None).why


def test_a_model_that_was_only_pulled_is_not_chosen_before_it_was_measured():
    assert chosen(None, n_cores=64).name == "base"


def test_a_record_without_any_model_leaves_the_default():
    assert chosen(measured(speech_x={"huge": 1.0})).name == "base"


def test_the_reason_says_when_it_was_measured():
    assert "2026-11-28" in chosen(measured()).why
    assert "busy" not in chosen(measured()).why
    assert "busy" in chosen(measured(was_busy=True)).why
