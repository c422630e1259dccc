"""The installed command as a person runs it: in a process, with a home and a model folder of its own.

Nothing here imports savecli but `samples`, which writes the videos of `save demo`.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ASR = "tiny.en"  # the smaller of the pinned Whispers: enough for the clear speech of the samples
RUN_LIMIT_S = 240


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """Stdout, which must be JSON lines and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["event"] == name]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A run that is still going on."""

    process: subprocess.Popen[str]

    def next_event(self) -> dict[str, Any]:
        """Waits for the next JSON line."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def decoder(self) -> int:
        """Waits for a process that decodes, the only kind of child; returns its id."""
        return wait_for(self.decoders)[0]

    def decoders(self) -> list[int]:
        """The processes that decode now; each was started by a thread."""
        found: list[str] = []
        for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with suppress(OSError):  # the thread has ended
                found += children.read_text().split()
        return [int(pid) for pid in found]

    def end(self, signal_: signal.Signals) -> Ran:
        """Sends a signal to the command alone, and waits until it is gone."""
        self.process.send_signal(signal_)
        out, err = self.process.communicate(timeout=30)
        return Ran(code=self.process.returncode, out=out, err=err)


@dataclass(frozen=True, kw_only=True)
class Save:
    """The installed command in one environment."""

    home: Path
    env: Mapping[str, str]

    def __call__(self, *arguments: object) -> Ran:
        """Runs it to its end; a traceback is allowed only to those who asked for one."""
        with self.running(*arguments) as running:
            out, err = running.process.communicate(timeout=RUN_LIMIT_S)
        assert "Traceback" not in err or "SAVE_DEBUG" in self.env, err
        return Ran(code=running.process.returncode, out=out, err=err)

    @contextmanager
    def running(self, *arguments: object) -> Iterator[Running]:
        """The run while it goes on; it does not outlive the block."""
        process = subprocess.Popen(
            [*command(), *map(str, arguments)],
            env=self.full_env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=self.env["HOME"],
            # A shell that started the tests in the background has them ignore it, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        with process:
            try:
                yield Running(process=process)
            finally:
                process.kill()

    def on_terminal(self, *arguments: object) -> str:
        """All that a terminal of 100 columns is sent."""
        ours, theirs = pty.openpty()
        env = {**self.full_env, "TERM": "xterm-256color", "COLUMNS": "100"}
        process = subprocess.Popen(
            [*command(), *map(str, arguments)], env=env, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        sent = b""
        with suppress(OSError):  # Linux says EIO where the other end is closed
            while select.select([ours], [], [], RUN_LIMIT_S)[0] and (block := os.read(ours, 4096)):
                sent += block
        os.close(ours)
        process.wait(RUN_LIMIT_S)
        return sent.decode()

    def using(self, *, home: Path | None = None, **env: str) -> Save:
        """The same with another home or more environment variables."""
        return replace(self, home=home or self.home, env={**self.env, **env})

    @property
    def full_env(self) -> dict[str, str]:
        return {**self.env, "SAVE_HOME": str(self.home)}

    def stored(self) -> list[dict[str, Any]]:
        """What `save list` says of each video, in order of path and without the time it was stored."""
        videos = self("list", "--json").records
        return sorted(({**video, "indexed_at": 0} for video in videos), key=lambda video: video["path"])


def command() -> list[str]:
    """`save` beside the Python that runs the tests, or where it is not installed, the package."""
    installed = Path(sys.executable).with_name("save")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "savecli"]


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """SHA-256 and time of change of every file."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def wait_for(condition: Callable[[], Any], limit_s: float = 60) -> Any:
    """The condition's first true value."""
    until = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
    return value


@pytest.fixture(scope="session")
def save_anywhere(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """The command with a model folder that all tests share, and no home yet."""
    folder = tmp_path_factory.mktemp("person")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAVE_")}
    for name in ("NO_COLOR", "FORCE_COLOR", "PYTEST_CURRENT_TEST"):
        kept.pop(name, None)
    env = {**kept, "HOME": str(folder), "SAVE_MODEL_DIR": str(folder / "models"), "PYTHONIOENCODING": "utf-8"}
    return Save(home=folder / "none", env=env)


@pytest.fixture
def save(save_anywhere: Save, tmp_path: Path) -> Save:
    """The command with a new, empty home."""
    return save_anywhere.using(home=tmp_path / "home")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six videos of `save demo`."""
    folder = tmp_path_factory.mktemp("media") / "samples"
    make = "import sys, pathlib, savecli.demo; savecli.demo.make_samples(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", make, folder], check=True)
    return folder


@pytest.fixture(scope="session")
def digests_of() -> Callable[[Path], dict[str, tuple[str, int]]]:
    return digests


@pytest.fixture(scope="session")
def samples_as_made(samples: Path) -> dict[str, tuple[str, int]]:
    return digests(samples)


@dataclass(frozen=True, kw_only=True)
class Library:
    """A store of the samples, and the run that made it."""

    save: Save
    first_run: Ran


@pytest.fixture(scope="session")
def library(
    save_anywhere: Save,
    samples: Path,
    samples_as_made: dict[str, tuple[str, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Library:
    """The samples, indexed once; tests that write take `own_library`."""
    save = save_anywhere.using(home=tmp_path_factory.mktemp("library") / "home")
    return Library(save=save, first_run=save("index", samples, "--json", "--asr", ASR))


@pytest.fixture
def own_library(library: Library, tmp_path: Path) -> Save:
    """A copy of the store of the samples."""
    shutil.copytree(library.save.home, tmp_path / "own")
    return library.save.using(home=tmp_path / "own")


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What the processes of a run did."""

    ran: Ran
    folder: Path

    def noted(self, what: str) -> list[str]:
        file = self.folder / what
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def probed(tmp_path: Path) -> Callable[..., Probed]:
    """Runs the command where sockets are refused, and what it starts and loads is written down."""

    def run(save: Save, *arguments: object) -> Probed:
        folder = tmp_path / "probe"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = os.pathsep.join(filter(None, (str(HERE / "probe"), save.env.get("PYTHONPATH"))))
        watched = save.using(PYTHONPATH=path, SAVE_PROBE=str(folder))
        return Probed(ran=watched(*arguments), folder=folder)

    return run
