"""What the steps share: the work folder, what is fetched, the text encoder, and a little arithmetic."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from savecli import config
from savecli.errors import SaveError
from savecli.model.text import TextEncoder, unit
from savecli.model.weights import locate

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Rights:
    """Where a set of data comes from, and what its source says about using it.

    Attributes:
        clear: whether `--strict-licences` trains on it.
    """

    source: str
    licence: str
    clear: bool = True


@dataclass
class Work:
    """One run: its data, its folder, and what it may use.

    Attributes:
        data: the shared training data.
        folder: where everything is kept that is made or fetched.
        strict: leave out what has no clear licence.
        seed: of everything random.
    """

    data: Path
    folder: Path
    strict: bool
    seed: int

    def path(self, name: str) -> Path:
        """Where `name` lies, or will lie."""
        return self.folder / name

    def done(self, *names: str) -> bool:
        """Whether all of these files are there; each appears whole or not at all."""
        return all(self.path(name).exists() for name in names)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file that appears under its name when it is complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".partial-", delete=False) as file:
            try:
                yield file
            except BaseException:
                Path(file.name).unlink()
                raise
        Path(file.name).chmod(0o644)
        Path(file.name).replace(self.path(name))

    def save_npz(self, name: str, **arrays: NDArray[Any]) -> None:
        """The arrays by their names."""
        with self.writing(name) as file:
            np.savez(file, **arrays)

    def save_json(self, name: str, value: object) -> None:
        """One line for each item, to be read by people too."""
        with self.writing(name) as file:
            file.write((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def save_safetensors(self, name: str, tensors: Mapping[str, NDArray[Any]]) -> None:
        """The tensors by their names."""
        with self.writing(name) as file:
            file.write(save({key: np.ascontiguousarray(value) for key, value in tensors.items()}))

    def read_json(self, name: str) -> Any:
        """What `save_json` wrote."""
        return json.loads(self.path(name).read_text("utf-8"))

    def listed(self, name: str, rights: Mapping[str, Rights]) -> list[dict[str, str]]:
        """The lines of `images.jsonl` or `audio.jsonl` that this run may use."""
        rows = map(json.loads, (self.data / name).read_text("utf-8").splitlines())
        return [row for row in rows if rights[row["set"]].clear or not self.strict]

    def text(self, name: str) -> Any:
        """A JSON file of the training data's texts."""
        return json.loads((self.data / "text" / name).read_text("utf-8"))

    def fetch(self, command: Sequence[str], name: str, sha256: str) -> Path:
        """`downloads/name`, which `command` puts into the folder where it runs.

        Raises:
            SaveError: it cannot be had, or is another file than the one that is meant.
        """
        folder = self.path("downloads")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        hint = f"put the file with SHA-256 {sha256} into {folder} by hand"
        if not path.exists():
            try:
                subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
                raise SaveError(f"cannot fetch {name} with {' '.join(command)}: {said}", hint=hint) from error
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise SaveError(f"{path} is not there, or not the file that was published", hint=hint)
        return path


def text_encoder() -> TextEncoder:
    """MiniLM, in which everything is named."""
    files = locate("all-minilm-l6-v2", config.load().model_dir)
    return TextEncoder(files["model.safetensors"], files["tokenizer.json"])


def named(encoder: TextEncoder, phrases: Iterable[Sequence[str]]) -> Rows:
    """(N, 384): for each concept the unit mean of its phrases."""
    return unit(np.stack([encoder.encode(said).mean(axis=0) for said in phrases]))


def components(n: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The numbers below `n`, those of a pair together; in order, each and all."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for one, other in pairs:
        parent[root(one)] = root(other)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for i in range(n):
        members[root(i)].append(i)
    return list(members.values())


def rarer_more(classes: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """(N,) classes -> chances to draw each: of a class twice as large, 2 ** -power of a smaller one's."""
    weight = np.bincount(classes)[classes] ** -power
    return weight / weight.sum()


def average_precision(cosines: Rows, right: NDArray[np.bool_]) -> float:
    """Of (N,) items ranked by their cosines, the (N,) right ones; at least one is."""
    ranked = right[np.argsort(-cosines, kind="stable")]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


def mean_average_precision(cosines: Rows, classes: NDArray[np.int64]) -> float:
    """How well phrases find what they name, over the classes that occur.

    Args:
        cosines: (Q, N) of the phrase for each class with each item.
        classes: (N,) of the items.
    """
    found = [average_precision(row, classes == q) for q, row in enumerate(cosines) if (classes == q).any()]
    return float(np.mean(found))
