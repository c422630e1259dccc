"""Both speech engines on the same weights and the same sound: how fast, and how far they agree.

    python benchmarks/speech.py ../shared/media

Speed is taken on one clip of continuous speech, with one and two threads, in turns; agreement on all clips
that the manifest says hold speech. openai-whisper computes in float32, faster-whisper in int8: its word
errors here are differences from openai-whisper's text, not from what was really said.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from report import spread, table

from savecli import config
from savecli.datatypes import WaveformBlock
from savecli.media.decode import probe, waveform
from savecli.model import weights
from savecli.speech import FasterWhisper, OpenAIWhisper, convert_ct2_to_openai

MODELS = ("tiny.en", "base")
REELS = {"s_long.mp4"}
THREADS = (1, 2)
TIMED = "s23.mp4"


def main() -> None:
    """Run everything, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("media", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rows = list(csv.DictReader((given.media / "manifest.csv").open()))
    spoken = [row["file"] for row in rows if row["speech"] == "yes" and row["file"] not in REELS]
    sounds = {name: listen(given.media / name) for name in spoken}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = {model: convert(model, Path(folder)) for model in MODELS}
        print(f"{TIMED}, x real time: median (least to greatest) of {given.repeats}.\n")
        heads = ["model", "threads", "faster-whisper, int8", "openai-whisper, float32"]
        print(table(heads, speed(checkpoints, sounds[TIMED], given.repeats)))
        print(f"\nText of {len(sounds)} clips, {sum(map(seconds, sounds.values())):.0f} s of sound.\n")
        print(table(["model", "words", "differ", "share"], agreement(checkpoints, sounds)))


def listen(path: Path) -> list[WaveformBlock]:
    """All sound of a clip."""
    return list(waveform(probe(path.absolute())))


def seconds(blocks: list[WaveformBlock]) -> float:
    """How much sound there is."""
    return sum(block.waveform.size for block in blocks) / 16_000


def convert(model: str, folder: Path) -> Path:
    """The checkpoint for openai-whisper of the weights that faster-whisper uses."""
    checkpoint = folder / f"{model}.pt"
    convert_ct2_to_openai(weights_of(model), checkpoint)
    return checkpoint


def weights_of(model: str) -> Path:
    """The folder of a model's weights."""
    return weights.folder(f"whisper-{model}", config.load().model_dir)


def speed(checkpoints: dict[str, Path], blocks: list[WaveformBlock], repeats: int) -> Iterator[list[str]]:
    """Lines of the first table."""
    for model in MODELS:
        reference = OpenAIWhisper(checkpoints[model], name=model, device="cpu")
        faster = {n: FasterWhisper(weights_of(model), name=model, device="cpu", n_threads=n) for n in THREADS}
        found = defaultdict(list)
        for _ in range(repeats):
            for n_threads in THREADS:
                torch.set_num_threads(n_threads)
                for name, engine in (("faster", faster[n_threads]), ("reference", reference)):
                    started = time.perf_counter()
                    engine.transcribe(blocks)
                    found[n_threads, name].append(seconds(blocks) / (time.perf_counter() - started))
        for n in THREADS:
            yield [model, str(n), spread(found[n, "faster"]), spread(found[n, "reference"])]


def agreement(
    checkpoints: dict[str, Path], sounds: dict[str, list[WaveformBlock]]
) -> Iterator[tuple[str, int, int, str]]:
    """Lines of the second table."""
    for model in MODELS:
        reference = OpenAIWhisper(checkpoints[model], name=model, device="cpu")
        faster = FasterWhisper(weights_of(model), name=model, device="cpu")
        n_wrong = n_words = 0
        for blocks in sounds.values():
            wanted, got = (
                words(" ".join(u.text for u in engine.transcribe(blocks).utterances))
                for engine in (reference, faster)
            )
            n_wrong, n_words = n_wrong + edits(wanted, got), n_words + len(wanted)
        yield model, n_words, n_wrong, f"{100 * n_wrong / n_words:.1f} %"


def words(text: str) -> list[str]:
    """Lower case, without punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def edits(wanted: list[str], got: list[str]) -> int:
    """Levenshtein distance in words."""
    costs = np.arange(len(got) + 1)
    for i, word in enumerate(wanted, 1):
        before, costs = costs, np.full(len(got) + 1, i)
        for j, other in enumerate(got, 1):
            costs[j] = min(before[j] + 1, costs[j - 1] + 1, before[j - 1] + (word != other))
    return int(costs[-1])


if __name__ == "__main__":
    main()
