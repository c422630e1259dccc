"""Damaged videos, and many processes at one store, for a few seconds; `make torture` does both at length."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .. import trials
from . import clips

HERE = Path(__file__).parent


def run(script, *arguments):
    return trials.run(HERE / script, *arguments, last_alone=True)


@pytest.mark.skipif(sys.platform != "linux", reason="weighs processes by /proc")
def test_damaged_videos_of_every_container(tmp_path):
    *records, last = run("fuzz.py", tmp_path / "fuzz", "--n", 104, "--seed", 1)
    assert {record["container"] for record in records} == set(clips.CONTAINERS)
    assert sum(record["n"] for record in records) == 104
    ends = {end for record in records for end in record["counts"]}
    assert {"indexed", "partial", "refused"} <= ends, "the damage does nothing"
    assert max(mb for mb, _ in last["largest_mb"]) < 500


@pytest.mark.skipif(sys.platform != "linux", reason="weighs processes by /proc")
def test_writers_readers_and_a_watcher_at_once(tmp_path):
    (record,) = run(
        "company.py", tmp_path / "company", "--seconds", 12, "--pause", 0.5, "--readers", 2, "--asking", 1
    )
    assert record["n_searches"] >= 4
    assert record["runs"]["save search"] >= 1
    assert sum(record["changes"].values()) >= 5
