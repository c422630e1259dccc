"""Our numpy MiniLM is the BERT that transformers runs, and needs neither it nor torch."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from savecli.errors import WeightsError
from savecli.model.text import MAX_BATCH, MAX_TOKENS, WIDTH, TextEncoder, gelu, map_safetensors, unit
from savecli.model.weights import locate

TEXTS = (
    "a dog runs along the beach",
    "The man says: good boy, sit!",
    "",
    "   ",
    "Ünïcödé, 日本語 and a 🐕 \u202e\u0000 \ud7ff",
    "word " * 1000,
    "best",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return locate("all-minilm-l6-v2", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def minilm(files):
    return TextEncoder(files["model.safetensors"], files["tokenizer.json"])


@pytest.fixture(scope="module")
def tensors(files):
    return dict(load_file(files["model.safetensors"]))


class Bert(torch.nn.Module):
    """BERT out of torch's own layers, which compute what Devlin et al. wrote down."""

    def __init__(self, tensors):
        super().__init__()
        self.words, self.places, self.types = (
            torch.from_numpy(tensors[f"embeddings.{kind}_embeddings.weight"])
            for kind in ("word", "position", "token_type")
        )
        self.norm = torch.nn.LayerNorm(WIDTH, eps=1e-12)
        self.norm.load_state_dict(_named(tensors, "embeddings.LayerNorm", ""))
        self.layers = torch.nn.Sequential(*(self._layer(tensors, f"encoder.layer.{i}") for i in range(6)))

    @staticmethod
    def _layer(tensors, name):
        layer = torch.nn.TransformerEncoderLayer(
            WIDTH, 12, 4 * WIDTH, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        heads = [_named(tensors, f"{name}.attention.self.{part}", "") for part in ("query", "key", "value")]
        layer.load_state_dict(
            {f"self_attn.in_proj_{part}": torch.cat([head[part] for head in heads]) for part in heads[0]}
            | _named(tensors, f"{name}.attention.output.dense", "self_attn.out_proj.")
            | _named(tensors, f"{name}.attention.output.LayerNorm", "norm1.")
            | _named(tensors, f"{name}.intermediate.dense", "linear1.")
            | _named(tensors, f"{name}.output.dense", "linear2.")
            | _named(tensors, f"{name}.output.LayerNorm", "norm2.")
        )
        return layer

    def forward(self, ids):
        return self.layers(self.norm(self.words[ids] + self.places[: ids.shape[1]] + self.types[0]))


def _named(tensors, theirs, ours):
    return {f"{ours}{part}": torch.from_numpy(tensors[f"{theirs}.{part}"]) for part in ("weight", "bias")}


def test_rows_are_those_of_bert(minilm, tensors, files):
    tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    bert = Bert(tensors).eval()
    with torch.inference_mode():
        hidden = [bert(torch.tensor([tokenizer.encode(text).ids]))[0] for text in TEXTS]
    expected = torch.stack([states.mean(dim=0) for states in hidden]).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    cosines = (minilm.encode(TEXTS) * expected).sum(axis=1)
    assert cosines.min() > 0.9999, cosines


def test_gelu_is_torchs():
    x = np.concatenate([np.linspace(-12, 12, 100_001), [0.0, -0.0, 1e-30, -1e-30, 80, -80]]).astype(
        np.float32
    )
    expected = torch.nn.functional.gelu(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(gelu(x), expected, atol=2e-6)
    assert gelu(x).dtype == np.float32


def test_rows_have_unit_norm_and_our_type(minilm):
    rows = minilm.encode(TEXTS)
    assert rows.shape == (len(TEXTS), WIDTH)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_rows(minilm):
    assert minilm.encode([]).shape == (0, WIDTH)
    assert minilm.states([]) == []


def test_the_mean_of_a_texts_states_is_its_row(minilm):
    states = minilm.states(TEXTS)
    tokens = [len(ids) for ids in (minilm._tokenizer.encode(text).ids for text in TEXTS)]
    assert [len(rows) for rows in states] == tokens
    assert max(tokens) == MAX_TOKENS
    assert {(rows.shape[1], rows.dtype.name) for rows in states} == {(WIDTH, "float32")}
    means = unit(np.stack([rows.mean(axis=0) for rows in states]))
    np.testing.assert_allclose(means, minilm.encode(TEXTS), atol=1e-5)


def test_states_come_in_the_order_of_the_texts(minilm):
    texts = ["a dog", "cat", "a dog", "the weather is lovely today"] * (MAX_BATCH // 2)
    found = minilm.states(texts)
    for i in (0, 1, 2, 3, len(texts) - 1):
        np.testing.assert_allclose(found[i], minilm.states([texts[i]])[0], atol=1e-4)


@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 3, 4), (0, 5)])
def test_unit_rows_keep_their_direction(shape):
    rows = np.random.default_rng(0).standard_normal(shape)
    found = unit(rows)
    assert found.shape == shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(found * np.linalg.norm(rows, axis=-1, keepdims=True), rows, atol=1e-5)


def test_a_row_of_nothing_stays_nothing():
    assert unit(np.zeros((2, 4), np.float32)).tolist() == [[0] * 4] * 2


def test_a_long_text_is_read_up_to_its_limit(minilm):
    filler = "word " * MAX_TOKENS
    same, other = minilm.encode([filler + "dog", filler + "astronomy"])
    np.testing.assert_allclose(same, other, atol=1e-6)


def test_bytes_that_a_shell_could_not_read_are_no_reason_to_fail(minilm):
    assert np.array_equal(minilm.encode(["a \udcff dog"]), minilm.encode(["a ? dog"]))
    assert minilm.n_pieces("\udcff") == minilm.n_pieces("?")


def test_more_texts_of_one_length_than_a_batch_holds(minilm):
    n_pairs = MAX_BATCH // 2 + 1
    rows = minilm.encode(["cat", "dog"] * n_pairs)
    np.testing.assert_allclose(rows, np.tile(minilm.encode(["cat", "dog"]), (n_pairs, 1)), atol=1e-5)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=4))
def test_a_text_is_read_the_same_in_any_company(minilm, texts):
    together = minilm.encode(texts)
    np.testing.assert_allclose(minilm.encode(texts[::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(minilm.encode(texts[:1])[0], together[0], atol=1e-5)


def test_meaning_counts_more_than_words(minilm):
    query, near, far = minilm.encode(["a puppy is playing", "the young dog has fun", "a play by Shakespeare"])
    assert query @ near > query @ far + 0.2


@pytest.mark.parametrize("name", ["embeddings.LayerNorm.bias", "encoder.layer.3.attention.self.key.weight"])
def test_a_missing_or_misshapen_tensor_is_named(tensors, files, tmp_path, name):
    path = tmp_path / "made.safetensors"
    save_file({key: value for key, value in tensors.items() if key != name}, path)
    with pytest.raises(WeightsError, match=f"is not all-MiniLM-L6-v2: {name}$"):
        TextEncoder(path, files["tokenizer.json"])
    save_file(tensors | {name: np.zeros((3, 5), np.float32)}, path)
    with pytest.raises(WeightsError, match=rf"{name} is float32\[3, 5\], not float32\[384") as caught:
        TextEncoder(path, files["tokenizer.json"])
    save_file(tensors | {name: tensors[name].astype(np.float16)}, path)
    with pytest.raises(WeightsError, match=rf"{name} is float16\[384.*not float32\[384"):
        TextEncoder(path, files["tokenizer.json"])
    assert caught.value.hint


def test_mapped_tensors_are_the_files(files, tensors):
    mapped = map_safetensors(files["model.safetensors"])
    assert mapped.keys() == tensors.keys()
    for name in ("embeddings.LayerNorm.bias", "encoder.layer.5.output.dense.weight"):
        np.testing.assert_array_equal(mapped[name], tensors[name])


def as_safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"\xff" * 100,
        as_safetensors({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})[:30],
        as_safetensors([1, 2]),
        as_safetensors({"x": 3}),
        as_safetensors({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(8)),
        as_safetensors({"x": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}, bytes(16)),
        as_safetensors({"x": {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]}}, bytes(16)),
        as_safetensors({"x": {"dtype": "F32", "shape": [4]}}, bytes(16)),
    ],
    ids=["empty", "short", "noise", "cut", "list", "number", "cut data", "shape", "dtype", "no offsets"],
)
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged\.safetensors is not a safetensors file"):
        map_safetensors(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        map_safetensors(tmp_path / "none")


def test_a_query_imports_no_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; import savecli.search;"
        "from savecli.datatypes import Ask; from savecli.model.encode import MiniEncoder;"
        "MiniEncoder(Path(sys.argv[1])).queries(Ask(text='a dog', sees='a cat', hears='rain', says='hi'));"
        "print(sorted({'torch', 'transformers', 'safetensors', 'av'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
