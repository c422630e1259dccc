"""A voice is heard, says different things differently, and twice the same."""

from __future__ import annotations

import numpy as np
import pytest

from savecli.media.encode import SAMPLE_RATE_HZ
from savecli.media.speak import Voice

pytest.importorskip("espeakng_loader")
SENTENCES = ("we left the violin at the lighthouse", "bring the piano to the garden")


def test_a_sentence_is_audible_and_as_long_as_speech_is():
    spoken = Voice().say(SENTENCES[0])
    assert spoken.dtype == np.float32
    assert 1 < len(spoken) / SAMPLE_RATE_HZ < 3
    assert 0.2 < abs(spoken).max() <= 1


def test_a_new_voice_says_the_same_with_the_same_samples():
    one, other = ([voice.say(text) for text in SENTENCES] for voice in (Voice(), Voice()))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(one[0]) != len(one[1])


def test_nothing_to_say_is_silence():
    assert not abs(Voice().say("")).any()
