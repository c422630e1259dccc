"""How much memory a process and its children take, as Linux tells it in /proc; other systems tell nothing."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from savecli.figures import Memory

LOOK_EVERY_S = 0.1
"""A look costs half a millisecond."""


class Peaks:
    """The largest sizes at any look; a look every LOOK_EVERY_S within a `with`.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid or os.getpid()
        self._together_mb = self._command_mb = self._decoder_mb = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def look(self) -> None:
        """Take note of the sizes of now."""
        now_mb = [status_mb(self._pid, "VmRSS")]
        self._command_mb = max(self._command_mb, status_mb(self._pid, "VmHWM"))
        for child in children(self._pid):
            now_mb.append(status_mb(child, "VmRSS"))
            self._decoder_mb = max(self._decoder_mb, status_mb(child, "VmHWM"))
        self._together_mb = max(self._together_mb, sum(now_mb))

    @property
    def memory(self) -> Memory | None:
        """What was found; None where the system tells nothing."""
        if not self._together_mb:
            return None
        return Memory(together=self._together_mb, command=self._command_mb, decoder=self._decoder_mb)

    def _watch(self) -> None:
        while not self._is_over.wait(LOOK_EVERY_S):
            self.look()


def status_mb(pid: int, field: str) -> float:
    """A field of /proc/PID/status in MB; 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 * 1.024 for line in lines if line.startswith(field)), 0.0)


def children(pid: int) -> list[int]:
    """The processes that a process started, from any of its threads."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found += map(int, file.read_text("utf-8").split())
    # One that was started just now still is its parent, and as large, until it runs a program of its own.
    return [child for child in found if _command_of(child) not in (b"", _command_of(pid))]


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
