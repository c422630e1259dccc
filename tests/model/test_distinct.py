"""Pictures that show nothing new are told from those that do."""

from __future__ import annotations

import numpy as np
import pytest

from savecli.model.distinct import distinct


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(40, 200, (64, 72, 3), dtype=np.uint8)


def test_the_same_picture_is_looked_at_once(picture):
    shown, like = distinct(np.stack([picture] * 5))
    assert (shown.tolist(), like.tolist()) == ([0], [0] * 5)


def test_noise_is_no_change_and_a_small_thing_is(picture):
    rng = np.random.default_rng(1)
    noisy = (picture + rng.integers(-1, 2, picture.shape)).astype(np.uint8)
    spot = picture.copy()
    spot[20:23, 30:33, 1] += 20
    shown, like = distinct(np.stack([picture, noisy, spot, spot, picture]))
    assert (shown.tolist(), like.tolist()) == ([0, 2, 4], [0, 0, 1, 1, 2])


def test_a_slow_fade_is_noticed_where_it_has_come_far(picture):
    fade = np.stack([(picture + step // 2).astype(np.uint8) for step in range(6)])
    shown, like = distinct(fade)
    assert (shown.tolist(), like.tolist()) == ([0, 2, 4], [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("size", [(8, 8), (13, 20)])
def test_any_size(size):
    dark = np.zeros((*size, 3), np.uint8)
    shown, like = distinct(np.stack([dark, dark + 50]))
    assert (shown.tolist(), like.tolist()) == ([0, 1], [0, 1])


def test_a_still_clip_costs_the_encoder_one_picture(shared_media, monkeypatch):
    from savecli import config, pipeline
    from savecli.media.decode import frames, probe

    encoder = pipeline.make_encoder(config.load())
    timeline = probe(shared_media / "s16.mp4")
    sizes = {"resize_px": encoder.spec.resize_px, "size_px": encoder.spec.size_px}
    images = np.stack([f.image for f in frames(timeline, [1.0, 2.0, 3.0, 4.0], **sizes)])
    looked = []
    networks = encoder._load()
    look = networks.look
    monkeypatch.setattr(networks, "look", lambda some: looked.append(len(some)) or look(some))
    rows = encoder.see(images)
    assert sum(looked) < len(images)
    alone = np.concatenate([encoder.see(image[None]) for image in images])
    assert (rows * alone).sum(axis=1).min() > 0.9999
