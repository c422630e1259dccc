"""`save daemon`: the same answers sooner, and none of it ever needed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is none on Windows")
SPOKEN = "the best of times and the worst of times"


@pytest.fixture
def save(own_library):
    """A library whose daemon, if any, ends with the test."""
    yield own_library
    pids = {told["pid"] for told in [status(own_library)] if told["running"]}
    own_library("daemon", "stop")
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def daemon(save):
    """The same with a daemon that runs; its process."""
    assert save("daemon", "start").code == 0
    return status(save)["pid"]


def status(save):
    run = save("daemon", "status", "--json")
    return run.records[0] if run.records else {"running": False}


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, limit_s=20.0):
    waiting = threading.Event()
    for _ in range(int(limit_s / 0.05)):
        if condition():
            return
        waiting.wait(0.05)
    raise AssertionError("it did not happen in time")


def is_asked(save):
    """Whether searches are answered by the daemon; on a busy machine not every one is, in .2 s."""
    return any("without a daemon" not in save("search", "-v", "a cockatoo").err for _ in range(4))


def test_it_starts_once_tells_what_it_holds_and_stops(save):
    assert status(save) == {"running": False}
    assert save("daemon", "status").code == 1
    started = save("daemon", "start")
    assert (started.code, started.err) == (0, "")
    assert "started" in started.out
    assert "MB" in started.out
    first = status(save)
    again = save("daemon", "start")
    assert again.code == 0
    assert "already" in again.out
    assert status(save)["pid"] == first["pid"]
    assert first["memory_mb"] > 20
    assert first["is_current"]
    assert "process" in save("daemon", "status").out
    assert save("daemon", "stop").code == 0
    assert not is_running(first["pid"])
    assert "no daemon" in save("daemon", "stop").out
    assert sorted(file.name for file in (save.home / "run").iterdir()) == ["daemon"]
    assert (save.home / "run" / "daemon").read_bytes() == b""


QUERIES = (
    ("a cockatoo",),
    ("a cockatoo", "--json"),
    ("an animal", "--all", "--json", "--explain", "-k", "9"),
    (SPOKEN, "-f"),
    ("a recipe for chocolate cake",),
    ("a recipe for chocolate cake", "--all"),
    ('"worst of times"', "--json"),
    ("--regex", "wor.t", "--json"),
    ("--regex", "(", "--json"),
    ("--sees", "a bird", "-not a street", "--by-video"),
    ("a bird", "in:.", "--json"),
    ("a bird", "in:nowhere"),
    ("a bird", "has:speech", "lang:en", "since:2020", "--copies", "--json"),
    ("--each", "a cockatoo", SPOKEN, '"worst"', "--json"),
    ("--threshold", "0.9", "a bird"),
    ("a bird", "--paths0", "-q"),
)


def everything(save):
    """What the queries print, and what is remembered of the last."""
    found = []
    for query in QUERIES:
        run = save("search", *query)
        found.append((run.code, run.out, run.err, (save.home / "last.json").read_bytes()))
    return found


def test_answers_are_the_same_to_the_byte(save):
    alone = everything(save)
    assert {code for code, *_ in alone} == {0, 1, 2}
    save("daemon", "start")
    assert everything(save) == alone
    # A query in each call, but three in one; on a busy machine some do not wait for an answer.
    assert len(QUERIES) // 2 < status(save)["n_searches"] <= len(QUERIES) + 2


def test_what_the_results_are_good_for_goes_on(daemon, save, tmp_path):
    assert save("search", "a cockatoo", "--export", tmp_path / "hits.csv").code == 0
    assert "cockatoo.mp4" in (tmp_path / "hits.csv").read_text()
    assert save("show", "1", "--json").records[0]["path"].endswith("cockatoo.mp4")
    assert save("search", "--like", tmp_path / "none.jpg").code == 2


def asked(probed, save, *options):
    """What a search does that the daemon answers."""
    tries = (probed(save, "search", "a cockatoo", "-v", *options) for _ in range(4))
    run = next(run for run in tries if "without a daemon" not in run.ran.err)
    assert (run.ran.code, run.ran.err) == (0, "")
    return run


def test_a_search_that_is_answered_loads_no_numbers(daemon, save, probed):
    run = asked(probed, save)
    assert not {"numpy", "savecli.api", "savecli.search", "savecli.store", "sqlite3"} & set(
        run.noted("modules")
    )


def test_it_reaches_no_network(save, probed):
    started = probed(save, "daemon", "start")
    assert started.ran.code == 0
    assert started.noted("sockets") == []
    assert "socket.bind" in started.noted("local")[0]
    run = asked(probed, save, "--offline")
    assert run.noted("sockets") == []
    assert [line.split()[0] for line in run.noted("local")] == ["socket.connect"]


def test_a_kill_leaves_nothing_that_disturbs(daemon, save):
    alone = save("search", "a cockatoo", "--json")
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not is_running(daemon))
    run = save("search", "a cockatoo", "--json")
    assert (run.code, run.out, run.err) == (0, alone.out, "")
    assert "without a daemon" in save("search", "a cockatoo", "-v").err
    assert status(save) == {"running": False}
    assert "started" in save("daemon", "start").out
    assert is_asked(save)


def test_one_that_hangs_is_done_without(daemon, save):
    alone = save("search", "a cockatoo", "--json")
    os.kill(daemon, signal.SIGSTOP)
    try:
        run = save("search", "a cockatoo", "--json")
        assert (run.code, run.out, run.err) == (0, alone.out, "")
        stuck = save("daemon", "status")
        assert stuck.code == 2
        assert f"kill {daemon}" in stuck.err
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert is_asked(save)


def test_two_starts_at_once_make_one(save):
    with save.running("daemon", "start") as one, save.running("daemon", "start") as other:
        said = [running.process.communicate(timeout=60) for running in (one, other)]
        assert [one.process.returncode, other.process.returncode] == [0, 0], said
    words = sorted(out.split(":")[0] for out, _ in said)
    assert words == ["it runs already", "started"]
    pids = {out.partition("process ")[2].partition(",")[0] for out, _ in said}
    assert pids == {str(status(save)["pid"])}


def test_eight_searches_at_once_find_what_one_finds(daemon, save):
    alone = save("search", "an animal", "--all", "--json", "-k", "9")
    with_all = [save.running("search", "an animal", "--all", "--json", "-k", "9") for _ in range(8)]
    running = [one.__enter__() for one in with_all]
    said = [one.process.communicate(timeout=120) for one in running]
    for one in with_all:
        one.__exit__(None, None, None)
    assert said == [(alone.out, "")] * 8


def test_searches_that_are_killed_harm_nobody(daemon, save):
    for _ in range(4):
        with save.running("search", "--regex", "(a|b|ab)*c", "a cockatoo") as running:
            threading.Event().wait(0.25)
            running.end(signal.SIGKILL)
    assert is_asked(save)
    assert status(save)["pid"] == daemon


def test_what_is_indexed_forgotten_and_repaired_meanwhile_counts(daemon, save, samples):
    def names():
        run = save("search", "a bird", "--all", "-f", "-k", "9")
        return {Path(line).name for line in run.out.splitlines()}

    assert "cockatoo.mp4" in names()
    save("forget", samples / "cockatoo.mp4")
    assert "cockatoo.mp4" not in names()
    assert save("index", samples / "cockatoo.mp4", "--asr", "off").code == 0
    assert "cockatoo.mp4" in names()
    catalog = save.home / "store" / "catalog.db"
    text = bytearray(catalog.read_bytes())
    text[len(text) // 2] ^= 255
    catalog.write_bytes(text)
    damaged = save("search", "a bird")
    assert damaged.code == 2
    assert "damaged" in damaged.err
    assert save("verify", "--repair").code == 0
    assert "cockatoo.mp4" in names()
    assert save("verify").code == 0
    assert is_asked(save)
    assert status(save)["pid"] == daemon


def test_it_leaves_the_store_as_it_is(save, digests_of):
    before = digests_of(save.home / "store")
    save("daemon", "start")
    assert is_asked(save)
    save("daemon", "stop")
    after = digests_of(save.home / "store")
    # As any search does, it makes the two files that SQLite shares between readers.
    own = {name for name in after if name.endswith(("-shm", "-wal"))}
    assert {name: after[name] for name in after.keys() - own} == {
        name: before[name] for name in before.keys() - own
    }


def test_a_home_that_moves_takes_its_searches_along(daemon, save, tmp_path):
    moved = save.using(home=tmp_path / "moved")
    alone = save("search", "a cockatoo", "--json")
    save.home.rename(moved.home)
    run = moved("search", "a cockatoo", "--json")
    assert (run.code, run.out, run.err) == (0, alone.out, "")
    assert save("search", "a cockatoo").code == 2
    assert moved("daemon", "start").code == 0
    try:
        assert status(moved)["pid"] != daemon
        assert is_asked(moved)
        wait_until(lambda: not is_running(daemon))
        assert is_asked(moved)  # the old one took nothing with it
    finally:
        moved("daemon", "stop")


def test_another_library_in_its_home_is_searched(daemon, save, samples, tmp_path):
    save.home.rename(tmp_path / "aside")
    assert save("index", samples / "cockatoo.mp4", "--asr", "off").code == 0
    assert "street.mp4" not in save("search", "a street", "--all", "-f").out
    wait_until(lambda: not is_running(daemon))


def test_it_ends_when_nobody_searches(save):
    assert save("daemon", "start", "--idle", "1").code == 0
    pid = status(save)["pid"]
    wait_until(lambda: not is_running(pid))
    assert status(save) == {"running": False}


@pytest.mark.parametrize("idle", ["soon", "0", "-5", ""])
def test_a_time_that_is_none_is_refused(save, idle):
    run = save("daemon", "start", f"--idle={idle}")
    assert run.code == 2
    assert "--idle" in run.err
    assert status(save) == {"running": False}


def test_it_outlives_its_terminal_and_ends_by_a_signal(daemon, save):
    os.kill(daemon, signal.SIGHUP)
    assert is_asked(save)
    assert os.getsid(daemon) != os.getsid(0)
    assert {Path(f"/proc/{daemon}/fd/{number}").readlink() for number in (1, 2)} == {save.home / "daemon.log"}
    assert Path(f"/proc/{daemon}/fd/0").readlink() == Path(os.devnull)
    os.kill(daemon, signal.SIGTERM)
    wait_until(lambda: not is_running(daemon))
    assert not (save.home / "run" / "socket").exists()
    log = (save.home / "daemon.log").read_text()
    assert "listens" in log
    assert "ended" in log
    assert "cockatoo" not in log  # what a person looks for


def test_a_long_search_does_not_keep_it_from_ending(daemon, save):
    with save.running("search", "--regex", "(a|a)*(b|b)*(c|cc)*z{9}", "-v") as running:
        threading.Event().wait(0.3)
        assert save("daemon", "stop").code == 0
        out, _ = running.process.communicate(timeout=60)
    assert not is_running(daemon)
    assert out or running.process.returncode in (1, 2)


def test_a_command_whose_input_and_errors_are_closed_starts_it_too(save):
    start = 'exec "$0" -m savecli daemon start -q <&- 2>&-'
    run = subprocess.run(["/bin/sh", "-c", start, sys.executable], env=save.full_env, timeout=60)
    assert run.returncode == 0
    assert is_asked(save)
    assert "ended" not in (save.home / "daemon.log").read_text()


def test_a_full_disk_for_its_log_is_no_trouble(save):
    (save.home / "daemon.log").symlink_to("/dev/full")
    assert save("daemon", "start").code == 0
    assert is_asked(save)
    assert save("daemon", "stop").code == 0


def test_a_home_of_a_long_path_has_a_daemon_too(save, tmp_path):
    home = tmp_path / ("b" * 100)
    shutil.copytree(save.home, home)
    runtime = Path(mkdtemp(dir="/tmp"))  # tmp_path may be too long by itself
    far = save.using(home=home, XDG_RUNTIME_DIR=str(runtime))
    assert far("daemon", "start").code == 0
    try:
        assert is_asked(far)
        assert is_asked(far.using(XDG_RUNTIME_DIR=""))  # as from cron
        assert len(list(runtime.iterdir())) == 1
    finally:
        assert far("daemon", "stop").code == 0
    runtime.rmdir()  # nothing is left in it


def test_a_place_that_is_none_is_told(save):
    (save.home / "run").write_text("a file")
    run = save("daemon", "start")
    assert run.code == 2
    assert str(save.home / "run") in run.err
    assert save("search", "a cockatoo").code == 0
    (save.home / "run").unlink()


def test_without_a_store_there_is_nothing_to_start(save_anywhere, tmp_path):
    save = save_anywhere.using(home=tmp_path / "none")
    run = save("daemon", "start")
    assert (run.code, run.out) == (2, "")
    assert "nothing indexed yet" in run.err
    assert not save.home.exists()


def test_another_version_is_replaced_by_a_start(daemon, save, tmp_path):
    """A copy of the package is another build: its time stamps and its place are others."""
    import savecli

    root = Path(savecli.__file__).parents[1]
    shutil.copytree(root / "savecli", tmp_path / "new" / "savecli")
    shutil.copytree(root / "weights", tmp_path / "new" / "weights")
    newer = save.using(PYTHONPATH=str(tmp_path / "new"))
    assert not is_asked(newer)
    assert is_asked(save)
    assert json.loads(newer("daemon", "status", "--json").out)["is_current"] is False
    assert "started" in newer("daemon", "start").out
    assert not is_running(daemon)
    assert is_asked(newer)
    newer("daemon", "stop")


def test_a_shell_does_without(daemon, save):
    with save.running("--version") as running:
        words = running.process.args
    run = subprocess.run(
        [*words[:-1], "shell", "-f", "-k1"],
        input="a cockatoo\n",
        env=save.full_env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert Path(run.stdout.strip()).name == "cockatoo.mp4"
    assert status(save)["n_searches"] == 0
