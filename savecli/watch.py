"""Folders that are kept up to date: a look every so often, and sooner where the system tells of changes.

Polling alone is enough, and all that works on a network share. Where watchfiles is installed, changes that
the system tells of end a wait early; nothing else depends on them.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Protocol, Self

from savecli.errors import StoreBusy
from savecli.events import Event, Planned, Progress, Skipped, Summary, Unchanged

BUSY_S = 2.0
"""So long to wait for somebody else who writes into the store."""
_STEP_MS = 100


class Terminated(KeyboardInterrupt):
    """SIGTERM: an end that was asked for, and as clean as that of Ctrl-C."""


class Waiting(Protocol):
    """How the time between two looks is spent."""

    def __call__(self, seconds: float) -> None:
        """Returns after `seconds`, or earlier where a look may pay."""
        ...


def watch(
    news: Callable[[], float | None],
    run: Callable[[bool], Generator[Event, None, None]],
    wait: Waiting,
    *,
    interval_s: float,
) -> Generator[Iterator[Event], None, None]:
    """Yields the events of each run that has anything to tell; the first one always has.

    Later runs leave out what is unchanged, and what was told in the run before.

    Args:
        news: seconds until a run will have something to do: 0 if it has now, None if nothing is in sight.
        run: brings the store up to date, and is told whether it is the first to do so; it takes the write
            lock when its first event is asked for, and gives it back at its end.
        wait: between two looks.
        interval_s: the longest wait.

    Raises:
        SaveError: what the next run would not survive either.
    """
    told: set[tuple[Path, str]] = set()
    is_first, soon_s = True, 0.0
    while True:
        due_s = 0.0 if is_first else news()
        if due_s == 0:
            with contextlib.closing(run(is_first)) as events:
                try:
                    first = next(events)
                except StoreBusy:
                    due_s = BUSY_S
                else:
                    told_before, told = told, set()
                    kept = _tellable(chain([first], events), told_before, told, all_of_it=is_first)
                    worth_telling = kept if is_first else _unless_empty(kept)
                    if worth_telling is not None:
                        yield worth_telling
                    is_first = False
        # What is being written for minutes is not looked at every two seconds.
        soon_s = max(due_s, 2 * soon_s) if due_s else 0.0
        wait(min(interval_s, soon_s) if soon_s else interval_s)


def _tellable(
    events: Iterator[Event], before: set[tuple[Path, str]], now: set[tuple[Path, str]], *, all_of_it: bool
) -> Iterator[Event]:
    """The events without what nobody wants to read every half a minute; `now` gets what was skipped."""
    for event in events:
        if isinstance(event, Skipped):
            now.add((event.path, event.reason))
            is_old = event.known or (event.path, event.reason) in before
        else:
            is_old = isinstance(event, Unchanged)
        if all_of_it or not is_old:
            yield event


def _unless_empty(events: Iterator[Event]) -> Iterator[Event] | None:
    """The same events, or None where they tell of nothing but a run."""
    held = []
    for event in events:
        held.append(event)
        if isinstance(event, Planned) and event.n_files:
            break
        if not isinstance(event, Planned | Progress | Summary):
            break
    else:
        return None
    return chain(held, events)


class Bell:
    """Waits, and is woken where the system tells of changes below some folders. Use it with `with`.

    Args:
        paths: the folders and files.
        ignored: a folder whose changes are our own.
        settle_s: after a change it waits until nothing has changed for so long.
        around: what to do while it waits: show that it does, say.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        ignored: Path,
        settle_s: float,
        around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._paths = paths
        self._ignored = ignored
        self._settle_s = settle_s
        self._around = around
        self._rung, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        with contextlib.suppress(ImportError):
            import watchfiles  # noqa: F401 - is it there?

            self._thread = threading.Thread(target=self._listen, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def wait(self, seconds: float) -> None:
        """Returns after `seconds`, or when something has changed and all is quiet again."""
        until = time.monotonic() + seconds
        with self._around():
            self._rung.wait(seconds)
            while self._rung.is_set() and (left := until - time.monotonic()) > 0:
                self._rung.clear()
                self._rung.wait(min(left, self._settle_s))

    def _listen(self) -> None:
        from watchfiles import watch as changes

        # Where a folder is not there, or the system watches no more of them, polling has to do.
        with contextlib.suppress(OSError, RuntimeError):
            for _ in changes(
                *self._paths,
                watch_filter=lambda _, path: self._ignored not in Path(path).parents,
                step=_STEP_MS,
                rust_timeout=10 * _STEP_MS,
                stop_event=self._over,
                ignore_permission_denied=True,
            ):
                self._rung.set()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM, or a closed terminal, raises `Terminated` inside; once, so that nothing ends half way."""
    is_ended = False

    def raise_it(*_: object) -> None:
        nonlocal is_ended
        is_ended = True
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise Terminated

    hangup = getattr(signal, "SIGHUP", signal.SIGTERM)  # Windows has none
    numbers = {signal.SIGTERM} | ({hangup} if signal.getsignal(hangup) != signal.SIG_IGN else set())  # nohup
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, raise_it)
    try:
        yield
    except KeyboardInterrupt as error:
        if is_ended and not isinstance(error, Terminated):  # usearch forgets which signal it was
            raise Terminated from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
