"""What the program does with a video, in order: look, cut, listen, see, embed.

The only module that knows the order of the rooms. `index` embeds through `Pipeline`, and so will whatever
measures it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from savecli.account import Account
from savecli.ahead import Ahead
from savecli.config import Config
from savecli.datatypes import (
    Embedding,
    Media,
    MediaSpec,
    Segment,
    Sound,
    Transcript,
    WaveformBlock,
)
from savecli.errors import MediaError
from savecli.events import Progress
from savecli.media.footage import Frame, Timeline
from savecli.media.segment import frame_times, segments
from savecli.media.sound import SILENT_PEAK, Cutter
from savecli.media.worker import Decoder

if TYPE_CHECKING:
    from savecli.model.encode import MiniEncoder


class Encoder(Protocol):
    """Media -> embedding; the weights decide what it is fed."""

    name: str
    spec: MediaSpec
    identity: Mapping[str, str]

    @property
    def batch_size(self) -> int:
        """Segments that are best given to `embed` together."""
        ...

    def hear(self, waveform: NDArray[np.float32]) -> Sound:
        """The sound of one segment, (S,) float32 mono at the spec's rate, from the segment's start."""
        ...

    def embed(self, media: Sequence[Media]) -> list[Embedding]:
        """One embedding for each segment."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What there is to tell since the last call, such as that memory did not suffice."""
        ...


class Transcriber(Protocol):
    """Waveform -> transcript."""

    name: str

    def listen(self, blocks: Iterable[WaveformBlock]) -> Generator[float, None, Transcript]:
        """Yields the time up to which has been listened; returns the transcript."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Processed:
    """A video as the store wants it.

    Attributes:
        timeline: what the file holds.
        segments, embeddings, frame_times: one each, in order of time.
        notes: what the owner should know.
        partial: whether some of it could not be decoded.
        stage_s: seconds spent in "decode", which is waiting for the decoder, "hear" and "see".
    """

    timeline: Timeline
    segments: tuple[Segment, ...]
    embeddings: list[Embedding]
    frame_times: list[NDArray[np.float64]]
    transcript: Transcript
    notes: tuple[str, ...]
    partial: bool
    stage_s: Mapping[str, float]


class Pipeline:
    """Reads videos one after the other; several of them, each in a thread of its own, share their models.

    Args:
        decoder: safe against the files.
        encoder: what sees and hears, and reads what is said.
        transcriber: what understands speech, or None to leave that out.
        pool: its threads embed, so that one file can use several cores; None leaves it to the caller's.
    """

    def __init__(
        self,
        decoder: Decoder,
        encoder: Encoder,
        transcriber: Transcriber | None,
        pool: Executor | None = None,
    ) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._transcriber = transcriber
        self._pool = pool

    def twin(self) -> Pipeline:
        """Another that reads beside this one, with a decoder of its own and the same models."""
        return Pipeline(self._decoder.twin(), self._encoder, self._transcriber, self._pool)

    def interrupt(self) -> None:
        """End the decoder's process, whatever it is at, from any thread; the next video starts another."""
        self._decoder.close()

    @property
    def asr(self) -> str:
        """The transcriber's name, "off" where there is none."""
        return self._transcriber.name if self._transcriber else "off"

    def process(self, path: Path, *, heard: Timeline | None = None) -> Generator[Progress, None, Processed]:
        """Everything that the store keeps of one file; yields how far it is.

        Args:
            path: of the video.
            heard: a file to hear in place of the video's own sound.

        Raises:
            MediaError: nothing in the file can be seen or heard.
        """
        account = Account()
        with account.clock("decode"):
            timeline = self._decoder.probe(path)
        account.n_bad_packets += timeline.n_bad_packets
        account.note_missing(timeline)
        spans = segments(timeline.duration_s, window_s=self._encoder.spec.window_s)
        heard = heard or timeline
        transcript, sounds = yield from self._listen(heard, spans, account)
        embeddings, times = yield from self._see(timeline, spans, transcript, sounds, account)
        if timeline.has_video and not account.n_frames:
            account.notes.append("no picture could be decoded")
            if not heard.has_audio or account.peak == 0:
                raise MediaError(
                    "no picture and no sound in it can be decoded", hint="does a player show anything?"
                )
        if account.n_bad_packets:
            account.notes.append(f"damaged: {account.n_bad_packets} packets could not be decoded")
        return Processed(
            timeline=timeline,
            segments=spans,
            embeddings=embeddings,
            frame_times=times,
            transcript=transcript,
            notes=tuple(account.notes),
            partial=account.is_partial or account.n_bad_packets > 0,
            stage_s=dict(account.stage_s),
        )

    def _listen(
        self, timeline: Timeline, spans: Sequence[Segment], account: Account
    ) -> Generator[Progress, None, tuple[Transcript, dict[int, Sound]]]:
        """The transcript, and by its number the sound of each segment that has one."""
        sounds: dict[int, Sound] = {}
        if not timeline.has_audio:
            account.notes.append("no audio track")
            return Transcript(), sounds
        rate_hz = self._encoder.spec.sample_rate_hz
        stream = self._decoder.waveform(timeline, sample_rate_hz=rate_hz)
        blocks = hearing(account.metered_sound(stream), Cutter(spans, rate_hz), self._encoder, sounds)
        listening = listened(blocks, self._transcriber, rate_hz)
        transcript: Transcript | None = None
        while transcript is None:
            with account.clock("hear", but="decode"):
                try:
                    done_s = next(listening)
                except StopIteration as end:
                    transcript = end.value
                    continue
            yield Progress(path=timeline.path, stage="hear", done_s=done_s, duration_s=timeline.duration_s)
        account.n_bad_packets += stream.n_bad_packets
        if account.peak < SILENT_PEAK:
            account.notes.append("the audio track is silent")
        elif self._transcriber and not transcript.utterances:
            account.notes.append("no speech")
        return transcript, sounds

    def _see(
        self,
        timeline: Timeline,
        spans: Sequence[Segment],
        transcript: Transcript,
        sounds: dict[int, Sound],
        account: Account,
    ) -> Generator[Progress, None, tuple[list[Embedding], list[NDArray[np.float64]]]]:
        if not timeline.has_video:
            account.notes.append("no picture, only sound")
        spec = self._encoder.spec
        targets = [
            (number, span.start_s + at_s)
            for number, span in enumerate(spans)
            for at_s in frame_times(span, spec.n_frames, window_s=spec.window_s)
        ]
        wanted = [time_s for _, time_s in targets] if timeline.has_video else []
        stream = self._decoder.frames(timeline, wanted, resize_px=spec.resize_px, size_px=spec.size_px)
        owners = [number for number, _ in targets]
        embeddings: list[Embedding] = []
        times: list[NDArray[np.float64]] = []
        frames: Iterator[Frame] = account.metered(stream) if wanted else iter(())
        shown_in = enumerate(_by_segment(frames, owners, len(spans)))
        waiting: list[Media] = []
        with Ahead[float, list[Embedding]](self._pool) as ahead:
            for span, (number, shown) in zip(spans, shown_in, strict=True):
                waiting.append(as_media(span, shown, sounds.pop(number, None), transcript, spec))
                times.append(waiting[-1].frame_times_s)
                account.n_frames += len(shown)
                is_last = span is spans[-1]
                if len(waiting) < self._encoder.batch_size and not is_last:
                    continue
                ahead.give(span.end_s, partial(self._encoder.embed, waiting))
                waiting = []
                for done_s, rows in ahead.taken(rest=is_last):
                    embeddings += rows
                    yield Progress(
                        path=timeline.path, stage="see", done_s=done_s, duration_s=timeline.duration_s
                    )
        account.stage_s["see"] += ahead.spent_s
        account.notes += self._encoder.notes()
        account.n_bad_packets += stream.n_bad_packets if wanted else 0
        return embeddings, times


def _by_segment(frames: Iterator[Frame], owners: Sequence[int], n_segments: int) -> Iterator[list[Frame]]:
    """Frames in order of time -> those of each segment, without holding more than one segment's."""
    ahead = next(frames, None)
    for number in range(n_segments):
        own: list[Frame] = []
        while ahead is not None and owners[ahead.index] == number:
            own.append(ahead)
            ahead = next(frames, None)
        yield own


def hearing(
    blocks: Iterable[WaveformBlock], cutter: Cutter, encoder: Encoder, sounds: dict[int, Sound]
) -> Iterator[WaveformBlock]:
    """The same blocks; as they pass, the encoder hears each segment that is over, into `sounds`."""
    for block in blocks:
        for number, waveform in cutter.add(block):
            sounds[number] = encoder.hear(waveform)
        yield block
    for number, waveform in cutter.finish():
        sounds[number] = encoder.hear(waveform)


def listened(
    blocks: Iterable[WaveformBlock], transcriber: Transcriber | None, rate_hz: int
) -> Generator[float, None, Transcript]:
    """What a transcriber does; where there is none, all blocks are read, and not a word is understood."""
    return transcriber.listen(blocks) if transcriber else _let_pass(blocks, rate_hz)


def _let_pass(blocks: Iterable[WaveformBlock], rate_hz: int) -> Generator[float, None, Transcript]:
    for block in blocks:
        yield block.start_s + len(block.waveform) / rate_hz
    return Transcript()


def as_media(
    span: Segment, shown: Sequence[Frame], sound: Sound | None, transcript: Transcript, spec: MediaSpec
) -> Media:
    """What an encoder is given of a segment."""
    size = (0, spec.size_px, spec.size_px, 3)
    return Media(
        frames=np.stack([frame.image for frame in shown]) if shown else np.zeros(size, np.uint8),
        frame_times_s=np.array([frame.time_s for frame in shown], np.float64),
        sound=sound,
        utterances=transcript.within(span.start_s, span.end_s),
    )


@contextmanager
def open_pipeline(config: Config) -> Iterator[Pipeline]:
    """A pipeline as the settings want it; its models are loaded, its decoder ends with it.

    Raises:
        WeightsError, SpeechError: a model that is not there or cannot run.
    """
    encoder = make_encoder(config)
    transcriber = make_transcriber(config)
    threads = ThreadPoolExecutor(config.jobs) if config.jobs > 1 else nullcontext()
    with Decoder(stall_s=config.stall_s) as decoder, threads as pool:
        yield Pipeline(decoder, encoder, transcriber, pool)


def make_encoder(config: Config) -> MiniEncoder:
    """The bundled model; torch is imported when it first sees a picture, not before.

    Raises:
        WeightsError: weights that are missing or damaged.
    """
    from savecli.model.encode import MiniEncoder

    return MiniEncoder(config.model_dir, device=config.device, batch_size=config.batch_size)


def make_transcriber(config: Config) -> Transcriber | None:
    """The transcriber that `asr` names: a Whisper model, with "openai/" before it on the reference engine.

    Raises:
        WeightsError, SpeechError: weights or an engine that are not there.
    """
    if config.asr == "off":
        return None
    from savecli.model import weights
    from savecli.speech import FasterWhisper, OpenAIWhisper, convert_ct2_to_openai

    *reference, model = config.asr.split("/")
    folder = weights.folder(f"whisper-{model}", config.model_dir)
    language = config.language or None
    if not reference:
        # CTranslate2 sees a GPU whose libraries it may then miss; on a CPU it always runs.
        device = "cuda" if config.device == "cuda" else "cpu"
        # One thread for each window: of those that are read at a time, whichever file they are of.
        n_threads, n_windows = (1, config.jobs) if device == "cpu" else (0, 1)
        return FasterWhisper(
            folder,
            name=config.asr,
            language=language,
            device=device,
            n_threads=n_threads,
            n_windows=n_windows,
        )
    checkpoint = config.model_dir / f"whisper-{model}" / "openai.pt"
    if not checkpoint.is_file():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        convert_ct2_to_openai(folder, checkpoint)
    device = "cpu" if config.device == "mps" else config.device
    return OpenAIWhisper(checkpoint, name=config.asr, language=language, device=device)
