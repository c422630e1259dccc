"""Order, shares and loading of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from savecli.bench.datasets import Clip
from savecli.errors import ConfigError, SaveError
from savecli.prepare import Prepared
from savecli.train.samples import Samples, loaded

CLIPS = [Clip(video_id=f"v{i}", path=Path(f"/v{i}"), captions=(f"a{i}", f"b{i}", f"c{i}")) for i in range(7)]


def samples(rank=0, size=1, seed=1, batch_size=4):
    return Samples(CLIPS, batch_size=batch_size, rank=rank, size=size, seed=seed)


def captions(batches):
    return [[sample.caption for sample in batch] for batch in batches]


def test_every_caption_is_a_sample_and_none_comes_twice_in_an_epoch():
    batches = captions(samples().epoch(0))
    flat = [caption for batch in batches for caption in batch]
    assert len(samples()) == 21
    assert len(batches) == samples().n_batches == 5  # the sixth would not be full
    assert len(set(flat)) == len(flat) == 20


def test_an_order_belongs_to_a_seed_and_an_epoch():
    assert captions(samples().epoch(3)) == captions(samples().epoch(3))
    assert captions(samples().epoch(3)) != captions(samples().epoch(4))
    assert captions(samples(seed=1).epoch(3)) != captions(samples(seed=2).epoch(3))


def test_an_epoch_can_be_entered_in_the_middle():
    assert captions(samples().epoch(2, 3)) == captions(samples().epoch(2))[3:]


def test_processes_share_each_batch():
    whole = captions(samples().epoch(0))
    shares = [captions(samples(rank=r, size=2).epoch(0)) for r in range(2)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert sorted(first + second) == sorted(batch)
        assert len(first) == len(second) == 2


def test_a_batch_that_cannot_be_filled_or_shared_is_told():
    with pytest.raises(ConfigError, match="21 captions"):
        samples(batch_size=22)
    with pytest.raises(ConfigError, match="3 processes"):
        samples(size=3)


class Known:
    def __init__(self, missing=()):
        self.missing = missing

    def load(self, path):
        if path.name in self.missing:
            return None
        return Prepared(frames=np.full((1, 2, 2, 3), int(path.name[1:]), np.uint8), fbank=None)


def test_videos_come_with_their_own_samples():
    for batch in loaded(samples().epoch(0), Known(), n_workers=3):
        for sample, video in zip(batch.samples, batch.videos, strict=True):
            assert f"v{video.frames[0, 0, 0, 0]}" == sample.clip.video_id


def test_a_video_that_went_missing_is_told():
    with pytest.raises(SaveError, match="/v3"):
        list(loaded(samples().epoch(0), Known(missing=("v3",)), n_workers=2))
