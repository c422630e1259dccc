"""Several things at a time: threads that each run one generator, and one queue of what all of them tell."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Generic, NoReturn, Self, TypeVar

Job = TypeVar("Job")
Told = TypeVar("Told")
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Headway(Generic[Job, Told]):
    """A job tells how far it is."""

    job: Job
    told: Told


@dataclass(frozen=True, slots=True)
class End(Generic[Job, Done]):
    """A job is over; `result` returns what came of it, or raises what went wrong."""

    job: Job
    result: Callable[[], Done]


class Abreast(Generic[Job, Told, Done]):
    """Hands jobs to workers, one each; for one thread, with `with`.

    What is in work is bounded by the workers: one gets its next job only after the end of its last one was
    taken from the queue. Leaving early waits for no job: each ends where its generator yields next.

    Args:
        workers: each runs a job as a generator, in a thread of its own.
        interrupt: called where jobs are given up, to wake workers that wait for something.
    """

    def __init__(
        self,
        workers: Sequence[Callable[[Job], Generator[Told, None, Done]]],
        *,
        interrupt: Callable[[], None],
    ) -> None:
        self._interrupt = interrupt
        self._is_over = False
        # Not a `Queue`: Ctrl-C at the wrong instant leaves its lock taken for ever (media/worker.py).
        self._outbox: SimpleQueue[tuple[int, Headway[Job, Told] | End[Job, Done]]] = SimpleQueue()
        self._inboxes: list[SimpleQueue[tuple[Job] | None]] = [SimpleQueue() for _ in workers]
        self._free = list(reversed(range(len(workers))))
        self._threads = [
            threading.Thread(target=self._serve, args=(number, work), daemon=True)
            for number, work in enumerate(workers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for inbox in self._inboxes:
            inbox.put(None)
        if self.n_in_work:
            self._interrupt()
        for thread in self._threads:
            thread.join()

    @property
    def n_in_work(self) -> int:
        """Jobs whose end was not told yet."""
        return len(self._threads) - len(self._free)

    @property
    def is_full(self) -> bool:
        """Whether no worker is free."""
        return not self._free

    def give(self, job: Job) -> None:
        """Start a job; some worker must be free."""
        # The one that was freed last: it may hold what others would have to load.
        self._inboxes[self._free.pop()].put((job,))

    def wait(self) -> Headway[Job, Told] | End[Job, Done]:
        """The next that a job has to tell; some job must be in work."""
        number, told = self._outbox.get()
        if isinstance(told, End):
            self._free.append(number)
        return told

    def _serve(self, number: int, work: Callable[[Job], Generator[Told, None, Done]]) -> None:
        while (given := self._inboxes[number].get()) is not None and not self._is_over:
            (job,) = given
            self._outbox.put((number, End(job, self._run(number, job, work(job)))))

    def _run(self, number: int, job: Job, working: Generator[Told, None, Done]) -> Callable[[], Done]:
        try:
            while not self._is_over:
                self._outbox.put((number, Headway(job, next(working))))
            working.close()
        except StopIteration as end:
            done: Done = end.value
            return lambda: done
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            return partial(_raise, error)
        return partial(_raise, RuntimeError("given up"))


def _raise(error: BaseException) -> NoReturn:
    raise error
