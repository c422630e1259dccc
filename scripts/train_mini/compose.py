"""Made-up videos: a photo, a sound and a spoken sentence put together, and what a person would ask for them.

Everything is rows by now (photos.py, hearing.py, speech.py), so a video costs nothing and no two batches are
the same. Training, validation and test draw from photos, sounds and sentences of their own split; the queries
of validation and test use phrases that are in no concept bank and in no training query, and other captions
than the one that is spoken.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from savecli.model.score import Candidates, Stack
from savecli.model.text import unit
from savecli.model.words import content
from scripts.train_mini.work import Work, text_encoder

Rows = NDArray[np.float32]
Numbers = NDArray[np.int64]
N_SENTENCES = 4
N_WORDS = 64
"""Tokens of what is said that the fusion reads."""
MODALITIES = ("seen", "heard", "said")
KINDS: dict[str, tuple[str, ...]] = {
    "seen": ("seen",),
    "heard": ("heard",),
    "said": ("said",),
    "seen+heard": ("seen", "heard"),
    "seen+said": ("seen", "said"),
    "heard+said": ("heard", "said"),
    "all three": MODALITIES,
}
TRAINING_WORDING: dict[str, tuple[str, ...]] = {
    "seen": ("{seen}",),
    "heard": ("{heard}", "{heard}", "the sound of {heard}"),
    "said": ("{said}", "{said}", "someone says {said}"),
    "seen+heard": (
        "{seen} and {heard}",
        "{seen} while {heard}",
        "{seen} with the sound of {heard}",
        "{heard}, {seen}",
    ),
    "seen+said": (
        "{seen}, someone says {said}",
        "{seen} and a voice says {said}",
        "{seen}: {said}",
        "{said}, {seen}",
    ),
    "heard+said": ("{heard} and someone says {said}", "{heard}, a voice says {said}", "{said}, {heard}"),
    "all three": (
        "{seen} and {heard}, someone says {said}",
        "{seen} while {heard}: {said}",
        "{seen}, {heard}, {said}",
        "{heard} and {seen}, a voice says {said}",
    ),
}
HELD_OUT_WORDING: dict[str, str] = {
    "seen": "{seen}",
    "heard": "{heard}",
    "said": "{said}",
    "seen+heard": "{seen} as {heard} can be heard",
    "seen+said": "{seen} and a person says that {said}",
    "heard+said": "{heard} and a person says that {said}",
    "all three": "{seen} as {heard} can be heard, and a person says that {said}",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Videos:
    """n made-up videos: what each shows, plays and says; its first of everything is what it is asked for by.

    Attributes:
        photos: (n, 2), half of the frames of each; the second may be the first again.
        known: (n,) whether the photo is read by the head that knows its labels, see concepts.py.
        sounds: (n, 2), -1 where there is none; the second may be the first again.
        sentences: (n, 4), in the order in which they are said, -1 where there is none.
        asked: (n,) which of the sentences is the first.
    """

    photos: Numbers
    known: NDArray[np.bool_]
    sounds: Numbers
    sentences: Numbers
    asked: Numbers

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def sentence(self) -> Numbers:
        """(n,), the one that is asked for."""
        return self.sentences[np.arange(len(self)), self.asked]

    def without(self, *, sound: bool = False, speech: bool = False) -> Videos:
        """The same videos with their sound or their speech taken away."""
        silent = replace(self, sounds=np.full_like(self.sounds, -1)) if sound else self
        return replace(silent, sentences=np.full_like(self.sentences, -1)) if speech else silent


class Material:
    """All rows, labels and texts that videos are made of.

    Args:
        work: with the outputs of the earlier steps.
    """

    def __init__(self, work: Work) -> None:
        self.text = text_encoder()
        photos, sounds = work.read_json("photos.json"), work.read_json("sounds.json")
        self.mean: Rows = load_file(work.path("seen.safetensors"))["mean"]
        seen, heard = np.load(work.path("photo_rows.npz")), np.load(work.path("sound_rows.npz"))
        self.photo_rows = {True: seen["rows"], False: seen["open"]}
        self.sound_rows: Rows = heard["rows"]
        self.sound_tokens: Rows = heard["tokens"]
        self.phrases = {
            kind: {entry["label"]: entry for entry in work.read_json(name)}
            for kind, name in (("seen", "concepts.json"), ("heard", "sounds_labels.json"))
        }
        self.photo_label = np.array([p["label"] for p in photos])
        self.sound_label = np.array([s["label"] for s in sounds])
        self._split = {
            "photo": np.array([p["split"] for p in photos]),
            "sound": np.array([s["split"] for s in sounds]),
        }
        strange = {label for label in {*self.photo_label, *self.sound_label} if _is_strange(label)}
        self._strange = {
            "photo": np.isin(self.photo_label, list(strange)),
            "sound": np.isin(self.sound_label, list(strange)),
        }
        self._read_speech(work.read_json("speech.json"))

    def _read_speech(self, speech: dict[str, dict]) -> None:
        self.sentences = [entry for entry in speech.values() if entry["heard"].strip()]
        self._split["sentence"] = np.array([entry["part"] for entry in self.sentences])
        texts = [entry["heard"] for entry in self.sentences]
        self.states = self.text.states(texts)
        self.sentence_rows: Rows = self.text.encode(texts)
        self.sentence_words = [frozenset(content(text)) for text in texts]
        lengths = [np.linalg.norm(states, axis=1).mean() for states in self.states]
        self.speech_scale = 1 / float(np.mean(lengths))

    def of_split(self, what: str, split: str, *, strange: bool | None = None) -> Numbers:
        """Numbers of the photos, sounds or sentences ("photo", "sound", "sentence") of a split.

        Where `strange` is given, only those with labels that the fusion never meets, or only the others.
        """
        chosen = self._split[what] == split
        return np.flatnonzero(chosen if strange is None else chosen & (self._strange[what] == strange))

    def draw(
        self,
        split: str,
        n: int,
        rng: np.random.Generator,
        *,
        absent: float = 0.0,
        mixed: float = 0.0,
        known: float = 1.0,
        strange: bool | None = None,
    ) -> Videos:
        """n videos, see `complete` and `of_split`, each of another sentence as far as there are enough."""
        sentences = self.of_split("sentence", split)
        sentence = rng.permutation(sentences)[:n] if n <= len(sentences) else rng.choice(sentences, n)
        photo, sound = (
            rng.choice(self.of_split(what, split, strange=strange), n) for what in ("photo", "sound")
        )
        keep = rng.random((2, n)) >= absent
        return self.complete(split, photo, sound, sentence, rng, keep=keep, mixed=mixed, known=known)

    def complete(
        self,
        split: str,
        photo: Numbers,
        sound: Numbers,
        sentence: Numbers,
        rng: np.random.Generator,
        *,
        keep: NDArray[np.bool_],
        mixed: float,
        known: float,
    ) -> Videos:
        """Videos around what they are asked for by.

        Args:
            split: what else is in them comes from here.
            photo: (n,).
            sound: (n,).
            sentence: (n,).
            rng: for the rest.
            keep: (2, n) which have sound, which have speech.
            mixed: the share whose frames show something else too, whose sound has another beside it (speech,
                where there is speech), and in which other things are said before and after.
            known: the share whose photos are read by a head that knows their labels.
        """
        n = len(photo)
        other = rng.choice(self.of_split("photo", split), n)
        photos = np.stack([photo, np.where(rng.random(n) < mixed, other, photo)], axis=1)
        sounds = np.stack([sound, sound], axis=1)
        voices = self.of_split("sound", split)
        speaking = voices[self.sound_label[voices] == "speech"]
        beside = np.where(keep[1], rng.choice(speaking, n), rng.choice(voices, n))
        sounds[:, 1] = np.where(rng.random(n) < mixed, beside, sound)
        sounds[~keep[0]] = -1
        sentences = rng.choice(self.of_split("sentence", split), (n, N_SENTENCES))
        said = np.where(rng.random(n) < mixed, rng.integers(1, N_SENTENCES + 1, n), 1)
        sentences[np.arange(N_SENTENCES) >= said[:, None]] = -1
        asked = rng.integers(0, said)
        sentences[np.arange(n), asked] = sentence
        sentences[~keep[1]] = -1
        return Videos(
            photos=photos, known=rng.random(n) < known, sounds=sounds, sentences=sentences, asked=asked
        )

    def frames(self, videos: Videos) -> Rows:
        """(n, 4, D)."""
        pairs = [
            np.where(videos.known[:, None, None], *(self.photo_rows[known][photo] for known in (True, False)))
            for photo in videos.photos.T
        ]
        return np.concatenate([pairs[0][:, :2], pairs[1][:, 2:]], axis=1)

    def tokens(self, videos: Videos) -> tuple[Rows, NDArray[np.bool_]]:
        """(n, T, D) sound as the fusion reads it, and (n,) whether there is any."""
        there = videos.sounds[:, 0] >= 0
        return np.concatenate(list(self.sound_tokens[videos.sounds.T]), axis=1) * there[:, None, None], there

    def speech(self, videos: Videos) -> tuple[Rows, NDArray[np.bool_]]:
        """(n, W, D) states of what is said, scaled, and (n, W) which are there."""
        rows = np.zeros((len(videos), N_WORDS, self.text.dim), np.float32)
        there = np.zeros((len(videos), N_WORDS), bool)
        for i, sentences in enumerate(videos.sentences):
            states = [self.states[s] for s in sentences if s >= 0]
            if states:
                joined = np.concatenate(states)[:N_WORDS] * self.speech_scale
                rows[i, : len(joined)], there[i, : len(joined)] = joined, True
        return rows, there

    def queries(self, videos: Videos, kind: str) -> list[str]:
        """A held-out query of one kind for each video."""
        texts = []
        for (photo, _), (sound, _), sentence in zip(
            videos.photos, videos.sounds, videos.sentence, strict=True
        ):
            parts = {
                "seen": self.phrases["seen"][self.photo_label[photo]]["held_out"],
                "heard": self.phrases["heard"][self.sound_label[sound]]["held_out"],
                "said": self.sentences[sentence]["paraphrases"][0],
            }
            texts.append(HELD_OUT_WORDING[kind].format(**parts))
        return texts

    def answers(self, asked: Videos, kind: str, library: Videos | None = None) -> NDArray[np.bool_]:
        """(n, m) whether a video of the library (column) is a right answer to the query about another (row).

        All that show the label, sound like the label, say the very sentence, as far as is asked. `library` is
        `asked` itself where none is given.
        """
        library = asked if library is None else library
        right = np.ones((len(asked), len(library)), bool)
        if "seen" in KINDS[kind]:
            right &= _meets(self.photo_label[asked.photos[:, 0]], self.photo_label[library.photos])
        if "heard" in KINDS[kind]:
            labels = np.where(library.sounds >= 0, self.sound_label[library.sounds], "")
            right &= _meets(self.sound_label[asked.sounds[:, 0]], labels) & (asked.sounds[:, :1] >= 0)
        if "said" in KINDS[kind]:
            right &= _meets(asked.sentence, library.sentences) & (asked.sentence[:, None] >= 0)
        return right

    def candidates(self, videos: Videos, fused: Rows, parts: Rows, *, frames: bool = True) -> Candidates:
        """The videos as the product's score reads them; `fused` (n, D), `parts` (n, 3, D)."""
        shown = self.frames(videos)
        spoken = [[s for s in sentences if s >= 0] for sentences in videos.sentences]
        return Candidates(
            n=len(videos),
            seen=Stack.of(list(unit(shown.mean(axis=1, keepdims=True)))),
            frames=Stack.of(list(shown)) if frames else None,
            heard=Stack.of([self.sound_rows[sorted(set(pair.tolist()) - {-1})] for pair in videos.sounds]),
            said=Stack.of([self._said(sentences) for sentences in spoken]),
            fused=Stack.of(list(fused[:, None])),
            parts=Stack.of(list(parts)),
            spoken=[frozenset().union(*(self.sentence_words[s] for s in sentences)) for sentences in spoken],
        )

    def _said(self, sentences: list[int]) -> Rows:
        """Each sentence, and all of them together where there are several."""
        rows = self.sentence_rows[sentences]
        if len(sentences) < 2:
            return rows
        whole = np.concatenate([self.states[s] for s in sentences]).mean(axis=0, keepdims=True)
        return np.concatenate([rows, unit(whole)])


def _is_strange(label: str) -> bool:
    """A third of the labels: from the others, the fusion may learn to fuse, but not what to call these."""
    return int(hashlib.md5(label.encode(), usedforsecurity=False).hexdigest(), 16) % 3 == 0


def _meets(wanted: NDArray[Any], present: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) and (m, k) -> (n, m), whether any of the k is the wanted one."""
    met: NDArray[np.bool_] = (wanted[:, None, None] == present).any(axis=2)
    return met


@dataclass(frozen=True, kw_only=True, eq=False)
class Scripts:
    """Training queries with what a video must show, play and say to answer them.

    Attributes:
        rows: (n, D) the queries' unit rows, as MiniLM gives them.
        photo_label, sound_label: of each.
        sentence: the number of each one's sentence.
        kind: of each, a key of KINDS.
    """

    rows: Rows
    photo_label: NDArray[np.str_]
    sound_label: NDArray[np.str_]
    sentence: NDArray[np.int64]
    kind: NDArray[np.str_]


def scripts(material: Material, n: int, rng: np.random.Generator) -> Scripts:
    """n training queries. They are written once: a text costs more to encode than a video to compose."""
    photo_labels, sound_labels = (
        _evened(labels[material.of_split(what, "train", strange=False)], n, rng)
        for what, labels in (("photo", material.photo_label), ("sound", material.sound_label))
    )
    sentences = rng.choice(material.of_split("sentence", "train"), n)
    kinds = rng.choice(list(KINDS), n)
    texts = []
    for photo, sound, sentence, kind in zip(photo_labels, sound_labels, sentences, kinds, strict=True):
        parts = {
            "seen": rng.choice(material.phrases["seen"][photo]["bank"]),
            "heard": rng.choice(material.phrases["heard"][sound]["bank"]),
            "said": _remembered(material.sentences[sentence], rng),
        }
        texts.append(rng.choice(TRAINING_WORDING[kind]).format(**parts))
    return Scripts(
        rows=material.text.encode(texts),
        photo_label=photo_labels,
        sound_label=sound_labels,
        sentence=sentences,
        kind=kinds,
    )


def perform(
    material: Material,
    written: Scripts,
    chosen: Numbers,
    rng: np.random.Generator,
    *,
    absent: float,
    mixed: float,
) -> Videos:
    """A video for each chosen script, of training material; what is not asked for may be absent."""
    photos, sounds = (material.of_split(what, "train", strange=False) for what in ("photo", "sound"))
    asked = [KINDS[kind] for kind in written.kind[chosen]]
    needed = np.array([["heard" in a for a in asked], ["said" in a for a in asked]])
    return material.complete(
        "train",
        _of_label(photos, material.photo_label, written.photo_label[chosen], rng),
        _of_label(sounds, material.sound_label, written.sound_label[chosen], rng),
        written.sentence[chosen],
        rng,
        keep=needed | (rng.random(needed.shape) >= absent),
        mixed=mixed,
        known=0.5,
    )


def answered(material: Material, written: Scripts, chosen: Numbers, videos: Videos) -> NDArray[np.bool_]:
    """(n, n) whether a video (column) answers a chosen script (row), whatever script it was made for."""
    kinds = [KINDS[kind] for kind in written.kind[chosen]]
    seen, heard, said = (np.array([m in kind for kind in kinds])[:, None] for m in MODALITIES)
    labels = np.where(videos.sounds >= 0, material.sound_label[videos.sounds], "")
    right = ~seen | _meets(written.photo_label[chosen], material.photo_label[videos.photos])
    right &= ~heard | _meets(written.sound_label[chosen], labels)
    right &= ~said | _meets(written.sentence[chosen], videos.sentences)
    return right


def _evened(labels: NDArray[np.str_], n: int, rng: np.random.Generator) -> NDArray[np.str_]:
    """n labels, the rare ones more often than their share."""
    counts = Counter(labels.tolist())
    weights = np.array([count**0.4 for count in counts.values()])
    return rng.choice(list(counts), n, p=weights / weights.sum())


def _of_label(
    numbers: NDArray[np.int64], labels: NDArray[np.str_], wanted: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.int64]:
    by_label = {label: numbers[labels[numbers] == label] for label in set(wanted.tolist())}
    return np.array([rng.choice(by_label[label]) for label in wanted.tolist()])


def _remembered(sentence: dict, rng: np.random.Generator) -> str:
    """What a person may recall of a sentence: its sense, or three to seven of its words."""
    if rng.random() < 0.7:
        return str(rng.choice(sentence["paraphrases"]))
    words = sentence["spoken"].split()
    n_words = min(len(words), int(rng.integers(3, 8)))
    start = int(rng.integers(0, len(words) - n_words + 1))
    return " ".join(words[start : start + n_words])
