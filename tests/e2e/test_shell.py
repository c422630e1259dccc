"""`save shell`: a line from a pipe or a terminal is a search, and the library stays open between them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SPOKEN = "the best of times and the worst of times"


@pytest.fixture(scope="module")
def save(library):
    return library.save


def piped(save, text: str, *arguments: str, errors: str = "strict") -> subprocess.CompletedProcess[str]:
    with save.running("--version") as running:  # for the command's own words
        words = running.process.args
    return subprocess.run(
        [*words[:-1], "shell", *arguments],
        input=text,
        env=save.full_env,
        capture_output=True,
        text=True,
        errors=errors,
        timeout=120,
        check=False,
    )


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self.fd = fd
        self.process = process
        self.sent = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def shows(self, pattern: str, limit_s: float) -> bool:
        """Whether a match comes since the last wait."""
        until = time.monotonic() + limit_s
        while not re.search(pattern, self.sent) and time.monotonic() < until:
            if select.select([self.fd], [], [], 0.2)[0]:
                with suppress(OSError):
                    self.sent += os.read(self.fd, 65536).decode("utf-8", "replace")
        return re.search(pattern, self.sent) is not None

    def wait_for(self, pattern: str, limit_s: float = 60) -> str:
        """What came since the last wait, up to a match."""
        assert self.shows(pattern, limit_s), f"no {pattern!r} in {self.sent!r}"
        found = re.search(pattern, self.sent)
        assert found
        taken, self.sent = self.sent[: found.end()], self.sent[found.end() :]
        return taken


@contextmanager
def on_terminal(save, *arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    with save.running("--version") as running:
        words = running.process.args
    env = {
        **save.full_env,
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        "INPUTRC": "/dev/null",
        "NO_COLOR": "1",
    }
    process = subprocess.Popen(
        [*words[:-1], "shell", *arguments],
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        cwd=env["HOME"],
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_pipe_has_one_query_a_line(save):
    run = piped(save, f"a cockatoo -k 1 --json\n\n{SPOKEN} --json -k1\n")
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert [record.get("query") or Path(record["path"]).name for record in records] == [
        "a cockatoo -k 1 --json",
        "cockatoo.mp4",
        f"{SPOKEN} --json -k1",
        "street.mp4",
    ]
    assert (run.returncode, run.stderr) == (0, "")


def test_options_of_the_shell_go_for_every_line(save):
    run = piped(save, "a cockatoo\na dog\n", "-f", "-k", "2", "--all")
    assert [Path(line).suffix for line in run.stdout.splitlines()] == [".mp4"] * 4


def test_one_bad_line_does_not_end_it_and_the_worst_code_is_told(save):
    run = piped(save, 'a cockatoo -f\n--threshold 7 dog\n--nope\n--sees "  "\n:fly 2\na cockatoo -f\n')
    assert run.returncode == 2
    assert [Path(line).name for line in run.stdout.splitlines()].count("cockatoo.mp4") == 2
    for word in ("7", "--nope", "empty", ":fly"):
        assert word in run.stderr
    assert "Traceback" not in run.stderr
    assert piped(save, "a recipe for chocolate cake\n").returncode == 1
    assert piped(save, "").returncode == 0


def test_help_and_bytes_that_are_no_text_do_not_end_it(save):
    run = piped(save, "--help\n:open --help\n\udcff dog\na cockatoo -f\n", errors="surrogateescape")
    assert Path(run.stdout.splitlines()[-1]).name == "cockatoo.mp4"
    assert "--like" in run.stdout
    assert "--player" in run.stdout
    assert "bug" not in run.stderr


def test_results_have_numbers_for_the_lines_that_follow(save, tmp_path):
    sheet = tmp_path / "hits.csv"
    run = piped(
        save, f'a cockatoo -f -k 1\n:show 1 --json\n:export 1 "{sheet}"\n:list --json\n:help\n:quit\nnever\n'
    )
    lines = run.stdout.splitlines()
    assert json.loads(lines[1])["path"].endswith("cockatoo.mp4")
    assert "cockatoo.mp4" in sheet.read_text()
    assert "--threshold" in run.stdout
    assert "never" not in run.stdout


def test_a_pipe_keeps_no_history(save):
    piped(save, "a secret wish\n")
    assert not (save.home / "history").exists()


def test_a_store_that_is_not_there_is_said_at_once(save, tmp_path):
    run = piped(save.using(home=tmp_path / "none"), "a dog\n")
    assert run.returncode == 2
    assert "nothing is indexed" in run.stderr or "save index" in run.stderr


def test_what_is_indexed_meanwhile_is_found(own_library, samples, tmp_path):
    with own_library.running("--version") as running:
        words = running.process.args
    own_library("forget", samples / "cockatoo.mp4")
    process = subprocess.Popen(
        [*words[:-1], "shell", "-f"],
        env=own_library.full_env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        process.stdin.write("a bird --all -k 9\n:status --json\n")
        process.stdin.flush()
        before = []
        while not (line := process.stdout.readline()).startswith("{"):
            before.append(Path(line.strip()).name)
        assert "cockatoo.mp4" not in before
        assert own_library("index", samples / "cockatoo.mp4", "--asr", "off").code == 0
        out, _ = process.communicate("a bird --all -k 9\n", timeout=60)
    assert "cockatoo.mp4" in [Path(line).name for line in out.splitlines()]


def test_a_terminal_has_a_prompt_completion_and_history(own_library):
    with on_terminal(own_library) as terminal:
        terminal.wait_for("save> ")
        terminal.type("a cockatoo --thre\t0 -k 1\r")
        assert "cockatoo.mp4" in terminal.wait_for("save> ")
        terminal.type("\x1b[A\r")  # the line before
        assert terminal.wait_for("save> ").count("--threshold 0") >= 1
        terminal.type(":sta\t\r")
        assert "videos" in terminal.wait_for("save> ")
        terminal.type("\x04")
        assert terminal.process.wait(30) == 0
    file = own_library.home / "history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [line.split()[0] for line in file.read_text().splitlines()] == ["a", "a", ":status"]
    with on_terminal(own_library) as terminal:
        terminal.wait_for("save> ")
        terminal.type("\x1b[A\x1b[A\x1b[A")
        terminal.wait_for("a cockatoo --threshold")


def test_ctrl_c_gives_up_a_line_and_not_the_shell(own_library):
    with on_terminal(own_library) as terminal:
        terminal.wait_for("save> ")
        terminal.type("half a query")
        terminal.wait_for("half a query")
        # A signal between a key and the wait for the next one is noticed with that one (CPython's readline.c,
        # readline_until_enter_or_signal): who sees no prompt presses again.
        for _ in range(6):
            os.killpg(terminal.process.pid, signal.SIGINT)
            if terminal.shows("save> ", 10):
                break
        terminal.wait_for("save> ")
        terminal.type("a cockatoo -k 1\r")
        assert "cockatoo.mp4" in terminal.wait_for("best at")
        terminal.wait_for("save> ")
        terminal.type(":quit\r")
        assert terminal.process.wait(30) == 0
    assert "half" not in (own_library.home / "history").read_text()
