"""CTranslate2 -> openai-whisper: a small model written by CTranslate2's own code comes out as it went in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from savecli.errors import SpeechError, WeightsError
from savecli.speech.convert import convert_ct2_to_openai, openai_checkpoint

torch = pytest.importorskip("torch")
whisper_model = pytest.importorskip("whisper.model")

DIMS = {
    "n_mels": 80,
    "n_audio_ctx": 1500,
    "n_audio_state": 16,
    "n_audio_head": 2,
    "n_audio_layer": 2,
    "n_vocab": 60,
    "n_text_ctx": 448,
    "n_text_state": 16,
    "n_text_head": 2,
    "n_text_layer": 3,
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = whisper_model.Whisper(whisper_model.ModelDimensions(**DIMS))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def write_ct2(model, folder: Path, quantization: str | None) -> Path:
    """Save `model` with CTranslate2's writer: a second account of the layout, independent of ours."""
    from ctranslate2.specs import whisper_spec

    spec = whisper_spec.WhisperSpec(2, 2, 3, 2)
    # Copies, for CTranslate2 scales what it quantizes in place.
    state = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
    for side, ours in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        ours.position_encodings.encodings = state[f"{side}.positional_embedding"]
        set_norm(ours.layer_norm, state, "encoder.ln_post" if side == "encoder" else "decoder.ln")
        for n, layer in enumerate(ours.layer):
            block = f"{side}.blocks.{n}"
            set_norm(layer.self_attention.layer_norm, state, f"{block}.attn_ln")
            set_linear(
                layer.self_attention.linear[0],
                state,
                [f"{block}.attn.{p}" for p in ("query", "key", "value")],
            )
            set_linear(layer.self_attention.linear[1], state, [f"{block}.attn.out"])
            if side == "decoder":
                set_norm(layer.attention.layer_norm, state, f"{block}.cross_attn_ln")
                set_linear(layer.attention.linear[0], state, [f"{block}.cross_attn.query"])
                set_linear(
                    layer.attention.linear[1], state, [f"{block}.cross_attn.{p}" for p in ("key", "value")]
                )
                set_linear(layer.attention.linear[2], state, [f"{block}.cross_attn.out"])
            set_norm(layer.ffn.layer_norm, state, f"{block}.mlp_ln")
            set_linear(layer.ffn.linear_0, state, [f"{block}.mlp.0"])
            set_linear(layer.ffn.linear_1, state, [f"{block}.mlp.2"])
    for conv in ("conv1", "conv2"):
        set_linear(getattr(spec.encoder, conv), state, [f"encoder.{conv}"])
    spec.decoder.embeddings.weight = state["decoder.token_embedding.weight"]
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    vocabulary = [f"t{n}" for n in range(DIMS["n_vocab"])]
    spec.register_vocabulary(vocabulary)
    spec.config.alignment_heads = [(1, 0), (2, 1)]
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir()
    spec.save(str(folder))
    return folder


def set_norm(norm, state, name: str) -> None:
    norm.gamma, norm.beta = state[f"{name}.weight"], state[f"{name}.bias"]


def set_linear(linear, state, names: list[str]) -> None:
    weights = [state[f"{name}.weight"] for name in names]
    zeros = np.zeros(weights[0].shape[0], dtype=np.float32)
    linear.weight = np.concatenate(weights)
    linear.bias = np.concatenate([state.get(f"{name}.bias", zeros) for name in names])


@pytest.mark.parametrize(
    ("quantization", "tolerance"),
    [
        (None, 0.0),
        ("float16", 1e-3),
        ("bfloat16", 8e-3),
        ("int16", 2e-3),
        ("int8", 1e-2),
        ("int8_float16", 1e-2),
    ],
)
def test_every_stored_type_comes_back(model, tmp_path: Path, quantization: str | None, tolerance: float):
    content = openai_checkpoint(write_ct2(model, tmp_path / "ct2", quantization))
    assert content["dims"] == DIMS
    expected = model.state_dict()
    assert content["model_state_dict"].keys() == expected.keys()
    for name, array in content["model_state_dict"].items():
        np.testing.assert_allclose(
            array.astype(np.float32), expected[name].numpy(), atol=tolerance, rtol=tolerance
        )


def test_whisper_opens_the_checkpoint(model, tmp_path: Path):
    whisper = pytest.importorskip("whisper")
    convert_ct2_to_openai(write_ct2(model, tmp_path / "ct2", None), tmp_path / "model.pt")
    loaded = whisper.load_model(str(tmp_path / "model.pt"), device="cpu")
    tokens, mel = torch.tensor([[1, 2, 3]]), torch.randn(1, 80, 3000)
    with torch.no_grad():
        torch.testing.assert_close(loaded(mel, tokens), model(mel, tokens))
    assert [file.name for file in tmp_path.glob("model.pt*")] == ["model.pt"]


def test_real_weights_have_whisper_tiny_s_size(tiny_en: Path):
    content = openai_checkpoint(tiny_en)
    assert content["dims"]["n_vocab"] == 51864
    assert sum(array.size for array in content["model_state_dict"].values()) == 37_184_256 + 1500 * 384
    assert content["alignment_heads"] == json.loads((tiny_en / "config.json").read_text())["alignment_heads"]


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(SpeechError, match=r"model\.bin, config\.json"):
        convert_ct2_to_openai(tmp_path, tmp_path / "model.pt")


@pytest.mark.parametrize("damage", ["cut", "other version", "other kind", "empty config"])
def test_damaged_files_are_refused_and_nothing_is_written(model, tmp_path: Path, damage: str):
    folder = write_ct2(model, tmp_path / "ct2", None)
    content = (folder / "model.bin").read_bytes()
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "other version":
        content = b"\x05" + content[1:]
    elif damage == "other kind":
        content = content.replace(b"WhisperSpec", b"WhisperSpic")
    else:
        (folder / "config.json").write_text("")
    (folder / "model.bin").write_bytes(content)
    with pytest.raises(WeightsError, match="does not hold a whole"):
        convert_ct2_to_openai(folder, tmp_path / "model.pt")
    assert not list(tmp_path.glob("model.pt*"))
