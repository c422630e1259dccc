"""What the reading of one video costs, and what is noticed on the way."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from savecli.datatypes import WaveformBlock
from savecli.media.footage import Timeline

MISSING_SHARE = 0.05
T = TypeVar("T")


class Account:
    """Of one video.

    Attributes:
        stage_s: seconds spent in each stage.
        notes: what the owner should know.
        n_bad_packets: that could not be decoded.
        n_frames: pictures decoded.
        peak: the loudest sample.
        is_partial: whether some of the file is not there.
    """

    def __init__(self) -> None:
        self.stage_s: defaultdict[str, float] = defaultdict(float)
        self.notes: list[str] = []
        self.n_bad_packets = 0
        self.n_frames = 0
        self.peak = 0.0
        self.is_partial = False

    def add(self, other: Account) -> None:
        """What another account counts of the same video."""
        for stage, seconds in other.stage_s.items():
            self.stage_s[stage] += seconds
        self.n_bad_packets += other.n_bad_packets
        self.n_frames += other.n_frames

    def note_missing(self, timeline: Timeline) -> None:
        """An interrupted recording or copy still promises its whole length."""
        # Some containers count their duration from zero, and not from where they start.
        missing_s = timeline.claimed_s - timeline.duration_s - max(0.0, timeline.origin_s)
        if missing_s > max(1.0, MISSING_SHARE * timeline.claimed_s):
            self.is_partial = True
            self.notes.append(
                f"{timeline.duration_s:.1f} s of the {timeline.claimed_s:.1f} s it claims are there"
            )

    @contextmanager
    def clock(self, stage: str, *, but: str = "") -> Iterator[None]:
        """Counts the time inside for `stage`, without what `but` was counted for meanwhile."""
        before = self.stage_s[but] if but else 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            other = self.stage_s[but] - before if but else 0.0
            self.stage_s[stage] += time.perf_counter() - start - other

    def metered(self, items: Iterable[T]) -> Iterator[T]:
        """The same items; waiting for them is decoding."""
        iterator = iter(items)
        while True:
            with self.clock("decode"):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def metered_sound(self, blocks: Iterable[WaveformBlock]) -> Iterator[WaveformBlock]:
        """The same blocks, with an ear on how loud they are."""
        for block in self.metered(blocks):
            self.peak = max(self.peak, float(np.abs(block.waveform).max(initial=0.0)))
            yield block
