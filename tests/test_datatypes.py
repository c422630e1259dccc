"""What the records refuse, and what may be left out of them."""

from __future__ import annotations

import numpy as np
import pytest

from savecli.datatypes import Embedding, Media, MediaSpec, Sound

D = 4


def rows(n, width=D):
    return np.eye(n, width, dtype=np.float32)


def embedding(**kinds):
    return Embedding(**({"seen": rows(1), "frames": rows(2), "said": rows(0)} | kinds))


def test_what_is_left_out_of_an_embedding_has_no_rows_of_its_width():
    left_out = embedding()
    for kind in ("heard", "fused", "parts"):
        assert getattr(left_out, kind).shape == (0, D)
        assert getattr(left_out, kind).dtype == np.float32


def test_parts_sum_to_the_fused_row():
    fused, parts = rows(1), np.zeros((3, D), np.float32)
    parts[:, 0] = (1.5, -1, 0.5)
    np.testing.assert_array_equal(embedding(fused=fused, parts=parts).parts, parts)
    with pytest.raises(ValueError, match="sum"):
        embedding(fused=fused, parts=0.9 * parts)
    with pytest.raises(ValueError, match="sum"):
        embedding(fused=fused, parts=parts * np.float32(np.nan))


@pytest.mark.parametrize(
    "kinds",
    [
        {"seen": rows(0)},
        {"heard": rows(1).astype(np.float64)},
        {"heard": rows(1)[0]},
        {"said": rows(1, 3)},
        {"heard": rows(1, 3)},
        {"fused": rows(1)},
        {"parts": rows(3)},
        {"fused": rows(2), "parts": rows(3)},
    ],
)
def test_rows_that_do_not_fit_are_refused(kinds):
    with pytest.raises(ValueError, match=r"rows?|width|parts|must be"):
        embedding(**kinds)


def test_a_sound_is_two_tables_of_float32():
    with pytest.raises(ValueError, match="tokens"):
        Sound(rows=rows(1), tokens=rows(1).astype(np.float16))
    assert repr(Sound(rows=rows(3), tokens=rows(2, 7))) == "Sound(rows=float32[3, 4], tokens=float32[2, 7])"


def test_media_without_a_sound():
    empty = Media(frames=np.zeros((0, 2, 2, 3), np.uint8), frame_times_s=np.zeros(0))
    assert empty.sound is None
    assert repr(empty) == "Media(frames=uint8[0, 2, 2, 3], sound=None, utterances=0)"


@pytest.mark.parametrize("name", ["sound_window_s", "sound_hop_s"])
def test_windows_of_sound_get_somewhere(name):
    with pytest.raises(ValueError, match="windows of sound"):
        MediaSpec(**{name: 0.0})
