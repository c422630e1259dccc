"""Photos -> features: what the frozen EfficientNet-Lite0 makes of each, whole and in three variations."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from savecli import config
from savecli.model import vision
from savecli.model.text import unit
from savecli.model.weights import locate
from scripts.train_mini.work import Rights, Rows, Work, components

OUTPUTS = ("photos.json", "photos.npz")
N_VARIATIONS = 3
RESIZE_PX, SIZE_PX = 256, 224
BATCH = 8
DUPLICATE = 0.93
"""Cosine of centred features from which on two photos count as one."""

RIGHTS = {
    "actions": Rights(
        "Kaggle/DPhi Human Action Recognition (github.com/umareddy123/Human_activity_recognition)",
        "web photos; ODbL for the collection, photo rights unclear",
        clear=False,
    ),
    "caltech101": Rights("Caltech-101 (github.com/MachineLearning2020/Homework2-Caltech101)", "CC BY 4.0"),
    "scenes": Rights(
        "Kaggle Intel Image Classification (github.com/jvyou/Intel-Image-Classification)",
        "not stated clearly",
        clear=False,
    ),
    "weather": Rights(
        "Multi-class Weather Dataset (github.com/shubhankarm01/Weather-image-classification)", "CC BY 4.0"
    ),
}


def run(work: Work) -> None:
    """Write photos.json, the list, and photos.npz: features (n, 4, 1280) float16, the whole photo first."""
    rows = work.listed("images.jsonl", RIGHTS)
    features = look([work.data / row["file"] for row in rows], np.random.default_rng(work.seed))
    labels = [f"{row['set']}/{row['label']}" for row in rows]
    splits = split(features[:, 0].astype(np.float32), labels)
    print({name: splits.count(name) for name in ("train", "val", "test")})
    work.save_npz("photos.npz", features=features)
    work.save_json(
        "photos.json",
        [
            {"file": row["file"], "set": row["set"], "label": label, "split": part}
            for row, label, part in zip(rows, labels, splits, strict=True)
        ],
    )


def look(paths: list[Path], rng: np.random.Generator) -> NDArray[np.float16]:
    """(n, 4, 1280) features."""
    (weights,) = locate("efficientnet-lite0", config.load().model_dir).values()
    network = vision.load(weights, torch.device("cpu"))
    features = np.zeros((len(paths), 1 + N_VARIATIONS, 1280), np.float16)
    for start in range(0, len(paths), BATCH):
        pixels = np.stack([view for path in paths[start : start + BATCH] for view in views(path, rng)])
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127.5) / 127.5
        with torch.inference_mode():
            seen = network.trunk(x.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3))
        features[start : start + BATCH] = seen.numpy().reshape(-1, 1 + N_VARIATIONS, 1280)
        if start % 800 == 0:
            print(f"{start} of {len(paths)} photos", flush=True)
    return features


def views(path: Path, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """The photo as the product sees it, then cropped, mirrored and lit at random; (224, 224, 3) each."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    scale = RESIZE_PX / min(width, height)
    large = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (large.width - SIZE_PX) // 2, (large.height - SIZE_PX) // 2
    found = [np.asarray(large.crop((left, top, left + SIZE_PX, top + SIZE_PX)))]
    for _ in range(N_VARIATIONS):
        area, ratio = rng.uniform(0.4, 1) * width * height, np.exp(rng.uniform(-0.25, 0.25))
        wide, high = min(width, (area * ratio) ** 0.5), min(height, (area / ratio) ** 0.5)
        x, y = rng.uniform(0, width - wide), rng.uniform(0, height - high)
        size = (SIZE_PX, SIZE_PX)
        view = np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=(x, y, x + wide, y + high)))
        if rng.random() < 0.5:
            view = view[:, ::-1]
        found.append(np.clip(view * rng.uniform(0.7, 1.3), 0, 255).astype(np.uint8))
    return found


def split(features: Rows, labels: list[str]) -> list[str]:
    """Every tenth photo of a label is for the test, every tenth from the sixth for validation.

    Near-duplicates stay together.

    Args:
        features: (n, 1280) of the whole photos.
        labels: of each.
    """
    centred = unit(features - features.mean(axis=0))
    pairs = (
        (start + int(i), int(j))
        for start in range(0, len(centred), 500)
        for i, j in np.argwhere(centred[start : start + 500] @ centred.T > DUPLICATE)
    )
    splits = ["train"] * len(labels)
    before: Counter[str] = Counter()
    for members in components(len(labels), pairs):
        label = labels[members[0]]
        part = {0: "test", 5: "val"}.get(before[label] % 10, "train")
        before[label] += len(members)
        for i in members:
            splits[i] = part
    return splits
