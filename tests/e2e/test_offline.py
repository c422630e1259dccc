"""No command opens a connection, asks for a name or listens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).parent / "probe"


def test_the_probe_itself_refuses_a_socket_and_notes_it(tmp_path):
    env = {"PYTHONPATH": str(PROBE), "SAVE_PROBE": str(tmp_path)}
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "may not use the network" in run.stderr
    assert "socket." in (tmp_path / "sockets").read_text()


def test_index_works_without_a_network(save, samples, probed):
    run = probed(save, "index", samples / "bunny.mp4", "--json", "--asr", "tiny.en")
    assert run.ran.code == 0
    assert len(run.ran.events("indexed")) == 1
    assert run.noted("processes")  # the decoder's, which the probe watches as well
    assert run.noted("sockets") == []
    # What onnxruntime would report later; no probe in Python meets its sockets.
    assert not list(Path(save.env["HOME"]).rglob("onnxruntime.db"))


@pytest.mark.parametrize("arguments", [("search", "a cockatoo"), ("doctor",), ("model", "list")])
def test_other_commands_work_without_a_network(library, probed, arguments):
    run = probed(library.save, *arguments)
    assert run.ran.code == 0
    assert run.noted("sockets") == []
