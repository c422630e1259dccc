"""One writer at a time: the system's lock on `write.lock`, and a note beside it that names the holder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Self

from savecli.errors import StoreBusy, StoreError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PATIENCE_S = 0.2
"""A reader that asks whether somebody writes holds the lock for an instant."""


class WriteLock:
    """The right to write into a store.

    The lock is the system's and ends with its process, however that dies; the note
    `writer.json` only serves the message that a second writer is shown.
    """

    def __init__(self, home: Path) -> None:
        from filelock import FileLock  # with what it imports .02 s, and a reader needs no lock

        self._note = home / "writer.json"
        self._lock = FileLock(home / "write.lock")

    @classmethod
    def take(cls, home: Path) -> Self:
        """Locks the store in `home`, making the folder where there is none.

        Raises:
            StoreBusy: another process, or another `Store` of this one, holds the lock.
            StoreError: the folder cannot be written.
        """
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)  # transcripts are private
            lock = cls(home)
            lock._acquire()
        except OSError as error:
            raise StoreError(
                f"cannot write into {home}: {error.strerror}", hint="choose another folder with --home"
            ) from error
        return lock

    def _acquire(self) -> None:
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=_PATIENCE_S, poll_interval=_PATIENCE_S / 10)
        except Timeout:
            raise StoreBusy(
                f"the store {self._note.parent} is being written by {self._holder()}",
                hint="wait until it is done, or stop it; searching works meanwhile",
            ) from None
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        # Not synced: after a power cut nobody holds the lock, and the note is worth nothing.
        self._note.write_text(json.dumps(holder), encoding="utf-8")

    def release(self) -> None:
        """Gives the lock back; harmless when it is not held."""
        if self._lock.is_locked:
            self._note.unlink(missing_ok=True)
            self._lock.release()

    def _holder(self) -> str:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(self._note.read_text(encoding="utf-8"))
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
            return f"process {holder['pid']} on {holder['host']} since {since}"
        return "another process"


def is_left_open(home: Path) -> bool:
    """Whether the store's last writer is known to have died, or nobody can be writing at all.

    The system's lock tells, for the note may be a copy, of a store that was being written when it was copied.
    Only where locks cannot be asked does the note decide; a writer on another machine, or a process that has
    the dead one's number, then counts as one at work.
    """
    if fcntl is not None:
        try:
            descriptor = os.open(home / "write.lock", os.O_RDONLY)
        except FileNotFoundError:
            return True
        except OSError:
            return _is_noted_dead(home)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return _is_noted_dead(home)
        finally:
            os.close(descriptor)  # gives back what it got
        return True
    return _is_noted_dead(home)


def _is_noted_dead(home: Path) -> bool:
    try:
        holder = json.loads((home / "writer.json").read_text(encoding="utf-8"))
        at_work = holder["host"] != socket.gethostname() or _is_alive(int(holder["pid"]))
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return not at_work


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # a signal would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
