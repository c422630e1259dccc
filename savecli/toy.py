"""A small made-up benchmark in MSR-VTT's layout, for training that is tested in minutes.

Each video shows a shape that moves, plays two sounds, and has a sentence spoken; the three are drawn
independently, so none gives another away. A caption is of one kind and speaks of that alone (`kind_of`).

Each caption of a test video is about that one test video only: no two have the same colour and shape, the
same two sounds in whatever order, or the same two key words. What test videos show, play and say is in
training videos too, each time drawn, tuned and spoken anew and with other companions. In a `novel` toy it is
not: the motion is one that this colour and shape never have in training, the order of the sounds and the pair
of words are new. From 24 training videos on, every word of a test caption is in training captions either way.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from savecli.errors import ConfigError, SaveError
from savecli.media.encode import SAMPLE_RATE_HZ, write_video
from savecli.media.speak import Voice

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

Kind = Literal["seen", "heard", "said"]
Words = tuple[str, ...]
T = TypeVar("T")

WIDTH_PX, HEIGHT_PX, FPS = 128, 96, 10
LENGTH_S, SOUND_S, SPEECH_AT_S = 4.0, 0.9, 1.9  # two sounds, then the sentence
TRAVEL_PX = 24  # from the middle, each way: a shape stays within a square crop
MAX_TEST = 48

COLOURS = {
    "red": (225, 30, 30),
    "green": (30, 190, 50),
    "blue": (40, 80, 240),
    "yellow": (245, 225, 40),
    "purple": (160, 40, 200),
    "pink": (250, 150, 190),
    "white": (250, 250, 250),
    "turquoise": (40, 220, 225),
}
MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
# How far a point lies outside of a shape of radius 1 (negative: inside); x to the right, y down.
SHAPES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "circle": lambda x, y: np.hypot(x, y) - 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.85,
    "triangle": lambda x, y: np.maximum(y - 0.6, 0.87 * abs(x) - 0.5 * y - 0.5),
    "cross": lambda x, y: np.maximum(np.minimum(abs(x), abs(y)) - 0.3, np.maximum(abs(x), abs(y)) - 1),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.78) - 0.22,
    "bar": lambda x, y: np.maximum(abs(x) - 0.28, abs(y) - 1),
}
# From the times of samples, a pitch of about 1 and white noise to a waveform, of any loudness.
SOUNDS: dict[
    str, Callable[[NDArray[np.float64], float, NDArray[np.float64]], NDArray[np.float64]]
] = {
    "hum": lambda t, pitch, _: _tones(110 * pitch, (1, 2, 3, 4), t),
    "whistle": lambda t, pitch, _: _tone(2400 * pitch + 0 * t),
    "rising sweep": lambda t, pitch, _: _tone(pitch * (400 + 3100 * t)),
    "falling sweep": lambda t, pitch, _: _tone(pitch * (3200 - 3100 * t)),
    "hiss": lambda _, __, noise: np.diff(noise, append=0.0),
    "rumble": lambda _, __, noise: np.convolve(noise, np.ones(500), "same"),
    "ticking": lambda t, _, noise: noise * np.exp(-25 * (10 * t % 1)),
    "siren": lambda t, pitch, _: _tone(pitch * (900 + 400 * np.sin(2 * np.pi * 2.5 * t))),
    "beeping": lambda t, pitch, _: _tone(1000 * pitch + 0 * t) * (5 * t % 1 < 0.5),
    "buzzer": lambda t, pitch, _: np.sign(_tone(220 * pitch + 0 * t)),
    "bell": lambda t, pitch, _: _tones(660 * pitch, (1, 2.76, 5.4), t) * np.exp(-6 * t),
    "trill": lambda t, pitch, _: _tone(pitch * (2700 + 600 * np.sign(np.sin(2 * np.pi * 14 * t)))),
}  # fmt: skip
THINGS = (
    "violin", "lantern", "umbrella", "telescope", "compass", "teapot",
    "ladder", "bicycle", "carpet", "camera", "piano", "suitcase",
)  # fmt: skip
PLACES = (
    "lighthouse", "harbour", "library", "castle", "market", "forest",
    "station", "museum", "garden", "island", "bakery", "theatre",
)  # fmt: skip

CAPTIONS: dict[Kind, Words] = {
    "seen": ("a {} {} moves {}", "there is a {} {} moving {}"),
    "heard": ("the sound of a {} and then a {}", "we hear a {} followed by a {}"),
    "said": ("a person says something about the {} and the {}", "someone talks about the {} and the {}"),
}
SENTENCES = (
    "we left the {} at the {}",
    "they found the {} near the {}",
    "there is a {} in the {}",
    "bring the {} to the {}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a video is made of: the words that fill its captions of each kind.

    Attributes:
        seen: colour, shape, motion.
        heard: first sound, second sound.
        said: thing, place.
    """

    seen: Words
    heard: Words
    said: Words

    def captions(self, kind: Kind) -> Words:
        """All captions of this kind."""
        return tuple(caption.format(*getattr(self, kind)) for caption in CAPTIONS[kind])


def kind_of(caption: str) -> Kind:
    """What a caption of a toy speaks of, by how it begins (CAPTIONS).

    Raises:
        ValueError: where it is no caption of a toy.
    """
    openings = [(template.partition("{")[0], kind) for kind, some in CAPTIONS.items() for template in some]
    # The longest first: "a person says ..." also begins as "a red ..." does.
    for opening, kind in sorted(openings, key=lambda pair: -len(pair[0])):
        if caption.startswith(opening):
            return kind
    raise ValueError(f"not a caption of a toy: {caption!r}")


def make_toy(folder: Path, *, n_train: int, n_test: int, seed: int, novel: bool = False) -> None:
    """Write videos and annotations into a new folder, all or nothing; a seed always gives the same bytes.

    `MSRVTT_JSFUSION_test.csv` has one sentence for each test video, seen, heard and said in turn;
    `toy_queries.csv` (video_id, kind, sentence) has one of each kind. Transcripts are in
    `toy_asr_text.json`, in the form of SAVE's authors.

    A missing voice is an error and no silence: a toy would otherwise differ from machine to machine, and what
    is learnt on it with it.

    Args:
        folder: must not exist, or be empty.
        n_train: 1 or more.
        n_test: 1 to MAX_TEST.
        seed: 0 or more.
        novel: whether test videos are made of combinations that training videos do not have.

    Raises:
        ConfigError: where a number is out of its range, or `folder` holds something.
        SaveError: where the extra `toy` is not installed, or the folder cannot be written.
        MediaError: where a video cannot be written.
    """
    if not (n_train >= 1 and 1 <= n_test <= MAX_TEST and seed >= 0):
        problem = f"no toy of {n_train} training and {n_test} test videos with seed {seed}"
        raise ConfigError(problem, hint=f"take 1 or more, 1 to {MAX_TEST}, and a seed of 0 or more")
    voice = Voice()
    building = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty", hint="name a new folder")
        (building / "videos").mkdir(parents=True)
        scenes = _scenes(n_train, n_test, np.random.default_rng(seed), novel=novel)
        said = [_write(building, i, scene, voice, seed) for i, scene in enumerate(scenes)]
        _annotate(building, scenes, said, n_train)
        if folder.exists():
            folder.rmdir()
        building.rename(folder)
    except OSError as error:
        raise SaveError(f"cannot write {folder}: {error}", hint="is the disk full or read-only?") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _scenes(n_train: int, n_test: int, rng: Generator, *, novel: bool) -> list[Scene]:
    """Training scenes, then test scenes."""
    pairs = list(product(COLOURS, SHAPES))
    seen = [(*pair, _one(list(MOTIONS), rng)) for pair in _shuffled(pairs, rng)[:n_test]]
    heard = [tuple(_shuffled(pair, rng)) for pair in _shuffled(list(combinations(SOUNDS, 2)), rng)[:n_test]]
    # Diagonals of the square of things and places: whatever is held out, each word keeps most of its pairs.
    things, places = _shuffled(THINGS, rng), _shuffled(PLACES, rng)
    diagonals = [
        (thing, places[(i + shift) % len(places)]) for shift in range(4) for i, thing in enumerate(things)
    ]
    said = _shuffled(diagonals[:n_test], rng)
    deal = partial(_deal, n=n_train, rng=rng, novel=novel)
    train = zip(
        deal(list(product(COLOURS, SHAPES, MOTIONS)), seen),
        deal(list(permutations(SOUNDS, 2)), heard),
        deal(list(product(THINGS, PLACES)), said),
        strict=True,
    )
    test = zip(seen, heard, said, strict=True)
    return [Scene(seen=s, heard=h, said=w) for some in (train, test) for s, h, w in some]


def _deal(
    everything: Sequence[Words], tested: Sequence[Words], *, n: int, rng: Generator, novel: bool
) -> list[Words]:
    """`n` combinations, those tested or, if `novel`, all others, used equally often.

    First come those that bring a new word.
    """
    rest = _shuffled([words for words in everything if (words in set(tested)) != novel], rng)
    known: set[tuple[int, str]] = set()
    first: list[Words] = []
    later: list[Words] = []
    for words in rest:
        (later if known.issuperset(enumerate(words)) else first).append(words)
        known.update(enumerate(words))
    rounds = [first + later, *(_shuffled(rest, rng) for _ in range(n // len(rest)))]
    return _shuffled([words for some in rounds for words in some][:n], rng)


def _write(folder: Path, number: int, scene: Scene, voice: Voice, seed: int) -> str:
    """Write the video of a scene; returns the sentence that is spoken in it."""
    rng = np.random.default_rng([seed, number])
    sentence = _one(SENTENCES, rng).format(*scene.said)
    spoken = voice.say(sentence)[: round((LENGTH_S - SPEECH_AT_S) * SAMPLE_RATE_HZ)]
    waveform = np.zeros(round(LENGTH_S * SAMPLE_RATE_HZ), np.float32)
    for start_s, part in (
        (0.0, _sound(scene.heard[0], rng)),
        (SOUND_S, _sound(scene.heard[1], rng)),
        (SPEECH_AT_S, spoken),
    ):
        start = round(start_s * SAMPLE_RATE_HZ)
        waveform[start : start + len(part)] = part
    write_video(
        folder / "videos" / f"video{number}.mp4", _frames(scene.seen, rng), fps=FPS, waveform=waveform
    )
    return sentence


def _frames(seen: Words, rng: Generator) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) frames of a shape on its way across a dark ground."""
    colour, shape, motion = seen
    ground, radius_px = rng.uniform(20, 90, 3), rng.uniform(16, 20)
    middle = np.array([WIDTH_PX, HEIGHT_PX]) / 2 + rng.uniform(-4, 4, 2)
    y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX].astype(np.float64)
    for way in np.linspace(-TRAVEL_PX, TRAVEL_PX, round(LENGTH_S * FPS)):
        centre = middle + way * np.array(MOTIONS[motion])
        outside = SHAPES[shape]((x - centre[0]) / radius_px, (y - centre[1]) / radius_px) * radius_px
        covered = np.clip(0.5 - outside, 0, 1)[:, :, np.newaxis]  # edges are a pixel wide
        yield (ground + covered * (np.array(COLOURS[colour]) - ground)).astype(np.uint8)


def _sound(name: str, rng: Generator) -> NDArray[np.float32]:
    """SOUND_S seconds of a sound, its pitch a little different each time: (S,) in -0.5..0.5."""
    times_s = np.arange(round(SOUND_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    waveform = SOUNDS[name](times_s, rng.uniform(0.94, 1.06), rng.standard_normal(len(times_s)))
    fade = np.clip(np.minimum(times_s, times_s[::-1]) / 0.02, 0, 1)  # or its ends would click
    faded: NDArray[np.float32] = (0.5 * fade * waveform / abs(waveform).max()).astype(np.float32)
    return faded


def _tone(frequencies_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """A sine whose frequency is given for each sample."""
    tone: NDArray[np.float64] = np.sin(2 * np.pi * np.cumsum(frequencies_hz) / SAMPLE_RATE_HZ)
    return tone


def _tones(lowest_hz: float, partials: Sequence[float], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sines at these multiples of the lowest frequency, the higher the softer."""
    sines: NDArray[np.float64] = np.sin(2 * np.pi * lowest_hz * np.multiply.outer(partials, times_s))
    return 1 / np.array(partials) @ sines


def _annotate(folder: Path, scenes: Sequence[Scene], said: Sequence[str], n_train: int) -> None:
    ids = [f"video{i}" for i in range(len(scenes))]
    split = ["train" if i < n_train else "test" for i in range(len(scenes))]
    captions = [
        (video_id, caption)
        for video_id, scene in zip(ids, scenes, strict=True)
        for kind in CAPTIONS
        for caption in scene.captions(kind)
    ]
    whole = {
        "videos": [{"video_id": v, "split": s} for v, s in zip(ids, split, strict=True)],
        "sentences": [{"sen_id": i, "video_id": v, "caption": c} for i, (v, c) in enumerate(captions)],
    }
    spoken = [{"key": f"{video_id}.wav", "text": text} for video_id, text in zip(ids, said, strict=True)]
    for name, held in (("MSRVTT_data.json", whole), ("toy_asr_text.json", spoken)):
        (folder / name).write_text(json.dumps(held, indent=1) + "\n", "utf-8")
    test = list(zip(ids, scenes, strict=True))[n_train:]
    kinds = list(CAPTIONS)
    mixed = [
        (f"ret{i}", f"msr{i}", video_id, scene.captions(kinds[i % len(kinds)])[0])
        for i, (video_id, scene) in enumerate(test)
    ]
    queries = [(video_id, kind, scene.captions(kind)[0]) for video_id, scene in test for kind in kinds]
    _table(folder / "MSRVTT_train.9k.csv", ("video_id",), [(video_id,) for video_id in ids[:n_train]])
    _table(folder / "MSRVTT_JSFUSION_test.csv", ("key", "vid_key", "video_id", "sentence"), mixed)
    _table(folder / "toy_queries.csv", ("video_id", "kind", "sentence"), queries)


def _table(path: Path, heading: Words, rows: Sequence[Words]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([heading, *rows])


def _shuffled(values: Sequence[T], rng: Generator) -> list[T]:
    return [values[i] for i in rng.permutation(len(values))]


def _one(values: Sequence[T], rng: Generator) -> T:
    return values[int(rng.integers(len(values)))]
