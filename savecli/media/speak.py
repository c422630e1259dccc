"""Text -> a spoken waveform, with espeak-ng out of the package espeakng-loader (extra `toy`).

The library is called through ctypes: the bindings on PyPI expect it in the system. It is loaded for each
Voice anew, from a copy of its file, because its state outlives `espeak_Terminate`: only a fresh library
says the same sentences with the same samples twice.
"""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from savecli.errors import SaveError
from savecli.media.encode import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of espeak-ng's speak_lib.h.
SYNCHRONOUS, DO_NOT_EXIT, UTF8, RATE = 2, 0x8000, 1, 1
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
WORDS_PER_MINUTE = 190


class Voice:
    """A speaker of English.

    Args:
        name: one of espeak-ng's voices, with a variant if wanted, such as `en-gb-scotland+f2`.
        words_per_minute: how fast.

    Raises:
        SaveError: where the package is missing, its library does not run, or has no such voice.
    """

    def __init__(self, name: str = "en-us", words_per_minute: int = WORDS_PER_MINUTE) -> None:
        self._library, data = _fresh_library()
        self._rate_hz = self._library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), DO_NOT_EXIT)
        if self._rate_hz <= 0:
            raise SaveError(f"espeak-ng cannot read its data in {data}", hint="reinstall espeakng-loader")
        if self._library.espeak_SetVoiceByName(name.encode()):
            raise SaveError(f"espeak-ng finds no voice {name} in {data}", hint="reinstall espeakng-loader")
        self._library.espeak_SetParameter(RATE, words_per_minute, 0)
        self._library.espeak_ng_SetRandSeed(
            ctypes.c_long(1)
        )  # breathy variants draw; by default from the clock
        self._blocks: list[NDArray[np.int16]] = []
        self._callback = CALLBACK(self._keep)  # kept here for as long as the library may call it
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str) -> NDArray[np.float32]:
        """`text`, spoken: (S,) float32 in -1..1 at SAMPLE_RATE_HZ.

        What is said before has a say in it: the same texts in the same order give the same samples.
        """
        said = text.encode()
        size = ctypes.c_size_t(len(said) + 1)
        self._blocks = [np.zeros(1, np.int16)]
        if self._library.espeak_Synth(said, size, 0, 1, 0, UTF8, None, None):
            raise SaveError(f"espeak-ng cannot say {text!r}", hint="reinstall espeakng-loader")
        spoken = np.concatenate(self._blocks) / 32_768
        times = np.arange(len(spoken) * SAMPLE_RATE_HZ // self._rate_hz) * (self._rate_hz / SAMPLE_RATE_HZ)
        waveform: NDArray[np.float32] = np.interp(times, np.arange(len(spoken)), spoken).astype(np.float32)
        return waveform

    def _keep(self, samples: Any, n_samples: int, _: object) -> int:  # noqa: ANN401 - a ctypes pointer
        if samples and n_samples > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
        return 0  # go on


def _fresh_library() -> tuple[Any, str]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise SaveError(
            "the package espeakng-loader is not installed", hint="pip install 'savecli[toy]'"
        ) from error
    try:
        # A loaded file cannot be removed on Windows: there the copy is left to the system's cleaning.
        with TemporaryDirectory(prefix="save-voice-", ignore_cleanup_errors=True) as folder:
            copy = shutil.copy(espeakng_loader.get_library_path(), Path(folder))
            return ctypes.CDLL(str(copy)), espeakng_loader.get_data_path()
    except OSError as error:
        raise SaveError(f"espeak-ng cannot be loaded: {error}", hint="reinstall espeakng-loader") from error
