"""Two writers, eight readers and a watcher at one store, while the videos are added to, moved and taken away.

    python company.py FOLDER --seconds 600 [--pause 2] [--seed 0]

Everything is the command as a person runs it, or the library from Python; nothing is told of the others. The
parent changes the folder of videos and remembers what has ever lain where. An answer may name only what the
catalog had while it was made: half of the readers hold one snapshot and compare to the letter, the others
compare with what was stored before and after, and every answer with what the parent remembers. In the end one
more run must find every file stored under its own content, and `verify` nothing. Prints a line of JSON; exit
code 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import clips

import savecli
from savecli.datatypes import Moment
from savecli.errors import SaveError
from savecli.media.scan import fingerprint
from savecli.store import Store

SAVE = (sys.executable, "-m", "savecli")
SUFFIXES = ("mp4", "mkv", "avi", "webm", "mov")
N_FIRST = 8
N_MOST = 60
SAMPLE_S = 5.0
GROWTH_MB = 150
"""A model that a busy machine loads late is no leak; ten minutes of runs that each lose 10 MB are."""
READY_S = 120.0
QUERIES = ("a red square", "a dog on a beach", "music", "a siren", "something green", "a person speaking")


def read(folder: Path, number: int, *, strict: bool) -> None:
    """A reader from Python: searches until the trial is over, and writes down what it saw."""
    home, over = folder / "home", folder / "over"
    took_ms: list[float] = []
    pairs: set[tuple[str, str]] = set()
    wrong: list[str] = []
    with savecli.open_library(home) as library:
        while not over.exists():
            query = QUERIES[len(took_ms) % len(QUERIES)]
            try:
                found = _strictly(library, query, took_ms) if strict else _freely(library, query, took_ms)
                pairs |= {(moment.video_id, os.fsdecode(moment.path)) for moment in found}
            except Exception as error:  # noqa: BLE001 - any error is what is looked for
                wrong.append(f"reader: {type(error).__name__}: {error}")
            (folder / f"ready {number}").touch()
            time.sleep(0.2)
    said = folder / f"reader {number}.json"
    said.write_text(json.dumps({"ms": took_ms, "pairs": sorted(pairs), "wrong": wrong}))


def _searched(library: savecli.api.Library, query: str, took_ms: list[float]) -> tuple[Moment, ...]:
    started = time.perf_counter()
    moments = library.search(query, threshold=0.0, top_k=20).moments
    took_ms.append(1e3 * (time.perf_counter() - started))
    return moments


def _strictly(library: savecli.api.Library, query: str, took_ms: list[float]) -> tuple[Moment, ...]:
    """In one snapshot every moment is a span of segments that are stored, in a video that has this path."""
    store = library.store()
    with store.snapshot():
        moments = _searched(library, query, took_ms)
        videos = {video.video_id: video for video in store.videos()}
        for moment in moments:
            spans = store.stored_segments(moment.video_id)
            assert moment.path in videos[moment.video_id].paths, moment
            assert moment.start_s in {span.start_s for span in spans}, moment
            assert moment.end_s in {span.end_s for span in spans}, moment
    return moments


def _freely(library: savecli.api.Library, query: str, took_ms: list[float]) -> tuple[Moment, ...]:
    """Without one, every video is among those stored before and after."""
    before = {video.video_id for video in library.videos()}
    moments = _searched(library, query, took_ms)
    after = {video.video_id for video in library.videos()}
    strangers = {moment.video_id for moment in moments} - before - after
    assert not strangers, strangers
    return moments


class Company:
    """The processes, the folder, and what is remembered.

    Args:
        folder: empty.
        pause_s: between two changes of the folder.
    """

    def __init__(self, folder: Path, pause_s: float, seed: int) -> None:
        self.folder, self.pause_s = folder, pause_s
        self.rng = np.random.default_rng(seed)
        self.home, self.videos, self.aside = folder / "home", folder / "videos", folder / "aside"
        self.over = folder / "over"
        self.rooms = [self.videos / name for name in ("one", "two", "three")]
        for place in (*self.rooms, self.aside):
            place.mkdir(parents=True)
        self.env = {**os.environ, "SAVE_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        self.n_made = 0
        self.ever: set[tuple[str, str]] = set()
        self.changes: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.memory: dict[str, list[int]] = {}
        self.wrong: list[str] = []

    def files(self) -> list[Path]:
        """What lies in the folder now."""
        return sorted(path for path in self.videos.rglob("*") if path.is_file())

    def remember(self) -> None:
        """What lies where."""
        for path in self.files():
            self.ever.add((fingerprint(path), str(path)))

    def make(self, suffix: str) -> Path:
        """A clip like none before, beside the folder."""
        self.n_made += 1
        return clips.write_clip(self.aside / f"{self.n_made}.{suffix}", seed=self.n_made, seconds=2.0)

    def place(self, suffix: str) -> Path:
        """A name that is free."""
        room = self.rooms[int(self.rng.integers(len(self.rooms)))]
        room.mkdir(exist_ok=True)
        return room / f"clip {self.rng.integers(1 << 40):x}.{suffix}"

    def change(self) -> None:
        """One thing that people do to a folder."""
        files = self.files()
        ways: list[Callable[[list[Path]], None]]
        ways = [self.add, self.add_slowly, self.copy, self.move, self.move, self.replace, self.remove]
        if self.rng.random() < 0.1:
            ways = [self.rename_room]
        if len(files) < 5:
            ways = [self.add]
        if len(files) > N_MOST:
            ways = [self.remove]
        way = ways[int(self.rng.integers(len(ways)))]
        way(files)
        self.changes[way.__name__] += 1
        self.remember()

    def one_of(self, files: list[Path]) -> Path:
        return files[int(self.rng.integers(len(files)))]

    def add(self, files: list[Path]) -> None:
        suffix = SUFFIXES[int(self.rng.integers(len(SUFFIXES)))]
        self.make(suffix).rename(self.place(suffix))

    def add_slowly(self, files: list[Path]) -> None:
        """A copy that takes its time: it must not be read before it is there."""
        made, target = self.make("mp4"), self.place("mp4")
        content = made.read_bytes()
        with target.open("wb") as file:
            for part in np.array_split(np.frombuffer(content, np.uint8), 4):
                file.write(part.tobytes())
                file.flush()
                time.sleep(0.3)
        made.unlink()

    def copy(self, files: list[Path]) -> None:
        source = self.one_of(files)
        aside = self.aside / f"copy{source.suffix}"
        shutil.copy(source, aside)
        aside.rename(self.place(source.suffix[1:]))

    def move(self, files: list[Path]) -> None:
        source = self.one_of(files)
        source.rename(self.place(source.suffix[1:]))

    def replace(self, files: list[Path]) -> None:
        target = self.one_of(files)
        self.make(target.suffix[1:]).replace(target)

    def remove(self, files: list[Path]) -> None:
        self.one_of(files).unlink()

    def rename_room(self, files: list[Path]) -> None:
        number = int(self.rng.integers(len(self.rooms)))
        room = self.rooms[number]
        if room.exists():
            self.rooms[number] = room.rename(self.videos / f"room {self.rng.integers(1 << 40):x}")

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """A run of the command; a traceback is wrong."""
        done = subprocess.run(
            [*SAVE, *map(str, arguments)], env=self.env, capture_output=True, text=True, check=False
        )
        if "Traceback" in done.stderr or done.returncode not in (0, 1, 2):
            self.wrong.append(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done

    def write(self, name: str) -> None:
        """A writer: one index run after the other."""
        while not self.over.exists():
            done = self.command("index", self.videos, "--asr", "off", "--json")
            if done.returncode == 2:
                told = re.search(r"is being written by process \d+ on \S+ since", done.stderr)
                self.runs[f"{name}: told who writes" if told else f"{name}: told that somebody does"] += 1
                if not told and "is being written by another process" not in done.stderr:
                    self.wrong.append(f"{name}: {done.stderr}")
            else:
                self.runs[f"{name}: wrote"] += 1
                self.note_skipped(done.stdout)
            time.sleep(0.5)

    def note_skipped(self, out: str) -> None:
        for line in out.splitlines():
            event = json.loads(line)
            if event["event"] == "skipped":
                self.skipped[event["reason"]] += 1

    def ask(self) -> None:
        """A reader: one `save search` after the other."""
        while not self.over.exists():
            query = QUERIES[int(time.monotonic()) % len(QUERIES)]
            done = self.command("search", query, "--all", "--json")
            self.runs["save search"] += 1
            if done.returncode != 0 or done.stderr:
                self.wrong.append(f"search ended with {done.returncode}: {done.stderr[-2000:]}")
            for line in done.stdout.splitlines():
                moment = json.loads(line)
                self.note_pair(moment["video_id"], moment["path"])
            time.sleep(0.5)

    def note_pair(self, video_id: str, path: str) -> None:
        if (video_id, path) not in self.ever:
            time.sleep(2)  # it may be placed, and not remembered yet
            if (video_id, path) not in self.ever:
                self.wrong.append(f"an answer names {path} with {video_id}, which never lay there")

    def weigh(self, processes: dict[str, subprocess.Popen[Any]]) -> None:
        """What each process holds now, MB, of its own."""
        for name, process in processes.items():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process.pid}/status").read_text()
                found = re.search(r"RssAnon:\s+(\d+) kB", text)
                if found:
                    self.memory.setdefault(name, []).append(int(found[1]) // 1024)

    @contextlib.contextmanager
    def at_work(self, n_readers: int, n_asking: int) -> Iterator[dict[str, subprocess.Popen[Any]]]:
        """All processes; they end when the block does."""
        processes, threads = {}, []
        with (self.folder / "watch.json").open("w") as out, (self.folder / "watch.err").open("w") as err:
            watch = [*SAVE, "index", self.videos, "--watch", "--interval", "5", "--asr", "off", "--json"]
            processes["watcher"] = subprocess.Popen([*map(str, watch)], env=self.env, stdout=out, stderr=err)
            for number in range(n_readers):
                strict = ["--strict"] if number % 2 else []
                call = [sys.executable, __file__, str(self.folder), "--reader", str(number), *strict]
                processes[f"reader {number}"] = subprocess.Popen(call, env=self.env)
            threads += [threading.Thread(target=self.write, args=(f"writer {n}",)) for n in (1, 2)]
            threads += [threading.Thread(target=self.ask) for _ in range(n_asking)]
            for thread in threads:
                thread.start()
            try:
                yield processes
            finally:
                self.over.touch()
                processes["watcher"].send_signal(signal.SIGTERM)
                for thread in threads:
                    thread.join()
                for name, process in processes.items():
                    if process.wait(120) != 0:
                        self.wrong.append(f"{name} ended with {process.returncode}")
        if "Traceback" in (told := (self.folder / "watch.err").read_text()):
            self.wrong.append(f"watcher: {told[-2000:]}")
        self.note_skipped((self.folder / "watch.json").read_text())

    def run(self, seconds: float, n_readers: int = 6, n_asking: int = 2) -> dict[str, Any]:
        """The whole trial."""
        for _ in range(N_FIRST):
            self.add([])
        self.remember()
        first = self.command("index", self.videos, "--asr", "off", "--json")
        assert first.returncode == 0, first.stderr
        with self.at_work(n_readers, n_asking) as processes:
            self.await_readers(n_readers)
            until, weighed = time.monotonic() + seconds, 0.0
            while time.monotonic() < until:
                self.change()
                if time.monotonic() - weighed > SAMPLE_S:
                    self.weigh(processes)
                    weighed = time.monotonic()
                time.sleep(self.pause_s)
        took_ms = [ms for number in range(n_readers) for ms in self.heard_from(number)]
        self.settle()
        self.compare_memory()
        return {
            "seconds": seconds,
            "changes": self.changes,
            "runs": self.runs,
            "skipped": self.skipped.most_common(),
            "n_searches": len(took_ms),
            "search_ms": [round(float(np.percentile(took_ms, p)), 1) for p in (50, 99)],
            "memory_mb": {name: [mb[0], round(median(mb)), mb[-1]] for name, mb in self.memory.items()},
            "n_videos": len(self.files()),
            "wrong": self.wrong,
        }

    def await_readers(self, n_readers: int) -> None:
        """Until each has searched once; on a busy machine that takes a while."""
        until = time.monotonic() + READY_S
        while len(list(self.folder.glob("ready *"))) < n_readers:
            assert time.monotonic() < until, "the readers do not begin"
            time.sleep(0.1)

    def heard_from(self, number: int) -> list[float]:
        """What a reader from Python wrote down."""
        try:
            seen = json.loads((self.folder / f"reader {number}.json").read_text())
        except (OSError, ValueError) as error:
            self.wrong.append(f"reader {number}: {error}")
            return []
        self.wrong += seen["wrong"]
        for video_id, path in seen["pairs"]:
            self.note_pair(video_id, path)
        if not seen["ms"]:
            self.wrong.append(f"reader {number} has not searched")
        return list(seen["ms"])

    def settle(self) -> None:
        """One more run, and then every file is stored as what it is, and the store is whole."""
        done = self.command("index", self.videos, "--asr", "off", "--json", "--sweep")
        if done.returncode:
            self.wrong.append(f"the last run ended with {done.returncode}: {done.stdout[-2000:]}")
        on_disk = {str(path): fingerprint(path) for path in self.files()}
        with Store.open(self.home / "store", identity=None, mode="read") as store:
            stored = {str(path): video.video_id for video in store.videos() for path in video.paths}
        lost = sorted(set(on_disk.items()) - set(stored.items()))
        left = sorted(set(stored.items()) - set(on_disk.items()))
        self.wrong += [f"lost or stale: {path}, {video_id}" for path, video_id in lost]
        self.wrong += [f"left over: {path}, {video_id}" for path, video_id in left]
        done = self.command("verify")
        if done.returncode:
            self.wrong.append(f"verify: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def compare_memory(self) -> None:
        """What is held for good at the end must not be much more than what was held at most early on."""
        for name, mb in self.memory.items():
            fifth = len(mb) // 5
            if fifth >= 3 and min(mb[-fifth:]) > max(mb[fifth : 2 * fifth]) + GROWTH_MB:
                self.wrong.append(f"{name} grew: {mb}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--pause", type=float, default=2.0)
    parser.add_argument("--readers", type=int, default=6, help="from Python")
    parser.add_argument("--asking", type=int, default=2, help="that run the command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--strict", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reader is not None:
        read(given.folder, given.reader, strict=given.strict)
        return 0
    company = Company(given.folder, given.pause, given.seed)
    try:
        record = company.run(given.seconds, given.readers, given.asking)
    except (SaveError, AssertionError) as error:
        record = {"wrong": [*company.wrong, f"{type(error).__name__}: {error}"]}
    print(json.dumps(record))
    return 1 if record["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
