"""The folder of a training: its options, its log, its checkpoints, its result.

    options.json                  what is trained
    log.jsonl                     a line for each logged step and each evaluation
    checkpoint-000500/            network, optimiser and place in the data after step 500; the last two stay
    best-epoch-3/                 the weights that did best on held-out videos, ready to use

A checkpoint is written under another name and then renamed, so it is whole or not there. One process at a
time trains in a folder: the system's lock on `.lock` ends with it, however that dies.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from savecli.errors import ConfigError, SaveError, WeightsError
from savecli.model import checkpoint
from savecli.train.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from savecli.model.network import Save
    from savecli.model.optim import BertAdam

N_KEPT = 2
_CHECKPOINT = re.compile(r"checkpoint-(\d+)$")
_BEST = re.compile(r"best-epoch-(\d+)$")
_UNFINISHED = re.compile(r"\.+(checkpoint|best-epoch)-|.+\.part$")
_LOCK = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a training is.

    Attributes:
        step: of the optimiser.
        epoch: the next batch is of this one.
        batch: its number in the epoch.
        best_epoch, best_score: chosen so far; -1 where none was measured.
        samples: names what is trained on, see `Samples.digest`.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_epoch: int = -1
    best_score: float = -1.0
    samples: str = ""


class Folder:
    """One training's folder, this process's alone while it is entered.

    Args:
        path: made if it is not there.
        options: of this training.
        writes: whether this process is the one that writes; another only reads, once that one has begun.

    Raises:
        ConfigError: another training's folder, or one that holds something else.
        SaveError: while entering, another process that trains in it, or a folder that cannot be written.
    """

    def __init__(self, path: Path, options: Options, *, writes: bool = True) -> None:
        self.path = path
        self._options = options
        self._writes = writes
        self._lock = FileLock(path / _LOCK)
        if not writes:
            return
        known = path / "options.json"
        if known.is_file():
            options.check_same(_read_options(known), path)
        elif path.is_dir() and any(inner.name != _LOCK for inner in path.iterdir()):
            raise ConfigError(
                f"{path} is not empty, and holds no training", hint="name a new folder as --out"
            )

    def __enter__(self) -> Self:
        if not self._writes:
            return self
        with _writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise SaveError(
                    f"another process trains in {self.path}",
                    hint="wait until it is done, or name another --out",
                ) from None
            for left in self.path.iterdir():  # by runs that were killed while they wrote
                if _UNFINISHED.match(left.name):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def claim(self) -> None:
        """Notes the options, once it is certain that the training begins: a mistaken one can be corrected."""
        known = self.path / "options.json"
        if self._writes and not known.exists():
            with _writing(self.path):
                _write(known, json.dumps(self._options.to_json(), indent=1) + "\n")

    def save(self, network: Save, optimiser: BertAdam, place: Place) -> None:
        """Writes a checkpoint, and drops those before the last two, and weights that are not chosen any more.

        Raises:
            SaveError: it cannot be written.
        """
        if not self._writes:
            return
        target = self.path / f"checkpoint-{place.step:06}"
        with _writing(self.path):
            if target.exists():  # an epoch ended after this step: only the place is another
                _write(target / "place.json", json.dumps(asdict(place)) + "\n")
            else:
                self._save(target, network, optimiser, place)
            dropped = [path for _, path in self._numbered(_CHECKPOINT)[:-N_KEPT]]
            dropped += [path for epoch, path in self._numbered(_BEST) if epoch != place.best_epoch]
            for path in dropped:
                shutil.rmtree(path)

    def _save(self, target: Path, network: Save, optimiser: BertAdam, place: Place) -> None:
        names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
        partial = self.path / f".{target.name}"
        try:
            checkpoint.write(partial, network, provenance={"step": place.step})
            tensors = {name: t.detach().cpu() for name, t in optimiser.tensors(names).items()}
            save_file(tensors, partial / "optimiser.safetensors")
            _write(partial / "place.json", json.dumps(asdict(place)) + "\n")
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # what did not fit shall not fill the disk

    def load(self, network: Save, optimiser: BertAdam) -> Place:
        """Goes back to the last checkpoint, if there is one, and forgets the log after it.

        Raises:
            WeightsError: it is damaged.
        """
        place = Place()
        for _, last in self._numbered(_CHECKPOINT)[-1:]:
            try:
                place = Place(**json.loads((last / "place.json").read_text("utf-8")))
                saved = load_file(last / "optimiser.safetensors")
            except (OSError, ValueError, TypeError, SafetensorError) as error:
                raise WeightsError(
                    f"cannot go on from {last}: {error}",
                    hint="remove that folder to go on from the one before",
                ) from error
            _, state = checkpoint.read(last)
            checkpoint.check(last, {n: tuple(t.shape) for n, t in network.state_dict().items()}, state)
            network.load_state_dict(state)
            optimiser.load_tensors({p: name for name, p in network.named_parameters()}, saved)
        self._cut_log(place)
        return place

    def keep_best(self, network: Save, epoch: int, provenance: Mapping[str, Any]) -> Path:
        """Writes an epoch's weights as the result; those before go when a checkpoint names these.

        Raises:
            SaveError: they cannot be written.
        """
        target = self.path / f"best-epoch-{epoch}"
        with _writing(self.path):
            if target.exists():  # of a run that was killed before it could save this epoch's end
                shutil.rmtree(target)
            checkpoint.write(target, network, provenance=provenance)
        return target

    def best(self, epoch: int) -> Path | None:
        """The weights of a chosen epoch."""
        path = self.path / f"best-epoch-{epoch}"
        return path if path.is_dir() else None

    def log(self, record: Mapping[str, Any]) -> None:
        """Adds a line."""
        if not self._writes:
            return
        with _writing(self.path), (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def history(self) -> Iterator[dict[str, Any]]:
        """The lines of the log, but one that a full disk or a crash cut off."""
        path = self.path / "log.jsonl"
        for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
            with suppress(ValueError):
                yield json.loads(line)

    def _cut_log(self, place: Place) -> None:
        """Drops what will be done anew: later steps, epochs that have not ended, the test."""
        if not self._writes or not (self.path / "log.jsonl").is_file():
            return
        kept = [
            json.dumps(record) + "\n"
            for record in self.history()
            if record["step"] <= place.step
            and ("split" not in record or (record["split"] == "val" and record["epoch"] < place.epoch))
        ]
        with _writing(self.path):
            _write(self.path / "log.jsonl", "".join(kept))

    def _numbered(self, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
        return sorted((int(m[1]), path) for path in self.path.iterdir() if (m := pattern.match(path.name)))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """What the system says against writing there, as an expected failure."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SaveError(
            f"cannot write into {folder}: {reason}",
            hint="is the disk full or read-only? what was saved before is whole; --out names another folder",
        ) from error


def _read_options(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text("utf-8"))
        if not isinstance(record, dict):
            raise ValueError("it holds no options")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint="name another folder as --out") from error
    return record


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(text, "utf-8")
    partial.replace(path)
