"""Make weights/save-mini: the concept bank, and the curves that turn cosines into chances.

    python scripts/build_mini.py ../shared/training-data

Reads WordNet's entries for the ImageNet classes, the labelled pictures and the Flickr8k captions of the
training data (its README has their licences); nothing here ever reads ../shared/media. Takes about
five minutes on two cores.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from savecli import config
from savecli.model.encode import MiniEncoder
from savecli.model.text import TextEncoder
from savecli.model.weights import locate

TEMPERATURE = 1.5
SHARPNESS = 20.0
FLOOR = 0.02
N_ABSENT = 30  # a query about nothing here still meets the best of a small library
HOME = Path(__file__).resolve().parents[1] / "weights" / "save-mini"
Rows = NDArray[np.float32]


def main(data: Path) -> None:
    """Write concepts.safetensors, then model.json."""
    text = locate("all-minilm-l6-v2", config.load().model_dir)
    reader = TextEncoder(text["model.safetensors"], text["tokenizer.json"])
    concepts = concept_bank(reader, json.loads((data / "text/imagenet1k_wordnet.json").read_text()))
    HOME.mkdir(parents=True, exist_ok=True)
    save_file(
        {"concepts": concepts.astype(np.float16), "mean": concepts.mean(axis=0)},
        HOME / "concepts.safetensors",
    )
    card = {
        "name": "save-mini",
        "dim": 384,
        "media": {
            "n_frames": 12,
            "resize_px": 256,
            "size_px": 224,
            "sample_rate_hz": 16000,
            "window_s": 12.0,
        },
        "frozen": {"vision": "efficientnet-lite0", "text": "all-minilm-l6-v2"},
        "concepts": {"temperature": TEMPERATURE},
        "score": {
            "seen": {"centre": 0.0, "width": 1.0},
            "said": {"centre": 0.0, "width": 1.0},
            "sharpness": SHARPNESS,
            "threshold": 0.5,
        },
        "made_by": "scripts/build_mini.py",
    }
    write(card)
    encoder = MiniEncoder(config.load().model_dir)
    card["score"] |= {"seen": seen_curve(encoder, data), "said": said_curve(reader, data)}
    write(card)
    print(json.dumps(card["score"], indent=1))


def concept_bank(reader: TextEncoder, classes: list[dict]) -> Rows:
    """(1000, 384): each class by its names with four WordNet parents, and by its gloss, half each."""
    named = reader.encode([", ".join(c["lem"] + [parent[0] for parent in c["hyp"][:4]]) for c in classes])
    glossed = reader.encode([f"{c['lem'][0]}: {c['gloss']}" for c in classes])
    return unit(named + glossed)


def seen_curve(encoder: MiniEncoder, data: Path) -> dict[str, float]:
    """From the labels' phrases against pictures that show them, and pictures of the other sets."""
    rows = [json.loads(line) for line in (data / "images.jsonl").read_text().splitlines()]
    phrases = json.loads((data / "text/image_phrases.json").read_text())
    batches = (rows[i : i + 64] for i in range(0, len(rows), 64))
    seen = np.concatenate(
        [encoder.see(np.stack([picture(data / r["file"], encoder) for r in b])) for b in batches]
    )
    sets, labels = (np.array([row[key] for row in rows]) for key in ("set", "label"))
    rng = np.random.default_rng(0)
    present, absent, unrelated = [], [], []
    for kind, label in sorted({(row["set"], row["label"]) for row in rows}):
        for phrase in said_of(kind, label, phrases):
            cosines = seen @ encoder.query(phrase).seen
            present.append(rng.choice(cosines[(sets == kind) & (labels == label)], 20))
            others = cosines[sets != kind]
            unrelated.append(np.median(others))
            absent.append([rng.choice(others, N_ABSENT).max() for _ in range(20)])
    return curve(np.concatenate(present), np.concatenate(absent), float(np.median(unrelated)))


def said_curve(reader: TextEncoder, data: Path) -> dict[str, float]:
    """From captions, as if spoken: a paraphrase or a few of the words against phrases about other things."""
    with gzip.open(data / "text/flickr8k_captions_train.json.gz", "rt") as file:
        captions = list(json.load(file).values())[:1500]
    rng = np.random.default_rng(0)
    spoken = reader.encode([group[0] for group in captions])
    meant = reader.encode([group[1] for group in captions])
    quoted = reader.encode([some_words(group[0], rng) for group in captions])
    present = np.concatenate([(meant * spoken).sum(axis=1), (quoted * spoken).sum(axis=1)])
    phrases = json.loads((data / "text/image_phrases.json").read_text())
    rows = [json.loads(line) for line in (data / "images.jsonl").read_text().splitlines()]
    labels = sorted({(row["set"], row["label"]) for row in rows})
    other = reader.encode([phrase for label in labels for phrase in said_of(*label, phrases)]) @ spoken.T
    absent = np.array([[rng.choice(row, N_ABSENT).max() for _ in range(10)] for row in other]).ravel()
    return curve(present, absent, float(np.median(other)))


def said_of(kind: str, label: str, phrases: dict) -> list[str]:
    """What a person may type who looks for this label."""
    name = label.replace("_", " ")
    return phrases.get(kind, {}).get(label) or [name, f"a photo of a {name}"]


def some_words(sentence: str, rng: np.random.Generator) -> str:
    """Three to six words in a row, as a person remembers them."""
    words = sentence.split()
    n_words = min(len(words), int(rng.integers(3, 7)))
    start = int(rng.integers(0, len(words) - n_words + 1))
    return " ".join(words[start : start + n_words])


def curve(present: Rows, absent: Rows, unrelated: float) -> dict[str, float]:
    """Even chances where a match and the best of N_ABSENT others are as likely, FLOOR for an unrelated pair.

    The even point is that of a logistic regression with both sides weighing the same, by Newton's method.
    Its own slope is not used: many a match looks like nothing to the classifier, which flattens it
    until everything has some chance.
    """
    x = np.concatenate([present, absent]).astype(float)
    y = np.concatenate([np.ones(len(present)), np.zeros(len(absent))])
    weight = np.where(y == 1, 0.5 / len(present), 0.5 / len(absent))
    features = np.stack([x, np.ones_like(x)], axis=1)
    beta = np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-features @ beta))
        hessian = features.T @ (features * (weight * chance * (1 - chance))[:, None])
        beta += np.linalg.solve(hessian, features.T @ (weight * (y - chance)))
    centre = -beta[1] / beta[0]
    width = (centre - unrelated) / np.log((1 - FLOOR) / FLOOR)
    kept, alarms = np.mean(present > centre), np.mean(absent > centre)
    print(f"centre {centre:.3f}: kept {kept:.2f} of what is there, {alarms:.2f} of what is not")
    return {"centre": round(float(centre), 4), "width": round(float(width), 4)}


def picture(path: Path, encoder: MiniEncoder) -> NDArray[np.uint8]:
    """As the decoder would give it: shorter side scaled, centre cropped."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        scale = encoder.spec.resize_px / min(frame.width, frame.height)
        width, height = round(frame.width * scale), round(frame.height * scale)
        image = frame.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
    size = encoder.spec.size_px
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def unit(rows: Rows) -> Rows:
    """Rows of norm one."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(card: dict) -> None:
    """model.json, readable in a diff."""
    (HOME / "model.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
