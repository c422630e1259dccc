"""The power goes while `save index` writes: what a disk then holds is mounted, looked at, and gone on with.

    python power.py FOLDER --n 20 [--media ../shared/media] [--seed 0] [--lying]

The home lies on an ext4 file system in a loop device. The run is stopped (SIGSTOP), the image behind the
device copied, and the run goes on: the copy has what the kernel has handed to the device by then, and nothing
of what waits in its memory. Half of the stops come right after a video was told as stored, half at any
moment; every other file system is mounted with data=writeback, where a file's new length may reach the disk
before its content. The copy is mounted, its journal played back; what was told is in the store, `verify` is
clean, and the next run leads to the store of an undisturbed one.

A device that holds writes back in a cache of its own and reorders them is not simulated: what the kernel
hands over is there, in that order. With --lying, syncs do nothing, and losses are what should be found.

Needs root, mkfs.ext4 and loop devices. Prints one line of JSON; exit code 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread

sys.path.insert(0, str(Path(__file__).parent))
import runs

MOST_OF_A_RUN = 5
IMAGE_BYTES = 64 << 20
LYING = 5  # of faults.c
OPTIONS = ("data=ordered", "data=writeback")


@contextlib.contextmanager
def mounted(image: Path, where: Path, options: str) -> Iterator[None]:
    """An image as a file system, through a loop device that goes with it."""
    where.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", f"loop,{options}", image, where], check=True)
    try:
        yield
    finally:
        for _ in range(50):
            if subprocess.run(["umount", where], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                break
            time.sleep(0.1)
        else:
            subprocess.run(["umount", "--lazy", where], check=True)


def made(image: Path, n_bytes: int = IMAGE_BYTES) -> Path:
    """An image with an empty ext4 file system, no part of which is kept for root."""
    with image.open("wb") as file:
        file.truncate(n_bytes)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    return image


def is_possible(folder: Path) -> bool:
    """Whether this machine lets us mount an image."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mkfs.ext4")):
        return False
    with (
        contextlib.suppress(subprocess.CalledProcessError),
        mounted(made(folder / "probe"), folder / "probed", OPTIONS[0]),
    ):
        return True
    return False


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A copy of a disk, and what the run had told when it was taken."""

    image: Path
    told: frozenset[str]
    options: str
    name: str


class Power:
    """Runs on a disk whose image is copied now and then."""

    def __init__(self, place: runs.Place, *, lies: bool, seed: int) -> None:
        self._place = place
        self._lies = lies
        self._rng = random.Random(seed)
        self._disk = place.folder / "disk"
        self.truth = runs.undisturbed(place)
        self.wrong: list[str] = []
        self.n_cuts = self.n_told = 0

    def run(self, n: int) -> None:
        number = 0
        while self.n_cuts < n:
            options = OPTIONS[number % len(OPTIONS)]
            for cut in self._cuts(min(MOST_OF_A_RUN, n - self.n_cuts), options, number):
                said = runs.guarded(lambda cut=cut: self._judge(cut))
                self.wrong += [f"{cut.name}, {cut.options}: {what}" for what in said]
                self.n_cuts += 1
                self.n_told += len(cut.told)
                cut.image.unlink()
            number += 1

    def _cuts(self, n: int, options: str, number: int) -> list[Cut]:
        """Copies of the disk, taken during one run."""
        image = made(self._place.folder / "image")
        cuts = []
        with mounted(image, self._disk, options):
            home = self._disk / "home"
            run, listener = self._place.start(home, **self._lie(home))
            try:
                for at_s in sorted(self._rng.uniform(0.1, 1) * self.truth.whole_s for _ in range(n)):
                    name = self._wait(run, at_s)
                    if not runs.stopped(run):
                        break
                    copy = self._place.folder / f"cut-{number}-{len(cuts)}"
                    told = frozenset(run.acknowledged)
                    subprocess.run(["cp", "--sparse=always", image, copy], check=True)
                    cuts.append(Cut(image=copy, told=told, options=options, name=name))
                    run.process.send_signal(runs.signal.SIGCONT)
            finally:
                self._over(run, listener)
        return cuts

    def _wait(self, run: runs.Run, at_s: float) -> str:
        if self._rng.random() < 0.5:
            n_told = len(run.acknowledged)
            if run.wait_until(lambda: len(run.acknowledged) > n_told, self.truth.whole_s):
                return "right after a video was told"
        left_s = at_s - (time.monotonic() - run.started_s)
        run.wait_until(lambda: False, max(left_s, self._rng.uniform(0, 0.3)))
        return "at any moment"

    def _over(self, run: runs.Run, listener: Thread) -> None:
        run.process.kill()
        run.end(listener)
        runs.left_behind(run.mark)

    def _judge(self, cut: Cut) -> list[str]:
        """What is wrong with what a copy holds, and with what the next run makes of it."""
        with mounted(cut.image, self._disk, cut.options):
            place = replace(self._place, disk=self._disk)
            if not place.home.exists():
                return [f"no home, and {sorted(cut.told)} were in it"] if cut.told else []
            _, wrong = runs.judge(place, self.truth, {}, cut.told)
            return wrong or runs.judge_end(place, self.truth, place.finish())

    def _lie(self, home: Path) -> dict[str, str]:
        return self._place.armed(home, LYING, 0) if self._lies else {}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--media", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lying", action="store_true", help="let all syncs do nothing")
    given = parser.parse_args()
    started = time.monotonic()
    given.folder.mkdir(parents=True)
    if not is_possible(given.folder):
        print(json.dumps({"n": 0, "wrong": [], "why": "no loop device can be mounted here"}))
        return
    place = runs.open_place(given.folder, media=given.media, asr="off")
    power = Power(place, lies=given.lying, seed=given.seed)
    power.run(given.n)
    shutil.rmtree(given.folder)
    record = {"n": power.n_cuts, "n_told": power.n_told, "lying": given.lying, "wrong": power.wrong}
    print(json.dumps({**record, "s": round(time.monotonic() - started, 1)}))
    sys.exit(bool(power.wrong))


if __name__ == "__main__":
    main()
