"""Videos and captions -> their features, made once and kept.

What is kept of a video hangs on its content, on the file of sound beside it if there is one, on the model and
what that is fed; what is kept of its speech on the words as well. Neither hangs on what is ablated, on the
score or on a metric. A video is kept as soon as it is done, so a killed run loses those in work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from savecli.bench.records import Clip
from savecli.errors import SaveError
from savecli.evaluate.models import Features, Model, Rows
from savecli.evaluate.speech import Said, Speech
from savecli.media.scan import fingerprint
from savecli.media.worker import Decoder
from savecli.prepare import Kept

VERSION = 1
"""Of what is kept; another number makes everything anew."""
NEEDS_MB = 0.3
CAPTIONS_AT_ONCE = 256


class Collected:
    """The features of one benchmark.

    Args:
        model: that makes them.
        speech: where transcripts come from.
        kept: where they are kept.
    """

    def __init__(self, model: Model, speech: Speech, kept: Kept) -> None:
        self._model, self._speech, self._kept = model, speech, kept
        self._keys: dict[str, tuple[str, str, Said]] = {}

    def bring(self, clip: Clip, decoder: Decoder) -> None:
        """Makes what is not there yet; may be called by several threads.

        Raises:
            MediaError: the clip cannot be read.
            SaveError: nothing can be kept, or speech cannot be understood here.
        """
        assert clip.path is not None  # noqa: S101 - clips without a file are left out before
        source = fingerprint(clip.path) + (f" {fingerprint(clip.sound)}" if clip.sound else "")
        key = f"video {VERSION}\0{self._model.identity}\0{source}"
        media = self._kept.load(key, needs=self._model.media_needs)
        if media is None:
            media = self._model.perceive(clip, decoder)
            self._kept.store(key, media)
        said = self._speech.of(clip, source, decoder)
        words = f"said {VERSION}\0{self._model.identity}\0{source}\0{said.key}"
        if said.text and self._kept.load(words, needs=self._model.speech_needs) is None:
            speech = self._model.understand(said, media)
            if speech is None:
                said = Said()
            else:
                self._kept.store(words, speech)
        self._keys[clip.video_id] = key, words, said

    def of(self, clip: Clip) -> Features:
        """What `bring` made.

        Raises:
            SaveError: it went away meanwhile.
        """
        key, words, said = self._keys[clip.video_id]
        media = self._kept.load(key, needs=self._model.media_needs)
        speech = self._kept.load(words, needs=self._model.speech_needs) if said.text else None
        if media is None or (said.text and speech is None):
            raise SaveError(
                f"what was kept of {clip.video_id} was removed during the run",
                hint="run the same command again: it goes on where it stopped",
            )
        return Features(media=media, said=said, speech=speech)

    def read(self, captions: Sequence[str]) -> Rows:
        """(N, D) unit rows."""
        blocks = [captions[i : i + CAPTIONS_AT_ONCE] for i in range(0, len(captions), CAPTIONS_AT_ONCE)]
        return np.concatenate([self._read(block) for block in blocks])

    def _read(self, captions: Sequence[str]) -> Rows:
        key = f"captions {VERSION}\0{self._model.identity}\0" + "\0".join(captions)
        kept = self._kept.load(key, needs=("rows",))
        if kept is None:
            kept = {"rows": self._model.read(captions)}
            self._kept.store(key, kept)
        return kept["rows"]
