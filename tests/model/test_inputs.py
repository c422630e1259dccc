"""Pictures and words reach the network as they did in the reference."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

from savecli.model.inputs import END, START, _tokeniser, normalise, tokenise


@pytest.fixture(scope="module")
def texts(parity):
    return json.loads((parity / "tokenizer.json").read_text("utf-8"))


@pytest.mark.parametrize("n_words", [32, 64])
def test_golden_texts(texts, n_words):
    cases = texts[f"max_words_{n_words}"]
    rows = tokenise([case["text"] for case in cases], n_words, short_rule=True)
    assert rows.dtype == torch.int64
    for case, row in zip(cases, rows.tolist(), strict=True):
        assert row == case["ids"], case["text"]
        assert len([i for i in row if i]) == case.get("n_valid", len([i for i in case["ids"] if i]))
        if "tokens" in case and "<|" not in (case["text"] or ""):
            names = _tokeniser().decoder
            read = [names[i] for i in row if i not in (0, START, END)]
            assert read == case["tokens"][: n_words - 2], case["text"]


def test_golden_marks(texts):
    special = texts["special"]
    assert set(texts) == {"max_words_32", "max_words_64", "special"}
    assert (special["start"], special["end"], special["vocab"]) == (START, END, END + 1)


def test_a_short_query_is_read(texts):
    [dog], [none], [unread] = (
        tokenise([text], 6, short_rule=rule).tolist()
        for text, rule in (("dog", False), (None, False), ("dog", True))
    )
    assert dog == [START, 1929, END, 0, 0, 0]
    assert none == unread == [0] * 6
    assert tokenise([""], 4, short_rule=False).tolist() == [[START, END, 0, 0]]


def test_a_long_text_keeps_its_end():
    [row] = tokenise(["dog " * 40], 8, short_rule=True).tolist()
    assert row == [START, *[1929] * 6, END]
    assert tokenise(["dog"], 2, short_rule=False).tolist() == [[START, END]]
    with pytest.raises(ValueError, match="no room"):
        tokenise(["dog"], 1, short_rule=False)


def test_nothing_to_read():
    assert tokenise([], 32, short_rule=True).shape == (0, 32)


def test_marks_as_openai_spells_them():
    [theirs, ours] = tokenise(["<start_of_text> dog", "<|ENDOFTEXT|> dog"], 12, short_rule=True).tolist()
    assert theirs.count(START) == 1
    assert len([i for i in theirs if i]) > 8
    assert ours[:4] == [START, END, 1929, END]


def test_no_text_is_too_long():
    start = time.process_time()
    rows = tokenise(["x" * 10**6, "ab " * 10**5, " " * 10**5 + "dog"], 32, short_rule=False)
    assert time.process_time() - start < 20  # of whole words, the first would take a day
    assert rows[0].tolist() == tokenise(["x" * 3000], 32, short_rule=False)[0].tolist()
    assert rows[2, :3].tolist() == [START, 1929, END]


def test_golden_pictures(parity):
    facts = json.loads((parity / "image.json").read_text("utf-8"))
    with np.load(parity / "image.npz") as arrays:
        for case in facts:
            [picture] = normalise(arrays[f"{case['h']}x{case['w']}.crop_u8"][None])
            assert picture.dtype == torch.float32
            assert picture.mean((1, 2)).tolist() == pytest.approx(case["tensor_mean"], abs=1e-4)
            deviation = picture.std((1, 2), correction=0).tolist()
            assert deviation == pytest.approx(case["tensor_std"], abs=1e-4)


def test_each_colour_in_its_place():
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
    frames.flags.writeable = False
    pictures = normalise(frames)
    assert pictures.shape == (3, 3, 5, 7)
    expected = (frames[2, 4, 6] / 255 - [0.48145466, 0.4578275, 0.40821073]) / [
        0.26862954,
        0.26130258,
        0.27577711,
    ]
    assert pictures[2, :, 4, 6].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert normalise(np.zeros((0, 5, 7, 3), np.uint8)).shape == (0, 3, 5, 7)


@pytest.mark.parametrize("frames", [np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4, 4, 3), np.float32)])
def test_refuses(frames):
    with pytest.raises(ValueError, match="frames must be"):
        normalise(frames)
