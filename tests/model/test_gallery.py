"""Encoded videos and their scores, against the network's own similarity."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch.nn.functional import normalize

from savecli.model import gallery as module
from savecli.model.gallery import encode_gallery, score_texts
from savecli.model.inputs import tokenise
from savecli.model.network import Inputs, pool, similarity

from .golden import Golden

TEXTS = ["a man is talking about a car", "two dogs play in the snow", "dog", "a band performs on stage"]


@pytest.fixture(scope="module")
def network(parity):
    return Golden(parity, "tiny").network().eval()


@pytest.fixture(scope="module")
def inputs(parity):
    return Golden(parity, "tiny").inputs()


@pytest.fixture(scope="module")
def videos(network, inputs):
    return encode_gallery(network, [inputs])


@pytest.fixture(scope="module")
def features(network, inputs):
    with torch.inference_mode():
        return network.encode_video(inputs)


def some(inputs, start, end):
    return Inputs(**{field.name: getattr(inputs, field.name)[start:end] for field in fields(inputs)})


def by_hand(network, features, *, short_rule):
    with torch.inference_mode():
        ids = tokenise(TEXTS, network.dims.n_words, short_rule=short_rule)
        return similarity(
            normalize(network.encode_caption(ids), dim=-1),
            *pool(features.fused, features.frame_mask),
            features.frame_mask,
            network.logit_scale.exp(),
            network.dims.temperature,
        )[0].numpy()


@pytest.mark.parametrize("short_rule", [True, False])
def test_scores_are_the_network_s_similarity(network, videos, features, short_rule):
    found = score_texts(network, videos, TEXTS, short_rule=short_rule)
    assert found.shape == (4, 4)
    assert found == pytest.approx(by_hand(network, features, short_rule=short_rule), abs=1e-4)


def test_the_golden_scores(network, videos, parity):
    golden = Golden(parity, "tiny")
    captions = [
        "a man is talking about a car",
        "two dogs play in the snow while a woman laughs",
        "someone is cooking pasta in a kitchen",
        "hi",
        "a band performs on stage",
    ]
    found = score_texts(network, videos, captions, short_rule=True)
    assert found == pytest.approx(golden.arrays["out.sim"], abs=5e-4)


def test_how_many_at_a_time_does_not_matter(network, inputs, videos, monkeypatch):
    whole = score_texts(network, videos, TEXTS, short_rule=False)
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 3)
    parts = encode_gallery(network, (some(inputs, start, start + 3) for start in (0, 3)))
    assert score_texts(network, parts, TEXTS, short_rule=False) == pytest.approx(whole, abs=1e-4)


def test_the_network_keeps_its_mode(network, inputs):
    network.train()
    encode_gallery(network, [some(inputs, 0, 1)])
    assert network.training
    network.eval()
