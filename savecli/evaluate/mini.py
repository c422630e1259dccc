"""save-mini, measured as it is used: a clip is cut, seen and heard as `save index` does, scored as a search.

A search orders the videos of a library by the chance of their best segment. For one query that chance rises
with the evidence (`Score.chance`), and all that it hangs on besides is the same for the whole library. So a
video's score here is the most that any of its segments has of evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from savecli.bench.records import Clip
from savecli.config import Config
from savecli.datatypes import Embedding, Media, Segment, Sound
from savecli.evaluate.models import Features, Rows
from savecli.evaluate.options import MINI, Ablation
from savecli.evaluate.speech import Said
from savecli.events import ended
from savecli.media.worker import Decoder
from savecli.model.dims import Precision
from savecli.model.encode import MiniEncoder, Perceived
from savecli.model.score import TERMS, Candidates, Query, Stack
from savecli.model.text import MAX_TOKENS
from savecli.model.words import content
from savecli.pipeline import Pipeline, make_encoder
from savecli.prepare import Arrays, sound_file

CAPTIONS_AT_ONCE = 64
MEDIA = ("frames", "heard", "tokens")
SPEECH = ("said", "states")


class Mini:
    """The bundled model; see `Model`."""

    name = MINI
    precision: Precision = "fp32"
    media_needs: tuple[str, ...] = ("spans", *(f"{part}{name}" for name in MEDIA for part in ("", "n_")))
    speech_needs: tuple[str, ...] = tuple(f"{part}{name}" for name in SPEECH for part in ("", "n_"))
    n_words = MAX_TOKENS

    def __init__(self, config: Config) -> None:
        self._encoder = make_encoder(config)
        self.device = self._encoder.device  # and so its networks are loaded before threads ask for them
        self.n_frames = self._encoder.spec.n_frames
        self.identity = " ".join(f"{name} {value}" for name, value in self._encoder.identity.items())
        # It lists the hashes of all other files.
        self.sha256 = sha256((self._encoder.home / "model.json").read_bytes()).hexdigest()

    def perceive(self, clip: Clip, decoder: Decoder) -> Arrays:
        """See `Model`."""
        assert clip.path is not None  # noqa: S101 - clips without a file are left out before
        heard = sound_file(clip.sound, decoder) if clip.sound else None
        notes = _Notes(self._encoder)
        done = ended(Pipeline(decoder, notes, None).process(clip.path, heard=heard))
        spans = np.array([(span.start_s, span.end_s) for span in done.segments])
        return {"spans": spans, **_packed(MEDIA, [[getattr(b, name) for name in MEDIA] for b in notes.found])}

    def understand(self, said: Said, media: Arrays) -> Arrays | None:
        """See `Model`."""
        if not said.text.strip():
            return None
        return _packed(SPEECH, [self._encoder.understand(spoken) for spoken in said.within(_spans(media))])

    def hears(self, media: Arrays) -> bool:
        """See `Model`."""
        return bool(media["n_heard"].any())

    def read(self, captions: Sequence[str]) -> Rows:
        """See `Model`."""
        return self._encoder.read(captions)

    def gather(self, videos: Iterable[Features], ablated: Collection[Ablation]) -> Library:
        """See `Model`; without "fusion" there is no fused row, and the three modalities are left."""
        nothing = np.zeros((0, self._encoder.dim), np.float32)
        found: list[Embedding] = []
        spoken: list[frozenset[str]] = []
        n_segments = []
        for video in videos:
            spans = _spans(video.media)
            media = _unpacked(MEDIA, video.media)
            kept = None if "speech" in ablated else video.speech
            speech = [(nothing, nothing)] * len(spans) if kept is None else _unpacked(SPEECH, kept)
            for (frames, heard, tokens), (said, states) in zip(media, speech, strict=True):
                if "audio" in ablated:
                    heard = tokens = nothing
                branches = Perceived(frames=frames, heard=heard, tokens=tokens, said=said, states=states)
                found.append(self._encoder.fuse(branches, apart="fusion" in ablated))
            utterances = [()] * len(spans) if kept is None else video.said.within(spans)
            spoken += [frozenset(word for u in some for word in content(u.text)) for some in utterances]
            n_segments.append(len(spans))
        return Library(self._encoder, _candidates(found, spoken), n_segments)


class _Notes:
    """The encoder of a pipeline that notes each segment's branches, and fuses none."""

    def __init__(self, encoder: MiniEncoder) -> None:
        self.name, self.spec, self.identity = encoder.name, encoder.spec, encoder.identity
        self.batch_size = encoder.batch_size
        self.found: list[Perceived] = []
        self._encoder = encoder

    def hear(self, waveform: Rows) -> Sound:
        """See `Encoder`."""
        return self._encoder.hear(waveform)

    def embed(self, media: Sequence[Media]) -> list[Embedding]:
        """Notes them; nothing is stored."""
        branches = self._encoder.perceive(media)
        self.found += branches
        return [Embedding(seen=b.frames[:0], frames=b.frames[:0], said=b.said[:0]) for b in branches]

    def notes(self) -> tuple[str, ...]:
        """See `Encoder`."""
        return self._encoder.notes()


class Library:
    """All segments of all videos; see `Gallery`.

    Args:
        encoder: that they are from.
        segments: n of them, video by video.
        n_segments: (V,) of each video, 1 or more.
    """

    def __init__(self, encoder: MiniEncoder, segments: Candidates, n_segments: Sequence[int]) -> None:
        self._encoder, self._segments = encoder, segments
        self._owners = np.repeat(np.arange(len(n_segments)), n_segments)
        self._firsts = np.cumsum([0, *n_segments[:-1]])

    def scores(self, captions: Sequence[str], rows: Rows) -> Iterator[Rows]:
        """See `Gallery`."""
        queries, rule = self._queries(captions, rows), self._encoder.score
        usual = rule.usual(TERMS, self._segments)
        for start in range(0, len(queries), CAPTIONS_AT_ONCE):
            totals = rule.totals(queries[start : start + CAPTIONS_AT_ONCE], self._segments, usual)
            yield np.maximum.reduceat(totals, self._firsts, axis=1).astype(np.float32)

    def indexed(self) -> Mapping[str, tuple[Rows, NDArray[np.int64]]]:
        """See `Gallery`; of the rows that a store has graphs of."""
        stacks: dict[str, Stack] = {term: getattr(self._segments, term) for term in TERMS}
        return {term: (s.rows, self._owners[s.owners]) for term, s in stacks.items() if len(s.rows)}

    def asked(self, captions: Sequence[str], rows: Rows) -> Mapping[str, Rows]:
        """See `Gallery`."""
        queries = self._queries(captions, rows)
        return {term: np.stack([query.rows[term] for query in queries]) for term in TERMS}

    def _queries(self, captions: Sequence[str], rows: Rows) -> list[Query]:
        return [self._encoder.query(text, row) for text, row in zip(captions, rows, strict=True)]


def _candidates(found: Sequence[Embedding], spoken: Sequence[frozenset[str]]) -> Candidates:
    kinds = ("seen", "frames", "heard", "said", "fused", "parts")
    stacks = {kind: Stack.of([getattr(embedding, kind) for embedding in found]) for kind in kinds}
    return Candidates(n=len(found), spoken=spoken, **stacks)


def _spans(media: Arrays) -> list[Segment]:
    return [Segment(start_s=start_s, end_s=end_s) for start_s, end_s in media["spans"].tolist()]


def _packed(names: Sequence[str], segments: Sequence[Sequence[Rows]]) -> Arrays:
    """The rows of each segment, name by name -> all rows of a name, and how many are each segment's."""
    arrays: Arrays = {}
    for name, rows in zip(names, zip(*segments, strict=True), strict=True):
        arrays |= {name: np.concatenate(rows), f"n_{name}": np.array([len(r) for r in rows])}
    return arrays


def _unpacked(names: Sequence[str], arrays: Arrays) -> list[tuple[Rows, ...]]:
    """For each segment, its rows of each name."""
    split = [np.split(arrays[name], np.cumsum(arrays[f"n_{name}"])[:-1]) for name in names]
    return list(zip(*split, strict=True))
