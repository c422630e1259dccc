"""faster-whisper (CTranslate2): the engine for CPUs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from savecli.datatypes import Transcript, WaveformBlock
from savecli.errors import SpeechError
from savecli.speech.draft import Draft, DraftWord
from savecli.speech.settings import BEAM_SIZE, TEMPERATURES, check_files, check_language, max_new_tokens
from savecli.speech.stretch import SAMPLE_RATE_HZ
from savecli.speech.transcribe import listen, transcribe

if TYPE_CHECKING:
    from faster_whisper import WhisperModel


class FasterWhisper:
    """A transcriber on CTranslate2 weights; only a retry after a failed first attempt draws at random.

    Args:
        weights: a folder with model.bin, config.json, tokenizer.json and vocabulary.txt (or .json).
        name: what the store calls this model.
        language: ISO 639-1; None detects it. English-only weights always say "en".
        device: "cpu", "cuda", or "auto" for CUDA where CTranslate2 sees a device and the CPU otherwise.
        compute_type: as CTranslate2 has it; None means int8 on the CPU and float16 on CUDA.
        n_threads: of the CPU; 0 leaves it to CTranslate2.

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
    ) -> None:
        # Without tokenizer.json faster-whisper would ask the network for one.
        check_files(weights, ("model.bin", "config.json", "tokenizer.json", _vocabulary(weights)))
        self.name = name
        self._model = _load(weights, device, compute_type, n_threads)
        self._model.encode = _EncodeOnce(self._model.encode)
        self.language = check_language(language, self._model.supported_languages, name)

    def transcribe(self, blocks: Iterable[WaveformBlock]) -> Transcript:
        """What is said in `blocks` (16 kHz mono, in order of time), read lazily."""
        return transcribe(blocks, self, self.language)

    def listen(self, blocks: Iterable[WaveformBlock]) -> Generator[float, None, Transcript]:
        """The same, yielding after each stretch the time up to which has been listened."""
        return listen(blocks, self, self.language)

    def detect_language(self, waveform: NDArray[np.float32]) -> tuple[str, float]:
        """See `savecli.speech.transcribe.Engine`."""
        # faster-whisper decodes all but the last frame, which is padding: the windows must be equal.
        features = self._model.feature_extractor(waveform)[..., :-1]
        language, probability, _ = self._model.detect_language(features=features)
        return language, probability

    def hear(self, waveform: NDArray[np.float32], language: str) -> Sequence[Draft]:
        """See `savecli.speech.transcribe.Engine`."""
        segments, _ = self._model.transcribe(
            waveform,
            language=language,
            beam_size=BEAM_SIZE,
            temperature=TEMPERATURES,
            condition_on_previous_text=False,
            word_timestamps=True,
            max_new_tokens=max_new_tokens(waveform.size / SAMPLE_RATE_HZ),
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
    """Remembers the last 30 s window, for the language is detected on the one that is decoded next.

    The encoder is most of the work on a short clip: without this, detection costs as much as the rest.
    """

    def __init__(self, encode: Callable[[NDArray[np.float32]], Any]) -> None:
        self._encode = encode
        self._features = np.empty(0, dtype=np.float32)
        self._encoded: Any = None

    def __call__(self, features: NDArray[np.float32]) -> Any:  # noqa: ANN401 (a ctranslate2.StorageView)
        if not np.array_equal(features, self._features):
            self._features, self._encoded = features, self._encode(features)
        return self._encoded


def _vocabulary(weights: Path) -> str:
    return "vocabulary.json" if (weights / "vocabulary.json").exists() else "vocabulary.txt"


def _load(weights: Path, device: str, compute_type: str | None, n_threads: int) -> WhisperModel:
    import ctranslate2
    from faster_whisper import WhisperModel

    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    if compute_type is None:
        compute_type = "int8" if device == "cpu" else "float16"
    try:
        return WhisperModel(str(weights), device=device, compute_type=compute_type, cpu_threads=n_threads)
    except (RuntimeError, ValueError) as error:
        raise SpeechError(
            f"speech weights in {weights} do not load on {device} as {compute_type}: {error}",
            hint="save model list checks the files; --device cpu works everywhere",
        ) from error
