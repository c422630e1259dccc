"""Both engines on real weights: what is said is found, what is not speech says nothing."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from savecli.datatypes import Transcript
from savecli.errors import SpeechError
from savecli.speech import FasterWhisper, OpenAIWhisper, convert_ct2_to_openai
from savecli.speech import transcribe as transcribe_module
from savecli.speech.voice import Span

RATE_HZ = 16_000
GREAT_POET = (
    "how am i supposed to be perceived as a great poet if i instead pick my nose and go to baseball games"
)

Sound = Callable[[str], NDArray[np.float32]]


@pytest.fixture(scope="module")
def fast(tiny_en: Path) -> FasterWhisper:
    return FasterWhisper(tiny_en, name="whisper-tiny.en")


@pytest.fixture(scope="module")
def reference(tiny_en: Path, tmp_path_factory: pytest.TempPathFactory) -> OpenAIWhisper:
    pytest.importorskip("whisper")
    checkpoint = tmp_path_factory.mktemp("openai") / "tiny.en.pt"
    convert_ct2_to_openai(tiny_en, checkpoint)
    return OpenAIWhisper(checkpoint, name="whisper-tiny.en")


def words_of(transcript: Transcript) -> list[str]:
    return re.findall(r"[a-z0-9']+", " ".join(u.text for u in transcript.utterances).lower())


def likeness(transcript: Transcript, text: str) -> float:
    return difflib.SequenceMatcher(None, words_of(transcript), text.split(), autojunk=False).ratio()


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_speech_is_heard(engine: str, request: pytest.FixtureRequest, clip_sound: Sound, blocks: Callable):
    transcriber = request.getfixturevalue(engine)
    transcript = transcriber.transcribe(blocks(clip_sound("s24.mp4"), start_s=100.0))
    assert likeness(transcript, GREAT_POET) > 0.9
    assert (transcript.language, transcript.language_probability) == ("en", 1.0)
    words = [word for utterance in transcript.utterances for word in utterance.words]
    assert all(100.0 <= word.start_s <= word.end_s <= 107.0 for word in words)
    assert [word.start_s for word in words] == sorted(word.start_s for word in words)
    assert transcriber.name == "whisper-tiny.en"


def test_a_word_after_a_long_silence_has_its_own_time(base: Path, clip_sound: Sound, blocks: Callable):
    # tiny.en hears "the banana" or "the end of" on a CPU without AVX2: 8-bit sums are rounded another way.
    transcript = FasterWhisper(base, name="whisper-base").transcribe(blocks(clip_sound("s16.mp4")))
    (banana,) = (u for u in transcript.utterances if u.start_s > 30)
    assert banana.text.lower().strip(".! ") == "banana"
    # "When the time reaches 40 seconds, I will say banana."
    assert banana.start_s == pytest.approx(40.0, abs=1.0)


def test_what_is_damaged_is_silenced_and_the_rest_heard(
    fast: FasterWhisper, clip_sound: Sound, blocks: Callable
):
    sound = clip_sound("s24.mp4").copy()
    sound[::4001] = np.nan
    sound[5::9001] = np.inf
    assert likeness(fast.transcribe(blocks(sound)), GREAT_POET) > 0.7


def no_speech(kind: str) -> NDArray[np.float32]:
    seconds = np.arange(6 * RATE_HZ) / RATE_HZ
    if kind == "silence":
        return np.zeros(seconds.size, dtype=np.float32)
    if kind == "noise":
        return np.random.default_rng(3).normal(0, 0.1, seconds.size).astype(np.float32)
    notes_hz = 220 * 2 ** (np.array([0, 4, 7, 12, 7, 4])[(seconds * 4).astype(int) % 6] / 12)
    return (0.3 * np.sin(2 * np.pi * np.cumsum(notes_hz) / RATE_HZ)).astype(np.float32)


@pytest.mark.parametrize("kind", ["silence", "noise", "music"])
def test_no_speech_says_nothing(fast: FasterWhisper, blocks: Callable, kind: str):
    assert fast.transcribe(blocks(no_speech(kind))) == Transcript()


@pytest.mark.parametrize("kind", ["noise", "music"])
def test_the_keep_rule_holds_where_the_vad_is_fooled(
    fast: FasterWhisper, blocks: Callable, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transcribe_module, "find_speech", lambda waveform: [Span(0, waveform.size)])
    assert fast.transcribe(blocks(no_speech(kind))) == Transcript()


def test_the_same_sound_gives_the_same_transcript(fast: FasterWhisper, blocks: Callable, clip_sound: Sound):
    sound = clip_sound("s14.mpg")
    assert fast.transcribe(blocks(sound)) == fast.transcribe(blocks(sound))


def test_the_language_is_detected_on_the_window_that_is_decoded(
    base: Path, clip_sound: Sound, blocks: Callable, monkeypatch: pytest.MonkeyPatch
):
    model_class = pytest.importorskip("faster_whisper").WhisperModel
    encode, encoded = model_class.encode, []
    monkeypatch.setattr(
        model_class, "encode", lambda self, features: encoded.append(1) or encode(self, features)
    )
    transcript = FasterWhisper(base, name="whisper-base").transcribe(blocks(clip_sound("s24.mp4")))
    assert transcript.language == "en"
    assert 0.5 < transcript.language_probability < 1.0
    assert likeness(transcript, GREAT_POET) > 0.9
    assert len(encoded) == 1


def test_a_language_that_the_weights_do_not_know_is_refused(tiny_en: Path):
    with pytest.raises(SpeechError, match="'de'"):
        FasterWhisper(tiny_en, name="tiny.en", language="de")


@pytest.mark.parametrize("absent", ["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"])
def test_a_missing_file_is_named(tiny_en: Path, tmp_path: Path, absent: str):
    for file in tiny_en.iterdir():
        if file.name != absent:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(SpeechError, match=absent.replace(".", r"\.")) as caught:
        FasterWhisper(tmp_path, name="broken")
    assert caught.value.hint


def test_damaged_weights_are_refused(tiny_en: Path, tmp_path: Path):
    for file in tiny_en.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "model.bin").unlink()
    (tmp_path / "model.bin").write_bytes((tiny_en / "model.bin").read_bytes()[:1_000_000])
    with pytest.raises(SpeechError, match="do not load"):
        FasterWhisper(tmp_path, name="broken")


def test_a_missing_or_damaged_checkpoint_is_refused(tmp_path: Path):
    pytest.importorskip("whisper")
    with pytest.raises(SpeechError, match=r"absent\.pt"):
        OpenAIWhisper(tmp_path / "absent.pt", name="absent")
    (tmp_path / "noise.pt").write_bytes(b"\x00" * 1000)
    with pytest.raises(SpeechError, match="does not load"):
        OpenAIWhisper(tmp_path / "noise.pt", name="noise")


def test_importing_the_room_loads_no_engine():
    code = "import sys, savecli.speech; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"faster_whisper", "ctranslate2", "whisper", "torch", "onnxruntime"}.isdisjoint(loaded)
