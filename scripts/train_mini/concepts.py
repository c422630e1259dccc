"""Features -> what is seen: the concept bank, a head for our own labels, each photo as a row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from savecli import config
from savecli.model import vision
from savecli.model.text import TextEncoder, softmax, unit
from savecli.model.weights import locate
from scripts.train_mini.work import (
    Rows,
    Work,
    mean_average_precision,
    named,
    rarer_more,
    text_encoder,
)

OUTPUTS = ("concepts.json", "seen.safetensors", "photo_rows.npz")
TEMPERATURE = 1.5
ALPHA = 0.25
"""Share of the own labels in a row; the rest is ImageNet's."""
WIDTH = 512
N_STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY, SMOOTHING = 1500, 256, 1e-3, 0.05, 0.05
LEAST_DEVIATION = 1e-2

Head = Mapping[str, NDArray[np.float16]]


def run(work: Work) -> None:
    """Write the bank and the head (seen.safetensors), their names (concepts.json) and the photos' rows.

    A photo that was trained on is read by a head that was trained on the other half, so that what is built on
    the rows meets them as good, or bad, as those of new photos. The rows called `open` are read by heads that
    never met the photo's set: most of what people look for is among no labels of ours. All rows are of
    weights rounded to float16.
    """
    photos = work.read_json("photos.json")
    features = np.load(work.path("photos.npz"))["features"].astype(np.float32)
    labels = sorted({photo["label"] for photo in photos})
    classes = np.array([labels.index(photo["label"]) for photo in photos])
    splits = np.array([photo["split"] for photo in photos])
    phrases = work.text("image_phrases.json")
    entries = [entry(label, phrases) for label in labels]
    encoder = text_encoder()
    exact = imagenet(encoder, work.text("imagenet1k_wordnet.json"))
    extra = named(encoder, [e["bank"] for e in entries]).astype(np.float16)
    bank, mean = exact.astype(np.float16), exact.mean(axis=0)

    training = np.flatnonzero(splits == "train")
    head = train_head(features, classes, training, training, work.seed)
    chances = read(head, features)
    for half, other in ((training[::2], training[1::2]), (training[1::2], training[::2])):
        chances[half] = read(train_head(features, classes, other, training, work.seed), features[half])
    strangers = by_strangers(features, classes, training, np.array([p["set"] for p in photos]), work.seed)
    known = (1 - ALPHA) * (softmax(imagenet_logits(features) / TEMPERATURE) @ bank.astype(np.float32) - mean)
    rows, open_rows = (
        unit(known + ALPHA * (further @ extra.astype(np.float32) - mean)) for further in (chances, strangers)
    )

    queries = unit(encoder.encode([e["held_out"] for e in entries]) - mean)
    report(photos, classes, splits, chances[:, 0], queries @ rows[:, 0].T)
    work.save_npz("photo_rows.npz", rows=rows, open=open_rows)
    work.save_json("concepts.json", entries)
    work.save_safetensors("seen.safetensors", {"concepts": bank, "extra": extra, "mean": mean, **head})


def by_strangers(
    features: Rows, classes: NDArray[np.int64], training: NDArray[np.int64], sets: NDArray[np.str_], seed: int
) -> Rows:
    """(n, 4, K) chances of the labels of the other sets, for each photo by a head that knows only those."""
    chances = np.zeros((*features.shape[:2], int(classes.max()) + 1), np.float32)
    for name in sorted(set(sets)):
        head = train_head(features, classes, training[sets[training] != name], training, seed)
        chances[sets == name] = read(head, features[sets == name], unknown=np.unique(classes[sets == name]))
    return chances


def entry(label: str, phrases: Mapping[str, Mapping[str, list[str]]]) -> dict[str, str | list[str]]:
    """What a label is called: in the bank, and, in words that are not in it, by who looks for it."""
    kind, key = label.split("/")
    name = key.replace("_", " ")
    *others, last = phrases.get(kind, {}).get(key) or [f"a photo of a {name}"]
    return {"label": label, "bank": [name, *others], "held_out": last}


def imagenet(encoder: TextEncoder, classes: list[dict]) -> Rows:
    """(1000, 384): each class by its names with four WordNet parents, and by its gloss, half each."""
    by_name = encoder.encode([", ".join(c["lem"] + [parent[0] for parent in c["hyp"][:4]]) for c in classes])
    by_gloss = encoder.encode([f"{c['lem'][0]}: {c['gloss']}" for c in classes])
    return unit(by_name + by_gloss)


def imagenet_logits(features: Rows) -> Rows:
    """(n, 4, 1280) -> (n, 4, 1000), by the frozen network's own classifier."""
    (weights,) = locate("efficientnet-lite0", config.load().model_dir).values()
    last = vision.load(weights, torch.device("cpu")).classifier
    return features @ last.weight.numpy().T + last.bias.numpy()


def train_head(
    features: Rows,
    classes: NDArray[np.int64],
    members: NDArray[np.int64],
    known: NDArray[np.int64],
    seed: int,
) -> Head:
    """A perceptron from features to own labels, all views taking part.

    Args:
        features: (n, 4, 1280).
        classes: (n,).
        members: the photos to train on.
        known: the photos whose mean and deviation standardise the input, which fc contains in the end.
        seed: of weights, dropout and batches.
    """
    whole = features[known, 0]
    mean, deviation = whole.mean(axis=0), whole.std(axis=0) + np.float32(LEAST_DEVIATION)
    x, y = torch.from_numpy((features - mean) / deviation), torch.from_numpy(classes)
    torch.manual_seed(seed)
    fc, proj = nn.Linear(features.shape[-1], WIDTH), nn.Linear(WIDTH, int(classes.max()) + 1)
    network = nn.Sequential(nn.Dropout(0.2), fc, nn.GELU(), nn.Dropout(0.3), proj)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS)
    rng, chance = np.random.default_rng(seed), rarer_more(classes[members], 0.5)
    for _ in range(N_STEPS):
        drawn, view = rng.choice(members, BATCH, p=chance), rng.integers(0, features.shape[1], BATCH)
        loss = functional.cross_entropy(network(x[drawn, view]), y[drawn], label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    weight = fc.weight.detach().numpy() / deviation
    folded = {
        "fc.weight": weight,
        "fc.bias": fc.bias.detach().numpy() - weight @ mean,
        "proj.weight": proj.weight.detach().numpy(),
        "proj.bias": proj.bias.detach().numpy(),
    }
    return {name: values.astype(np.float16) for name, values in folded.items()}


def read(head: Head, features: Rows, unknown: NDArray[np.int64] | None = None) -> Rows:
    """(..., 1280) features -> (..., K) chances of the own labels, all but the `unknown` ones."""
    weights = {name: torch.from_numpy(values.astype(np.float32)) for name, values in head.items()}
    hidden = functional.gelu(
        functional.linear(torch.from_numpy(features), weights["fc.weight"], weights["fc.bias"])
    )
    logits = functional.linear(hidden, weights["proj.weight"], weights["proj.bias"])
    if unknown is not None:
        logits[..., unknown] = -torch.inf
    return logits.softmax(dim=-1).numpy()


def report(
    photos: list[dict[str, str]],
    classes: NDArray[np.int64],
    splits: NDArray[np.str_],
    chances: Rows,
    cosines: Rows,
) -> None:
    """Print, for each set, how often the head is right, and how well the held-out phrases find its labels.

    Args:
        photos: n of them.
        classes: (n,).
        splits: (n,).
        chances: (n, K) of the whole photos.
        cosines: (K, n) of the held-out phrases with the whole photos.
    """
    sets = np.array([photo["set"] for photo in photos])
    for part in ("val", "test"):
        for name in sorted(set(sets)):
            chosen = (splits == part) & (sets == name)
            right = (chances[chosen].argmax(axis=1) == classes[chosen]).mean()
            found = mean_average_precision(cosines[:, chosen], classes[chosen])
            print(f"{part} {name}: {right:.3f} right, mAP {found:.3f} in {chosen.sum()}")
