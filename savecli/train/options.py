"""Everything that can be chosen about a training. The defaults are those of SAVE's own trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from savecli.errors import ConfigError

PRECISIONS = ("auto", "fp32", "bf16")
PADDINGS = ("reference", "masked")
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "msrvtt": {"batch_size": 128, "n_words": 32, "n_frames": 12, "frames_per_s": 1, "margin": 0.1},
    "vatex": {"batch_size": 128, "n_words": 32, "n_frames": 12, "frames_per_s": 1, "margin": 0.05},
    "charades": {"batch_size": 64, "n_words": 64, "n_frames": 32, "frames_per_s": 2, "margin": 0.1},
    "csv": {"batch_size": 128, "n_words": 32, "n_frames": 12, "frames_per_s": 1, "margin": 0.1},
    # Minutes on a CPU: two small frames, coarse patches of sound, encoders whose first layer stays as drawn.
    "toy": {
        "batch_size": 32,
        "n_words": 32,
        "n_frames": 2,
        "frames_per_s": 1,
        "margin": 0.0,
        "from_scratch": True,
        "dims": Path(__file__).with_name("toy.json"),
        "n_queries": 8,
        "resampler_layers": 1,
        "fusion_layers": 1,
        "epochs": 30,
        "n_val": 0,
        "lr": 2e-3,
        "clip_lr": 1.0,
        "query_lr": 3.0,
        "weight_decay": 0.01,
        "freeze": 12,
    },
}
_NOT_THE_TRAINING = ("out", "cache", "device", "n_workers", "stall_s", "log_every", "save_every")
_MAY_MOVE = ("data", "asr")
"""Where the samples lie does not make a training; which they are does, and `Samples.digest` tells."""
_POSITIVE = ("temperature", "grad_norm")
FEWEST_WORDS = 3
"""A start, a word and an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One training.

    Attributes:
        benchmark: one of DEFAULTS.
        data: its folder.
        out: the folder of checkpoints, log and result; a training that lies there goes on.
        cache: where decoded videos are kept.
        split: of MSR-VTT, "9k" or "7k".
        asr: file of transcripts; None looks for one in `data`.
        teacher: file of teacher features; None leaves the second loss out.
        n_val: videos held out for choosing the epoch where the benchmark names none; None takes a tenth.
        clip: an open_clip model.
        clip_weights, ast_weights: files to begin with; None takes what `save model pull` fetched.
        init: a checkpoint to begin with instead.
        dims: a JSON file of sizes, for another network than the paper's.
        from_scratch: begin with random encoders, and train all of them.
        padding: "reference" lets empty slots take part, "masked" does not; None is the checkpoint's own way,
            and the reference's for a new network.
        epochs, batch_size, accumulate: batches are of all processes together; gradients of `accumulate` of
            them make a step.
        lr, clip_lr, query_lr: base rate, and the factors on it for what came pretrained and for the
            resampler's queries.
        warmup: share of all steps.
        weight_decay, grad_norm: of the optimiser.
        beta, margin, temperature, distillation: of the losses and of the score.
        freeze: spectrogram transformer blocks that stay as they are; None trains everything.
        n_frames, frames_per_s, n_words, n_queries, fusion_layers, resampler_layers: sizes; a sizes file may
            set them too.
        no_audio, no_speech: ablations: nothing is heard, nothing is said.
        reference_gather: gradients over several processes as the reference has them.
        precision: "auto" is bf16 on a GPU that has it, else fp32.
        seed: of weights and of the order of samples.
        device, n_workers: what computes; threads that load videos.
        stall_s: how long a file may keep the decoder busy without headway.
        log_every, save_every: steps between lines of the log, and between checkpoints.
    """

    benchmark: str
    data: Path
    out: Path
    cache: Path
    split: str | None = None
    asr: Path | None = None
    teacher: Path | None = None
    n_val: int | None = None
    clip: str = "ViT-B-32-quickgelu"
    clip_weights: Path | None = None
    ast_weights: Path | None = None
    init: Path | None = None
    dims: Path | None = None
    from_scratch: bool = False
    padding: str | None = None
    epochs: int = 5
    batch_size: int = 128
    accumulate: int = 1
    lr: float = 1e-4
    clip_lr: float = 1e-3
    query_lr: float = 100.0
    warmup: float = 0.1
    weight_decay: float = 0.2
    grad_norm: float = 1.0
    beta: float = 0.2
    margin: float = 0.1
    temperature: float = 1.0
    distillation: float = 1.0
    freeze: int | None = 12
    n_frames: int = 12
    frames_per_s: int = 1
    n_words: int = 32
    n_queries: int = 12
    fusion_layers: int = 4
    resampler_layers: int = 4
    no_audio: bool = False
    no_speech: bool = False
    reference_gather: bool = False
    precision: str = "auto"
    seed: int = 42
    device: str = "auto"
    n_workers: int = 2
    stall_s: float = 60.0
    log_every: int = 10
    save_every: int = 500

    @classmethod
    def of(cls, benchmark: str, data: Path, cache: Path, given: Mapping[str, Any]) -> Self:
        """The options of a training, of which `given` are chosen, or None where they are not.

        From scratch there is nothing to preserve: everything trains, at one rate. A `freeze` of -1 is none.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        if chosen.get("from_scratch"):
            chosen = {"clip_lr": 1.0, "freeze": -1, **chosen}
        if chosen.get("freeze", 0) < 0:
            chosen["freeze"] = None
        chosen = {"cache": cache, **DEFAULTS[benchmark], **chosen}
        paths = {name: value.absolute() for name, value in chosen.items() if isinstance(value, Path)}
        return cls(benchmark=benchmark, data=data.absolute(), **{**chosen, **paths})

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ConfigError(
                "a batch of one has nothing to be told apart from", hint="--batch-size 2 or more"
            )
        public = self.clip_weights is not None or self.ast_weights is not None
        if self.init is not None and (self.from_scratch or self.dims is not None or public):
            raise ConfigError(
                "--init begins with a checkpoint, which has its own sizes and weights",
                hint="leave out --from-scratch, --dims, --clip-weights and --ast-weights",
            )
        if self.from_scratch and public:
            raise ConfigError(
                "--from-scratch begins without weights",
                hint="leave it out, or --clip-weights and --ast-weights",
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        """The rest is the command line's to check; these would end in numbers that are none."""
        if self.n_words < FEWEST_WORDS:
            raise ConfigError(f"{self.n_words} tokens hold no word", hint=f"--n-words {FEWEST_WORDS} or more")
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{each.name} cannot be {value}", hint="give a number")
            if each.name in _POSITIVE and value <= 0:
                raise ConfigError(f"{each.name} cannot be {value}", hint="give a number above zero")

    def to_json(self) -> dict[str, Any]:
        """All that makes a training what it is, as plain values."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
            if name not in _NOT_THE_TRAINING
        }

    def check_same(self, other: Mapping[str, Any], where: Path) -> None:
        """A training goes on as it began.

        Raises:
            ConfigError: an option differs from those that the training in `where` has.
        """
        mine = {name: value for name, value in self.to_json().items() if name not in _MAY_MOVE}
        names = [f.name for f in fields(self) if f.name in mine and mine[f.name] != other.get(f.name)]
        if names:
            changed = ", ".join(f"{name} was {other.get(name)}, is {mine[name]}" for name in names)
            raise ConfigError(
                f"{where} holds a training with other options: {changed}",
                hint="give the same options to go on with it, or another --out",
            )
