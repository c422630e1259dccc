"""Prepared videos and words -> the tensors of a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from savecli.model.batch import make_inputs
from savecli.model.dims import VIT_B_32, ModelDims
from savecli.model.inputs import normalise, tokenise

PX = 32
DIMS = replace(
    ModelDims(clip={**VIT_B_32, "vision_cfg": {**VIT_B_32["vision_cfg"], "image_size": PX}}), n_frames=3
)
SOUND = np.random.default_rng(1).standard_normal((1024, 128)).astype(np.float32)


def frames(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, PX, PX, 3), dtype=np.uint8)


def test_pictures_are_those_of_inputs_normalise_and_empty_slots_are_zero():
    made = make_inputs([frames(3, 1), frames(1, 2)], [None, None], [None, None], DIMS)
    assert torch.equal(made.frames[0], normalise(frames(3, 1)))
    assert torch.equal(made.frames[1, :1], normalise(frames(1, 2)))
    assert not made.frames[1, 1:].any()
    assert made.frame_mask.tolist() == [[True, True, True], [True, False, False]]
    assert made.frames.dtype == torch.float32


def test_frames_that_are_too_many_are_left_out():
    made = make_inputs([frames(7)], [None], [None], DIMS)
    assert torch.equal(made.frames[0], normalise(frames(7)[:3]))
    assert made.frame_mask.all()


def test_sound_lies_in_its_own_row_and_none_is_zeros():
    made = make_inputs([frames(1)] * 3, [None, SOUND, np.zeros_like(SOUND)], [None] * 3, DIMS)
    assert made.audio_mask.tolist() == [False, True, True]  # digital zeros are sound all the same
    assert torch.equal(made.fbank[1], torch.from_numpy(SOUND))
    assert not made.fbank[0].any()


def test_speech_is_tokenised_by_the_short_rule():
    said = ["what a goal", None, "", "goal"]
    made = make_inputs([frames(1)] * 4, [None] * 4, said, DIMS)
    assert torch.equal(made.speech, tokenise(said, DIMS.n_words, short_rule=True))
    assert made.speech.shape == (4, DIMS.n_words)
    assert made.speech.any(dim=1).tolist() == [True, False, False, False]


def test_what_is_given_is_not_changed():
    pictures, sound = frames(2), SOUND.copy()
    made = make_inputs([pictures], [sound], [None], DIMS)
    made.frames.zero_()
    made.fbank.zero_()
    assert np.array_equal(pictures, frames(2))
    assert np.array_equal(sound, SOUND)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        make_inputs([frames(1)] * 2, [None], [None] * 2, DIMS)
