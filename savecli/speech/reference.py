"""openai-whisper (torch): the reference engine, and the one for devices that CTranslate2 does not know."""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterable, Sequence
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
    from whisper.model import Whisper


class OpenAIWhisper:
    """A transcriber on an openai-whisper checkpoint; VAD, rules and settings are those of FasterWhisper.

    Args:
        checkpoint: a file of openai's, or one made by `convert_ct2_to_openai`.
        name: what the store calls this model.
        language: ISO 639-1; None detects it. English-only weights always say "en".
        device: as torch names it; "auto" for CUDA where there is one and the CPU otherwise. Not MPS, which
            lacks the float64 that whisper's word times need.

    Raises:
        SpeechError: openai-whisper or the file is missing, the file is no checkpoint, the language unknown.
    """

    def __init__(
        self, checkpoint: Path, *, name: str, language: str | None = None, device: str = "auto"
    ) -> None:
        check_files(checkpoint.parent, (checkpoint.name,))
        self.name = name
        self._model = _load(checkpoint, device)
        self.language = check_language(language, _languages(self._model), name)

    def transcribe(self, blocks: Iterable[WaveformBlock]) -> Transcript:
        """What is said in `blocks` (16 kHz mono, in order of time), read lazily."""
        return transcribe(blocks, self, self.language)

    def listen(self, blocks: Iterable[WaveformBlock]) -> Generator[float, None, Transcript]:
        """The same, yielding after each stretch the time up to which has been listened."""
        return listen(blocks, self, self.language)

    def detect_language(self, waveform: NDArray[np.float32]) -> tuple[str, float]:
        """See `savecli.speech.transcribe.Engine`."""
        from whisper.audio import log_mel_spectrogram, pad_or_trim

        mel = log_mel_spectrogram(pad_or_trim(waveform), n_mels=self._model.dims.n_mels)
        _, probabilities = self._model.detect_language(mel.to(self._model.device))
        language = max(probabilities, key=probabilities.__getitem__)
        return language, float(probabilities[language])

    def hear(self, waveform: NDArray[np.float32], language: str) -> Sequence[Draft]:
        """See `savecli.speech.transcribe.Engine`."""
        result = self._model.transcribe(
            waveform,
            language=language,
            beam_size=BEAM_SIZE,
            temperature=TEMPERATURES,
            condition_on_previous_text=False,
            word_timestamps=True,
            sample_len=max_new_tokens(waveform.size / SAMPLE_RATE_HZ),
            fp16=self._model.device.type == "cuda",
            verbose=None,
        )
        return [_draft(segment) for segment in result["segments"]]


def _draft(segment: dict[str, Any]) -> Draft:
    return Draft(
        words=tuple(DraftWord(float(w["start"]), float(w["end"]), w["word"]) for w in segment["words"]),
        avg_logprob=segment["avg_logprob"],
        compression_ratio=segment["compression_ratio"],
        no_speech_prob=segment["no_speech_prob"],
    )


def _languages(model: Whisper) -> Sequence[str]:
    from whisper.tokenizer import LANGUAGES

    return tuple(LANGUAGES)[: model.num_languages] if model.is_multilingual else ("en",)


def _load(checkpoint: Path, device: str) -> Whisper:
    try:
        import torch
        from whisper.model import ModelDimensions, Whisper
    except ImportError as error:
        raise SpeechError(
            "the speech engine openai-whisper is not installed", hint="pip install 'savecli[whisper]'"
        ) from error
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # Not whisper.load_model: it takes names as well, and downloads what it finds under them.
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        model = Whisper(ModelDimensions(**content["dims"]))
        model.load_state_dict(content["model_state_dict"])
        if heads := content.get("alignment_heads"):
            mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
            mask[tuple(zip(*heads, strict=True))] = True
            model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
        return model.to(device)
    except (RuntimeError, KeyError, TypeError, IndexError, pickle.UnpicklingError) as error:
        raise SpeechError(
            f"{checkpoint} does not load as an openai-whisper checkpoint on {device}: {error}",
            hint="--device cpu works everywhere; a damaged file can be converted again",
        ) from error
