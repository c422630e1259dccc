"""A long video in chunks of segments, whose pictures several decoders look up at a time."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

from savecli.abreast import Abreast, End, Headway
from savecli.datatypes import Segment
from savecli.media.footage import Timeline

CHUNK_S = 300.0
"""A chunk is at least so long; each begins at a key frame before its first time, so some is decoded twice."""
LEAD_S = 12.0
"""A chunk begins where a key frame lies so close before it; a file with few of them is one chunk."""
MOST_DECODERS = 4
"""Of one file: each holds the table of its packets, 17 MB for an hour of it."""

Job = TypeVar("Job")
Told = TypeVar("Told")
Done = TypeVar("Done")


def chunks(timeline: Timeline, spans: Sequence[Segment], last_s: Sequence[float]) -> list[range]:
    """Runs of segments that can be decoded apart from each other, by their numbers.

    They depend on the file alone and not on who reads it, so that what is found does not either.

    Args:
        timeline: of the file.
        spans: its segments.
        last_s: the last time that is looked at in each.
    """
    keys_s = timeline.key_frame_times_s
    begins = [0]
    if timeline.video is not None and not timeline.video.shifts and keys_s:
        for number in range(1, len(spans)):
            here_s, before_s = spans[number].start_s, last_s[number - 1]
            lead_s = before_s - keys_s[bisect_right(keys_s, before_s) - 1]
            length_s, rest_s = here_s - spans[begins[-1]].start_s, spans[-1].end_s - here_s
            if min(length_s, rest_s) >= CHUNK_S and 0 <= lead_s <= LEAD_S:
                begins.append(number)
    return [range(first, end) for first, end in pairwise([*begins, len(spans)])]


class Slots:
    """How many decoders work at a time, whichever files they read; for any thread.

    Args:
        n: so many, and one for each file where those are more.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._n_taken = 0
        self._lock = threading.Lock()

    @contextmanager
    def file(self) -> Iterator[None]:
        """A file is being read; its own decoder waits for nobody."""
        with self._lock:
            self._n_taken += 1
        try:
            yield
        finally:
            self.give_back()

    def take(self) -> bool:
        """Take one more if it is free."""
        with self._lock:
            free = self._n_taken < self.n
            self._n_taken += free
            return free

    def give_back(self) -> None:
        """One that was taken is free again."""
        with self._lock:
            self._n_taken -= 1


def together(
    jobs: Sequence[Job], crew: Abreast[Job, Told, Done], slots: Slots
) -> Generator[Headway[Job, Told] | End[Job, Done]]:
    """Gives a crew the jobs of one file, in order; each that is beside another takes a slot.

    Yields:
        What they tell.
    """
    waiting = deque(jobs)
    n_taken = 0
    try:
        while waiting or crew.n_in_work:
            while waiting and not crew.is_full and (not crew.n_in_work or slots.take()):
                n_taken += crew.n_in_work > 0
                crew.give(waiting.popleft())
            told = crew.wait()
            if isinstance(told, End) and n_taken:
                n_taken -= 1
                slots.give_back()
            yield told
    finally:
        for _ in range(n_taken):
            slots.give_back()


def alone(
    job: Job, work: Callable[[Job], Generator[Told, None, Done]]
) -> Generator[Headway[Job, Told] | End[Job, Done]]:
    """The same of a single job, without a thread; what goes wrong is raised at once."""
    working = work(job)
    while True:
        try:
            told = next(working)
        except StopIteration as end:
            done: Done = end.value
            break
        yield Headway(job, told)
    yield End(job, lambda: done)
