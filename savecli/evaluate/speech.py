"""What is said in a benchmark's videos: given with it, understood by our own speech room, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from savecli.bench.records import Clip
from savecli.datatypes import Segment, Transcript, Utterance
from savecli.events import ended
from savecli.media.worker import Decoder
from savecli.prepare import Arrays, Kept, sound_file
from savecli.senses import Transcriber

SAMPLE_RATE_HZ = 16_000
VERSION = 1
"""Of what is kept; another number makes everything anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is said in one video.

    Attributes:
        text: all of it, "" for nothing.
        utterances: None where nothing is known of when.
    """

    text: str = ""
    utterances: tuple[Utterance, ...] | None = None

    @property
    def key(self) -> str:
        """The same for what is the same."""
        return json.dumps(asdict(self), sort_keys=True)

    def within(self, spans: Sequence[Segment]) -> list[tuple[Utterance, ...]]:
        """What is said in each segment of a video.

        Text without times counts as spoken from start to end at an even pace: a segment has so many of the
        words, in their order, as it has of the length, as one utterance.
        """
        if self.utterances is not None:
            whole = Transcript(utterances=self.utterances)
            return [whole.within(span.start_s, span.end_s) for span in spans]
        words = self.text.split()
        ends = [round(len(words) * span.end_s / spans[-1].end_s) for span in spans]
        return [
            (Utterance(start_s=span.start_s, end_s=span.end_s, text=" ".join(words[start:end])),)
            if start < end
            else ()
            for span, start, end in zip(spans, [0, *ends], ends, strict=False)
        ]


class Speech(Protocol):
    """Where transcripts come from; `name` says so."""

    name: str

    def of(self, clip: Clip, source: str, decoder: Decoder) -> Said:
        """What is said in a clip with a file, which `source` names.

        Raises:
            MediaError: it cannot be heard.
            SpeechError: nothing can be understood here.
        """
        ...


class Silence:
    """Nothing is said."""

    name = "none"

    def of(self, clip: Clip, source: str, decoder: Decoder) -> Said:  # noqa: ARG002
        """Nothing."""
        return Said()


class Given:
    """Transcripts that came with the benchmark."""

    def __init__(self, file: Path) -> None:
        self.name = file.name

    def of(self, clip: Clip, source: str, decoder: Decoder) -> Said:  # noqa: ARG002
        """As it came: SAVE's rule for short texts counts white space."""
        return Said(text=clip.speech or "")


class Own:
    """Our own speech room; what it understood is kept.

    Args:
        name: of the transcriber.
        opened: makes it, when it is first needed; one thread at a time asks it.
        identity: of it and its settings.
        kept: where.
    """

    def __init__(self, name: str, opened: Callable[[], Transcriber], identity: str, kept: Kept) -> None:
        self.name = f"asr {name}"
        self._opened, self._identity, self._kept = opened, identity, kept
        self._transcriber: Transcriber | None = None
        self._lock = Lock()

    def of(self, clip: Clip, source: str, decoder: Decoder) -> Said:
        """See `Speech`."""
        key = f"speech {VERSION}\0{self._identity}\0{source}"
        kept = self._kept.load(key, needs=("utterances",))
        if kept is None:
            kept = _packed(self._listen(clip, decoder))
            self._kept.store(key, kept)
        utterances = _unpacked(kept)
        return Said(text=" ".join(u.text for u in utterances), utterances=utterances)

    def _listen(self, clip: Clip, decoder: Decoder) -> Transcript:
        assert clip.path is not None  # noqa: S101 - clips without a file are left out before
        timeline = sound_file(clip.sound, decoder) if clip.sound else decoder.probe(clip.path)
        if not timeline.has_audio:
            return Transcript()
        with self._lock:
            self._transcriber = self._transcriber or self._opened()
            blocks = decoder.waveform(timeline, sample_rate_hz=SAMPLE_RATE_HZ)
            return ended(self._transcriber.listen(blocks))


def _packed(transcript: Transcript) -> Arrays:
    spoken = [(u.start_s, u.end_s, u.text) for u in transcript.utterances]
    return {"utterances": np.frombuffer(json.dumps(spoken).encode(), np.uint8)}


def _unpacked(kept: Arrays) -> tuple[Utterance, ...]:
    spoken = json.loads(kept["utterances"].tobytes())
    return tuple(Utterance(start_s=start_s, end_s=end_s, text=text) for start_s, end_s, text in spoken)
