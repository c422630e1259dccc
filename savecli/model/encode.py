"""Media or text -> embedding, numpy in and out: the encoder of save-mini.

All of it lives in the space of one sentence encoder, MiniLM. A picture is read through a frozen ImageNet
classifier and a head for what ImageNet lacks, a sound through tags and classes; the embedding of either is
the mean of the concepts' texts, weighted by their chances, less the mean of all concepts. So pictures,
sounds and words share a space, and the vocabulary stays open. What is said is read by the encoder of the
query. SAVE's gated fusion makes one more row of the three (docs/save.md; weights/save-mini/CARD.md has
the figures).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from savecli import fold
from savecli.datatypes import Ask, Embedding, Media, MediaSpec, Sound, Utterance
from savecli.errors import WeightsError
from savecli.model.batches import Batches
from savecli.model.distinct import distinct
from savecli.model.score import Query, Score, Term
from savecli.model.text import TextEncoder, map_safetensors, softmax, unit
from savecli.model.weights import bundled, locate, manifest
from savecli.model.words import Lexicon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from savecli.model.cpu import CpuNetworks
    from savecli.model.mini import MiniNetworks

    Rows = NDArray[np.float32]

AIMS: Mapping[str, tuple[Term, ...]] = {
    "text": ("seen", "heard", "said", "fused"),
    "sees": ("seen",),
    "hears": ("heard",),
    "says": ("said",),
}
"""Which terms each field of an `Ask` is asked by."""
SEGMENTS_OFF_CPU = 8
"""Embedded at once where nothing is said: a device needs many pictures to be busy, a CPU does not."""
FILES = ("seen.safetensors", "heard.safetensors", "fusion.safetensors")


class Bank:
    """Chances of concepts -> embedding. Two groups of concepts share the weight.

    Args:
        concepts: (C, D) unit rows, the first group's before the second's.
        mean: (D,), taken off pictures or sounds and off queries alike: it tells nothing.
        share: of the second group.
    """

    def __init__(self, concepts: Rows, mean: Rows, share: float) -> None:
        self._concepts = concepts
        self.mean = mean
        self._share = share

    def embed(self, first: Rows, second: Rows) -> Rows:
        """(N, C1), (N, C2) not negative, each row of any sum -> (N, D) unit rows."""
        weights = [rows / rows.sum(axis=1, keepdims=True).clip(1e-12) for rows in (first, second)]
        joined = np.concatenate([(1 - self._share) * weights[0], self._share * weights[1]], axis=1)
        return unit(joined @ self._concepts - self.mean)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perceived:
    """One segment as each branch has it, before anything is fused; (0, D) where there is nothing.

    Attributes:
        frames: (F, D) float32 unit rows, one for each picture.
        heard, tokens: (N, D) unit rows and (T, D) tokens of its sound, see `Sound`.
        said, states: (U, D) unit rows and (W, D) states of its speech.
    """

    frames: Rows
    heard: Rows
    tokens: Rows
    said: Rows
    states: Rows


class MiniEncoder:
    """save-mini.

    Args:
        model_dir: where weights lie that are not used straight from their packages.
        device: "auto", "cpu", "cuda" or "mps"; only the pictures go there.
        batch_size: segments whose pictures are read at once; None is what suits the device. Where memory
            does not suffice it is halved, down to one picture at a time, and `notes` tells.

    Raises:
        WeightsError: weights that are missing or damaged.
    """

    name = "save-mini"

    def __init__(self, model_dir: Path, *, device: str = "auto", batch_size: int | None = None) -> None:
        self.home = bundled(self.name)
        self._device = device
        self._model_dir = model_dir
        self._networks: MiniNetworks | CpuNetworks | None = None
        self._wanted = batch_size
        self._batches: Batches | None = None
        self._lock = Lock()
        try:
            self._open()
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{self.home} does not hold {self.name}: {error!r}",
                hint="pip install --force-reinstall savecli",
            ) from error

    def _open(self) -> None:
        self._card = json.loads((self.home / "model.json").read_text("utf-8"))
        self.spec = MediaSpec(**self._card["media"])
        self.dim: int = self._card["dim"]
        self._frozen: dict[str, str] = self._card["frozen"]
        text = locate(self._frozen["text"], self._model_dir)
        self._text = TextEncoder(text["model.safetensors"], text["tokenizer.json"])
        seen, heard = (map_safetensors(self.home / name) for name in FILES[:2])
        concepts = np.concatenate([seen["concepts"], seen["extra"]]).astype(np.float32)
        self._seen = Bank(concepts, seen["mean"], self._card["seen"]["share"])
        self._heard = Bank(heard["concepts"].astype(np.float32), heard["mean"], self._card["heard"]["share"])
        self._lexicon = Lexicon(**json.loads((self.home / "words.json").read_text("utf-8")))
        cohort = map_safetensors(self.home / "cohort.safetensors")["rows"].astype(np.float32)
        aimed = {term: self._aim(cohort, term) for term in AIMS["text"]}
        self.score = Score.from_json(self._card["score"], aimed)
        self.identity: Mapping[str, str] = {
            "model": self.name,
            "weights": self._digest(),
            "dim": str(self.dim),
        }

    def _digest(self) -> str:
        """16 hex digits of all that shapes an embedding; the score and the words' worth shape none."""
        shaping = {name: self._card[name] for name in ("media", "seen", "heard", "fusion")}
        shaping["files"] = {name: self._card["files"][name] for name in FILES}
        shaping["frozen"] = [manifest()[name].digest for name in self._frozen.values()]
        return sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def device(self) -> str:
        """Where pictures are encoded."""
        return str(self._load().device)

    @property
    def batch_size(self) -> int:
        """Segments that are best given to `embed` together."""
        return self._wanted or (1 if self.device == "cpu" else SEGMENTS_OFF_CPU)

    def notes(self) -> tuple[str, ...]:
        """What there is to tell since the last call: that memory did not suffice."""
        return self._batches.notes() if self._batches else ()

    def verify(self) -> None:
        """Hash our own files.

        Raises:
            WeightsError: naming the first that is not what was published.
        """
        for name, expected in self._card["files"].items():
            if _sha256(self.home / name) != expected:
                raise WeightsError(
                    f"{self.home / name} is damaged", hint="pip install --force-reinstall savecli"
                )

    def queries(self, ask: Ask) -> list[Query]:
        """What an Ask comes to: one query for each text in it, asked of the modalities that it aims at."""
        given = [(getattr(ask, name), terms) for name, terms in AIMS.items() if getattr(ask, name)]
        rows = self._text.encode([text for text, _ in given])
        return [self.query(text, row, terms) for (text, terms), row in zip(given, rows, strict=True)]

    def query(self, text: str, row: Rows, terms: Sequence[Term] = AIMS["text"]) -> Query:
        """A text, of which `read` made this (D,) row, as a query of these modalities."""
        return Query(
            text=text,
            rows={term: self._aim(row, term) for term in terms},
            words=self._lexicon.weigh(text) if "said" in terms else {},
            names=self._names(text) if "said" in terms else (),
        )

    def _names(self, text: str) -> tuple[str, ...]:
        """The words that were never met as a whole, neither by the text encoder nor in any caption."""
        return tuple(
            word
            for word in dict.fromkeys(fold.words(text))
            if not self._lexicon.knows(word) and self._text.n_pieces(word) > 1
        )

    def hear(self, waveform: Rows) -> Sound:
        """(S,) float32 mono at the spec's rate -> a row for each window of a segment's sound, and tokens."""
        from savecli.model.mel import PATCH_S, log_mel_patches

        tags, own = self._load().listen(log_mel_patches(waveform))
        middles = (np.arange(len(tags)) + 0.5) * PATCH_S
        length_s = max(len(waveform) / self.spec.sample_rate_hz, len(tags) * PATCH_S)
        # A window that adds little to the one before it would only be a copy of it.
        starts = np.arange(0, max(length_s - self.spec.sound_window_s, 0) + 1.0, self.spec.sound_hop_s)
        ends = np.append(starts[:-1] + self.spec.sound_window_s, np.inf)  # the last one hears the rest
        inside = [(middles >= s) & (middles < e) for s, e in zip(starts, ends, strict=True)]
        windows = [(tags[i].mean(axis=0), own[i].mean(axis=0)) for i in inside if i.any()]
        rows = self._heard.embed(*(np.stack(side) for side in zip(*windows, strict=True)))
        return Sound(rows=rows, tokens=self._heard.embed(tags, own))

    def embed(self, media: Sequence[Media]) -> list[Embedding]:
        """One embedding for each segment."""
        return [self.fuse(perceived) for perceived in self.perceive(media)]

    def perceive(self, media: Sequence[Media]) -> list[Perceived]:
        """The branches of each segment."""
        if not media:
            return []
        frames = self._see([m.frames for m in media])
        spoken = [self.understand(m.utterances) for m in media]
        return [
            Perceived(
                frames=f,
                heard=m.sound.rows if m.sound else self._nothing(),
                tokens=m.sound.tokens if m.sound else self._nothing(),
                said=said,
                states=states,
            )
            for f, m, (said, states) in zip(frames, media, spoken, strict=True)
        ]

    def understand(self, utterances: Sequence[Utterance]) -> tuple[Rows, Rows]:
        """(U, D) rows of each utterance, and of the whole, as a sentence may span several; (W, D) states."""
        texts = [u.text for u in utterances]
        if not texts:
            return self._nothing(), self._nothing()
        states = self._text.states([*texts, " ".join(texts)] if len(texts) > 1 else texts)
        rows = unit(np.stack([s.mean(axis=0) for s in states]))
        fusion = self._card["fusion"]
        return rows, states[-1][: fusion["n_words"]] * np.float32(fusion["speech_scale"])

    def fuse(self, perceived: Perceived, *, apart: bool = False) -> Embedding:
        """What the store keeps of a segment; with `apart` it has no fused row."""
        frames = perceived.frames
        fused = parts = self._nothing()
        if len(frames) and not apart:
            fused, parts = self._load().fuse(frames, perceived.tokens, perceived.states)
        return Embedding(
            seen=unit(frames.mean(axis=0, keepdims=True)) if len(frames) else frames,
            frames=frames,
            heard=perceived.heard,
            said=perceived.said,
            fused=fused,
            parts=parts,
        )

    def see(self, frames: NDArray[np.uint8]) -> Rows:
        """(F, H, W, 3) uint8 RGB -> (F, D) float32 unit rows."""
        if not len(frames):
            return self._nothing()
        shown, like = distinct(frames)
        logits, further = self._in_batches().run(self._load().look, frames[shown])
        rows = self._seen.embed(softmax(logits / self._card["seen"]["temperature"]), softmax(further))
        return rows[like]

    def read(self, texts: Sequence[str]) -> Rows:
        """(N, D) float32 unit rows."""
        return self._text.encode(texts)

    def _aim(self, row: Rows, term: Term) -> Rows:
        if term == "said":
            return row
        return unit(row - (self._heard if term == "heard" else self._seen).mean)

    def _see(self, frames: Sequence[NDArray[np.uint8]]) -> list[Rows]:
        rows = self.see(np.concatenate(frames)) if any(len(f) for f in frames) else self._nothing()
        return np.split(rows, np.cumsum([len(f) for f in frames])[:-1])

    def _nothing(self) -> Rows:
        return np.zeros((0, self.dim), np.float32)

    def _in_batches(self) -> Batches:
        most = self.batch_size * self.spec.n_frames
        with self._lock:
            if self._batches is None:
                self._batches = Batches(most)
            return self._batches

    def _load(self) -> MiniNetworks | CpuNetworks:
        from savecli.model.cpu import is_alone

        with self._lock:
            if self._networks is None:
                (path,) = locate(self._frozen["vision"], self._model_dir).values()
                self._networks = self._on_cpu(path) if is_alone(self._device) else self._in_torch(path)
            return self._networks

    def _in_torch(self, vision: Path) -> MiniNetworks | CpuNetworks:
        # torch takes seconds to import and 400 MB: only where there may be a device that makes up for it.
        from savecli.model.mini import MiniNetworks

        sizes = self._card["fusion"]["sizes"]
        networks = MiniNetworks(self.home, vision, self.dim, sizes, device=self._device)
        return networks if networks.device.type != "cpu" else self._on_cpu(vision)

    def _on_cpu(self, vision: Path) -> CpuNetworks:
        from savecli.model.cpu import CpuNetworks  # a query does without

        return CpuNetworks(self.home, vision, self.dim)


def _sha256(path: Path) -> str:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error}", hint="save doctor") from error
