"""Faults at writes, syncs and renames, and single bits that flip: some of each; `make torture` meets all.

The trials run in processes of their own (faults.py, flips.py), which are forked for each fault.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .. import trials

HERE = Path(__file__).parent
OPERATIONS = {"begin", "add", "fail", "unlink", "touch", "compact", "rebuild", "migrate"}
OPERATIONS |= {"export", "import", "repair"}


def run(script, *arguments, **env):
    return trials.run(HERE / script, *arguments, **env)


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """The library that stands between a process and the C library."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = HERE / "faults.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def test_a_fault_at_some_of_all_writes_syncs_and_renames(faults, tmp_path):
    records = run("faults.py", tmp_path / "trials", "--spread", 4, LD_PRELOAD=str(faults))
    assert {record["operation"] for record in records} == OPERATIONS
    assert all(record["n_faults"] > 20 for record in records), "the faults reach no write"
    assert len({record["mode"] for record in records}) == 4
    assert all(record["n_tried"] == 4 for record in records)


def test_a_bit_of_a_graph(tmp_path):
    (record,) = run("flips.py", tmp_path / "trials", "graph", "--n", 60)
    assert record["counts"] == {"refused": 60}


def test_a_bit_of_the_catalog(tmp_path):
    (record,) = run("flips.py", tmp_path / "trials", "catalog", "--n", 40)
    assert record["counts"] == {"refused": 40}
