"""The decoder's own process: reads calls from its standard input, writes replies to its standard output.

A call is ``(name, args, options)``. Its replies are ``("item", x)`` and ``("tick", reached_s)``, any number,
then ``("done", result, n_decoded, n_bad_packets)`` or ``("error", MediaError)``. A process that dies of a
bug says ``("bug", traceback)`` last. Everything is pickled.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Any, BinaryIO

from savecli.errors import MediaError
from savecli.media.footage import Stream, Tally

_TICK_S = 0.5
_MMAP_THRESHOLD = -3
_OWN_BLOCK_BYTES = 1 << 18


def main(memory_bytes: int) -> None:
    """Serve until the other end of the pipe is closed."""
    # Stray output of a library must not get between the replies.
    replies = _Replies(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    sys.excepthook = replies.bug
    # One thread: the address space of a BLAS thread pool would count against the memory limit.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from savecli.media import decode

    _limit(memory_bytes)
    _keep_blocks_apart()
    calls: SimpleQueue[tuple[str, tuple[Any, ...], dict[str, Any]]] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, calls), daemon=True).start()
    threading.Thread(target=replies.tick_forever, daemon=True).start()
    replies.send("ready")
    functions: dict[str, Callable[..., object]] = {
        "probe": decode.probe,
        "frames": decode.frames,
        "look": decode.look,
        "photo": decode.photo,
        "stills": decode.stills,
        "waveform": decode.waveform,
    }
    while True:
        name, args, options = calls.get()
        replies.tally = tally = Tally()
        try:
            result = functions[name](*args, tally=tally, **options)
            if isinstance(result, Stream):
                for item in result:
                    replies.send("item", item)
                result = None
            replies.send("done", result, tally.n_decoded, tally.n_bad_packets)
        except MediaError as error:
            replies.send("error", error)
        except MemoryError:
            replies.send("error", MediaError("the decoder ran out of memory on this file", hint=_MEMORY_HINT))


_MEMORY_HINT = "Its pictures are very large, or it is damaged on purpose; re-encode it in a smaller size."


class _Replies:
    """The way back, shared by the thread that works and the one that reports headway."""

    def __init__(self, pipe: BinaryIO) -> None:
        self.tally = Tally()
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, *reply: object) -> None:
        try:
            with self._lock:
                pickle.dump(reply, self._pipe, protocol=pickle.HIGHEST_PROTOCOL)
                self._pipe.flush()
        except BrokenPipeError:
            os._exit(0)

    def tick_forever(self) -> None:
        """Report headway, and only headway: a decoder that is stuck falls silent."""
        told_s, pause = 0.0, threading.Event()
        while not pause.wait(_TICK_S):
            reached_s = self.tally.reached_s
            if reached_s != told_s:
                told_s = reached_s
                self.send("tick", reached_s)

    def bug(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.send("bug", "".join(traceback.format_exception(kind, error, trace)))


def _listen(pipe: BinaryIO, calls: SimpleQueue[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> None:
    """Queue the calls; leave at once, whatever is being decoded, when the parent is gone."""
    try:
        while True:
            calls.put(pickle.load(pipe))  # noqa: S301 - from our own parent
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(0)


def _keep_blocks_apart() -> None:
    """Pictures get memory of their own, which goes back to the system with them.

    glibc stops giving it once the first of them is freed (mallopt(3), M_MMAP_THRESHOLD), and the heap then
    falls into pieces: after 1,600 short files the process held 105 MB in place of 34, and more with each.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _OWN_BLOCK_BYTES)


def _limit(memory_bytes: int) -> None:
    """No more address space than this, no core dumps, and not a byte written to any file."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        try:
            resource.setrlimit(what, (soft, hard))
        except (OSError, ValueError):  # macOS knows no limit on address space
            continue
