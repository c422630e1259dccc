"""Runs that are killed, or lose their disk or its power, and copies of a store in work: a few of each.

`make torture` does many. The trials run in processes of their own (killed.py, power.py, full.py, copied.py),
over made-up videos.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .. import trials

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks after processes by /proc"),
    pytest.mark.timeout(600),  # beside other work each run of a trial may take half a minute
]


def run(script, *arguments):
    return trials.run(HERE / script, *arguments)


def test_killed_at_a_few_moments(tmp_path):
    (record,) = run("killed.py", tmp_path / "trials", "--n", 3, "--seed", 1)
    assert record["n"] == 3
    assert record["n_chains"] >= 1
    assert record["codes"].keys() <= {"-9", "9", "1"}


def test_asked_to_end_at_a_few_moments(tmp_path):
    (record,) = run("killed.py", tmp_path / "trials", "--n", 2, "--signal", "TERM", "--seed", 1)
    assert record["n"] == 2
    assert record["codes"].keys() <= {"130", "-15", "1"}


def test_a_few_cuts_of_the_power(tmp_path):
    (record,) = run("power.py", tmp_path / "trials", "--n", 2)
    if "why" in record:
        pytest.skip(record["why"])
    assert record["n"] == 2


def test_a_disk_that_is_full_at_a_few_points(tmp_path):
    records = run("full.py", tmp_path / "trials", "--n", 2, "--kind", "limit")
    assert sum(record["n"] for record in records) == 2


def test_a_store_copied_while_it_is_written(tmp_path):
    (record,) = run("copied.py", tmp_path / "trials", "--n", 10)
    assert record["n"] >= 10
    assert record["counts"]["videos after repair"] > 0
