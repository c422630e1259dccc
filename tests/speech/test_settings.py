from __future__ import annotations

import pytest

from savecli.errors import SpeechError
from savecli.speech.settings import check_language, max_new_tokens


def test_english_only_weights_always_say_en():
    assert check_language(None, ["en"], "tiny.en") == "en"
    assert check_language("en", ["en"], "tiny.en") == "en"


def test_others_detect_unless_told():
    assert check_language(None, ["de", "en"], "base") is None
    assert check_language("de", ["de", "en"], "base") == "de"
    with pytest.raises(SpeechError, match="'klingon'") as caught:
        check_language("klingon", ["de", "en"], "base")
    assert "de, en" in caught.value.hint


def test_the_cap_on_text_lets_fast_speech_through_and_ends_at_the_reference_s_own():
    assert max_new_tokens(1.0) >= 20
    assert max_new_tokens(120.0) == 224
    assert all(max_new_tokens(n / 10) <= max_new_tokens((n + 1) / 10) for n in range(300))
