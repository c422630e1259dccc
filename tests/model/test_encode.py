"""save-mini as the flows meet it: real weights, real pictures."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from savecli.datatypes import Media, Utterance
from savecli.errors import ConfigError
from savecli.media.encode import read_photo
from savecli.model.encode import MiniEncoder
from savecli.model.weights import bundled


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return MiniEncoder(tmp_path_factory.mktemp("models"), device="cpu")


def media(n_frames: int = 0, *texts: str, seed: int = 0) -> Media:
    frames = np.random.default_rng(seed).integers(0, 256, (n_frames, 224, 224, 3), np.uint8)
    return Media(
        frames=frames,
        frame_times_s=np.arange(n_frames, dtype=np.float64),
        utterances=tuple(Utterance(start_s=i, end_s=i + 1, text=text) for i, text in enumerate(texts)),
    )


def photo(name: str) -> np.ndarray:
    """A picture of the extra `demo`, cropped and scaled as the media spec wants it."""
    spec = find_spec("imageio")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the pictures of the extra demo")
    image = read_photo(Path(spec.submodule_search_locations[0]) / "resources" / "images" / name)
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    at = np.arange(224) * side // 224
    return image[top + at][:, left + at]


def test_each_segment_gets_its_own_rows(mini):
    shown = [media(2, "hello there", seed=1), media(0), media(1, seed=2), media(0, "one", "two", "three")]
    embedded = mini.embed(shown)
    assert [(len(e.seen), len(e.frames), len(e.said)) for e in embedded] == [
        (1, 2, 1),
        (0, 0, 0),
        (1, 1, 0),
        (0, 0, 4),
    ]
    alone = [mini.embed([one])[0] for one in shown]
    for together, by_itself in zip(embedded, alone, strict=True):
        np.testing.assert_allclose(together.frames, by_itself.frames, atol=1e-3)
        np.testing.assert_allclose(together.said, by_itself.said, atol=1e-5)


def test_all_rows_have_unit_norm(mini):
    (embedding,) = mini.embed([media(3, "a", "b", seed=3)])
    for rows in (embedding.seen, embedding.frames, embedding.said):
        assert rows.shape[1] == mini.dim
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    query = mini.query("a dog")
    assert np.linalg.norm(query.seen) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(query.said) == pytest.approx(1, abs=1e-5)


def test_the_pooled_row_is_the_frames_middle(mini):
    (embedding,) = mini.embed([media(3, seed=4)])
    middle = embedding.frames.mean(axis=0)
    np.testing.assert_allclose(embedding.seen[0], middle / np.linalg.norm(middle), atol=1e-5)


def test_a_sentence_over_several_utterances_has_a_row_of_its_own(mini):
    (embedding,) = mini.embed([media(0, "it was the best", "of times")])
    whole = mini.query("it was the best of times").said
    np.testing.assert_allclose(embedding.said[-1], whole, atol=1e-5)


def test_nothing_at_all_is_no_rows(mini):
    assert mini.see(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, mini.dim)
    (embedding,) = mini.embed([media(0)])
    assert embedding.seen.shape == embedding.frames.shape == embedding.said.shape == (0, mini.dim)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("chelsea.png", "a cat", "a car"),
        ("chelsea.png", "a tabby cat looks into the camera", "a plate of spaghetti"),
    ],
)
def test_a_picture_is_nearer_to_what_it_shows(mini, name, right, wrong):
    (row,) = mini.see(photo(name)[np.newaxis])
    near, far = (float(row @ mini.query(text).seen) for text in (right, wrong))
    assert mini.score.seen(near) > 0.5 > mini.score.seen(far)


def test_words_are_nearer_to_what_they_mean(mini):
    (embedding,) = mini.embed([media(0, "the weather is lovely today, not a cloud in the sky")])
    near, far = (float(embedding.said[0] @ mini.query(q).said) for q in ("sunny weather", "a court of law"))
    assert mini.score.said(near) > 0.5 > mini.score.said(far)


def test_settings_travel_with_the_weights(mini):
    card = json.loads((bundled("save-mini") / "model.json").read_text("utf-8"))
    assert mini.spec.n_frames == card["media"]["n_frames"]
    assert mini.score.threshold == card["score"]["threshold"]
    assert mini.name == card["name"]
    assert mini.dim == card["dim"]


def test_the_identity_is_the_same_each_time_and_names_the_weights(mini, tmp_path):
    assert MiniEncoder(tmp_path).identity == mini.identity
    assert mini.identity.keys() == {"model", "weights", "dim"}
    assert len(mini.identity["weights"]) == 16


def test_a_device_that_is_not_there_is_told_before_the_first_picture(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.backends.mps.is_available():
        pytest.skip("this machine has mps")
    with pytest.raises(ConfigError, match="no mps device"):
        MiniEncoder(tmp_path, device="mps").see(np.zeros((1, 224, 224, 3), np.uint8))
