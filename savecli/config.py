"""Settings and paths: flag > SAVE_* environment > config.toml > tuned (`save doctor --tune`) > default.

Rooms take plain values; only this module and the shell know where a value came from.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from savecli import tuned
from savecli.errors import ConfigError
from savecli.machine import n_cores

# "auto" is one of the others (savecli/tuned.py). Those of the next line come with the install; the rest of
# Whisper needs `save model pull whisper-NAME`.
ASR_NAMES = (
    "auto",
    *("base", "tiny.en", "openai/base", "openai/tiny.en", "off"),
    *("tiny", "small", "medium", "large-v3", "large-v3-turbo"),
)
DEVICES = ("auto", "cpu", "cuda", "mps")
DEFAULTS = {
    **{"asr": "base", "language": "", "device": "auto", "jobs": "auto", "batch_size": "auto"},
    **{"offline": "", "stall_s": "60", "data": ""},
}
DEFAULT_CHOICE = tuned.Choice("base", "nothing was chosen")
MOST_JOBS = 8
"""Unless more are asked for: each has a decoder of 60 to 90 MB."""
MOST_DIGITS = 9
"""Of a number that is set; Python itself refuses to read thousands."""
TRUE = {"1", "true", "yes", "on"}
FALSE = {"", "0", "false", "no", "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting of one run.

    Attributes:
        home: the folder of the store, of config.toml and of the log of unexpected errors.
        model_dir: where weights are put together or placed by hand.
        asr: one of ASR_NAMES but "auto", which was replaced by what it stands for.
        language: ISO 639-1 code of what is spoken; "" lets the transcriber tell.
        device: one of DEVICES.
        jobs: so many files are read at a time, and windows of speech heard.
        batch_size: so many segments are looked at together; None is what suits the device.
        offline: no connection to a network may be opened; only `save model pull` ever opens one.
        stall_s: how long a file may keep the decoder busy without headway.
        data: the folder of benchmarks; None where none was named.
        sources: for each setting, where its value came from.
        asr_auto: what "auto" stands for, or would, and why.
    """

    home: Path
    model_dir: Path
    asr: str = "base"
    language: str = ""
    device: str = "auto"
    jobs: int = 1
    batch_size: int | None = None
    offline: bool = False
    stall_s: float = 60.0
    data: Path | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    asr_auto: tuned.Choice = DEFAULT_CHOICE

    @property
    def store_dir(self) -> Path:
        return self.home / "store"

    @property
    def is_follower(self) -> bool:
        """Whether `torchrun` started this process beside one that speaks for all."""
        return os.environ.get("RANK", "0") != "0"

    @property
    def daemon_file(self) -> Path:
        """Locked by the daemon of this home as long as it lives, and says where its socket is."""
        return self.home / "run" / "daemon"

    @property
    def runtime_dir(self) -> Path | None:
        """The folder that the system keeps for the sockets of this user, where it has one."""
        named = _environment("XDG_RUNTIME_DIR")
        return Path(named) if named else None

    @property
    def cache_dir(self) -> Path:
        """What can be made again, such as decoded benchmarks."""
        return _cache()

    def data_of(self, benchmark: str) -> Path:
        """The folder of a benchmark: the one named, or the one of that name within it.

        Raises:
            ConfigError: none was named.
        """
        if self.data is None:
            raise ConfigError(f"where is {benchmark}?", hint="--data DIR, or SAVE_DATA")
        return inner if (inner := self.data / benchmark).is_dir() else self.data

    @property
    def log_file(self) -> Path:
        return self.home / "errors.log"


def load(**flags: str | Path | bool | int | None) -> Config:
    """The settings of this run; a flag that is None was not given.

    Raises:
        ConfigError: a value that makes no sense, naming where it came from.
    """
    given = {name: str(value) for name, value in flags.items() if value is not None}
    home, home_source = _home(given)
    from_file = _read_file(home / "config.toml")
    values: dict[str, str] = {"home": str(home)}
    sources = {"home": home_source}
    for name, default in {"model_dir": "", **DEFAULTS}.items():
        values[name], sources[name] = _first(
            (given.get(name), f"--{name.replace('_', '-')}"),
            (_environment(f"SAVE_{name.upper()}"), f"SAVE_{name.upper()}"),
            ("1" if name == "offline" and _hub_is_off() else None, "HF_HUB_OFFLINE"),
            (from_file.get(name), str(home / "config.toml")),
            (default, "default"),
        )
    own_models = values["model_dir"]
    model_dir = Path(own_models).expanduser().absolute() if own_models else _cache() / "models"
    device = _one_of(values, sources, "device", DEVICES)
    measured = tuned.read(home, device)
    if measured is not None and sources["jobs"] == "default":
        values["jobs"], sources["jobs"] = str(measured.jobs), "tuned"
    auto = tuned.choose(
        measured,
        language=values["language"],
        n_cores=min(n_cores(), MOST_JOBS),
        is_there=lambda name: (model_dir / f"whisper-{name}" / "model.bin").is_file(),
    )
    asr = _one_of(values, sources, "asr", ASR_NAMES)
    if asr == "auto":
        asr, sources["asr"] = auto.name, f"{sources['asr']}: auto, {auto.why}"
    return Config(
        home=home,
        model_dir=model_dir,
        asr=asr,
        language=values["language"],
        device=device,
        jobs=_count(values, sources, "jobs") or min(n_cores(), MOST_JOBS),
        batch_size=_count(values, sources, "batch_size"),
        offline=_flag(values, sources, "offline"),
        stall_s=_seconds(values, sources, "stall_s"),
        data=Path(values["data"]).expanduser().absolute() if values["data"] else None,
        sources=sources,
        asr_auto=auto,
    )


def _home(given: Mapping[str, str]) -> tuple[Path, str]:
    value, source = _first(
        (given.get("home"), "--home"), (_environment("SAVE_HOME"), "SAVE_HOME"), ("", "default")
    )
    if value:
        return Path(value).expanduser().absolute(), source
    from platformdirs import user_data_path

    return user_data_path("save", appauthor=False), source


def _environment(name: str) -> str | None:
    """A variable that is set to nothing is not set."""
    return os.environ.get(name) or None


def _hub_is_off() -> bool:
    # Another program's variable: what it may say besides is not for us to judge.
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in TRUE


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("save", appauthor=False)


def _first(*candidates: tuple[str | None, str]) -> tuple[str, str]:
    return next((value, source) for value, source in candidates if value is not None)


def _read_file(path: Path) -> dict[str, str]:
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint="correct or remove that file") from error
    known = {"model_dir", *DEFAULTS}
    if unknown := sorted(settings.keys() - known):
        raise ConfigError(
            f"{path} sets {', '.join(unknown)}, which is no setting",
            hint=f"the settings are {', '.join(sorted(known))}",
        )
    return {name: str(value) for name, value in settings.items()}


def _one_of(
    values: Mapping[str, str], sources: Mapping[str, str], name: str, allowed: tuple[str, ...]
) -> str:
    if values[name] not in allowed:
        raise ConfigError(
            f"{name} cannot be {values[name]!r} (from {sources[name]})",
            hint=f"choose one of {', '.join(allowed)}",
        )
    return values[name]


def _flag(values: Mapping[str, str], sources: Mapping[str, str], name: str) -> bool:
    value = values[name].lower()
    if value not in TRUE | FALSE:
        raise ConfigError(
            f"{name} cannot be {values[name]!r} (from {sources[name]})", hint="set it to 1 or 0"
        )
    return value in TRUE


def _count(values: Mapping[str, str], sources: Mapping[str, str], name: str) -> int | None:
    value = values[name]
    if value == "auto":
        return None
    if not (value.isdecimal() and len(value) <= MOST_DIGITS and int(value) > 0):
        raise ConfigError(
            f"{name} cannot be {value!r:.80} (from {sources[name]})", hint="give a number from 1 on, or auto"
        )
    return int(value)


def _seconds(values: Mapping[str, str], sources: Mapping[str, str], name: str) -> float:
    try:
        value = float(values[name])
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(
            f"{name} cannot be {values[name]!r} (from {sources[name]})", hint="give a number of seconds"
        )
    return value
