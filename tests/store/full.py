"""The disk is full while `save index` writes: a clear message, nothing lost, and the next run goes on.

    python full.py FOLDER --n 20 [--media ../shared/media] [--seed 0] [--kind tmpfs --kind ext4 --kind limit]

The home has so and so much room, anything up to what a run needs: in a tmpfs of that size, on an ext4 file
system in a loop device that is full but for that, or under a limit on the length of files (RLIMIT_FSIZE). A
point is a run that found too little. It ends with exit code 2, a message and a hint, and no traceback. Then,
still without room, the store opens or says why not; with room all that was told is there, `verify` is
clean, and the next run leads to the store of an undisturbed one.

tmpfs and ext4 need root. Prints one line of JSON for each kind; exit code 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import power
import runs

from savecli.errors import StoreError

PAGE_BYTES = 4096
EXPECTED = 2


@contextlib.contextmanager
def small_memory(folder: Path, room_bytes: int) -> Iterator[Path]:
    """A tmpfs of that size."""
    where = folder / "disk"
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room_bytes}", "none", where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, room_bytes: int) -> Iterator[Path]:
    """An ext4 file system that is full but for that."""
    image = power.made(folder / "image", n_bytes=16 << 20)
    with power.mounted(image, folder / "disk", power.OPTIONS[0]):
        filler = folder / "disk" / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(PAGE_BYTES))
        runs.sync()
        with filler.open("r+b") as file:
            file.truncate(max(0, filler.stat().st_size - room_bytes))
        runs.sync()  # what is freed can be used from then on
        yield folder / "disk"


def more_room(kind: str, disk: Path) -> None:
    if kind == "tmpfs":
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    elif kind == "ext4":
        (disk / "filler").unlink()
        runs.sync()


@contextlib.contextmanager
def plain_folder(folder: Path, _: int) -> Iterator[Path]:
    where = folder / "disk"
    where.mkdir(exist_ok=True)
    try:
        yield where
    finally:
        shutil.rmtree(where)


class Full:
    """Runs in too little room of one kind."""

    def __init__(self, place: runs.Place, truth: runs.Truth, kind: str, seed: int) -> None:
        self._place = place
        self._kind = kind
        self._rng = random.Random(f"{kind} {seed}")
        self._truth = truth
        self.wrong: list[str] = []
        self.said: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def run(self, n: int) -> None:
        while self.counts["too little"] < n and len(self.wrong) < n:
            most = self._truth.peak_bytes if self._kind != "limit" else self._truth.longest_bytes
            room_bytes = round(self._rng.uniform(0, 1) * most)
            said = runs.guarded(lambda room_bytes=room_bytes: self._trial(room_bytes))
            self.wrong += [f"{self._kind}, {room_bytes} bytes: {what}" for what in said]

    def _trial(self, room_bytes: int) -> list[str]:
        with self._made(room_bytes) as disk:
            place = replace(self._place, disk=disk)
            limit = {"TRIAL_LIMIT": str(max(1, room_bytes))} if self._kind == "limit" else {}
            done = place.finish(**limit)
            if done.code == self._truth.code:
                self.counts["enough"] += 1
                return []
            self.counts["too little"] += 1
            self.counts["videos stored"] += len(done.run.acknowledged)
            wrong = self._bad_end(done) + self._look(place)
            more_room(self._kind, disk)
            wrong += runs.judge(place, self._truth, {}, done.run.acknowledged)[1]
            return wrong + runs.judge_end(place, self._truth, place.finish())

    def _made(self, room_bytes: int) -> AbstractContextManager[Path]:
        make = {"tmpfs": small_memory, "ext4": small_disk, "limit": plain_folder}[self._kind]
        return make(self._place.folder, max(PAGE_BYTES, room_bytes))

    def _bad_end(self, done: runs.Ended) -> list[str]:
        wrong = [f"it ended with {done.code}: {done.said}"] if done.code != EXPECTED else []
        message, *hint = done.said.splitlines() or [""]
        self.said[message.replace(str(self._place.folder), "").rpartition(":")[2].strip()] += 1
        if not message.startswith("save: ") or not "".join(hint).strip() or "Traceback" in done.said:
            wrong.append(f"it said {done.said!r}")
        return wrong

    def _look(self, place: runs.Place) -> list[str]:
        """A reader while there is no room: it sees the truth, or is told why not."""
        try:
            if not runs.exists(place.store):
                return []
            state = runs.seen(place.store)
        except StoreError as error:
            self.counts["refused while full"] += 1
            return [] if error.hint else [f"without a hint: {error}"]
        return [f"while full: {path}" for path in state if state[path] != self._truth.state.get(path)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--kind", action="append", choices=("tmpfs", "ext4", "limit"))
    parser.add_argument("--media", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    kinds = given.kind or (["tmpfs", "ext4", "limit"] if power.is_possible(given.folder) else ["limit"])
    place = runs.open_place(given.folder, media=given.media, asr="off")
    truth = runs.undisturbed(place)
    n_wrong = 0
    for number, kind in enumerate(kinds):
        started = time.monotonic()
        full = Full(place, truth, kind, given.seed)
        full.run(given.n // len(kinds) + (number < given.n % len(kinds)))
        n_wrong += len(full.wrong)
        record = {"kind": kind, "n": full.counts["too little"], "counts": full.counts, "said": full.said}
        print(
            json.dumps({**record, "wrong": full.wrong, "s": round(time.monotonic() - started, 1)}), flush=True
        )
    shutil.rmtree(given.folder)
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
