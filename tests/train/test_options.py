"""The defaults are those of SAVE's own trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from savecli.errors import ConfigError
from savecli.train.options import DEFAULTS, Options

# batch, words, frames, margin
PUBLISHED = {"msrvtt": (128, 32, 12, 0.1), "vatex": (128, 32, 12, 0.05), "charades": (64, 64, 32, 0.1)}


def options(benchmark="msrvtt", **given):
    return Options.of(benchmark, Path("/data"), Path("/cache"), {"out": Path("/out"), **given})


@pytest.mark.parametrize("benchmark", PUBLISHED)
def test_defaults(benchmark):
    it = options(benchmark)
    assert (it.batch_size, it.n_words, it.n_frames, it.margin) == PUBLISHED[benchmark]
    assert it.frames_per_s == (2 if benchmark == "charades" else 1)
    assert (it.epochs, it.lr, it.clip_lr, it.warmup, it.weight_decay) == (5, 1e-4, 1e-3, 0.1, 0.2)
    assert (it.beta, it.temperature, it.distillation, it.freeze, it.accumulate) == (0.2, 1.0, 1.0, 12, 1)
    assert (it.fusion_layers, it.resampler_layers, it.n_queries, it.seed) == (4, 4, 12, 42)
    assert it.clip == "ViT-B-32-quickgelu"
    assert it.padding is None  # the checkpoint's own, the reference's for a new network


def test_what_was_not_given_is_the_default():
    assert options(lr=None, margin=None).margin == DEFAULTS["msrvtt"]["margin"]


def test_from_scratch_everything_trains_at_one_rate():
    it = options(from_scratch=True)
    assert (it.freeze, it.clip_lr) == (None, 1.0)
    assert options(from_scratch=True, clip_lr=0.1, freeze=3).freeze == 3
    assert options(freeze=-1).freeze is None


@pytest.mark.parametrize(
    "given",
    [{"batch_size": 1}, {"init": Path("a"), "from_scratch": True}, {"init": Path("a"), "dims": Path("b")}],
)
def test_options_that_make_no_sense(given):
    with pytest.raises(ConfigError):
        options(**given)


def test_a_training_goes_on_as_it_began():
    it = options(lr=1e-3)
    it.check_same(options(lr=1e-3, device="cuda", n_workers=9).to_json(), Path("/out"))
    with pytest.raises(ConfigError, match=r"lr was 0\.001, is 0\.002"):
        options(lr=2e-3).check_same(it.to_json(), Path("/out"))
