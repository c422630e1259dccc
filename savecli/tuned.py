"""What `save doctor --tune` measured on this machine, and which Whisper model `--asr auto` stands for.

The choice depends on the machine, the language and the record alone, never on a file or on how busy the
machine is: all videos of a library are heard by one model until its owner tunes anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from savecli import machine

FILE = "tuned.json"
MOST_BELIEVED = 256
"""No record of ours says more: what does is damaged."""
LEAST_X = 10.0
"""So many times real time is footage to be indexed in which somebody talks without a pause."""
BY_QUALITY = ("large-v3", "large-v3-turbo", "medium", "small", "base", "tiny.en", "tiny")
"""Whisper's models, the best first; the English-only one is better at English than its namesake."""
BUNDLED = ("base", "tiny.en")
ENGLISH = "tiny.en"
CORE_WITHOUT_SPEECH_X = 58.0
CORE_SPEECH_X = {"base": 10.0, "tiny.en": 19.0}
"""What a second of a server's core does (benchmarks/RESULTS.md): taken where nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What was measured.

    Attributes:
        machine: `savecli.machine.fingerprint` of where it was.
        device: the setting it was measured with.
        jobs: with so many files at a time indexing is fastest.
        without_speech_x: footage indexed in a second with `asr` off, in seconds.
        speech_x: for each Whisper model that was there, seconds of speech heard in a second.
        measured_on: ISO 8601 date.
        was_busy: whether other work went on meanwhile.
    """

    machine: str
    device: str
    jobs: int
    without_speech_x: float
    speech_x: Mapping[str, float]
    measured_on: str
    was_busy: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """A Whisper model, and why it is this one."""

    name: str
    why: str


def read(home: Path, device: str) -> Tuned | None:
    """What was measured on this machine with this device, if anything was; a damaged record is none."""
    try:
        tuned = _tuned((home / FILE).read_text("utf-8"))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return tuned if (tuned.machine, tuned.device) == (machine.fingerprint(), device) else None


def write(home: Path, tuned: Tuned) -> Path:
    """Remember it, in place of what was remembered before; returns the file."""
    import json

    from savecli.store.durable import write_text

    home.mkdir(parents=True, exist_ok=True)
    write_text(home / FILE, json.dumps(asdict(tuned), indent=1) + "\n")
    return home / FILE


def _tuned(text: str) -> Tuned:
    """The record that a file holds, if it makes sense."""
    import json  # every command looks for a record, and few find one
    from datetime import date

    tuned = Tuned(**json.loads(text))
    speeds = [tuned.without_speech_x, *tuned.speech_x.values()]
    is_count = type(tuned.jobs) is int and 1 <= tuned.jobs <= MOST_BELIEVED
    if not is_count or not all(0 < speed < float("inf") for speed in speeds):
        raise ValueError("no speeds")
    date.fromisoformat(tuned.measured_on)
    return tuned


def talk_x(without_speech_x: float, speech_x: float) -> float:
    """How fast footage is indexed in which somebody talks all the time."""
    return 1 / (1 / without_speech_x + 1 / speech_x)


def choose(tuned: Tuned | None, *, language: str, n_cores: int, is_there: Callable[[str], bool]) -> Choice:
    """What `--asr auto` stands for: the best model that keeps indexing at LEAST_X or more, else the fastest.

    Args:
        tuned: what was measured on this machine; without it, cores are taken to be those of our benchmarks.
        language: ISO 639-1; the English-only model comes into question for "en" alone.
        n_cores: that will be at work.
        is_there: whether the weights of a model that was measured are still there.
    """
    if tuned is None:
        without_x = n_cores * CORE_WITHOUT_SPEECH_X
        speech_x: Mapping[str, float] = {name: n_cores * x for name, x in CORE_SPEECH_X.items()}
        source = f"as {n_cores} cores of our benchmarks' kind would; save doctor --tune measures yours"
    else:
        without_x = tuned.without_speech_x
        speech_x = {name: x for name, x in tuned.speech_x.items() if name in BUNDLED or is_there(name)}
        source = f"as measured on {tuned.measured_on}{' on a busy machine' if tuned.was_busy else ''}"
    known = [name for name in BY_QUALITY if name in speech_x and (name != ENGLISH or language == "en")]
    if not known:
        return Choice("base", "it comes with the install and knows any language")
    x_of = {name: talk_x(without_x, speech_x[name]) for name in known}
    fast = [name for name in known if x_of[name] >= LEAST_X]
    name = fast[0] if fast else max(known, key=x_of.__getitem__)
    what = f"the best that indexes talk at {LEAST_X:g}x or more" if fast else "the fastest there is"
    return Choice(name, f"{what}: {x_of[name]:.0f}x, {source}")
