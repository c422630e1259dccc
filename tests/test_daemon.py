"""The daemon and its client, on a small store of made-up rows; as a process it is in tests/e2e."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest

from savecli import api, caller, config, daemon, launch
from savecli.config import Config
from savecli.datatypes import Ask, Show
from savecli.errors import QueryError, SaveError, StoreError
from savecli.query import parse
from savecli.search import search
from savecli.wire import Line, encoded

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture
def settings(tmp_path, put, monkeypatch, encoder) -> Config:
    """A home whose store holds three videos, searched by the encoder of colours."""
    monkeypatch.setattr(api, "make_encoder", lambda config: encoder)
    put(Path("/v/red.mp4"), ["red", "blue"], said=[("green",), ()])
    put(Path("/v/blue.mp4"), ["blue"], said=[("a good boy",)])
    put(Path(os.fsdecode(b"/w/caf\xe9.mp4")), ["green", "red"], said=[("good dog",), ()])
    return config.load(home=tmp_path)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """A busy machine is no fault of what is tested."""
    monkeypatch.setattr(caller, "PATIENCE_S", 10.0)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(caller, "PATIENCE_S", daemon.PATIENCE_S)


class Running:
    """A daemon in a thread."""

    def __init__(self, settings: Config, idle_s: float) -> None:
        self.settings = settings
        self.idle_s = idle_s
        self.logged: list[str] = []
        self.server: daemon.Server | None = None
        self.reach: launch.Reach | None = None
        self.listens = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.listens.wait(10)

    def _run(self) -> None:
        with launch.locked(self.settings) as lock, launch.bound(self.settings) as (listener, place):
            file = self.settings.daemon_file
            self.reach = launch.Reach(file, lock, place)
            self.server = daemon.Server(
                self.settings, listener, self.reach.is_there, idle_s=self.idle_s, log=self.logged.append
            )
            listener.listen(daemon.N_CLIENTS)
            file.write_bytes(os.fsencode(place))
            self.listens.set()
            self.server.run()
            self.reach.end()

    def ends(self, limit_s: float = 5) -> bool:
        self.thread.join(limit_s)
        return not self.thread.is_alive()


@contextmanager
def running(settings, idle_s=60.0):
    one = Running(settings, idle_s)
    try:
        yield one
    finally:
        one.server.stop()
        one.thread.join(10)


@pytest.fixture
def served(settings):
    with running(settings) as one:
        yield one


@pytest.fixture
def said():
    """Why searches had to go on by themselves."""
    return []


@pytest.fixture
def ask(settings, said):
    """Asks the daemon, and gives the results that it gave."""

    def ask_(*texts, has_meaning=True, **shown):
        asks = [parse([text]) for text in texts]
        return caller.found(settings, asks, Show(**shown), has_meaning=has_meaning, tell=said.append)

    return ask_


@contextmanager
def connected(settings):
    place = os.fsdecode(settings.daemon_file.read_bytes())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(place)
        connection.settimeout(5)
        yield connection


def request(settings, text="red", **changes):
    asked = {"do": "search", "build": caller.build(), "store": caller.store_stamp(settings.store_dir)}
    asked |= {"ask": encoded(Ask(text=text)), "show": encoded(Show()), "has_meaning": True}
    return json.dumps({**asked, **changes}).encode() + b"\n"


def answer(connection):
    return Line(connection).receive(most_bytes=1 << 20, within_s=5)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red", {}),
        ("blue", {"threshold": 0.0, "top_k": 1, "explain": True}),
        ('red "good boy"', {}),
        ("red -blue says:green", {"threshold": 0.0, "explain": True, "copies": True}),
        ("green in:/w", {"by_video": True}),
        ("nothing like it", {}),
        ("red lang:de", {}),
    ],
)
def test_it_finds_what_a_search_of_its_own_finds(
    served, ask, settings, colour_store, encoder, said, text, shown
):
    own = search(parse([text]), colour_store, encoder, show=Show(**shown))
    (found,) = ask(text, **shown)
    assert found == own
    assert repr(found) == repr(own)
    assert said == []


def test_exact_words_need_no_model(served, ask, colour_store):
    own = search(parse(['"good dog"']), colour_store, None)
    assert ask('"good dog"', has_meaning=False) == [own]
    assert own.moments[0].path == Path(os.fsdecode(b"/w/caf\xe9.mp4"))


def test_several_queries_are_answered_in_order(served, ask):
    found = ask("red", "blue", "green")
    assert [results.moments[0].path.name for results in found[:2]] == ["red.mp4", "blue.mp4"]
    assert len(found) == 3


def test_without_a_daemon_nothing_is_found_and_nothing_is_wrong(ask, said, settings):
    assert ask("red") == []
    assert said == ["none runs"]
    assert not settings.daemon_file.parent.exists()


def test_a_query_that_makes_no_sense_is_told_as_it_would_be(served, settings, said):
    asks = [Ask(regexes=("(",))]
    with pytest.raises(QueryError) as raised:
        caller.found(settings, asks, Show(), has_meaning=False, tell=said.append)
    assert raised.value.hint
    assert said == []


def test_what_is_stored_meanwhile_is_found(served, ask, put):
    assert "green.mp4" not in {moment.path.name for moment in ask("green")[0].moments}
    put(Path("/v/green.mp4"), ["green"])
    assert "green.mp4" in {moment.path.name for moment in ask("green")[0].moments}


def test_a_store_in_the_place_of_another_is_opened(
    served, ask, settings, colour_store, tmp_path_factory, said
):
    aside = tmp_path_factory.mktemp("aside") / "old"
    assert ask("red")
    colour_store.close()
    settings.store_dir.rename(aside)
    assert ask("red") == []
    shutil.copytree(aside, settings.store_dir)
    assert ask("red")[0].moments
    assert len(said) == 1


def test_a_catalog_that_was_written_over_is_not_believed(served, ask, settings, colour_store, said):
    colour_store.close()
    assert ask("red")[0].moments
    catalog = settings.store_dir / "catalog.db"
    text = bytearray(catalog.read_bytes())
    text[-1000] ^= 255
    with catalog.open("r+b") as file:  # in place: the same file for the system
        file.write(text)
    assert ask("red") == []
    assert "damaged" in said[0]


def test_another_version_is_not_asked(served, ask, monkeypatch, said):
    monkeypatch.setattr(caller, "build", lambda: "0.0.9")
    assert ask("red") == []
    assert said == ["it is of another version"]


def test_another_store_is_not_asked(served, ask, said, settings, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(settings.home, other, dirs_exist_ok=True, ignore=shutil.ignore_patterns("socket"))
    moved = config.load(home=other)
    assert caller.found(moved, [Ask(text="red")], Show(), has_meaning=True, tell=said.append) == []
    assert said == ["the store is another one"]


def test_all_code_that_a_daemon_loads_is_part_of_its_version():
    listed = "import sys, savecli.daemon; print(*(m for m in sys.modules if m.startswith('savecli.')))"
    loaded = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] if name.count(".") > 1 else "" for name in loaded.stdout.split()}
    assert rooms <= set(caller._CODE)


def test_code_weights_and_libraries_are_part_of_the_version(monkeypatch, tmp_path):
    monkeypatch.setattr(caller, "__file__", str(tmp_path / "savecli" / "caller.py"))
    monkeypatch.setattr("sys.path", ["", str(tmp_path / "dist-packages"), str(tmp_path / "none-packages")])
    for folder in ("savecli/search", "weights/save-mini", "dist-packages"):
        (tmp_path / folder).mkdir(parents=True)
    files = ["savecli/a.py", "savecli/search/a.py", "weights/save-mini/model.json", "dist-packages/numpy"]
    seen = set()
    for number, file in enumerate(files, 1):
        (tmp_path / file).write_text("1")
        caller.build.cache_clear()
        seen.add(caller.build())
        assert len(seen) == number
    monkeypatch.undo()
    caller.build.cache_clear()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense\n",
        b"{}\n",
        b"[]\n",
        b'{"results": 5}\n',
        b'{"results": {"moments": []}}\n',
        b'{"error": {"kind": "OSError", "message": "a", "hint": ""}}\n',
        b'{"error": {"kind": "StoreError", "message": "a", "hint": ""}}\n',
        b'{"refused": null}\n',
        b'{"state": "searching"}\n',
        b"\xff" * 100,
    ],
)
def test_whatever_else_answers_a_search_goes_on_by_itself(settings, ask, said, text):
    launch.is_private(settings.home / "run")
    with launch.bound(settings) as (listener, place):
        listener.listen()
        settings.daemon_file.write_bytes(os.fsencode(place))

        def reply() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(text)

        thread = threading.Thread(target=reply)
        thread.start()
        assert ask("red") == []
        thread.join()
    assert len(said) == 1


def test_one_that_says_nothing_costs_a_moment(impatient, settings, ask, said):
    launch.is_private(settings.home / "run")
    with launch.bound(settings) as (listener, place):
        listener.listen()
        settings.daemon_file.write_bytes(os.fsencode(place))
        began_s = time.monotonic()
        assert ask("red") == []
        assert caller.PATIENCE_S <= time.monotonic() - began_s < caller.PATIENCE_S + 1
    assert ask("red") == []  # nobody listens any more, as after a kill -9
    assert len(said) == 2


def test_a_pipe_in_its_place_costs_no_time(settings, ask, said):
    launch.is_private(settings.home / "run")
    os.mkfifo(settings.daemon_file)
    assert ask("red") == []
    assert said == ["none runs"]


def test_a_client_that_says_nothing_keeps_nobody_waiting(served, ask, settings, monkeypatch):
    monkeypatch.setattr(daemon, "SAY_S", 0.3)
    with connected(settings) as silent, connected(settings) as half:
        half.sendall(b'{"do"')
        assert len(ask("red")) == 1
        assert silent.recv(1) == b""
        assert half.recv(1) == b""


def test_clients_beyond_the_most_are_turned_away(served, ask, settings, said):
    idle = [socket.socket(socket.AF_UNIX) for _ in range(daemon.N_CLIENTS)]
    place = os.fsdecode(settings.daemon_file.read_bytes())
    for one in idle:
        one.connect(place)
    time.sleep(0.1)
    assert ask("red") == []
    for one in idle:
        one.close()
    time.sleep(0.3)
    assert len(ask("red")) == 1
    assert len(said) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\n",
        b"[" * 100_000 + b"\n",
        b"{}\n",
        b'{"do": "fly"}\n',
        b"x" * (caller.MOST_ASKED + (1 << 17)),
    ],
)
def test_what_is_no_request_is_refused(served, ask, settings, text):
    with connected(settings) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        assert set(answer(connection)) == {"refused"}
    assert len(ask("red")) == 1


@pytest.mark.parametrize(
    "changes", [{"ask": None}, {"ask": {"text": 5}}, {"show": {}}, {"store": None}, {"build": None}]
)
def test_half_a_request_is_refused(served, ask, settings, changes):
    with connected(settings) as connection:
        connection.sendall(request(settings, **changes))
        assert set(answer(connection)) <= {"refused", "error"}
    assert len(ask("red")) == 1


def test_a_client_that_dies_midway_harms_nobody(served, ask, settings):
    for _ in range(5):
        with connected(settings) as connection:
            connection.sendall(request(settings))
    with connected(settings) as connection:
        connection.sendall(request(settings)[:-5])
    assert len(ask("red")) == 1


@pytest.fixture
def slow(monkeypatch):
    """Holds the daemon's searches until it is set."""
    go = threading.Event()

    def search_(ask, *given, **options):
        if ask.text == "slow":
            assert go.wait(20)
        return search(ask, *given, **options)

    monkeypatch.setattr(daemon, "search", search_)
    yield go
    go.set()


def test_who_waits_behind_a_long_search_goes_on_alone(impatient, slow, served, ask, said, settings):
    found = []
    thread = threading.Thread(target=lambda: found.extend(ask("slow")))
    thread.start()
    time.sleep(0.05)
    began_s = time.monotonic()
    assert ask("red") == []  # it may still be a short one
    assert ask("red") == []  # it is not
    assert time.monotonic() - began_s < 2 * caller.PATIENCE_S + 1
    assert said == ["it is busy, or does not answer", "it is busy with a long search"]
    assert caller.told(settings, "status")["status"]["is_busy"]
    time.sleep(2 * daemon.BEAT_S)
    slow.set()
    thread.join()
    assert len(found) == 1
    assert len(ask("red")) == 1
    assert caller.told(settings, "status")["status"]["n_searches"] == 2  # not for who had left


def test_a_failure_of_the_daemon_is_logged_and_is_no_failure_of_the_search(
    served, ask, monkeypatch, said, capfd
):
    def broken(*_, **__):
        raise ZeroDivisionError("what was looked for")

    with monkeypatch.context() as patch:
        patch.setattr(daemon, "search", broken)
        assert ask("red") == []
    assert said == ["it failed: ZeroDivisionError"]
    assert served.logged[0].splitlines()[-1] == "ZeroDivisionError: what was looked for"
    assert len(ask("red")) == 1


def test_results_beyond_the_most_are_refused(served, ask, monkeypatch, said):
    monkeypatch.setattr(daemon, "MOST_ANSWERED", 300)
    assert ask("red") == []
    assert "too long" in said[0]


def test_it_tells_what_it_is(served, settings, ask):
    ask("red")
    told = caller.told(settings, "status")["status"]
    assert told["pid"] == os.getpid()
    assert told["build"] == caller.build()
    assert told["n_searches"] == 1
    assert told["memory_mb"] > told["files_mb"] >= 0


def test_it_stops_when_it_is_told_to(served, settings):
    assert caller.told(settings, "stop") == {"stopping": os.getpid()}
    assert served.ends()
    assert launch.wait_for_end(settings, 1)
    assert not (settings.home / "run" / "socket").exists()
    with pytest.raises(caller.NoDaemonError):
        caller.told(settings, "status")


def test_it_ends_when_nobody_asks(settings, ask):
    with running(settings, idle_s=0.6) as one:
        began_s = time.monotonic()
        while time.monotonic() - began_s < 1:
            assert len(ask("red")) == 1
            caller.told(settings, "status")
            time.sleep(0.1)
        assert one.ends(3)


@pytest.mark.parametrize("gone", ["run/socket", "run/daemon", "run", "."])
def test_it_ends_when_it_cannot_be_reached(settings, monkeypatch, gone, tmp_path_factory):
    monkeypatch.setattr(daemon, "TICK_S", 0.05)
    with running(settings) as one:
        (settings.home / gone).resolve().rename(tmp_path_factory.mktemp("aside") / "gone")
        assert one.ends()


def test_it_leaves_the_socket_of_another_alone(served, settings, monkeypatch):
    place = settings.home / "run" / "socket"
    place.unlink()
    place.write_text("another's")
    served.server.stop()
    assert served.ends()
    assert place.read_text() == "another's"


def test_there_is_one_for_each_home(served, settings, monkeypatch):
    with launch.locked(settings) as lock:
        assert lock is None
    assert not launch.wait_for_end(settings, 0.1)


def test_a_lock_without_a_daemon_is_told(settings, monkeypatch):
    monkeypatch.setattr(launch, "LOCK_S", 0.2)
    with launch.locked(settings) as lock:
        assert lock is not None
        with pytest.raises(SaveError, match="locked") as raised, launch.locked(settings):
            pass
    assert raised.value.hint


def test_nobody_else_can_reach_it(served, settings):
    folder = settings.home / "run"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()] == [0o600, 0o600]


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="the system does not tell who calls")
def test_another_user_is_not_answered_nor_believed(served, ask, settings, monkeypatch, said):
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert ask("red") == []
    assert "belongs to somebody else" in said[0]
    with connected(settings) as connection, suppress(ConnectionError):
        connection.sendall(request(settings))
        assert connection.recv(1) == b""


def test_a_folder_that_others_can_enter_is_closed_or_not_taken(tmp_path):
    open_ = tmp_path / "open"
    open_.mkdir(mode=0o755)
    assert launch.is_private(open_)
    assert stat.S_IMODE(open_.stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(open_)
    (tmp_path / "file").write_text("")
    for name in ("link", "file", "none/deeper"):
        assert not launch.is_private(tmp_path / name)


def test_a_path_too_long_for_a_socket_has_a_short_one(tmp_path, monkeypatch):
    runtime = Path(mkdtemp(dir="/tmp"))  # tmp_path may be too long by itself
    home = tmp_path / "/".join(["a" * 60] * 3)
    home.mkdir(parents=True)
    for folder, expected in ((str(runtime), runtime), ("", Path("/tmp"))):
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        short = config.load(home=home)
        launch.is_private(home / "run")
        with launch.bound(short) as (_, place):
            assert place.parent.parent == expected
            assert len(os.fsencode(place)) <= launch.MOST_PATH
            assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
            with launch.locked(short) as lock:
                launch.Reach(short.daemon_file, lock, place).end()
        assert not place.parent.exists()
    runtime.rmdir()


def test_two_homes_have_two_places(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    places = [launch.places(config.load(home=tmp_path / name)) for name in "ab"]
    assert not set(places[0]) & set(places[1])


def test_without_a_place_it_says_so(settings, monkeypatch):
    monkeypatch.setattr(launch, "MOST_PATH", 3)
    with pytest.raises(SaveError, match="no place for a socket") as raised, launch.bound(settings):
        pass
    assert raised.value.hint


def test_without_a_store_nothing_is_started_or_made(tmp_path):
    with pytest.raises(StoreError, match="nothing indexed"):
        launch.launch(config.load(home=tmp_path / "none"), idle_s=1)
    assert not (tmp_path / "none").exists()


def test_a_home_that_cannot_be_written_is_told(settings, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="no space"), launch.locked(settings):
        pass


def test_windows_is_told_that_there_is_none(monkeypatch, settings):
    monkeypatch.setattr(launch, "fcntl", None)
    with pytest.raises(SaveError, match="no daemon on this system") as raised:
        launch.launch(settings, idle_s=1)
    assert "save shell" in raised.value.hint


def test_the_command_is_told_once_and_no_other_file_after_that(tmp_path):
    reading, writing = os.pipe()
    report = launch.Report(writing)
    report({"is_new": True})
    other = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
    os.dup2(other, writing)  # the number that the pipe had
    report({"error": {}})
    for number in {other, writing}:
        os.close(number)
    assert (tmp_path / "other").read_bytes() == b""
    assert launch.ready(reading, None) is True


def test_a_daemon_that_says_nothing_has_failed(settings):
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(SaveError, match="ended as it started") as raised:
        launch.ready(reading, settings)
    assert "daemon.log" in raised.value.hint


@pytest.fixture
def logged(monkeypatch, tmp_path):
    """The log of the daemon, in place of stderr."""
    write, fstat = os.write, os.fstat
    with (tmp_path / "log").open("w+b") as file, monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda _, text: write(file.fileno(), text))
        patch.setattr(os, "fstat", lambda _: fstat(file.fileno()))
        yield tmp_path / "log"


def test_the_log_does_not_grow_for_ever(logged, monkeypatch):
    monkeypatch.setattr(launch, "MOST_LOGGED", 40)
    for _ in range(10):
        launch.log("a word \udcff")
    assert logged.read_text().count("a word \\udcff") == 2


def test_a_full_disk_is_no_reason_to_stop(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        launch.log("a word")
