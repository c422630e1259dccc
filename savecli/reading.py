"""The files that are being read: so many at a time, by pipelines that share one set of models."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Self

from savecli.abreast import Abreast, End, Headway
from savecli.events import Progress
from savecli.media.scan import Found
from savecli.pipeline import Pipeline, Processed


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A file to read.

    Attributes:
        found: as it was before it was read.
        video_id: its fingerprint.
        started: on the clock of `time.perf_counter`.
    """

    found: Found
    video_id: str
    started: float = field(default_factory=time.perf_counter)


Read = End[Job, Processed]
"""The end of a job; its `result` raises what went wrong."""


class Reading:
    """Gives files to pipelines, which are opened when the first one comes. Use it with `with`.

    Leaving early gives up what is in work.

    Args:
        open_pipeline: called once at most.
        jobs: so many files at a time.
    """

    def __init__(self, open_pipeline: Callable[[], AbstractContextManager[Pipeline]], jobs: int) -> None:
        self._open_pipeline = open_pipeline
        self._jobs = jobs
        self._open = ExitStack()
        self._crew: Abreast[Job, Progress, Processed] | None = None
        self._in_work: set[str] = set()
        self.asr = ""
        """What listens, once a file was given."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def is_full(self) -> bool:
        """Whether a file must end before another can be given."""
        return self._crew is not None and self._crew.is_full

    def lacks(self, video_id: str) -> bool:
        """Whether no file of this content is in work."""
        return video_id not in self._in_work

    def give(self, found: Found, video_id: str) -> None:
        """Begin with a file; there must be room.

        Raises:
            WeightsError, SpeechError: a model that is not there or cannot run.
        """
        if self._crew is None:
            pipeline = self._open.enter_context(self._open_pipeline())
            twins = [pipeline.twin() for _ in range(self._jobs - 1)]
            for twin in twins:  # their decoders would wait for work as long as this process lives
                self._open.callback(twin.interrupt)
            self.asr, self._crew = pipeline.asr, self._open.enter_context(_crew([pipeline, *twins]))
        self._in_work.add(video_id)
        self._crew.give(Job(found, video_id))

    def told(self, is_enough: Callable[[], bool] = lambda: False) -> Iterator[Progress | Read]:
        """What the files in work tell, until it is enough, or all have ended."""
        while self._crew is not None and self._in_work and not is_enough():
            told = self._crew.wait()
            if isinstance(told, Headway):
                yield told.told
            else:
                self._in_work.discard(told.job.video_id)
                yield told


def _crew(pipelines: Sequence[Pipeline]) -> Abreast[Job, Progress, Processed]:
    def working(one: Pipeline) -> Callable[[Job], Generator[Progress, None, Processed]]:
        return lambda job: one.process(job.found.path)

    def interrupt() -> None:
        for one in pipelines:
            one.interrupt()

    return Abreast([working(one) for one in pipelines], interrupt=interrupt)
