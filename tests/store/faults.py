"""Every operation of a store, with a fault at each write, sync and rename that it makes.

    LD_PRELOAD=faults.so python faults.py FOLDER [--mode kill ...] [--operation add ...] [--spread 5]

For each fault a copy of a store is worked on by a fork of this process. After it the store must open,
`verify` must be clean, each path must be what it was before or what it should become, and the same operation,
done again without a fault, must lead to the state that it leads to undisturbed. Prints one line of JSON for
each operation and mode; exit code 1 where a trial failed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import sqlite3
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import samples

from savecli.errors import SaveError
from savecli.store import Store, schema
from savecli.store.archive import Archive
from savecli.store.catalog import VersionError
from savecli.store.check import verify
from savecli.store.folder import exists
from savecli.store.records import Problem
from savecli.store.repair import repair

MODES = {"kill": 1, "tear": 2, "fail": 3, "fail-on": 4}
DONE, REFUSED, BUG, KILLED = 0, 7, 8, 9
A, B, C, D = (Path(f"/v/{name}.mp4") for name in "abcd")


def writing(home: Path) -> Store:
    return Store.open(home, identity=samples.IDENTITY, mode="write")


def fill(home: Path) -> None:
    """Three videos by two writers, with a hole between their rows."""
    with writing(home) as store:
        samples.add(store, A, samples.content(1, 2))
        samples.add(store, D, samples.content(9, 1))
        samples.add(store, B, samples.content(2, 1))
    with writing(home) as store:
        store.unlink(D)


def add(home: Path) -> None:
    with writing(home) as store:
        samples.add(store, C, samples.content(3, 2))
        samples.add(store, A, samples.content(4, 1), mtime_ns=2)


def fail(home: Path) -> None:
    with writing(home) as store:
        store.fail(A, 5, 5, "broken", "mend it")


def unlink(home: Path) -> None:
    with writing(home) as store:
        store.unlink(A)


def touch(home: Path) -> None:
    with writing(home) as store:
        store.touch([(path, 7, 7, samples.content(2).fingerprint, None) for path in (B, C)])


def compact(home: Path) -> None:
    with writing(home) as store:
        store.compact()


def rebuild(home: Path) -> None:
    with writing(home) as store:
        store.rebuild_graphs()


def migrate(home: Path) -> None:
    with writing(home):
        pass


def fill_older(home: Path) -> None:
    """The store of `fill` as if the last step of its tables were still to come."""
    newest = schema.MIGRATIONS
    schema.MIGRATIONS = newest[:-1]
    try:
        fill(home)
    finally:
        schema.MIGRATIONS = newest


def export(home: Path) -> None:
    with Store.open(home, identity=None, mode="read") as store:
        for _ in store.export(home.parent / "library.save", force=True):
            pass


def fill_and_export(home: Path) -> None:
    other = home.with_name("other")
    with writing(other) as store:
        samples.add(store, C, samples.content(5, 2))
        samples.add(store, A, samples.content(6, 1))
        samples.add(store, D, samples.content(1, 2))
    export(other)
    shutil.rmtree(other)
    fill(home)


def import_(home: Path) -> None:
    with Archive(home.parent / "library.save") as archive:
        for _ in archive.check():
            pass
        with writing(home) as store:
            for _ in store.merge(archive):
                pass


def fill_and_damage(home: Path) -> None:
    fill(home)
    catalog = home / "catalog.db"
    content = bytearray(catalog.read_bytes())
    content[len(content) // 2] ^= 1
    catalog.write_bytes(content)


def put_right(home: Path) -> None:
    for _ in repair(home, samples.IDENTITY):
        pass


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What is done to a store, how it is made before, and whether it is sound before."""

    run: Callable[[Path], None]
    prepare: Callable[[Path], None] = fill
    sound: bool = True


# A step that only these trials know, so that there is one to go through.
schema.MIGRATIONS = (*schema.MIGRATIONS, ("CREATE TABLE later (x)", "INSERT INTO later VALUES (1)"))
OPERATIONS = {
    "begin": Operation(run=add, prepare=lambda home: None),
    "add": Operation(run=add),
    "fail": Operation(run=fail),
    "unlink": Operation(run=unlink),
    "touch": Operation(run=touch),
    "compact": Operation(run=compact),
    "rebuild": Operation(run=rebuild),
    "migrate": Operation(run=migrate, prepare=fill_older),
    "export": Operation(run=export),
    "import": Operation(run=import_, prepare=fill_and_export),
    "repair": Operation(run=put_right, prepare=fill_and_damage, sound=False),
}


def observe(home: Path) -> dict[str, object]:
    """What each path is: all of its content, or why there is none."""
    found: dict[str, object] = {}
    with Store.open(home, identity=samples.IDENTITY, mode="write") as store:
        contents = {}
        videos = store.videos()
        assert len({video.video_id for video in videos}) == len(videos), "a video twice"
        for video in videos:
            ids = [segment.segment_id for segment in store.stored_segments(video.video_id)]
            rows = [store.rows(kind, ids)[i].tobytes() for kind in samples.KINDS for i in ids]
            said = [u.text for u in store.transcript(video.video_id).utterances]
            contents[video.video_id] = [video.n_segments, said, zlib.crc32(b"".join(rows))]
        for path, file in store.known().items():
            found[str(path)] = [
                file.size_bytes,
                file.fingerprint,
                contents.get(file.fingerprint),
                file.reason,
            ]
    archive = home.parent / "library.save"
    found["archive"] = zlib.crc32(archive.read_bytes()) if archive.exists() else None
    return found


def problems(home: Path) -> list[Problem]:
    """What `verify` finds; nothing where the tables are still those of an earlier version."""
    try:
        return [found for found in verify(home) if isinstance(found, Problem)]
    except VersionError:
        return []


def forked(work: Callable[[], None], *, tell: bool = True) -> int:
    """Runs something in a fork of this process; returns its exit code. `tell` shows why it was refused."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except (SaveError, OSError) as error:
        if tell:
            print(type(error).__name__, error, file=sys.stderr)
        os._exit(REFUSED)
    except BaseException:  # noqa: BLE001 - a traceback is what is looked for
        traceback.print_exc()
        os._exit(BUG)
    os._exit(DONE)


class Trials:
    """All faults of one operation."""

    def __init__(self, folder: Path, name: str) -> None:
        self._name = name
        self._operation = OPERATIONS[name]
        self._folder = folder / name
        self._template = self._folder / "template"
        self._template.mkdir(parents=True)
        # In a fork: SQLite's connections must not be there in the forks that come.
        assert forked(lambda: self._operation.prepare(self._template / "store")) == DONE
        self._before = self._seen(self._template) if self._operation.sound else {}
        whole = self._copy("whole")
        assert forked(lambda: self._operation.run(whole / "store")) == DONE
        self._after = self._seen(whole)
        self.n_faults = self._count()

    def run(self, mode: str, spread: int) -> tuple[int, list[str]]:
        """How many faults were tried, and what went wrong; `spread` of them where it is not 0."""
        wrong = []
        numbers = list(range(1, self.n_faults + 1))
        if 0 < spread < len(numbers):  # each mode meets others
            shift = list(MODES).index(mode) / len(MODES)
            numbers = [1 + int((i + shift) * self.n_faults / spread) for i in range(spread)]
        for number in numbers:
            where = self._copy("trial")
            said = self._trial(where, mode, number)
            wrong += [f"{self._name}, {mode} at {number}: {said}"] if said else []
        return len(numbers), wrong

    def _count(self) -> int:
        where = self._copy("count")
        reader, writer = os.pipe()

        def counted() -> None:
            library = arm(where, 0, 0)
            self._operation.run(where / "store")
            os.write(writer, str(library.faults_counted()).encode())

        assert forked(counted) == DONE
        n_faults = int(os.read(reader, 32))
        os.close(reader)
        os.close(writer)
        return n_faults

    def _trial(self, where: Path, mode: str, number: int) -> str | None:
        home = where / "store"

        def work() -> None:
            arm(where, MODES[mode], number)
            self._operation.run(home)

        code = forked(work, tell=False)
        if code == BUG or (code == KILLED) != (mode in ("kill", "tear")):
            return f"ended with {code}"
        try:
            self._check(home, where)
        except (AssertionError, SaveError, OSError, sqlite3.Error) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def _check(self, home: Path, where: Path) -> None:
        if exists(home) and self._operation.sound:
            assert not problems(home), f"verify says {problems(home)}"
            self._compare(self._seen(where))
        code = forked(lambda: self._operation.run(home))
        assert code == DONE, f"again, it ended with {code}"
        assert not problems(home), f"again, verify says {problems(home)}"
        assert self._seen(where) == self._after, "again, it came to another state"

    def _compare(self, found: dict[str, object]) -> None:
        for path in self._before.keys() | self._after.keys() | found.keys():
            allowed = (self._before.get(path), self._after.get(path))
            assert found.get(path) in allowed, f"{path} is {found.get(path)}, neither of {allowed}"

    def _seen(self, where: Path) -> dict[str, object]:
        """What is there; of a copy, for looking at it as a writer does tidies it."""
        if not exists(where / "store"):
            return {}
        copy = self._folder / "seen"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(where, copy)
        return observe(copy / "store")

    def _copy(self, name: str) -> Path:
        where = self._folder / name
        shutil.rmtree(where, ignore_errors=True)
        return Path(shutil.copytree(self._template, where))


def arm(where: Path, mode: int, number: int) -> ctypes.CDLL:
    """From here on the changes below `where` count."""
    library = ctypes.CDLL(None)
    library.faults_counted.restype = ctypes.c_long
    library.faults_arm(str(where).encode(), ctypes.c_int(mode), ctypes.c_long(number))
    return library


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--operation", action="append", choices=OPERATIONS)
    parser.add_argument("--spread", type=int, default=0, help="so many faults of each, not all")
    given = parser.parse_args()
    __import__("usearch.index")  # once, and not in each fork
    n_wrong = 0
    for name in given.operation or OPERATIONS:
        trials = Trials(given.folder, name)
        for mode in given.mode or MODES:
            started = time.monotonic()
            n_tried, wrong = trials.run(mode, given.spread)
            n_wrong += len(wrong)
            record = {"operation": name, "mode": mode, "n_faults": trials.n_faults, "n_tried": n_tried}
            print(
                json.dumps({**record, "wrong": wrong, "s": round(time.monotonic() - started, 1)}), flush=True
            )
    with contextlib.suppress(OSError):
        shutil.rmtree(given.folder)
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
