"""What both engines are told, so that they differ in speed only."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from savecli.errors import SpeechError

BEAM_SIZE = 5
# One retry, to get out of a loop of repetitions. More of them kept no further word of noisy speech, and
# over music, where all is dropped in the end, the library's six took up to twice as long.
TEMPERATURES = (0.0, 0.4)
_MAX_NEW_TOKENS = 224
_MAX_TOKENS_PER_S = 20
_SPARE_TOKENS = 24


def max_new_tokens(speech_s: float) -> int:
    """How much text to allow for a window: at most what openai-whisper does, less for short speech.

    Over music the model repeats itself until it is stopped, and that is where the time goes. The fastest
    speech in a script that takes many tokens stays below 20 a second.
    """
    return min(_MAX_NEW_TOKENS, _SPARE_TOKENS + round(_MAX_TOKENS_PER_S * speech_s))


def check_language(language: str | None, known: Collection[str], model: str) -> str | None:
    """The language to tell the engine: what was asked for, "en" for English-only weights, None to detect.

    Raises:
        SpeechError: the model does not know `language`.
    """
    if language is not None and language not in known:
        raise SpeechError(
            f"speech model {model} does not know the language {language!r}",
            hint=f"it knows {', '.join(sorted(known))}",
        )
    return next(iter(known)) if len(known) == 1 else language


def check_files(folder: Path, needed: Iterable[str]) -> None:
    """Refuse a folder of weights that lacks a file.

    Raises:
        SpeechError: names every file that is missing.
    """
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise SpeechError(
            f"speech weights in {folder} lack {', '.join(missing)}",
            hint="save model list shows where each file comes from and what to type",
        )
