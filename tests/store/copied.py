"""A store is copied while it is written, file by file: the copy works, or says that it does not.

    python copied.py FOLDER --n 200 [--seed 0]
    python copied.py FOLDER --n 10 --real [--media ../shared/media]

A writer adds videos, closes the store and opens it again; SQLite moves its log into the file thirty times
as often as it would. Meanwhile the folder is copied as `cp -r` does it, in whichever order, slowly. A reader
of the copy is told that it is damaged, or finds every video that it lists to be what was added, and the
nearest rows of these; no matter what the copy of the writer's note says: that it is at work, on this machine
or another, or dead. What was stored last may not be in it: it is then the store as it was a little earlier,
which is counted. A repair keeps nothing that is not what was added, and `verify` is clean after it. With
--real the writer is `save index`, and after a repair the next run leads to the store of an undisturbed one.

Prints one line of JSON; exit code 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import zlib
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import runs
import samples

from savecli.errors import StoreError
from savecli.store import Store
from savecli.store.folder import exists, is_begun
from savecli.store.records import KINDS
from savecli.store.repair import repair

COPIES_OF_A_RUN = 10
N_SEGMENTS = 6
BLOCK_BYTES = 1 << 16
MOST_VIDEOS = 150

WRITER = """
import sys, random
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import samples
from savecli.store import Store, searcher
searcher.GRAPH_MIN_ROWS = 4
rng, seed = random.Random(sys.argv[3]), 0
while seed < int(sys.argv[4]):
    with Store.open(Path(sys.argv[1]), identity=samples.IDENTITY, mode="write") as store:
        store._catalog.rows("PRAGMA wal_autocheckpoint = 33")
        for _ in range(rng.randint(1, 30)):
            seed += 1
            samples.add(store, Path(f"/v/{seed}.mp4"), samples.content(seed, int(sys.argv[5])))
            print(seed, flush=True)
        if rng.random() < .3:
            store.maybe_rebuild()
"""


def slowly_copied(source: Path, target: Path, rng: random.Random, pause_s: float) -> None:
    """Copies a folder file by file while it changes; what goes meanwhile is left out."""
    target.mkdir()
    entries = list(source.iterdir())
    if rng.random() < 0.7:
        rng.shuffle(entries)
    for entry in entries:
        time.sleep(rng.uniform(0, pause_s))
        try:
            if entry.is_dir():
                slowly_copied(entry, target / entry.name, rng, pause_s)
                continue
            with entry.open("rb") as file, (target / entry.name).open("wb") as copy:
                while block := file.read(BLOCK_BYTES):
                    copy.write(block)
                    time.sleep(rng.uniform(0, pause_s / 4))
        except FileNotFoundError:
            continue


def observed(opened: Store) -> dict[int, int]:
    """A number for all that is stored of each video."""
    found = {}
    for video in opened.videos():
        segments = opened.stored_segments(video.video_id)
        ids = [segment.segment_id for segment in segments]
        rows = [opened.rows(kind, ids) for kind in KINDS]
        said = [(u.text, u.start_s, u.words) for u in opened.transcript(video.video_id).utterances]
        times = [t.tolist() for t in opened.frame_times(ids).values()]
        blocks = [own[i].tobytes() for own in rows for i in ids if i in own]
        rest = repr((video.paths, [(s.start_s, s.end_s) for s in segments], said, times)).encode()
        found[int(video.video_id, 16)] = zlib.crc32(b"".join(blocks) + rest)
    return found


@cache
def expected(seed: int) -> int:
    """The number that `observed` should find."""
    content = samples.content(seed, N_SEGMENTS)
    blocks = [
        getattr(embedding, kind).astype(np.float16).astype(np.float32).tobytes()
        for kind in KINDS
        for embedding in content.embeddings
    ]
    said = [(u.text, u.start_s, u.words) for u in content.transcript.utterances]
    spans = [(s.start_s, s.end_s) for s in content.segments]
    times = [t.tolist() for t in content.frame_times]
    rest = repr(((Path(f"/v/{seed}.mp4"),), spans, said, times)).encode()
    return zlib.crc32(b"".join(blocks) + rest)


def query() -> np.ndarray:
    return samples.unit(np.random.default_rng(99), 1)[0]


class Copies:
    """Copies of a store that a writer of made-up videos is at work on."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._rng = random.Random(seed)
        self._store = folder / "store"
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()

    def run(self, n: int) -> None:
        while self.counts["copies"] < n:
            shutil.rmtree(self._store, ignore_errors=True)
            command = [sys.executable, "-c", WRITER, self._store, Path(__file__).parent, self._rng.random()]
            writer = subprocess.Popen(
                [*map(str, command), str(MOST_VIDEOS), str(N_SEGMENTS)], stdout=subprocess.PIPE, text=True
            )
            assert writer.stdout is not None
            os.set_blocking(writer.stdout.fileno(), False)
            told: set[int] = set()
            copies = []
            while len(copies) < COPIES_OF_A_RUN and writer.poll() is None:
                time.sleep(self._rng.uniform(0, 0.1))
                told |= {int(line) for line in writer.stdout.readlines() if line.endswith("\n")}
                if not told:
                    continue
                copy = self._folder / f"copy-{len(copies)}"
                slowly_copied(self._store, copy, self._rng, 0.02)
                copies.append((copy, frozenset(told)))
            writer.kill()
            writer.wait()
            writer.stdout.close()
            for copy, before in copies:
                self.counts["copies"] += 1
                said = runs.guarded(lambda copy=copy, before=before: self._judge(copy, before))
                self.wrong += [f"copy {self.counts['copies']}: {what}" for what in said]
                shutil.rmtree(copy)

    def _judge(self, copy: Path, before: frozenset[int]) -> list[str]:
        wrong = []
        for name, pid, host in (
            ("at work", os.getpid(), socket.gethostname()),
            ("elsewhere", 1, "elsewhere"),
            ("dead", 0, ""),
        ):
            note = copy / "writer.json"
            note.unlink(missing_ok=True)
            if pid:
                note.write_text(json.dumps({"pid": pid, "host": host, "since": 0.0}))
            wrong += [f"{name}: {what}" for what in self._read(copy, before, name)]
        is_sound = exists(copy) and not runs.problems(copy)
        self.counts["verify: clean" if is_sound else "verify: damaged"] += 1
        return wrong + self._mend(copy, before)

    def _read(self, copy: Path, before: frozenset[int], name: str) -> list[str]:
        try:
            with Store.open(copy, identity=samples.IDENTITY, mode="read") as opened:
                found = observed(opened)
                hits = {kind: opened.nearest(kind, query(), 20) for kind in ("seen", "said", "fused")}
        except StoreError as error:
            self.counts[f"refused, {name}"] += 1
            return [] if error.hint else [f"without a hint: {error}"]
        self.counts[f"read, {name}"] += 1
        wrong = [f"video {seed} is not what was added" for seed in found if found[seed] != expected(seed)]
        if before - set(found):
            self.counts[f"read an older state, {name}"] += 1
        contents = [samples.content(seed, N_SEGMENTS) for seed in found]
        for kind, near in hits.items():
            best = samples.brute_force(contents, kind, query())[:20]
            if not np.allclose([hit.score for hit in near], best, atol=1e-5):
                wrong.append(f"the nearest of {kind} are wrong")
        return wrong

    def _mend(self, copy: Path, before: frozenset[int]) -> list[str]:
        if not is_begun(copy):
            return ["there is nothing to repair"]
        try:
            for _ in repair(copy, samples.IDENTITY):
                pass
        except StoreError as error:
            self.counts["repair: refused"] += 1
            return [] if error.hint else [f"repair, without a hint: {error}"]
        wrong = [f"after the repair, verify: {problem}" for problem in runs.problems(copy)]
        with Store.open(copy, identity=samples.IDENTITY, mode="write") as opened:
            found = observed(opened)
            known = {path.stem for path in opened.known()}
        wrong += [
            f"repaired, {seed} is not what was added" for seed in found if found[seed] != expected(seed)
        ]
        self.counts["videos stored before"] += len(before)
        self.counts["videos after repair"] += len(before & set(found))
        self.counts["paths known after repair"] += len({str(seed) for seed in before} & known)
        return wrong


class RealCopies:
    """Copies of a store that `save index` is at work on."""

    def __init__(self, place: runs.Place, seed: int) -> None:
        self._place = place
        self._rng = random.Random(seed)
        self.truth = runs.undisturbed(place)
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()

    def run(self, n: int) -> None:
        while self.counts["copies"] < n:
            shutil.rmtree(self._place.home, ignore_errors=True)
            run, listener = self._place.start()
            copies = []
            while len(copies) < COPIES_OF_A_RUN and run.process.poll() is None:
                time.sleep(self._rng.uniform(0, 0.3))
                if not run.acknowledged:
                    continue
                before = run.acknowledged
                place = replace(self._place, disk=self._place.folder / f"copy-{len(copies)}")
                place.home.mkdir(parents=True)
                slowly_copied(self._place.store, place.store, self._rng, 0.05)
                copies.append((place, before))
            run.end(listener)
            for place, before in copies:
                self.counts["copies"] += 1
                said = runs.guarded(lambda place=place, before=before: self._judge(place, before))
                self.wrong += [f"copy {self.counts['copies']}: {what}" for what in said]
                shutil.rmtree(place.home.parent)

    def _judge(self, place: runs.Place, before: set[str]) -> list[str]:
        wrong = []
        try:
            state = runs.seen(place.store)
            self.counts["read"] += 1
            wrong += [f"is not what it should be: {p}" for p in state if state[p] != self.truth.state.get(p)]
            self.counts["read an older state"] += bool(before - set(state))
        except StoreError as error:
            self.counts["refused"] += 1
            wrong += [] if error.hint else [f"without a hint: {error}"]
        for _ in repair(place.store, None):
            pass
        wrong += [f"after the repair, verify: {problem}" for problem in runs.problems(place.store)]
        done = place.finish()
        return wrong + runs.judge_end(place, self.truth, done)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--real", action="store_true", help="copy the store of `save index`")
    parser.add_argument("--media", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.monotonic()
    given.folder.mkdir(parents=True)
    copies: Copies | RealCopies
    if given.real:
        copies = RealCopies(runs.open_place(given.folder, media=given.media, asr="off"), given.seed)
    else:
        copies = Copies(given.folder, given.seed)
    copies.run(given.n)
    shutil.rmtree(given.folder)
    record = {"real": given.real, "n": copies.counts["copies"], "counts": dict(copies.counts)}
    print(json.dumps({**record, "wrong": copies.wrong, "s": round(time.monotonic() - started, 1)}))
    sys.exit(bool(copies.wrong))


if __name__ == "__main__":
    main()
