"""A SAVE checkpoint, measured as it was trained: a clip is one piece, some frames and one filter bank."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from savecli.bench.records import Clip
from savecli.config import Config
from savecli.evaluate.models import Features, Rows
from savecli.evaluate.options import Ablation
from savecli.evaluate.speech import Said
from savecli.media.worker import Decoder
from savecli.model.dims import Precision
from savecli.model.gallery import Gallery as Encoded
from savecli.model.save import Branches, SaveEncoder
from savecli.prepare import Arrays, Kept, prepare

BLANK = ("visual", "audio", "speech")


class Whole:
    """The whole of SAVE; see `Model`.

    Raises:
        WeightsError: not a SAVE network.
        ConfigError: a device or a precision that does not go.
    """

    media_needs: tuple[str, ...] = ("visual",)
    speech_needs: tuple[str, ...] = ("speech", "n_words")

    def __init__(self, path: Path, config: Config, kept: Kept, precision: Precision = "fp32") -> None:
        self._encoder = SaveEncoder(path, device=config.device, precision=precision)
        self.precision = precision
        self._kept = kept
        self._turn = Lock()  # a network's activations need not be in memory twice
        dims = self._encoder.dims
        self.name, self.sha256, self.device = str(path), self._encoder.sha256, self._encoder.device
        self.n_frames, self.n_words = dims.n_frames, dims.n_words
        self.frames_per_s = dims.frames_per_s
        fed = json.dumps([dims.to_json(), asdict(self._encoder.spec)], sort_keys=True)
        # What was kept before there was a choice is fp32, and still good.
        self.identity = f"SAVE {self.sha256} {fed}" + ("" if precision == "fp32" else f" {precision}")

    def perceive(self, clip: Clip, decoder: Decoder) -> Arrays:
        """See `Model`."""
        assert clip.path is not None  # noqa: S101 - clips without a file are left out before
        prepared = prepare(clip.path, self._encoder.spec, decoder, sound=clip.sound)
        with self._turn:
            heard = {} if prepared.fbank is None else {"audio": self._encoder.hear(prepared.fbank)}
            return {"visual": self._encoder.look(prepared.frames), **heard}

    def understand(self, said: Said, media: Arrays) -> Arrays | None:  # noqa: ARG002
        """See `Model`."""
        with self._turn:
            states, n_words = self._encoder.understand(said.text)
        return {"speech": states, "n_words": np.array(n_words)} if n_words else None

    def hears(self, media: Arrays) -> bool:
        """See `Model`."""
        return "audio" in media

    def read(self, captions: Sequence[str]) -> Rows:
        """See `Model`."""
        return self._encoder.read(captions)

    def gather(self, videos: Iterable[Features], ablated: Collection[Ablation]) -> Films:
        """See `Model`; without "fusion" frames, sound and speech are scored each by itself."""
        branches = (_branches(video, ablated) for video in videos)
        fused = "fusion" not in ablated
        return Films(self._encoder, self._encoder.gallery(branches, self._blank(), fused=fused))

    def _blank(self) -> Branches:
        """Encoded once, like a video."""
        key = f"blank {self.identity}"
        kept = self._kept.load(key, needs=BLANK)
        if kept is None:
            blank = self._encoder.blank()
            kept = {name: getattr(blank, name) for name in BLANK}
            self._kept.store(key, kept)
        return Branches(visual=kept["visual"], audio=kept["audio"], speech=kept["speech"])


class Films:
    """Fused videos; see `Gallery`."""

    def __init__(self, encoder: SaveEncoder, encoded: Encoded) -> None:
        self._encoder, self._encoded = encoder, encoded

    def scores(self, captions: Sequence[str], rows: Rows) -> Iterator[Rows]:  # noqa: ARG002
        """See `Gallery`."""
        return self._encoder.scores(rows, self._encoded)

    def indexed(self) -> Mapping[str, tuple[Rows, NDArray[np.int64]]]:
        """See `Gallery`; each frame and the pooled row of each video in one graph, and what lies beside."""
        return {"seen": self._encoder.indexed(self._encoded)}

    def asked(self, captions: Sequence[str], rows: Rows) -> Mapping[str, Rows]:  # noqa: ARG002
        """See `Gallery`."""
        return {"seen": rows}


def _branches(video: Features, ablated: Collection[Ablation]) -> Branches:
    speech = None if "speech" in ablated else video.speech
    return Branches(
        visual=video.media["visual"],
        audio=None if "audio" in ablated else video.media.get("audio"),
        speech=speech["speech"] if speech else None,
        n_words=int(speech["n_words"]) if speech else 0,
    )
