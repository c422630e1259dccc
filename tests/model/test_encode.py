"""save-mini as the flows meet it: what it makes of media and queries, and what its own weights know.

What does not hang on what was learned is also asked of a made-up save-mini with random networks, which tells
a fault of the code from one of the weights.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from savecli.datatypes import Ask, Media, Sound, Utterance
from savecli.errors import ConfigError, WeightsError
from savecli.media.encode import read_photo
from savecli.model import mini as networks
from savecli.model.encode import AIMS, FILES, Bank, MiniEncoder
from savecli.model.score import CALIBRATED, TERMS
from savecli.model.weights import bundled

DIM, RATE_HZ = 384, 16_000
SIZES = {"n_queries": 4, "resampler_layers": 1, "fusion_layers": 1, "feed_forward": 1}
STEP = {"slope": 15.0, "centre": 0.3, "weight": 1.0}
CALIBRATION = {
    "gain": 1.0,
    "crowd": 0.1,
    "spread": 0.1,
    "level": 0.1,
    "bias": -1.0,
    "prior_median": 0.1,
    "prior_spread": 0.5,
    "prior_n": 20.0,
}


def card(home: Path) -> dict:
    return json.loads((home / "model.json").read_text("utf-8"))


def random_rows(n: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The folder of a save-mini whose networks are random; its frozen parts are the real ones."""
    home = tmp_path_factory.mktemp("save-mini")
    torch.manual_seed(0)
    head, sound = networks.ConceptHead(16, 10), networks.SoundNet(7)
    fusion = networks.Fusion(networks.fusion_dims(DIM, SIZES), 16)
    for network in (head, sound, fusion):
        for parameter in network.parameters():
            parameter.requires_grad_(False)
            if parameter.dim() == 4:  # else the signal is gone after so many layers without norms
                parameter.mul_((2 / parameter[0].numel()) ** 0.5 / parameter.std())
    for layer in (*fusion.audio_fusion.layers, *fusion.speech_fusion.layers):
        layer.attn_gate.proj.weight.add_(0.1)
    seen = {"concepts": random_rows(1000, 1), "extra": random_rows(10, 2)}
    heard = {"concepts": random_rows(521 + 7, 3)}
    states = {
        "seen.safetensors": head.state_dict() | seen,
        "heard.safetensors": sound.state_dict() | heard,
        "fusion.safetensors": fusion.state_dict(),
    }
    for name, state in states.items():
        half = {key: tensor.half().contiguous() for key, tensor in state.items()}
        if name != "fusion.safetensors":
            half["mean"] = state["concepts"].mean(dim=0)
        save_file(half, home / name)
    save_file({"rows": random_rows(5, 4).half()}, home / "cohort.safetensors")
    (home / "words.json").write_text(json.dumps({"worth": {"dog": 2.0}, "rare": 6.0}))
    model = {
        "name": "save-mini",
        "dim": DIM,
        "media": {"n_frames": 12, "sound_window_s": 5.0, "sound_hop_s": 3.5},
        "frozen": {"vision": "efficientnet-lite0", "text": "all-minilm-l6-v2"},
        "files": {name: sha256((home / name).read_bytes()).hexdigest() for name in FILES},
        "seen": {"temperature": 1.5, "share": 0.4},
        "heard": {"share": 0.5},
        "fusion": {"sizes": SIZES, "speech_scale": 0.2, "n_words": 64},
        "score": {
            "steps": dict.fromkeys(TERMS, STEP),
            "words": 0.3,
            "sharpness": 20.0,
            "calibrations": dict.fromkeys(CALIBRATED, CALIBRATION),
            "threshold": 0.5,
        },
    }
    (home / "model.json").write_text(json.dumps(model))
    return home


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


def opened(home: Path, models: Path, device: str = "cpu") -> MiniEncoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("savecli.model.encode.bundled", lambda _: home)
        return MiniEncoder(models, device=device)


@pytest.fixture(scope="module", params=["made up", "as shipped"])
def encoder(request, models):
    """Each of the two."""
    if request.param == "made up":
        return opened(request.getfixturevalue("made"), models)
    return request.getfixturevalue("mini")


@pytest.fixture(scope="module")
def mini(models):
    """The bundled one."""
    return MiniEncoder(models, device="cpu")


def noise(length_s: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(length_s * RATE_HZ))).astype(np.float32)


def media(n_frames: int = 0, *texts: str, sound: Sound | None = None, seed: int = 0) -> Media:
    frames = np.random.default_rng(seed).integers(0, 256, (n_frames, 224, 224, 3), np.uint8)
    return Media(
        frames=frames,
        frame_times_s=np.arange(n_frames, dtype=np.float64),
        sound=sound,
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


def counts(embedding) -> dict[str, int]:
    return {k: len(getattr(embedding, k)) for k in ("seen", "frames", "heard", "said", "fused", "parts")}


# -- embeddings ----------------------------------------------------------------------------------------------


def test_each_segment_gets_its_own_rows(encoder):
    shown = [
        media(2, "hello there", sound=encoder.hear(noise(12)), seed=1),
        media(0),
        media(1, seed=2),
        media(0, "one", "two", "three"),
        media(0, sound=encoder.hear(noise(3))),
    ]
    embedded = encoder.embed(shown)
    assert [tuple(counts(e).values()) for e in embedded] == [
        (1, 2, 3, 1, 1, 3),
        (0, 0, 0, 0, 0, 0),
        (1, 1, 0, 0, 1, 3),
        (0, 0, 0, 4, 0, 0),
        (0, 0, 1, 0, 0, 0),
    ]
    alone = [encoder.embed([one])[0] for one in shown]
    for together, by_itself in zip(embedded, alone, strict=True):
        for kind in ("frames", "heard", "said", "fused", "parts"):
            np.testing.assert_allclose(getattr(together, kind), getattr(by_itself, kind), atol=2e-3)


def test_all_rows_have_unit_norm_and_our_type(encoder):
    (embedding,) = encoder.embed([media(3, "a", "b", sound=encoder.hear(noise(12)), seed=3)])
    for kind in ("seen", "frames", "heard", "said", "fused"):
        rows = getattr(embedding, kind)
        assert rows.shape[1] == encoder.dim
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert embedding.parts.dtype == np.float32
    for query in encoder.queries(Ask(text="a dog", sees="a cat", hears="rain", says="good boy")):
        for row in query.rows.values():
            assert row.dtype == np.float32
            assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_the_pooled_row_is_the_frames_middle(encoder):
    (embedding,) = encoder.embed([media(3, seed=4)])
    middle = embedding.frames.mean(axis=0)
    np.testing.assert_allclose(embedding.seen[0], middle / np.linalg.norm(middle), atol=1e-5)


@pytest.mark.parametrize("texts", [(), ("hello there", "good boy")])
@pytest.mark.parametrize("is_heard", [True, False])
def test_the_fused_row_is_the_sum_of_what_is_there(encoder, texts, is_heard):
    sound = encoder.hear(noise(12)) if is_heard else None
    (embedding,) = encoder.embed([media(2, *texts, sound=sound, seed=5)])
    np.testing.assert_allclose(embedding.parts.sum(axis=0), embedding.fused[0], atol=1e-4)
    assert [bool(part.any()) for part in embedding.parts] == [True, is_heard, bool(texts)]


def test_what_is_heard_and_said_changes_the_fused_row_and_no_other(encoder):
    plain, heard, said = (
        encoder.embed([one])[0]
        for one in (
            media(2, seed=6),
            media(2, sound=encoder.hear(noise(12)), seed=6),
            media(2, "good boy", seed=6),
        )
    )
    for other in (heard, said):
        np.testing.assert_array_equal(other.frames, plain.frames)
        assert np.abs(other.fused - plain.fused).max() > 1e-4


def test_a_full_segment_of_frames_and_a_long_speech_fit_the_fusion(encoder):
    speech = [" ".join(["the weather is lovely today"] * 12)] * 4
    (embedding,) = encoder.embed(
        [media(encoder.spec.n_frames, *speech, sound=encoder.hear(noise(15)), seed=7)]
    )
    assert counts(embedding) == {"seen": 1, "frames": 12, "heard": 4, "said": 5, "fused": 1, "parts": 3}


def test_a_sentence_over_several_utterances_has_a_row_of_its_own(encoder):
    (embedding,) = encoder.embed([media(0, "it was the best", "of times")])
    (whole,) = encoder.queries(Ask(says="it was the best of times"))
    np.testing.assert_allclose(embedding.said[-1], whole.rows["said"], atol=1e-5)
    assert len(embedding.said) == 3


def test_nothing_at_all_is_no_rows(encoder):
    assert encoder.embed([]) == []
    assert encoder.see(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, encoder.dim)
    (embedding,) = encoder.embed([media(0)])
    for kind in counts(embedding):
        assert getattr(embedding, kind).shape == (0, encoder.dim)


# -- sound ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length_s", "n_rows", "n_tokens"),
    [(0.5, 1, 1), (3, 1, 3), (5, 1, 5), (7, 1, 7), (8, 2, 8), (12, 3, 12), (15, 4, 15)],
)
def test_a_sound_has_a_row_for_each_window_and_a_token_for_each_patch(encoder, length_s, n_rows, n_tokens):
    sound = encoder.hear(noise(length_s))
    assert sound.rows.shape == (n_rows, encoder.dim)
    assert sound.tokens.shape == (n_tokens, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(sound.tokens, axis=1), 1, atol=1e-5)


def test_windows_start_at_0_and_3_5_and_7_seconds(encoder):
    """A window is heard in its own seconds: a change elsewhere leaves its row alone."""
    before = encoder.hear(noise(12)).rows
    for at_s, untouched in ((0.2, [1, 2]), (6.1, [0, 2]), (11.2, [0, 1])):
        wave = noise(12)
        at = int(at_s * RATE_HZ)
        wave[at : at + 1600] = np.sin(np.arange(1600))
        after = encoder.hear(wave).rows
        for i in range(3):
            is_same = np.abs(after[i] - before[i]).max() < 1e-5
            assert is_same == (i in untouched), (at_s, i)


@pytest.mark.parametrize("length_s", [6.5, 7.2, 10.5, 12, 14])
def test_the_end_of_a_sound_is_heard_in_some_window(encoder, length_s):
    wave = noise(length_s)
    before = encoder.hear(wave).rows
    n_patches = len(encoder.hear(wave).tokens)
    at = int((n_patches - 0.5) * 0.96 * RATE_HZ)
    wave[at : at + 3200] = np.sin(np.arange(len(wave[at : at + 3200])))
    assert np.abs(encoder.hear(wave).rows[-1] - before[-1]).max() > 1e-5


def test_silence_and_nothing_are_heard_as_numbers(encoder):
    for wave in (np.zeros(0, np.float32), np.zeros(5 * RATE_HZ, np.float32), np.ones(RATE_HZ, np.float32)):
        sound = encoder.hear(wave)
        assert len(sound.rows) == 1
        assert np.isfinite(sound.rows).all()
        assert np.isfinite(sound.tokens).all()


# -- queries -------------------------------------------------------------------------------------------------


def test_a_query_is_asked_of_what_it_aims_at(encoder):
    ask = Ask(text="a dog", sees="a cat", hears="rain", says="good boy")
    queries = encoder.queries(ask)
    assert [query.text for query in queries] == ["a dog", "a cat", "rain", "good boy"]
    assert [tuple(query.rows) for query in queries] == list(AIMS.values())
    assert [bool(query.words) for query in queries] == [True, False, False, True]
    for query in queries:
        assert sum(query.words.values()) == pytest.approx(1 if query.words else 0)
    assert [query.text for query in encoder.queries(Ask(hears="rain"))] == ["rain"]
    assert encoder.queries(Ask()) == []


def test_a_text_has_the_same_row_in_whatever_field_it_is(encoder):
    (free,) = encoder.queries(Ask(text="a dog"))
    for field, term in (("sees", "seen"), ("hears", "heard"), ("says", "said")):
        (aimed,) = encoder.queries(Ask(**{field: "a dog"}))
        np.testing.assert_allclose(aimed.rows[term], free.rows[term], atol=1e-6)
    np.testing.assert_array_equal(free.rows["fused"], free.rows["seen"])
    np.testing.assert_allclose(free.rows["said"], encoder.read(["a dog"])[0], atol=1e-6)


def test_a_query_loads_no_torch(made, models):
    code = (
        "import sys; from pathlib import Path; from savecli.datatypes import Ask\n"
        "import savecli.search\n"
        "from savecli.model import encode\n"
        "encode.bundled = lambda name: Path(sys.argv[1])\n"
        "encode.MiniEncoder(Path(sys.argv[2])).queries(Ask(text='a dog', sees='a cat', hears='rain'))\n"
        "print(sorted({'torch', 'transformers', 'safetensors', 'av'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(made), str(models)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


# -- a bank of concepts --------------------------------------------------------------------------------------


def test_a_bank_weighs_its_two_groups_as_it_is_told():
    eye = np.eye(5, dtype=np.float32)
    bank = Bank(eye[:4], np.zeros(5, np.float32), 0.25)
    first, second = np.array([[6, 2]], np.float32), np.array([[1, 0]], np.float32)
    (row,) = bank.embed(first, second)
    expected = np.array([0.75 * 0.75, 0.75 * 0.25, 0.25, 0, 0])
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), rtol=1e-6)
    (shifted,) = Bank(eye[:4], eye[4], 0.25).embed(first, second)
    assert shifted[4] < 0


def test_a_bank_takes_rows_of_nothing():
    bank = Bank(np.eye(4, dtype=np.float32), np.full(4, 0.1, np.float32), 0.5)
    assert np.isfinite(bank.embed(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32))).all()
    assert bank.embed(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)).shape == (0, 4)


# -- its files -----------------------------------------------------------------------------------------------


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_settings_travel_with_the_weights(encoder):
    told = card(encoder.home)
    assert encoder.spec.n_frames == told["media"]["n_frames"]
    assert encoder.score.threshold == told["score"]["threshold"]
    assert encoder.name == told["name"]
    assert encoder.dim == told["dim"]


def test_the_identity_is_the_same_each_time_and_names_the_weights(encoder, models):
    assert opened(encoder.home, models).identity == encoder.identity
    assert encoder.identity.keys() == {"model", "weights", "dim"}
    assert len(encoder.identity["weights"]) == 16


@pytest.mark.parametrize("name", FILES)
def test_other_weights_have_another_identity(made, copy, models, name):
    told = card(copy)
    told["files"][name] = "0" * 64
    (copy / "model.json").write_text(json.dumps(told))
    assert opened(copy, models).identity["weights"] != opened(made, models).identity["weights"]


def test_what_is_whole_is_verified(encoder):
    encoder.verify()


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_or_lost_file_is_told(copy, models, name):
    encoder = opened(copy, models)
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} is damaged") as caught:
        encoder.verify()
    assert caught.value.hint
    (copy / name).unlink()
    with pytest.raises(WeightsError, match=f"cannot read .*{name}"):
        encoder.verify()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.json", b"{}"),
        ("model.json", b"no json"),
        ("model.json", b"[1]"),
        ("words.json", b'{"worth": {}}'),
        ("words.json", None),
        ("seen.safetensors", None),
        ("heard.safetensors", b"short"),
        ("cohort.safetensors", None),
    ],
)
def test_files_that_are_not_save_mini_are_refused(copy, models, name, content):
    (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        opened(copy, models)
    assert caught.value.hint


def test_a_device_that_is_not_there_is_told_before_the_first_picture(made, models):
    if torch.backends.mps.is_available():
        pytest.skip("this machine has mps")
    with pytest.raises(ConfigError, match="no mps device"):
        opened(made, models, device="mps").see(np.zeros((1, 224, 224, 3), np.uint8))


# -- what the bundled weights know ---------------------------------------------------------------------------


def test_what_is_bundled_is_what_was_published(mini):
    assert mini.home == bundled("save-mini")
    assert {*FILES, "words.json", "model.json", "CARD.md"} <= {path.name for path in mini.home.iterdir()}


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("chelsea.png", "a cat", "a car"),
        ("chelsea.png", "a tabby cat looks into the camera", "a plate of spaghetti"),
    ],
)
def test_a_picture_is_nearer_to_what_it_shows(mini, name, right, wrong):
    (row,) = mini.see(photo(name)[np.newaxis])
    near, far = (float(row @ mini.queries(Ask(sees=text))[0].rows["seen"]) for text in (right, wrong))
    assert near > far + 0.15


def test_words_are_nearer_to_what_they_mean(mini):
    (embedding,) = mini.embed([media(0, "the weather is lovely today, not a cloud in the sky")])
    near, far = (
        float(embedding.said[0] @ mini.queries(Ask(says=text))[0].rows["said"])
        for text in ("sunny weather", "a court of law")
    )
    assert near > far + 0.2


def test_a_sound_is_nearer_to_what_it_is(mini):
    """White noise is the one sound that needs no recording."""
    (row,) = mini.hear(noise(5)).rows
    near, far = (
        float(row @ mini.queries(Ask(hears=text))[0].rows["heard"])
        for text in ("static noise", "a dog barking")
    )
    assert near > far


def test_rows_are_the_same_whatever_the_batch(models, monkeypatch):
    from savecli.model.cpu import CpuNetworks

    rng = np.random.default_rng(5)
    media = [
        Media(
            frames=rng.integers(0, 256, (n, 224, 224, 3), np.uint8),
            frame_times_s=np.arange(n, dtype=np.float64),
            sound=None,
            utterances=(),
        )
        for n in (12, 0, 5, 12)
    ]
    look, asked = CpuNetworks.look, []

    def small(self, frames):
        asked.append(len(frames))
        if len(frames) > 7:
            raise MemoryError
        return look(self, frames)

    alone = MiniEncoder(models, device="cpu")
    assert alone.batch_size == 1
    expected = [alone.embed([one])[0] for one in media]
    monkeypatch.setattr(CpuNetworks, "look", small)
    together = MiniEncoder(models, device="cpu", batch_size=3)
    assert (together.batch_size, together.notes()) == (3, ())
    for found, right in zip(together.embed(media), expected, strict=True):
        for name in ("seen", "frames", "fused", "parts"):
            np.testing.assert_allclose(getattr(found, name), getattr(right, name), atol=1e-5)
    assert asked == [29, 14, *[7] * 4, 1]
    assert [note.rpartition(": ")[2] for note in together.notes()] == ["14 from here on", "7 from here on"]
    assert together.notes() == ()
