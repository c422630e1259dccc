"""The recipe of save-mini: who answers what, what is learned from, and what is kept for testing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from savecli.errors import ConfigError
from savecli.model.network import pool
from scripts.train_mini import fuse
from scripts.train_mini.__main__ import train
from scripts.train_mini.calibrate import first_hits, logistic
from scripts.train_mini.compose import KINDS, Material, Videos, answered, perform, scripts
from scripts.train_mini.work import Work, components, mean_average_precision

D = 384
PHOTOS = [
    ("train", "actions/running"),
    ("train", "scenes/sea"),
    ("test", "scenes/sea"),
    ("test", "actions/running"),
]
SOUNDS = [("train", "dog"), ("train", "speech"), ("test", "dog"), ("test", "speech")]


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Material:
    """Four photos, four sounds, six sentences, with random rows."""
    work = Work(Path("nowhere"), tmp_path_factory.mktemp("work"), False, 0)
    rng = np.random.default_rng(0)

    def rows(*shape: int) -> np.ndarray:
        drawn = rng.standard_normal((*shape, D)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)

    work.save_json("photos.json", [{"split": split, "label": label} for split, label in PHOTOS])
    work.save_json("sounds.json", [{"split": split, "label": label} for split, label in SOUNDS])
    work.save_npz("photo_rows.npz", rows=rows(4, 4), open=rows(4, 4))
    work.save_npz("sound_rows.npz", rows=rows(4), tokens=rows(4, 5))
    for name, labels in (("concepts", {p for _, p in PHOTOS}), ("sounds_labels", {s for _, s in SOUNDS})):
        work.save_json(
            f"{name}.json",
            [{"label": x, "bank": [f"{x} known"], "held_out": f"{x} new"} for x in sorted(labels)],
        )
    said = ["a dog runs", "boats on a lake", "two men talk", "the sun is up", "a red car", "snow on the roof"]
    speech = {
        f"{i}.jpg": {
            "part": "train" if i < 3 else "test",
            "spoken": s,
            "heard": s,
            "paraphrases": [f"{s} again"],
        }
        for i, s in enumerate(said)
    }
    work.save_json("speech.json", speech)
    save_file({"mean": np.zeros(D, np.float32)}, work.path("seen.safetensors"))
    return Material(work)


def videos(**changes: object) -> Videos:
    """Two test videos: running with a dog, and the sea with someone speaking."""
    made = {
        "photos": np.array([[3, 3], [2, 2]]),
        "known": np.array([True, True]),
        "sounds": np.array([[2, 2], [3, 3]]),
        "sentences": np.array([[3, -1, -1, -1], [4, -1, -1, -1]]),
        "asked": np.array([0, 0]),
    }
    return Videos(**(made | changes))


def test_a_video_answers_what_it_shows_plays_and_says(material):
    for kind in KINDS:
        assert material.answers(videos(), kind).tolist() == [[True, False], [False, True]], kind


def test_what_is_beside_answers_too(material):
    both = videos(
        photos=np.array([[3, 3], [2, 3]]),
        sounds=np.array([[2, 2], [3, 2]]),
        sentences=np.array([[3, -1, -1, -1], [3, 4, -1, -1]]),
        asked=np.array([0, 1]),
    )
    for kind in KINDS:
        assert material.answers(both, kind).tolist() == [[True, True], [False, True]], kind


def test_what_is_absent_answers_nothing(material):
    silent = videos().without(sound=True)
    assert not material.answers(videos(), "heard", silent).any()
    assert material.answers(videos(), "seen", silent).diagonal().all()
    mute = videos().without(speech=True)
    assert not material.answers(videos(), "said", mute).any()


def test_a_split_is_drawn_from_alone(material):
    drawn = material.draw("test", 40, np.random.default_rng(1), absent=0.3, mixed=0.8, known=0.5)
    assert set(drawn.photos.ravel()) <= {2, 3}
    assert set(drawn.sounds.ravel()) <= {-1, 2, 3}
    assert set(drawn.sentences.ravel()) <= {-1, 3, 4, 5}
    assert (drawn.sounds == -1).any()
    assert (drawn.sentences[:, 1] >= 0).any()
    said = drawn.sentences[:, 0] >= 0
    assert (drawn.sentence[said] >= 0).all()


def test_held_out_queries_share_no_phrase_with_training(material):
    rng = np.random.default_rng(2)
    made = material.draw("test", 20, rng)
    held_out = {text for kind in KINDS for text in material.queries(made, kind)}
    assert all("known" not in text for text in held_out)
    written = scripts(material, 30, rng)
    assert len(written.rows) == 30
    assert set(written.sentence) <= {0, 1, 2}


def test_each_script_is_answered_by_the_video_made_for_it(material):
    rng = np.random.default_rng(3)
    written = scripts(material, 40, rng)
    chosen = np.arange(40)
    made = perform(material, written, chosen, rng, absent=0.5, mixed=0.5)
    assert answered(material, written, chosen, made).diagonal().all()
    assert set(made.photos.ravel()) <= {0, 1}


def test_frames_tokens_and_states_have_their_places(material):
    made = videos(
        sounds=np.array([[2, 2], [-1, -1]]), photos=np.array([[3, 2], [2, 2]]), known=np.array([True, False])
    )
    frames = material.frames(made)
    np.testing.assert_array_equal(frames[0, :2], material.photo_rows[True][3, :2])
    np.testing.assert_array_equal(frames[0, 2:], material.photo_rows[True][2, 2:])
    np.testing.assert_array_equal(frames[1], material.photo_rows[False][2])
    tokens, there = material.tokens(made)
    assert tokens.shape == (2, 10, D)
    assert there.tolist() == [True, False]
    assert not tokens[1].any()
    states, words = material.speech(made)
    assert words.sum(axis=1).tolist() == [len(material.states[s]) for s in (3, 4)]
    assert np.linalg.norm(states[words], axis=1).mean() == pytest.approx(1, rel=0.2)


def test_the_untrained_fusion_mixes_what_it_is_given(material):
    network = fuse.pass_through(D).eval()
    made = videos()
    together, parts = fuse.fuse(network, material, made)
    np.testing.assert_allclose(parts.sum(axis=1), together, atol=1e-5)
    tokens, _ = material.tokens(made)
    alone, _ = fuse.fuse(network, material, made.without(sound=True, speech=True))
    towards = [(one * tokens.mean(axis=1)).sum(axis=1) for one in (together, alone)]
    assert (towards[0] > towards[1]).all()


def test_the_fusion_of_a_video_does_not_depend_on_the_others(material):
    network = fuse.pass_through(D).eval()
    made = videos()
    together, _ = fuse.fuse(network, material, made)
    with torch.inference_mode():
        features, _ = fuse.encode(network, material, videos(sentences=np.array([[3, -1, -1, -1]] * 2)))
        first = pool(features.fused, features.frame_mask)[1][0]
    np.testing.assert_allclose(first, together[0], atol=1e-5)


def test_first_hits_leave_out_wrong_ones_among_right(material):
    found = np.array([5.0, 1.0, 0.0, 0.5])
    right = np.array([False, True, False, False])
    rng = np.random.default_rng(0)
    cases = [case for _ in range(20) for case in first_hits(found, found, right, 3, rng)]
    assert all(case[3] is False or case[0] == 1.0 for case in cases)
    assert any(case[3] for case in cases)
    assert any(not case[3] for case in cases)


def test_logistic_finds_the_boundary():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 2))
    y = rng.random(4000) < 1 / (1 + np.exp(-(3 * x[:, 0] - x[:, 1])))
    gain, other, bias = logistic(x, y)
    assert gain == pytest.approx(3, abs=0.4)
    assert other == pytest.approx(-1, abs=0.3)
    assert bias == pytest.approx(0, abs=0.2)


def test_small_helpers():
    assert sorted(map(sorted, components(5, [(0, 2), (2, 4)]))) == [[0, 2, 4], [1], [3]]
    cosines = np.array([[0.9, 0.1, 0.5], [0.1, 0.2, 0.3]], np.float32)
    assert mean_average_precision(cosines, np.array([0, 1, 0])) == pytest.approx((1 + 0.5) / 2)


def test_a_folder_of_another_run_is_refused(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "images.jsonl").write_text("")
    work = Work(data, tmp_path / "work", False, 0)
    work.folder.mkdir()
    work.save_json("run.json", {"strict_licences": True, "seed": 0})
    with pytest.raises(ConfigError, match="was begun with"):
        train(work, "photos")
    with pytest.raises(ConfigError, match=r"has no images\.jsonl"):
        train(Work(tmp_path / "nowhere", tmp_path / "other", False, 0), None)


def test_the_shipped_model_says_what_it_is():
    home = Path(__file__).resolve().parents[2] / "weights" / "save-mini"
    model = json.loads((home / "model.json").read_text())
    assert model["fusion"]["sizes"] == fuse.SIZES
    assert set(model["score"]["steps"]) == {"seen", "heard", "said", "fused"}
    assert sum(path.stat().st_size for path in home.iterdir()) < 25e6
