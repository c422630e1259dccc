"""A process that keeps a library warm for `save search`, until nobody has asked for a while.

It reads the store as any search does, holds no lock on it and never writes there. It listens on a Unix socket
that only its user can reach, and on nothing else. The main thread searches, one query after the other; each
connection has a thread of its own, so that a client which says nothing keeps nobody waiting.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from savecli import __version__
from savecli.api import Library
from savecli.caller import (
    MOST_ANSWERED,
    MOST_ASKED,
    PATIENCE_S,
    build,
    is_ours,
    store_stamp,
)
from savecli.config import Config
from savecli.datatypes import Ask, Results, Show
from savecli.errors import SaveError, StoreError
from savecli.peaks import status_mb
from savecli.search import search
from savecli.wire import Line, Message, WireError, decoded, encoded, failure

N_CLIENTS = 32
SAY_S = 2.0
"""A client that says nothing for so long is let go of."""
TAKE_S = 10.0
BEAT_S = 0.1
TICK_S = 5.0
"""How often a daemon without work looks whether it can still be reached."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """A query on its way; `has_left` once its client is gone."""

    ask: Ask
    show: Show
    has_meaning: bool
    store: object
    is_begun: bool = False
    has_left: bool = False
    answer: Message = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)


class Server:
    """Answers queries about one library; all but the threads of its connections is the caller's thread.

    Args:
        config: names the library.
        listener: where clients connect.
        is_reachable: whether clients can still find it there.
        idle_s: it ends when nobody has asked for so long.
        log: is told of failures that are nobody's but its own.

    Raises:
        StoreError, WeightsError: the library cannot be opened.
    """

    def __init__(
        self,
        config: Config,
        listener: socket.socket,
        is_reachable: Callable[[], bool],
        *,
        idle_s: float,
        log: Callable[[str], None],
    ) -> None:
        self._build = build()  # of the code that runs, whatever is installed later
        self._config = config
        self._listener = listener
        self._is_reachable = is_reachable
        self._idle_s = idle_s
        self._log = log
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._places = threading.BoundedSemaphore(N_CLIENTS)
        self.stopping = threading.Event()
        self._since_s: float | None = None
        self._n_searches = 0
        self._stamp = store_stamp(config.store_dir)
        self._library = Library(config)
        # All that a first search loads; what it finds does not matter.
        self._library.store().warm()
        search(Ask(text="a dog on a beach"), self._library.store(), self._library.encoder)
        self._began_s = self._used_s = time.monotonic()

    def run(self) -> None:
        """Serves until it is told to stop, has been idle for long, or cannot be reached any more."""
        threading.Thread(target=self._accept, daemon=True).start()
        with self._library:
            while not self.stopping.is_set():
                job = self._next()
                if job is not None:
                    self._do(job)
                elif self._is_over():
                    break
        self.stopping.set()

    def stop(self) -> None:
        """Makes `run` return after the search in work, from any thread."""
        self.stopping.set()
        self._jobs.put(None)

    def status(self) -> Message:
        """What `save daemon status` tells."""
        return {
            "pid": os.getpid(),
            "version": __version__,
            "build": self._build,
            "home": str(self._config.home),
            "up_s": round(time.monotonic() - self._began_s, 1),
            "unused_s": round(time.monotonic() - self._used_s, 1),
            "idle_s": self._idle_s,
            "is_busy": self._since_s is not None,
            "n_searches": self._n_searches,
            **memory(),
        }

    def _next(self) -> _Job | None:
        left_s = self._used_s + self._idle_s - time.monotonic()
        try:
            return self._jobs.get(timeout=max(min(TICK_S, left_s), 0))
        except queue.Empty:
            return None

    def _is_over(self) -> bool:
        return time.monotonic() - self._used_s >= self._idle_s or not self._is_reachable()

    def _do(self, job: _Job) -> None:
        if job.has_left:
            return
        self._since_s, job.is_begun = time.monotonic(), True
        try:
            job.answer = {"results": encoded(self._found(job))}
        except SaveError as error:
            job.answer = {"error": failure(error)}
        except Exception as error:  # noqa: BLE001 - a client whose query fails here searches by itself
            self._log(traceback.format_exc())
            self._library.reopen()
            job.answer = {"refused": f"it failed: {type(error).__name__}"}
        finally:
            self._since_s, self._used_s = None, time.monotonic()
            self._n_searches += 1
            job.done.set()

    def _found(self, job: _Job) -> Results:
        stamp = store_stamp(self._config.store_dir)
        if stamp != self._stamp:
            # Somebody wrote into the catalog: opened anew it is checked as a search of one's own would.
            self._library.reopen()
            self._stamp = stamp
            self._library.store().warm()
        store = self._library.store()
        if stamp is None or job.store != stamp:
            raise StoreError("the store is another one")
        return search(job.ask, store, self._library.encoder if job.has_meaning else None, show=job.show)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                time.sleep(BEAT_S)  # out of descriptors, or closed
                continue
            if not self._places.acquire(blocking=False):
                connection.close()
                continue
            try:
                threading.Thread(target=self._attend, args=(connection,), daemon=True).start()
            except RuntimeError:  # the system has no thread left
                connection.close()
                self._places.release()

    def _attend(self, connection: socket.socket) -> None:
        """All that one client asks."""
        with connection:
            try:
                line = Line(connection)
                while is_ours(connection) and not self.stopping.is_set():
                    asked = line.receive(most_bytes=MOST_ASKED, within_s=SAY_S)
                    if asked is None:
                        break
                    self._reply(line, asked)
            except WireError as error:
                with suppress(OSError):
                    _send(line, {"refused": str(error)})
                    line.drain(within_s=SAY_S)
            except OSError:
                pass  # the client has left, or says nothing
            except Exception:  # noqa: BLE001 - one client is not all
                self._log(traceback.format_exc())
            finally:
                self._places.release()

    def _reply(self, line: Line, asked: Message) -> None:
        match asked.get("do"):
            case "search":
                self._search(line, asked)
            case "status":
                _send(line, {"status": self.status()})
            case "stop":
                _send(line, {"stopping": os.getpid()})
                self.stop()
            case other:
                raise WireError(f"it cannot do {other!r:.80}")

    def _search(self, line: Line, asked: Message) -> None:
        since_s = self._since_s
        if asked.get("build") != self._build:
            _send(line, {"refused": "it is of another version"})
        elif since_s is not None and time.monotonic() - since_s > PATIENCE_S:
            _send(line, {"refused": "it is busy with a long search"})
        else:
            self._wait_for(line, _job(asked))

    def _wait_for(self, line: Line, job: _Job) -> None:
        self._jobs.put(job)
        try:
            while not job.done.wait(BEAT_S):
                _send(line, {"state": "searching" if job.is_begun else "waiting"})
        except OSError:
            job.has_left = True
            raise
        _send(line, job.answer)


def _send(line: Line, message: Message) -> None:
    line.send(message, most_bytes=MOST_ANSWERED, within_s=TAKE_S)


def _job(asked: Message) -> _Job:
    return _Job(
        ask=decoded(Ask, asked.get("ask")),
        show=decoded(Show, asked.get("show")),
        has_meaning=asked.get("has_meaning") is True,
        store=asked.get("store"),
    )


def memory() -> dict[str, float]:
    """What this process holds in memory, MB, and how much of it are files that the system may let go of."""
    memory_mb, files_mb = (status_mb(os.getpid(), field) for field in ("VmRSS", "RssFile"))
    if not memory_mb:
        import resource

        unit = 1e6 if sys.platform == "darwin" else 1e3
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"memory_mb": round(memory_mb, 1), "files_mb": round(files_mb, 1)}
