"""What the program does with a video, in order: look, cut, listen, see, embed.

The only module that knows the order of the rooms. `index` embeds through `Pipeline`, and so will whatever
measures it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from savecli.abreast import Abreast, End
from savecli.account import Account
from savecli.ahead import Ahead
from savecli.chunks import MOST_DECODERS, Slots, alone, chunks, together
from savecli.config import Config
from savecli.datatypes import (
    Embedding,
    Media,
    Segment,
    Sound,
    Transcript,
)
from savecli.errors import MediaError, UnseekableError
from savecli.events import Progress
from savecli.media.footage import Frame, Timeline
from savecli.media.segment import frame_times, segments
from savecli.media.sound import SILENT_PEAK, Cutter
from savecli.media.worker import Decoder
from savecli.senses import Encoder, Transcriber, as_media, hearing, listened

if TYPE_CHECKING:
    from savecli.model.encode import MiniEncoder


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


@dataclass(frozen=True, slots=True)
class _Work:
    """A video to look at, which was listened to.

    Attributes:
        wanted_s: the times to look at in each segment.
        sounds: by the numbers of the segments that have one.
    """

    timeline: Timeline
    spans: Sequence[Segment]
    wanted_s: Sequence[list[float]]
    transcript: Transcript
    sounds: Mapping[int, Sound]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run of segments: one embedding and one array of times each, and what they cost."""

    embeddings: list[Embedding]
    times_s: list[NDArray[np.float64]]
    account: Account


class Pipeline:
    """Reads videos one after the other; several of them, each in a thread of its own, share their models.

    Args:
        decoder: safe against the files.
        encoder: what sees and hears, and reads what is said.
        transcriber: what understands speech, or None to leave that out.
        pool: its threads embed, so that one file can use several cores; None leaves it to the caller's.
        slots: shared by pipelines that read beside each other; a long file is given those that are free.
    """

    def __init__(
        self,
        decoder: Decoder,
        encoder: Encoder,
        transcriber: Transcriber | None,
        pool: Executor | None = None,
        slots: Slots | None = None,
    ) -> None:
        self._encoder = encoder
        self._transcriber = transcriber
        self._pool = pool
        self._slots = slots or Slots(1)
        helpers = [decoder.twin() for _ in range(min(self._slots.n, MOST_DECODERS) - 1)]
        self._decoders = [decoder, *helpers]

    def twin(self) -> Pipeline:
        """Another that reads beside this one, with a decoder of its own and the same models."""
        twin = self._decoders[0].twin()
        return Pipeline(twin, self._encoder, self._transcriber, self._pool, self._slots)

    def interrupt(self) -> None:
        """End the decoders' processes, whatever they are at, from any thread; the next video starts anew."""
        for decoder in self._decoders:
            decoder.close()

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
        with self._slots.file():
            return (yield from self._process(path, heard))

    def _process(self, path: Path, heard: Timeline | None) -> Generator[Progress, None, Processed]:
        account = Account()
        with account.clock("decode"):
            timeline = self._decoders[0].probe(path)
        account.n_bad_packets += timeline.n_bad_packets
        account.note_missing(timeline)
        spans = segments(timeline.duration_s, window_s=self._encoder.spec.window_s)
        heard = heard or timeline
        transcript, sounds = yield from self._listen(heard, spans, account)
        wanted_s = [self._times_s(span) for span in spans]
        seen = yield from self._see(_Work(timeline, spans, wanted_s, transcript, sounds), account)
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
            embeddings=[embedding for one in seen for embedding in one.embeddings],
            frame_times=[times_s for one in seen for times_s in one.times_s],
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
        stream = self._decoders[0].waveform(timeline, sample_rate_hz=rate_hz)
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

    def _see(self, work: _Work, account: Account) -> Generator[Progress, None, list[_Seen]]:
        """What is seen, in the order of time."""
        if not work.timeline.has_video:
            account.notes.append("no picture, only sound")
        last_s = [times_s[-1] for times_s in work.wanted_s]
        try:
            seen = yield from self._look_at(chunks(work.timeline, work.spans, last_s), work)
        except UnseekableError:
            seen = yield from self._look_at([range(len(work.spans))], work)
        for one in seen:
            account.add(one.account)
        account.notes += self._encoder.notes()
        return seen

    def _times_s(self, span: Segment) -> list[float]:
        """The times to look at in it."""
        spec = self._encoder.spec
        return [span.start_s + at_s for at_s in frame_times(span, spec.n_frames, window_s=spec.window_s)]

    def _look_at(self, runs: Sequence[range], work: _Work) -> Generator[Progress, None, list[_Seen]]:
        """What is seen in these runs of segments, in several of them at a time."""
        workers = [partial(self._look, decoder, work) for decoder in self._decoders]
        seen: dict[range, _Seen] = {}
        n_done = 0
        with ExitStack() as stack:
            if len(runs) == 1:
                events = alone(runs[0], workers[0])
            else:
                for helper in self._decoders[1:]:
                    stack.callback(helper.close)
                crew = stack.enter_context(Abreast(workers, interrupt=self.interrupt))
                # The first of them comes last: where no seek leads to the others, little is read in vain.
                events = together([*runs[1:], runs[0]], crew, self._slots)
            for event in stack.enter_context(closing(events)):
                if isinstance(event, End):
                    seen[event.job] = event.result()
                    continue
                n_done += event.told
                path, done_s = work.timeline.path, work.spans[n_done - 1].end_s
                yield Progress(path=path, stage="see", done_s=done_s, duration_s=work.timeline.duration_s)
        return [seen[run] for run in runs]

    def _look(self, decoder: Decoder, work: _Work, run: range) -> Generator[int, None, _Seen]:
        """What is seen in a run of segments; yields how many more of them are done."""
        spec, account = self._encoder.spec, Account()
        # What was shown last is asked for again, and not kept: no picture is given twice.
        lead_s = work.wanted_s[run.start - 1][-1:] if run.start else []
        wanted_s = [*lead_s, *(time_s for number in run for time_s in work.wanted_s[number])]
        stream = decoder.frames(
            work.timeline, wanted_s, resize_px=spec.resize_px, size_px=spec.size_px, seek=run.start > 0
        )
        owners = [-1] * len(lead_s) + [number for number in run for _ in work.wanted_s[number]]
        frames = account.metered(stream) if work.timeline.has_video else iter(())
        seen = _Seen([], [], account)
        waiting: list[Media] = []
        with Ahead[int, list[Embedding]](self._pool) as ahead:
            for number, shown in _by_segment(frames, owners, run):
                span, sound = work.spans[number], work.sounds.get(number)
                waiting.append(as_media(span, shown, sound, work.transcript, spec))
                seen.times_s.append(waiting[-1].frame_times_s)
                account.n_frames += len(shown)
                is_last = number == run[-1]
                if len(waiting) < self._encoder.batch_size and not is_last:
                    continue
                ahead.give(len(waiting), partial(self._encoder.embed, waiting))
                waiting = []
                for n_done, rows in ahead.taken(rest=is_last):
                    seen.embeddings.extend(rows)
                    yield n_done
        account.stage_s["see"] += ahead.spent_s
        account.n_bad_packets += stream.n_bad_packets
        return seen


def _by_segment(
    frames: Iterator[Frame], owners: Sequence[int], run: range
) -> Iterator[tuple[int, list[Frame]]]:
    """Frames in order of time -> those of each segment of a run, without holding more than one segment's."""
    ahead = next(frames, None)
    for number in run:
        own: list[Frame] = []
        while ahead is not None and owners[ahead.index] <= number:
            if owners[ahead.index] == number:
                own.append(ahead)
            ahead = next(frames, None)
        yield number, own


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
        yield Pipeline(decoder, encoder, transcriber, pool, Slots(config.jobs))


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
