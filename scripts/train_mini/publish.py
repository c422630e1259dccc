"""What was trained, to weights/save-mini: four files of tensors, what words are worth, and model.json."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from scripts.train_mini.compose import N_WORDS
from scripts.train_mini.concepts import ALPHA, TEMPERATURE
from scripts.train_mini.hearing import OWN_SHARE
from scripts.train_mini.work import Work

HOME = Path(__file__).resolve().parents[2] / "weights" / "save-mini"
OUTPUTS = ("published.json",)
FILES = ("seen.safetensors", "heard.safetensors", "fusion.safetensors", "cohort.safetensors")
MEDIA = {
    "n_frames": 12,
    "resize_px": 256,
    "size_px": 224,
    "sample_rate_hz": 16_000,
    "window_s": 12.0,
    "sound_window_s": 5.0,
    "sound_hop_s": 3.5,
}


def run(work: Work) -> None:
    """Copies the files and writes model.json; the card is written by `benchmarks`, which measures."""
    HOME.mkdir(parents=True, exist_ok=True)
    for name in (*FILES, "words.json"):
        shutil.copyfile(work.path(name), HOME / name)
    digests = {
        name: hashlib.sha256((HOME / name).read_bytes()).hexdigest() for name in (*FILES, "words.json")
    }
    fusion = work.read_json("fusion.json")
    model = {
        "name": "save-mini",
        "dim": 384,
        "media": MEDIA,
        "frozen": {"vision": "efficientnet-lite0", "text": "all-minilm-l6-v2"},
        "files": digests,
        "seen": {"temperature": TEMPERATURE, "share": ALPHA},
        "heard": {"share": OWN_SHARE},
        "fusion": {"sizes": fusion["sizes"], "speech_scale": fusion["speech_scale"], "n_words": N_WORDS},
        "score": work.read_json("score.json"),
        "trained": {"strict_licences": work.strict, "seed": work.seed, "validation": fusion["validation"]},
    }
    (HOME / "model.json").write_text(json.dumps(model, indent=2) + "\n")
    work.save_json("published.json", digests)
