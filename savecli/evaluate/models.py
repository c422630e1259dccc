"""What an evaluation asks of a model: branches of a video that are kept, and galleries made of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from savecli.bench.records import Clip
from savecli.config import Config
from savecli.errors import WeightsError
from savecli.evaluate.options import MINI, Ablation
from savecli.evaluate.speech import Said
from savecli.media.worker import Decoder
from savecli.model.dims import Precision
from savecli.prepare import Arrays, Kept

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """A video before fusion.

    Attributes:
        media: what the model made of its pictures and its sound.
        said: what is said in it.
        speech: what the model made of that; None where nothing is said.
    """

    media: Arrays
    said: Said
    speech: Arrays | None


class Gallery(Protocol):
    """V videos that are searched."""

    def scores(self, captions: Sequence[str], rows: Rows) -> Iterator[Rows]:
        """The (n, V) scores of so many captions at a time; `rows` is what `Model.read` made of all."""
        ...

    def indexed(self) -> Mapping[str, tuple[Rows, NDArray[np.int64]]]:
        """What a graph is built of: by kind, (R, D) unit rows and (R,) the video that each is of."""
        ...

    def asked(self, captions: Sequence[str], rows: Rows) -> Mapping[str, Rows]:
        """What a graph is asked: by kind, (Q, D) unit rows."""
        ...


class Model(Protocol):
    """A model that videos are found by.

    Attributes:
        name, sha256: for the report.
        identity: names all that a video's features depend on.
        device: where it computes.
        precision: of what it encodes frames and sound with.
        n_frames, n_words: that it reads at most.
        media_needs, speech_needs: names of arrays without which what was kept is no good.
    """

    name: str
    sha256: str
    identity: str
    device: str
    precision: Precision
    n_frames: int
    n_words: int
    media_needs: tuple[str, ...]
    speech_needs: tuple[str, ...]

    def perceive(self, clip: Clip, decoder: Decoder) -> Arrays:
        """Pictures and sound of a clip that has a file; may be called by several threads.

        Raises:
            MediaError: it cannot be read.
        """
        ...

    def understand(self, said: Said, media: Arrays) -> Arrays | None:
        """What is said in a video; None where the model reads nothing of it."""
        ...

    def hears(self, media: Arrays) -> bool:
        """Whether there is any sound."""
        ...

    def read(self, captions: Sequence[str]) -> Rows:
        """(N, D) unit rows."""
        ...

    def gather(self, videos: Iterable[Features], ablated: Collection[Ablation]) -> Gallery:
        """The gallery of these videos, without what is ablated."""
        ...


def open_model(name: str, config: Config, kept: Kept, precision: Precision = "fp32") -> Model:
    """The bundled model, or a SAVE checkpoint.

    Args:
        name: MINI; a folder of ours, a file of the reference implementation's, or a folder of `save train`.
        config: settings of this run.
        kept: where features are.
        precision: of a SAVE checkpoint, see `Options`.

    Raises:
        WeightsError: weights that are missing or damaged.
        ConfigError: no such device here, or a precision that does not go with it.
    """
    if name == MINI:
        from savecli.evaluate.mini import Mini

        return Mini(config)
    from savecli.evaluate.whole import Whole

    path = Path(name).expanduser()
    if not path.exists():
        raise WeightsError(
            f"there is no model {name}", hint=f"{MINI}, or the path of a SAVE checkpoint (save model convert)"
        )
    return Whole(_checkpoint(path), config, kept, precision)


def _checkpoint(path: Path) -> Path:
    """Of a training, the weights that did best."""
    if (path / "model.json").exists() or not (path / "options.json").is_file():
        return path
    best = sorted(path.glob("best-epoch-*"), key=lambda found: (len(found.name), found.name))
    if not best:
        raise WeightsError(f"the training in {path} has no result yet", hint="wait for its first epoch")
    return best[-1]
