"""Captions with their videos, in an order that a seed decides, loaded ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from savecli.bench.datasets import Clip
from savecli.errors import ConfigError, SaveError
from savecli.prepare import Prepared, Shelf, threads

N_AHEAD = 2
FEWEST = 2
"""Captions: one alone has nothing to be told apart from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A caption of a video; each of a video's captions is a sample of its own."""

    clip: Clip
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Samples with their videos."""

    samples: tuple[Sample, ...]
    videos: tuple[Prepared, ...]


class Samples:
    """All samples of a training.

    Args:
        clips: whose captions are learnt.
        batch_size: of all processes together; an epoch's last incomplete batch is dropped.
        rank, size: of this process among all.
        seed: of the order.

    Raises:
        ConfigError: fewer samples than a batch holds, or a batch that cannot be shared out evenly.
    """

    def __init__(self, clips: Sequence[Clip], *, batch_size: int, rank: int, size: int, seed: int) -> None:
        self._samples = [Sample(clip=clip, caption=caption) for clip in clips for caption in clip.captions]
        if len(self._samples) < FEWEST:
            raise ConfigError(
                f"{len(self._samples)} captions to train on are too few",
                hint=f"{FEWEST} at least; in your own table, the column split says which videos are train",
            )
        if len(self._samples) < batch_size:
            raise ConfigError(
                f"{len(self._samples)} captions do not fill a batch of {batch_size}",
                hint=f"--batch-size {len(self._samples)} or less",
            )
        if batch_size % size:
            raise ConfigError(
                f"a batch of {batch_size} cannot be shared by {size} processes",
                hint="--batch-size is of all processes together",
            )
        self._batch_size, self._rank, self._size, self._seed = batch_size, rank, size, seed

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def n_batches(self) -> int:
        """Of one epoch."""
        return len(self._samples) // self._batch_size

    @property
    def digest(self) -> str:
        """Names all samples in their order: the same of two trainings whose batches are the same."""
        said = [(s.clip.video_id, s.caption, s.clip.speech) for s in self._samples]
        return blake2b(repr(said).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Sample, ...]]:
        """This process's share of each batch of an epoch, from batch `start` on."""
        order = np.random.default_rng([self._seed, number]).permutation(len(self._samples))
        for batch in range(start, self.n_batches):
            whole = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            yield tuple(self._samples[i] for i in whole[self._rank :: self._size])


def loaded(batches: Iterator[tuple[Sample, ...]], shelf: Shelf, *, n_workers: int) -> Iterator[Batch]:
    """The same batches with their videos, read by several threads, two batches ahead."""
    with threads(n_workers) as pool:
        waiting: deque[tuple[tuple[Sample, ...], list[Future[Prepared]]]] = deque()

        def ask() -> None:
            samples = next(batches, None)
            if samples is not None:
                waiting.append((samples, [pool.submit(_load, shelf, sample.clip) for sample in samples]))

        for _ in range(N_AHEAD):
            ask()
        while waiting:
            samples, futures = waiting.popleft()
            ask()
            yield Batch(samples=samples, videos=tuple(future.result() for future in futures))


def _load(shelf: Shelf, clip: Clip) -> Prepared:
    kept = shelf.load(clip.path) if clip.path is not None else None
    if kept is None:
        raise SaveError(
            f"{clip.path} changed, or its decoded frames were removed, while it was trained on",
            hint="run the same command again: it goes on where it stopped",
        )
    return kept
