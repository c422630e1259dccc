"""The command's end of the daemon: where it listens, and what it may be asked.

Imports the standard library and our records only, so that a search which the daemon answers loads no more.
A daemon is never needed: whatever goes wrong here is a `NoDaemonError`, and the command searches by itself.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from savecli import __version__
from savecli.datatypes import Ask, Results, Show
from savecli.errors import QueryError
from savecli.wire import Line, Message, WireError, decoded, encoded, raised

if TYPE_CHECKING:
    from savecli.config import Config

PATIENCE_S = 0.2
"""So long a search waits for its turn; a search of its own would be well on its way by then."""
SILENCE_S = 1.5
"""A daemon that searches says so all the time; it is given up after this time without a word."""
LIMIT_S = 60.0
ANSWER_S = 5.0
"""For what needs no search, such as `save daemon status`."""
MOST_ASKED, MOST_ANSWERED = 1 << 20, 1 << 26
"""Bytes of a message."""
_MOST_PATH = 4096
_CODE = ("", "search", "store", "model", "media")


class NoDaemonError(Exception):
    """Nobody answers who could be asked; the text says why."""


class SilentDaemonError(NoDaemonError):
    """It is there, and does not answer.

    Args:
        pid: of its process, where the system can tell.
    """

    def __init__(self, why: str, pid: int | None) -> None:
        super().__init__(f"it does not answer: {why}")
        self.pid = pid


@contextmanager
def called(config: Config) -> Iterator[socket.socket]:
    """A connection to the daemon of a home.

    Raises:
        NoDaemonError: there is none, it takes no connection, or belongs to somebody else.
    """
    try:
        # Whatever lies there: opening a pipe would wait for its other end.
        descriptor = os.open(config.daemon_file, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb", buffering=0) as file:
            place = os.fsdecode(file.read(_MOST_PATH) or b"")
    except OSError:
        place = ""
    if not place:
        raise NoDaemonError("none runs")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE_S)
        try:
            connection.connect(place)
        except OSError as error:
            raise NoDaemonError(f"none listens: {error}") from error
        if not is_ours(connection):
            raise NoDaemonError(f"{place} belongs to somebody else")
        yield connection


def is_ours(connection: socket.socket) -> bool:
    """Whether a process of the same user is at the other end, where the system can tell."""
    peer = _peer(connection)
    return peer is None or peer[1] == os.getuid()  # without, the permissions of its folder stand alone


def _peer(connection: socket.socket) -> tuple[int, int] | None:
    """The process and the user at the other end."""
    if sys.platform != "linux":
        return None
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


@cache
def build() -> str:
    """What must be the same at both ends for one to speak for the other.

    This version, its code, the weights that come with it, Python and what is installed for it, how names of
    files are read, and which mounts are seen.
    """
    root = Path(__file__).resolve().parent
    folders = [root / name for name in _CODE]
    for weights in (root / "weights", root.parent / "weights"):
        folders += [Path(entry.path) for entry in _entries(weights) if entry.is_dir()]
    stamps = [
        (entry.path, status.st_size, status.st_mtime_ns)
        for folder in folders
        for entry in _entries(folder)
        if entry.is_file() and (status := entry.stat())
    ]
    names = [os.path.realpath(name) for name in sys.path if name.endswith("-packages")]
    installed = [(name, _changed_ns(name)) for name in names]
    around = (installed, sys.version, sys.getfilesystemencoding(), _mounts())
    return f"{__version__} {zlib.crc32(repr((sorted(stamps), around)).encode()):08x}"


def _changed_ns(folder: str) -> int:
    """When something was last added to a folder, or taken away."""
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 - sys.path holds texts
    except OSError:
        return 0


def _mounts() -> str:
    """Which mounts this process sees, where the system has several views of them, as for containers."""
    try:
        return os.readlink("/proc/self/ns/mnt")  # noqa: PTH115 - no path
    except OSError:
        return ""


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def store_stamp(store: Path) -> list[int] | None:
    """Which file the catalog of a store is, and when it was last written; None where there is none."""
    try:
        status = (store / "catalog.db").stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def found(
    config: Config,
    asks: Sequence[Ask],
    show: Show,
    *,
    has_meaning: bool,
    tell: Callable[[str], None],
) -> list[Results]:
    """The results of queries, in order, as far as a daemon gives them; often none at all.

    Args:
        config: the settings of the command.
        asks: the queries, without examples.
        show: how results are shown.
        has_meaning: whether one of all queries needs the model.
        tell: is told why there are no more results than there are.

    Raises:
        QueryError: a query that makes no sense, as a search of its own would say.
    """
    results: list[Results] = []
    try:
        with called(config) as connection:
            line = Line(connection)
            for ask in asks:
                asked = {"ask": encoded(ask), "show": encoded(show), "has_meaning": has_meaning}
                results.append(_answered(line, {**asked, "store": store_stamp(config.store_dir)}))
    except (NoDaemonError, WireError, OSError) as error:
        tell(str(error))
    return results


def _answered(line: Line, asked: Message) -> Results:
    began_s = time.monotonic()
    is_begun = False
    line.send({"do": "search", "build": build(), **asked}, most_bytes=MOST_ASKED, within_s=PATIENCE_S)
    while (left_s := (LIMIT_S if is_begun else PATIENCE_S) + began_s - time.monotonic()) > 0:
        within_s = min(SILENCE_S, left_s) if is_begun else left_s
        try:
            answer = line.receive(most_bytes=MOST_ANSWERED, within_s=within_s)
        except TimeoutError:
            break
        match answer:
            case {"state": state}:
                is_begun = state == "searching"
            case {"results": results}:
                return decoded(Results, results)
            case {"error": told}:
                error = raised(told)
                if isinstance(error, QueryError):
                    raise error
                raise NoDaemonError(error.message)  # it may be the daemon's alone
            case {"refused": why}:
                raise NoDaemonError(str(why))
            case _:
                raise NoDaemonError("it has ended")
    raise NoDaemonError("it is busy, or does not answer")


def told(config: Config, do: str) -> Message:
    """What the daemon says to "status" or "stop"; versions understand each other in this.

    Raises:
        NoDaemonError: there is none.
        SilentDaemonError: there is one, which does not answer.
    """
    with called(config) as connection:
        line, peer = Line(connection), _peer(connection)
        try:
            line.send({"do": do}, most_bytes=MOST_ASKED, within_s=ANSWER_S)
            answer = line.receive(most_bytes=MOST_ASKED, within_s=ANSWER_S)
        except (OSError, WireError) as error:
            raise SilentDaemonError(str(error), peer and peer[0]) from error
    if answer is None:
        raise NoDaemonError("it has ended")
    return answer
