"""The folder of a training: its options, its log, its checkpoints, its result.

    options.json                  what is trained
    log.jsonl                     a line for each logged step and each evaluation
    checkpoint-000500/            network, optimiser and place in the data after step 500; the last two stay
    best-epoch-3/                 the weights that did best on held-out videos, ready to use

A checkpoint is written under another name and then renamed, so it is whole or not there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savecli.errors import ConfigError, WeightsError
from savecli.model import checkpoint
from savecli.train.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from savecli.model.network import Save
    from savecli.model.optim import BertAdam

N_KEPT = 2
_CHECKPOINT = re.compile(r"checkpoint-(\d+)$")
_BEST = re.compile(r"best-epoch-(\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a training is.

    Attributes:
        step: of the optimiser.
        epoch: the next batch is of this one.
        batch: its number in the epoch.
        best_epoch, best_score: chosen so far; -1 where none was measured.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_epoch: int = -1
    best_score: float = -1.0


class Folder:
    """One training's folder.

    Args:
        path: made if it is not there.
        options: of this training.
        writes: whether this process is the one that writes.

    Raises:
        ConfigError: another training's folder, or one that holds something else.
    """

    def __init__(self, path: Path, options: Options, *, writes: bool = True) -> None:
        self.path = path
        self._writes = writes
        known = path / "options.json"
        if known.is_file():
            options.check_same(json.loads(known.read_text("utf-8")), path)
            return
        if path.is_dir() and any(path.iterdir()):
            raise ConfigError(
                f"{path} is not empty, and holds no training", hint="name a new folder as --out"
            )
        if writes:
            path.mkdir(parents=True, exist_ok=True)
            _write(known, json.dumps(options.to_json(), indent=1) + "\n")

    def save(self, network: Save, optimiser: BertAdam, place: Place) -> None:
        """Writes a checkpoint, and drops those before the last two."""
        from safetensors.torch import save_file

        target = self.path / f"checkpoint-{place.step:06}"
        if target.exists() or not self._writes:
            return
        names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
        partial = self.path / f".{target.name}"
        shutil.rmtree(partial, ignore_errors=True)  # ours, of a run that was killed here
        checkpoint.write(partial, network, provenance={"step": place.step})
        tensors = {name: t.detach().cpu() for name, t in optimiser.tensors(names).items()}
        save_file(tensors, partial / "optimiser.safetensors")
        _write(partial / "place.json", json.dumps(asdict(place)) + "\n")
        partial.rename(target)
        for _, old in self._numbered(_CHECKPOINT)[:-N_KEPT]:
            shutil.rmtree(old)

    def load(self, network: Save, optimiser: BertAdam) -> Place:
        """Goes back to the last checkpoint, if there is one, and forgets the log after it.

        Raises:
            WeightsError: it is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

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
        self._cut_log(place.step)
        return place

    def keep_best(self, network: Save, epoch: int, provenance: Mapping[str, Any]) -> Path:
        """Writes an epoch's weights as the result, in place of the one before."""
        target = self.path / f"best-epoch-{epoch}"
        before = [path for number, path in self._numbered(_BEST) if number != epoch]
        if not target.exists():
            checkpoint.write(target, network, provenance=provenance)
        for path in before:
            shutil.rmtree(path)
        return target

    def best(self) -> Path | None:
        """The weights chosen so far."""
        found = self._numbered(_BEST)
        return found[-1][1] if found else None

    def log(self, record: Mapping[str, Any]) -> None:
        """Adds a line."""
        if not self._writes:
            return
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def history(self) -> Iterator[dict[str, Any]]:
        """The lines of the log."""
        path = self.path / "log.jsonl"
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            yield json.loads(line)

    def _cut_log(self, step: int) -> None:
        kept = [json.dumps(record) + "\n" for record in self.history() if record["step"] <= step]
        if self._writes and (self.path / "log.jsonl").is_file():
            _write(self.path / "log.jsonl", "".join(kept))

    def _numbered(self, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
        return sorted((int(m[1]), path) for path in self.path.iterdir() if (m := pattern.match(path.name)))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(text, "utf-8")
    partial.replace(path)
