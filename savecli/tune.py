"""Which settings are fastest on this machine, tried on made-up videos and speech: `save doctor --tune`."""

from __future__ import annotations

import os
import time
import wave
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from savecli import machine
from savecli.config import MOST_JOBS, Config
from savecli.datatypes import WaveformBlock
from savecli.errors import WeightsError
from savecli.events import Indexed, ended
from savecli.figures import Tried
from savecli.measure import index_all
from savecli.media.encode import SAMPLE_RATE_HZ, narrate, write_video
from savecli.media.speak import Voice
from savecli.pipeline import make_transcriber, open_pipeline
from savecli.tuned import BUNDLED, BY_QUALITY, LEAST_X, Tuned, talk_x

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX, FPS, LOOP_S = 1280, 720, 25, 4
CLIP_S = 24.0
SPEECH_RATE_HZ = 16_000
BLOCK_S = 10.0
MUCH_SLOWER, NOTICEABLE = 1.5, 1.05
"""Fewer jobs are not tried once they are so much slower; others than one a core are not chosen for less."""
HOPELESS_X = LEAST_X / 2
"""Below it, larger models are not tried, but for those that come with the install."""
SENTENCES = (
    "The lighthouse keeper climbed the stairs with a lantern and looked out over the harbour.",
    "We should bring the ladder to the garden before it rains again this afternoon.",
    "She asked whether the museum would still be open when the train arrived at the station.",
    "Nobody at the market had ever seen a bicycle as old as the one he rode that morning.",
    "They talked for hours about the castle, the forest and the island behind the bay.",
)


def tune(config: Config) -> Generator[Tried, None, Tuned]:
    """Try numbers of jobs, and every Whisper model that is there; writes to a temporary folder only.

    Raises:
        SaveError: speech cannot be made up (extra `toy`), or weights are missing.
    """
    was_busy = _load() > machine.n_cores() / 2
    with TemporaryDirectory(prefix="save-tune-") as folder:
        most = min(machine.n_cores(), MOST_JOBS)
        config = replace(config, home=Path(folder) / "home", language="")
        clips, speech = _material(Path(folder), 2 * most)
        jobs = yield from _try_jobs(clips, config, most)
        config = replace(config, jobs=jobs)
        without_speech_x = _pass_x(clips, replace(config, asr="off"))
        yield Tried(setting="asr", value="off", x=without_speech_x)
        speech_x: dict[str, float] = {}
        for tried in _try_models(speech, config, without_speech_x):
            speech_x[tried.value] = tried.x
            yield tried
    return Tuned(
        machine=machine.fingerprint(),
        device=config.device,
        jobs=jobs,
        without_speech_x=round(without_speech_x, 2),
        speech_x={name: round(x, 2) for name, x in speech_x.items()},
        measured_on=date.today().isoformat(),
        was_busy=was_busy,
    )


def _load() -> float:
    """How many processes wanted a core in the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _try_jobs(clips: list[Path], config: Config, most: int) -> Generator[Tried, None, int]:
    """One job for each core, half as many, and so on; those that come near the best, twice."""
    best_x: dict[int, float] = {}

    def attempt(jobs: int) -> Tried:
        x = _pass_x(clips, replace(config, asr=BUNDLED[0], jobs=jobs))
        best_x[jobs] = max(x, best_x.get(jobs, 0.0))
        return Tried(setting="jobs", value=str(jobs), x=x)

    jobs = most
    while jobs and MUCH_SLOWER * best_x.get(2 * jobs, 0.0) >= max(best_x.values(), default=0.0):
        yield attempt(jobs)
        jobs //= 2
    near = [jobs for jobs, x in best_x.items() if MUCH_SLOWER * x >= max(best_x.values())]
    for jobs in near if len(near) > 1 else ():
        yield attempt(jobs)
    fastest = max(best_x, key=best_x.__getitem__)
    return fastest if best_x[fastest] > NOTICEABLE * best_x[most] else most


def _pass_x(clips: list[Path], config: Config) -> float:
    """How fast the clips are indexed once the models are loaded, in times of real time."""
    with TemporaryDirectory(dir=config.home.parent) as home, open_pipeline(config) as pipeline:
        started_s = time.perf_counter()
        events = index_all(clips, replace(config, home=Path(home)), pipeline)
        footage_s = sum(event.duration_s for event in events if isinstance(event, Indexed))
        return footage_s / (time.perf_counter() - started_s)


def _try_models(speech: NDArray[np.float32], config: Config, without_speech_x: float) -> Iterator[Tried]:
    """How fast each model hears speech, from the smallest one on, as far as it makes sense."""
    length = round(BLOCK_S * SPEECH_RATE_HZ)
    blocks = [
        WaveformBlock(start_s=at / SPEECH_RATE_HZ, waveform=speech[at : at + length])
        for at in range(0, len(speech), length)
    ]
    is_hopeless = False
    for name in reversed(BY_QUALITY):
        if is_hopeless and name not in BUNDLED:
            return
        try:
            transcriber = make_transcriber(replace(config, asr=name))
        except WeightsError:  # it was never pulled
            continue
        assert transcriber is not None  # noqa: S101 - asr is not off
        ended(transcriber.listen(blocks[:1]))  # what is loaded with the first window is no part of it
        started_s = time.perf_counter()
        ended(transcriber.listen(blocks))
        x = len(speech) / SPEECH_RATE_HZ / (time.perf_counter() - started_s)
        yield Tried(setting="asr", value=name, x=x)
        is_hopeless = talk_x(without_speech_x, x) < HOPELESS_X


def _material(folder: Path, n_clips: int) -> tuple[list[Path], NDArray[np.float32]]:
    """Clips in which somebody talks all the time, and all that is said, (S,) float32 at SPEECH_RATE_HZ."""
    voice = Voice()
    footage = folder / "footage.mp4"
    write_video(footage, _pictures(), fps=FPS)
    clips, spoken = [], []
    for number in range(n_clips):
        said = _speech(voice, number)
        recording, clip = folder / "speech.wav", folder / f"{number}.mp4"
        with wave.open(str(recording), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE_HZ)
            file.writeframes((32_767 * said.clip(-1, 1)).astype("<i2").tobytes())
        narrate(clip, footage, recording)
        clips.append(clip)
        spoken.append(said)
    ratio = SAMPLE_RATE_HZ // SPEECH_RATE_HZ
    return clips, np.concatenate(spoken).reshape(-1, ratio).mean(axis=1).astype(np.float32)


def _speech(voice: Voice, number: int) -> NDArray[np.float32]:
    """CLIP_S of sentences, begun with another one for each number."""
    length, said, at = round(CLIP_S * SAMPLE_RATE_HZ), [np.zeros(number, np.float32)], number
    while sum(map(len, said)) < length:
        said.append(voice.say(SENTENCES[at % len(SENTENCES)]))
        at += 1
    return np.concatenate(said)[:length]


def _pictures() -> Iterator[NDArray[np.uint8]]:
    """LOOP_S of coloured waves that move, (HEIGHT_PX, WIDTH_PX, 3)."""
    down, across = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    for number in range(LOOP_S * FPS):
        phase = 2 * np.pi * number / (LOOP_S * FPS)
        waves = (
            np.sin(across / 70 + phase),
            np.sin(down / 45 - phase),
            np.sin((across + down) / 90 + 2 * phase),
        )
        yield np.stack([127 + 120 * one for one in waves], axis=-1).astype(np.uint8)
