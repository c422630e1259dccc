"""A daemon as a process: one for each home, detached from its terminal, reached by a socket of its own.

`HOME/run/daemon` is the lock, which the system takes away with the process however that ends, and names the
socket. That lies beside it; where its path would be too long for a socket, or the disk holds none, it lies in
a folder below XDG_RUNTIME_DIR or /tmp that nobody else can enter.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from savecli import __version__
from savecli.caller import NoDaemonError, build, told
from savecli.config import Config
from savecli.errors import SaveError
from savecli.private import private
from savecli.wire import Message, failure, raised

if TYPE_CHECKING:
    from savecli.daemon import Server

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOG = "daemon.log"
MOST_LOGGED = 1 << 20
MOST_PATH = 100
"""Bytes of a socket's path: macOS takes 103, Linux 107."""
LOCK_S = 30.0
"""A daemon whose home has moved, or that is starting, has so long to end or to answer."""
LAST_WORDS_S = 1.0
"""What is still searched when it is told to stop has so long to end."""
_POLL_S = 0.05
_MOST_FILES = 1024


def require_unix() -> None:
    """Looks whether there are processes and sockets of the kind that a daemon is made of.

    Raises:
        SaveError: there are none, as on Windows.
    """
    if fcntl is None or not hasattr(socket, "AF_UNIX") or not hasattr(os, "fork"):
        raise SaveError("there is no daemon on this system", hint="`save shell` stays warm as well")


def launch(config: Config, *, idle_s: float) -> int:
    """Starts a daemon that goes on when this process ends; returns what `ready` waits for.

    Raises:
        StoreError: nothing is indexed.
    """
    require_unix()
    if not (config.store_dir / "catalog.db").exists():
        from savecli.store import Store

        Store.open(config.store_dir, identity=None, mode="read").close()  # says so, and makes no folder
    build()  # as it is now: before anything of it is loaded
    reading, ending = os.pipe()
    # A command whose stdin or stderr is closed has their numbers free, and the daemon sets these anew.
    writing = fcntl.fcntl(ending, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(ending)
    child = os.fork()
    if child == 0:
        _become(config, idle_s, writing)
    os.close(writing)
    os.waitpid(child, 0)
    return reading


def ready(reading: int, config: Config) -> bool:
    """Waits until the daemon answers; whether it is a new one, and none was there before it.

    Raises:
        SaveError: it could not start, and why.
    """
    with open(reading, "rb") as pipe:
        word = json.loads(pipe.read() or b"{}")
    if "is_new" in word:
        return bool(word["is_new"])
    if "error" in word:
        raise raised(word["error"])
    raise SaveError("the daemon ended as it started", hint=f"{config.home / LOG} may say why")


def wait_for_end(config: Config, limit_s: float) -> bool:
    """Whether the daemon of a home is gone, at the latest after this time."""
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        try:
            descriptor = os.open(config.daemon_file, os.O_RDWR)
        except OSError:
            return True
        try:
            if _is_taken(descriptor):
                return True
        finally:
            os.close(descriptor)
        time.sleep(_POLL_S)
    return False


def _is_taken(descriptor: int) -> bool:
    """Takes the lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _become(config: Config, idle_s: float, report: int) -> NoReturn:
    """This process, newly forked, as a daemon; nothing of the command goes on in it."""
    code = 1
    tell = Report(report)
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.chdir("/")
        os.umask(0o077)
        _redirect(config.home / LOG, report)
        _serve(config, idle_s, tell)
        code = 0
    except SaveError as error:
        log(error.message)
        tell({"error": failure(error)})
    except OSError as error:
        log(traceback.format_exc())
        where = f": {error.filename}" if error.filename else ""
        why = SaveError(f"the daemon cannot run: {error.strerror}{where}", hint="searches go on without it")
        tell({"error": failure(why)})
    except BaseException:  # noqa: BLE001 - whatever it is, it ends here
        log(traceback.format_exc())
    os._exit(code)


class Report:
    """The one word that the command waits for; what would come after it is not said.

    Args:
        descriptor: of a pipe, which is closed behind the word: its number soon is another file's.
    """

    def __init__(self, descriptor: int) -> None:
        self._left = [descriptor]

    def __call__(self, word: Message) -> None:
        """Says it, if it is the first and the command still waits."""
        while self._left:
            descriptor = self._left.pop()
            with suppress(OSError):
                os.write(descriptor, json.dumps(word).encode())
            os.close(descriptor)


def log(text: str) -> None:
    """A line for stderr, which is the log of a daemon; a full disk is no reason to stop."""
    with suppress(OSError):
        if os.fstat(2).st_size < MOST_LOGGED:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            os.write(2, f"{stamp} {text.rstrip()}\n".encode("utf-8", "backslashreplace"))


def _redirect(file: Path, report: int) -> None:
    """Nothing of a terminal or a pipe stays open; what is written goes to the log."""
    nowhere = kept = os.open(os.devnull, os.O_RDWR)
    with suppress(OSError):  # a disk that is full or read-only
        kept = private(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, descriptor in enumerate((nowhere, kept, kept)):
        os.dup2(descriptor, number)
    os.closerange(3, report)
    os.closerange(report + 1, _MOST_FILES)


def _serve(config: Config, idle_s: float, tell: Report) -> None:
    """The daemon from its lock to its end; `tell` hears whether it is a new one."""
    # Loaded on this side of the fork: not every library survives one.
    from savecli.daemon import N_CLIENTS, Server

    with locked(config) as lock:
        if lock is None:
            tell({"is_new": False})
            return
        with suppress(OSError):  # the log is of one daemon
            os.ftruncate(2, 0)
        with bound(config) as (listener, place):
            reach = Reach(config.daemon_file, lock, place)
            server = Server(config, listener, reach.is_there, idle_s=idle_s, log=log)
            signal.signal(signal.SIGTERM, lambda *_: server.stop())
            threading.Thread(target=_watch, args=(server, reach), daemon=True).start()
            listener.listen(N_CLIENTS)
            os.ftruncate(lock, 0)
            os.pwrite(lock, os.fsencode(place), 0)
            log(f"save {__version__} listens at {place}, process {os.getpid()}")
            tell({"is_new": True})
            try:
                server.run()
            finally:
                reach.end()
        log("ended")


def _watch(server: Server, reach: Reach) -> None:
    """Ends the process where a search goes on for long after it was told to stop."""
    server.stopping.wait()
    time.sleep(LAST_WORDS_S)
    reach.end()
    log("ended in the middle of a search")
    os._exit(0)


@contextmanager
def locked(config: Config) -> Iterator[int | None]:
    """The lock of a home, None where another daemon has it and answers.

    Raises:
        SaveError: others can write there, or what has the lock does not answer.
        OSError: nothing can be written there.
    """
    file = config.daemon_file
    with suppress(FileExistsError):
        file.parent.mkdir(mode=0o700)
    if not is_private(file.parent):
        raise SaveError(f"{file.parent} is no folder of ours alone", hint="remove it, or chmod 700")
    descriptor = private(file, os.O_RDWR | os.O_CREAT)
    try:
        yield descriptor if _is_first(descriptor, config) else None
    finally:
        os.close(descriptor)


def _is_first(descriptor: int, config: Config) -> bool:
    """Takes the lock; False where another daemon answers, which may just be starting, or ending."""
    until_s = time.monotonic() + LOCK_S
    while not _is_taken(descriptor):
        with suppress(NoDaemonError):
            told(config, "status")
            return False
        if time.monotonic() > until_s:
            raise SaveError(
                f"{config.daemon_file} is locked by what does not answer", hint="save daemon status"
            )
        time.sleep(_POLL_S)
    return True


@contextmanager
def bound(config: Config) -> Iterator[tuple[socket.socket, Path]]:
    """A socket that this user alone can reach, at the first place that takes one; who calls has the lock.

    Raises:
        SaveError: there is no such place.
    """
    reasons = []
    for folder in places(config):
        place = folder / "socket"
        if len(os.fsencode(place)) > MOST_PATH or not is_private(folder):
            reasons.append(f"{place}: too long a path, or not ours alone")
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            try:
                place.unlink(missing_ok=True)  # of one that was killed
                listener.bind(os.fspath(place))
                place.chmod(0o600)
            except OSError as error:  # a disk that holds no sockets
                reasons.append(f"{place}: {error.strerror}")
                continue
            yield listener, place
            return
    raise SaveError("there is no place for a socket", hint="\n".join(reasons))


def places(config: Config) -> list[Path]:
    """Folders for the socket, best first."""
    name = sha256(os.fsencode(config.home.resolve())).hexdigest()[:16]
    runtime = [config.runtime_dir / f"save-{name}"] if config.runtime_dir else []
    # Anybody may make a folder in /tmp: is_private looks whose it is.
    return [config.daemon_file.parent, *runtime, Path(f"/tmp/save-{os.getuid()}-{name}")]  # noqa: S108


def is_private(folder: Path) -> bool:
    """Whether a folder belongs to this user alone; makes it where there is none."""
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and status.st_mode & 0o077:
            folder.chmod(0o700)
            status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


class Reach:
    """The files by which clients find a daemon.

    Args:
        file: the lock, which names the socket.
        lock: the same, open.
        place: the socket.
    """

    def __init__(self, file: Path, lock: int, place: Path) -> None:
        self._file = file
        self._lock = lock
        self._place = place
        self._socket = place.lstat()

    def is_there(self) -> bool:
        """Whether both are still what they were: a home can be moved, and /tmp be cleaned."""
        try:
            own = os.path.samestat(self._file.stat(), os.fstat(self._lock))
            return own and os.path.samestat(self._place.lstat(), self._socket)
        except OSError:
            return False

    def end(self) -> None:
        """Removes the socket, unless another one has taken its place."""
        with suppress(OSError):
            os.ftruncate(self._lock, 0)
        with suppress(OSError):
            if os.path.samestat(self._place.lstat(), self._socket):
                self._place.unlink()
                if self._place.parent != self._file.parent:
                    self._place.parent.rmdir()
