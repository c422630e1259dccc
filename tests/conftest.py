"""Fixtures for every room and flow: an isolated home, no network, the shared media where they are, and fakes.

The fake encoder knows colours only, so a test can tell by eye what a video or a query must come to.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import settings

from savecli.datatypes import (
    Ask,
    Embedding,
    Media,
    MediaSpec,
    Segment,
    Sound,
    Transcript,
    Utterance,
    Video,
    WaveformBlock,
)
from savecli.media.encode import SAMPLE_RATE_HZ, write_video
from savecli.media.worker import Decoder
from savecli.model.encode import AIMS
from savecli.model.score import CALIBRATED, TERMS, Calibration, Query, Score, Step
from savecli.model.words import content
from savecli.store import Store

# A busy machine is no fault of what is tested. `make test` tries the same examples each time, so it fails
# with the change that broke something; `pytest --hypothesis-profile explore` looks for others.
settings.register_profile("explore", deadline=None)
settings.register_profile("save", deadline=None, derandomize=True)
settings.load_profile("save")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as savecli.__main__ has it, before torch is imported
SHARED = Path(os.environ.get("SAVE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}
FPS = 10


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the user's store, settings or network."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith("SAVE_") and name != "SAVE_SHARED":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAVE_HOME", str(home / "save"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(socket.socket, "connect", _refuse_network)


_connect = socket.socket.connect


def _refuse_network(self: socket.socket, address: object) -> None:
    if self.family != socket.AF_UNIX:
        raise AssertionError(f"a test tried to reach {address}")
    _connect(self, address)


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Real clips with captions and broken files; absent outside our own workplace."""
    if not (SHARED / "media" / "manifest.csv").exists():
        pytest.skip("needs ../shared/media: real clips that are not ours to distribute")
    return SHARED / "media"


@pytest.fixture(scope="session")
def parity() -> Path:
    """What SAVE's reference computes, as numbers; absent outside our own workplace."""
    if not (SHARED / "parity").is_dir():
        pytest.skip("needs ../shared/parity: the reference's numbers")
    return SHARED / "parity"


class FakeEncoder:
    """Sees and reads colours: red, green and blue are the first three axes, anything else is the last.

    It hears no colour in any sound; the one token of a sound is how loud it is. Its score takes a library as
    it is, whatever its size: a cosine of one half is an even chance.
    """

    name = "colours"
    batch_size = 1
    spec = MediaSpec(n_frames=2, resize_px=32, size_px=32, window_s=2.0, sound_window_s=1.0, sound_hop_s=0.5)
    identity: ClassVar = {"model": "colours", "weights": "none", "dim": "4"}
    score = Score(
        steps={term: Step(slope=10, centre=0.3, weight=0.5 if term == "fused" else 1) for term in TERMS},
        words=0.1,
        sharpness=20.0,
        calibrations=dict.fromkeys(
            CALIBRATED,
            Calibration(
                gain=2,
                crowd=0,
                spread=0,
                level=0,
                bias=-2 * float(np.logaddexp(0, 2)),
                prior_median=0.05,
                prior_spread=1,
                prior_n=20,
            ),
        ),
        threshold=0.5,
    )

    def __init__(self) -> None:
        self.seen: list[Media] = []
        self.heard: list[np.ndarray] = []

    def row(self, text: str) -> np.ndarray:
        """Counts of the colours' names, scaled: "red red green" is nearer to "red" than "red green"."""
        words = text.split()
        named = [words.count(colour) for colour in COLOURS]
        return self._unit(np.array([[*named, len(words) - sum(named)]]))[0]

    def hear(self, waveform: np.ndarray) -> Sound:
        self.heard.append(waveform)
        return Sound(rows=self.row("noise")[np.newaxis], tokens=np.full((1, 4), waveform.max(), np.float32))

    def embed(self, media: Sequence[Media]) -> list[Embedding]:
        self.seen += media
        return [self._embed(one) for one in media]

    def notes(self) -> tuple[str, ...]:
        return ()

    def queries(self, ask: Ask) -> list[Query]:
        given = [(getattr(ask, field), terms) for field, terms in AIMS.items() if getattr(ask, field)]
        return [
            Query(
                text=text,
                rows={term: self.row(text) for term in terms},
                words={word: 1 / len(text.split()) for word in content(text)} if "said" in terms else {},
            )
            for text, terms in given
        ]

    def _embed(self, media: Media) -> Embedding:
        shown = media.frames.mean(axis=(1, 2))
        frames = self._unit(np.pad(shown, ((0, 0), (0, 1)), constant_values=1))
        said = [self.row(utterance.text) for utterance in media.utterances]
        return Embedding(
            seen=self._unit(frames.mean(axis=0, keepdims=True)) if len(frames) else frames,
            frames=frames,
            said=np.stack(said) if said else np.zeros((0, 4), np.float32),
            **self.fused(frames, media.sound.rows) if media.sound else {},
        )

    def fused(
        self, frames: np.ndarray, heard: np.ndarray, said: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """As much of what is seen as of what is heard, and of what is said if that is given."""
        if not len(frames):
            return {"heard": heard}
        nothing = np.zeros((1, 4), np.float32)
        met = (frames, heard, nothing if said is None else said)
        parts = np.stack([rows.mean(axis=0) if len(rows) else nothing[0] for rows in met])
        parts /= np.linalg.norm(parts.sum(axis=0))
        return {"heard": heard, "fused": parts.sum(axis=0, keepdims=True), "parts": parts}

    @staticmethod
    def _unit(rows: np.ndarray) -> np.ndarray:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)).astype(np.float32)


class FakeTranscriber:
    """Hears what it was told to hear, whatever is played to it."""

    name = "parrot"

    def __init__(self, *heard: Utterance, error: Exception | None = None) -> None:
        self._heard = heard
        self._error = error

    def listen(self, blocks: Iterable[WaveformBlock]) -> Generator[float, None, Transcript]:
        if self._error:
            raise self._error
        for block in blocks:
            yield block.start_s + len(block.waveform) / 16_000
        return Transcript(
            language="en" if self._heard else "", language_probability=1.0, utterances=self._heard
        )


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def parrot() -> type[FakeTranscriber]:
    return FakeTranscriber


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    with Decoder() as opened:
        yield opened


@pytest.fixture(scope="session")
def colour_video() -> Callable[..., Path]:
    """Writes a video of plain colours, each as long as a segment; `loudness` None leaves sound out."""

    def make(path: Path, *colours: str, loudness: float | None = 0.5) -> Path:
        length_s = FakeEncoder.spec.window_s
        plain = [np.full((64, 64, 3), COLOURS[colour], np.uint8) for colour in colours]
        frames = [frame for frame in plain for _ in range(int(length_s * FPS))]
        time_s = np.arange(int(len(colours) * length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        tone = None if loudness is None else (loudness * np.sin(2800 * time_s)).astype(np.float32)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames, fps=FPS, waveform=tone)
        return path

    return make


@pytest.fixture
def colour_store(tmp_path: Path) -> Iterator[Store]:
    """An empty store for the fake encoder's embeddings."""
    with Store.open(tmp_path / "store", identity=FakeEncoder.identity, mode="write") as store:
        yield store


@pytest.fixture
def put(colour_store: Store, encoder: FakeEncoder) -> Callable[..., Video]:
    """Stores a made-up video: `shown`, `said` and `heard` give for each segment what its rows come from.

    With `fused` a segment with frames has a fused row too.
    """

    def put_(
        path: Path,
        shown: Sequence[str],
        *,
        said: Sequence[Sequence[str]] = (),
        heard: Sequence[Sequence[str]] = (),
        fused: bool = False,
        starts_s: Sequence[float] | None = None,
        fingerprint: str | None = None,
        **options: object,
    ) -> Video:
        starts = starts_s or [2.0 * i for i in range(len(shown))]
        spans = [Segment(start_s=start, end_s=start + 2) for start in starts]
        spoken = [
            [
                Utterance(start_s=span.start_s + 0.1 * i, end_s=span.start_s + 0.1 * i + 0.1, text=text)
                for i, text in enumerate(texts)
            ]
            for span, texts in zip(spans, [*said, *[()] * (len(spans) - len(said))], strict=True)
        ]
        windows = [*heard, *[()] * (len(spans) - len(heard))]
        embeddings, times = [], []
        for span, colours, utterances, sounds in zip(spans, shown, spoken, windows, strict=True):
            frames = np.array([encoder.row(c) for c in colours.split("|") if c], np.float32).reshape(-1, 4)
            rows = np.array([encoder.row(u.text) for u in utterances], np.float32).reshape(-1, 4)
            pooled = encoder._unit(frames.mean(axis=0, keepdims=True)) if len(frames) else frames
            played = np.array([encoder.row(w) for w in sounds], np.float32).reshape(-1, 4)
            more = encoder.fused(frames, played, rows) if fused else {"heard": played}
            embeddings.append(Embedding(seen=pooled, frames=frames, said=rows, **more))
            times.append(span.start_s + 0.5 * np.arange(len(frames)))
        video = Video(
            path=path,
            fingerprint=fingerprint or blake2b(bytes(path), digest_size=16).hexdigest(),
            size_bytes=1,
            mtime_ns=1,
            duration_s=spans[-1].end_s if spans else 0.0,
            has_video=True,
            has_audio=True,
        )
        understood = tuple(utterance for group in spoken for utterance in group)
        transcript = Transcript(language="en", language_probability=1.0, utterances=understood)
        colour_store.add(video, spans, embeddings, transcript, asr="parrot", frame_times=times, **options)
        return video

    return put_
