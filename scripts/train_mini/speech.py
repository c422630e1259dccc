"""Captions -> transcripts: spoken by many voices, in noise, and heard by the product's own speech models."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import zipfile
from collections.abc import Callable, Mapping

import av
import ctranslate2
import numpy as np
from numpy.typing import NDArray

from savecli import config
from savecli.datatypes import WaveformBlock
from savecli.media.encode import SAMPLE_RATE_HZ as VOICE_HZ
from savecli.media.speak import Voice
from savecli.model import weights
from savecli.speech import FasterWhisper
from scripts.train_mini.work import Rights, Work

OUTPUTS = ("speech.json",)
UNFINISHED = "speech.unfinished.json"
SAMPLE_RATE_HZ = 16_000
PARTS = {"test": 400, "val": 300, "train": 1600}
AT_ONCE = 20
PAUSE_S = 1.5
HIBARI_HZ = 24_000
VOICES = [
    f"{accent}+{variant}"
    for accent in ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029")
    for variant in ("f2", "f4", "m2", "m3", "m7", "f5")
]
HIBARI_WHEEL = "hibari_tts-0.2.1-py3-none-any.whl"
HIBARI_SHA256 = "49f2abbbe451c988e7448b5afa08c8a56410535ebb855c0e7d174275df5ca1f3"
RIGHTS = {
    "captions": Rights(
        "Flickr8k's captions (github.com/edwardcruzcruz/Describiendo_imagenes_keras)",
        "research use; only trained on, not redistributed",
    ),
    "espeak": Rights("espeak-ng's voices, in PyPI's espeakng-loader", "GPL 3 or later for the program"),
    "hibari": Rights("PyPI's hibari-tts 0.2.1", "Apache-2.0"),
}

Wave = NDArray[np.float32]
Hibari = Callable[..., Wave]


def run(work: Work) -> None:
    """Write speech.json: for images of Flickr8k what was said about it, what was heard, the other captions.

    Whisper base hears what validates and tests and a quarter of the rest, tiny the others. After every
    AT_ONCE sentences what is done is saved, with the state of the generator.
    """
    with gzip.open(work.data / "text/flickr8k_captions_train.json.gz", "rt") as file:
        captions = json.load(file)
    rng, done = np.random.default_rng(work.seed), {}
    if work.done(UNFINISHED):
        saved = work.read_json(UNFINISHED)
        rng.bit_generator.state, done = saved["generator"], saved["done"]
    hibari = load_hibari(work)
    keys = sorted(captions, key=lambda key: hashlib.md5(key.encode()).hexdigest())
    for part, n_keys in PARTS.items():
        for k in range(n_keys // AT_ONCE):
            chosen, keys = keys[:AT_ONCE], keys[AT_ONCE:]
            if chosen[0] in done:
                continue
            asr = "base" if part != "train" or k % 4 == 0 else "tiny.en"
            spoken = {key: captions[key][0] for key in chosen}
            for key, turn in converse(
                spoken, VOICES[k % len(VOICES)], hibari, engine(asr, work.seed), rng
            ).items():
                done[key] = {"part": part, **turn, "asr": asr, "paraphrases": captions[key][1:]}
            work.save_json(UNFINISHED, {"generator": rng.bit_generator.state, "done": done})
            print(f"{len(done)}: {turn['spoken']} | {turn['heard']}", flush=True)
    print({p: sum(not d["heard"] for d in done.values() if d["part"] == p) for p in PARTS}, "not heard")
    work.save_json("speech.json", done)
    work.path(UNFINISHED).unlink()


def converse(
    spoken: Mapping[str, str], name: str, hibari: Hibari, ears: FasterWhisper, rng: np.random.Generator
) -> dict[str, dict[str, str]]:
    """All sentences one after another, each fourth by Hibari, in noise; transcribed as one recording.

    Args:
        spoken: sentences by key.
        name: of the voice that says the others.
        hibari: text, speed and seed -> (S,) at 24 kHz.
        ears: what transcribes.
        rng: of speed, loudness and noise.
    """
    voice = Voice(name, int(rng.integers(140, 210)))
    waves, turns = [], {}
    for i, (key, text) in enumerate(spoken.items()):
        by_hibari = i % 4 == 3
        if by_hibari:
            wave = resampled(hibari(text, speed=float(rng.uniform(0.85, 1.2)), seed=i))
        else:
            wave = voice.say(text)[:: VOICE_HZ // SAMPLE_RATE_HZ]
        wave = wave / (np.abs(wave).max() + 1e-6) * rng.uniform(0.2, 0.8)
        wave = wave + rng.standard_normal(len(wave)).astype(np.float32) * 10 ** rng.uniform(-4, -1.8)
        waves.append(np.pad(wave.astype(np.float32), (0, int(PAUSE_S * SAMPLE_RATE_HZ))))
        turns[key] = {"spoken": text, "heard": "", "voice": "hibari" if by_hibari else name}
    recording = WaveformBlock(start_s=0.0, waveform=np.concatenate(waves))
    words = [word for said in ears.transcribe(iter([recording])).utterances for word in said.words]
    ends = np.cumsum([len(wave) for wave in waves]) / SAMPLE_RATE_HZ
    for turn, begin, end in zip(turns.values(), [0.0, *ends], ends, strict=False):
        turn["heard"] = " ".join(word.text for word in words if begin <= word.end_s - 0.05 < end)
    return turns


def engine(name: str, seed: int) -> FasterWhisper:
    """The product's ears, on one thread. Where unsure they draw; only new ones take the seed of that."""
    ctranslate2.set_random_seed(seed)
    folder = weights.folder(f"whisper-{name}", config.load().model_dir)
    return FasterWhisper(folder, name=name, language="en", device="cpu", n_threads=1)


def load_hibari(work: Work) -> Hibari:
    """A voice that is a neural network."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "hibari-tts==0.2.1"]
    folder = work.path("hibari")
    with zipfile.ZipFile(work.fetch(command, HIBARI_WHEEL, HIBARI_SHA256)) as wheel:
        wheel.extractall(folder)
    sys.path.insert(0, str(folder))
    from hibari import Hibari as Speaker

    return Speaker()


def resampled(wave: Wave) -> Wave:
    """(S,) of Hibari's 24 kHz, through 16 bits as from a file -> at 16 kHz."""
    frame = av.AudioFrame.from_ndarray((wave.clip(-1, 1) * 32_767).astype(np.int16)[None], "s16", "mono")
    frame.sample_rate = HIBARI_HZ
    blocks = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ).resample(frame)
    return np.concatenate([block.to_ndarray()[0] for block in blocks])
