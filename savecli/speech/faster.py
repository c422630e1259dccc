"""faster-whisper (CTranslate2): the engine for CPUs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Transcript, WaveformBlock
from savecli.errors import SpeechError
from savecli.speech.draft import Draft, DraftWord, is_kept
from savecli.speech.settings import BEAM_SIZE, TEMPERATURES, check_files, check_language, max_new_tokens
from savecli.speech.stretch import SAMPLE_RATE_HZ
from savecli.speech.transcribe import listen, transcribe

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

T = TypeVar("T")


MAX_PASSES = 3
UNHEARD_S = 3.0
"""A model may end before its window does. So much speech behind its last word is worth another pass."""


class FasterWhisper:
    """A transcriber on CTranslate2 weights; only a retry after a failed first attempt draws at random.

    Args:
        weights: a folder with model.bin, config.json, tokenizer.json and vocabulary.txt (or .json).
        name: what the store calls this model.
        language: ISO 639-1; None detects it. English-only weights always say "en".
        device: "cpu", "cuda", or "auto" for CUDA where CTranslate2 sees a device and the CPU otherwise.
        compute_type: as CTranslate2 has it; None means int8 on the CPU and float16 on CUDA.
        n_threads: of the CPU, for each window; 0 leaves it to CTranslate2.
        n_windows: heard at a time, of one file or of several that are listened to in threads.

    Raises:
        SpeechError: weights that are missing or damaged, a device or a language that cannot be used.
    """

    def __init__(
        self,
        weights: Path,
        *,
        name: str,
        language: str | None = None,
        device: str = "auto",
        compute_type: str | None = None,
        n_threads: int = 0,
        n_windows: int = 1,
    ) -> None:
        # Without tokenizer.json faster-whisper would ask the network for one.
        check_files(weights, ("model.bin", "config.json", "tokenizer.json", _vocabulary(weights)))
        self.name = name
        self._model = _load(weights, device, compute_type, n_threads, n_windows)
        self._n_windows = n_windows
        self._pool = ThreadPoolExecutor(n_windows) if n_windows > 1 else None
        self._model.encode = _EncodeOnce(self._model.encode)
        self.language = check_language(language, self._model.supported_languages, name)

    def transcribe(self, blocks: Iterable[WaveformBlock]) -> Transcript:
        """What is said in `blocks` (16 kHz mono, in order of time), read lazily."""
        return transcribe(blocks, self, self.language)

    def listen(self, blocks: Iterable[WaveformBlock]) -> Generator[float, None, Transcript]:
        """The same, yielding the times up to which has been listened."""
        submit = _Threads(self._pool) if self._pool else None
        return listen(blocks, self, self.language, submit=submit, n_ahead=self._n_windows if submit else 0)

    def detect_language(self, waveform: NDArray[np.float32]) -> tuple[str, float]:
        """See `savecli.speech.transcribe.Engine`."""
        # faster-whisper decodes all but the last frame, which is padding: the windows must be equal.
        features = self._model.feature_extractor(waveform)[..., :-1]
        language, probability, _ = self._model.detect_language(features=features)
        return language, probability

    def hear(self, waveform: NDArray[np.float32], language: str) -> Sequence[Draft]:
        """See `savecli.speech.transcribe.Engine`."""
        heard: list[Draft] = []
        done_s, length_s = 0.0, waveform.size / SAMPLE_RATE_HZ
        for _ in range(MAX_PASSES):
            rest = waveform[round(done_s * SAMPLE_RATE_HZ) :]
            drafts = self._drafts(rest, language, TEMPERATURES[0], BEAM_SIZE)
            if not all(is_kept(draft) for draft in drafts):
                drafts = self._drafts(rest, language, TEMPERATURES[1], 1)
            heard += [draft.later(done_s) for draft in drafts]
            ends_s = [word.end_s for draft in drafts for word in draft.words]
            done_s += max(ends_s, default=length_s)
            if length_s - done_s < UNHEARD_S:
                break
        return heard

    def _drafts(
        self, waveform: NDArray[np.float32], language: str, temperature: float, beam_size: int
    ) -> list[Draft]:
        from faster_whisper import BatchedInferencePipeline

        length_s = waveform.size / SAMPLE_RATE_HZ
        # The library's other way comes back for whatever lies behind the last word, and an encoder's window
        # costs the same however little that is.
        segments, _ = BatchedInferencePipeline(self._model).transcribe(
            waveform,
            language=language,
            beam_size=beam_size,
            temperature=temperature,
            word_timestamps=True,
            without_timestamps=False,
            vad_filter=False,
            clip_timestamps=[{"start": 0.0, "end": length_s}],
            batch_size=1,
            max_new_tokens=max_new_tokens(length_s),
        )
        return [
            Draft(
                words=tuple(DraftWord(word.start, word.end, word.word) for word in segment.words or ()),
                avg_logprob=segment.avg_logprob,
                compression_ratio=segment.compression_ratio,
                no_speech_prob=segment.no_speech_prob,
            )
            for segment in segments
        ]


class _EncodeOnce:
    """Remembers each thread's last 30 s window: the language is detected on the one that is decoded next.

    The encoder is most of the work on a short clip: without this, detection costs as much as the rest.
    """

    def __init__(self, encode: Callable[[NDArray[np.float32]], Any]) -> None:
        self._encode = encode
        self._last = threading.local()

    def __call__(self, features: NDArray[np.float32]) -> Any:  # noqa: ANN401 (a ctranslate2.StorageView)
        last: tuple[NDArray[np.float32], Any] | None = getattr(self._last, "window", None)
        # A batch of one is the same window.
        if last is None or not np.array_equal(features.ravel(), last[0]):
            last = self._last.window = features.ravel(), self._encode(features)
        return last[1]


class _Threads:
    """Calls functions in the threads of a pool."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def __call__(self, call: Callable[[], T]) -> _Promise[T]:
        return _Promise(self._pool.submit(call))


class _Promise(Generic[T]):
    """Waits for the result when it is called."""

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def __call__(self) -> T:
        return self._future.result()

    def cancel(self) -> None:
        """Nobody waits any more: what has not begun never does."""
        self._future.cancel()


def _vocabulary(weights: Path) -> str:
    return "vocabulary.json" if (weights / "vocabulary.json").exists() else "vocabulary.txt"


def _load(
    weights: Path, device: str, compute_type: str | None, n_threads: int, n_windows: int
) -> WhisperModel:
    import ctranslate2
    from faster_whisper import WhisperModel

    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    if compute_type is None:
        compute_type = "int8" if device == "cpu" else "float16"
    try:
        return WhisperModel(
            str(weights),
            device=device,
            compute_type=compute_type,
            cpu_threads=n_threads,
            num_workers=n_windows,
        )
    except (RuntimeError, ValueError) as error:
        raise SpeechError(
            f"speech weights in {weights} do not load on {device} as {compute_type}: {error}",
            hint="save model list checks the files; --device cpu works everywhere",
        ) from error
