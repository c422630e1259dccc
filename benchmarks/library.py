"""Ten thousand files: what another look at them costs, and a move, a relink, a lost drive.

    python benchmarks/library.py [--n 10000] [--runs 5]

The files are a few bytes that begin like an MP4; their rows are put into a store directly, so that
nothing is decoded. The page cache is warm.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from report import SAVE, spread, table

from savecli.config import load
from savecli.datatypes import Volume
from savecli.events import Summary
from savecli.index import Options, index
from savecli.library import relink
from savecli.media.scan import fingerprint, scan
from savecli.media.volumes import Volumes
from savecli.pipeline import make_encoder
from savecli.store import Store

HEAD = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
PER_FOLDER = 100
Took = tuple[float, float]
ELSEWHERE = Volume(identity="uuid:none", mount=Path("/none"), label="none")


class Library:
    """`n` files below a folder that changes its name, and the store that knows them."""

    def __init__(self, place: Path, n: int) -> None:
        self.place, self.n = place, n
        self.folder, self.n_names = place / "videos", 0
        self.config = load(home=place / "home")
        self.paths = [self._write(i) for i in range(n)]

    def _write(self, i: int) -> Path:
        path = self.folder / f"{i // PER_FOLDER:03}" / f"clip {i:05}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(HEAD + i.to_bytes(8, "big") * 16)
        return path

    def open(self) -> Store:
        identity = make_encoder(self.config).identity
        return Store.open(self.config.store_dir, identity=identity, mode="write")

    def fill(self, store: Store) -> None:
        """A row for each video and each file, without a segment."""
        volume, videos, files = Volumes().of(self.folder), [], []
        lies_on = (volume.identity, os.fsencode(volume.mount), volume.label)
        for path in self.paths:
            status, digest = path.stat(), fingerprint(path)
            videos.append((digest, 60.0, 1, 1, 0, 0.0, "", 0.0, "base", "[]", 0, time.time()))
            files.append((os.fsencode(path), status.st_size, status.st_mtime_ns, digest, *lies_on))
        with store._catalog.writing():
            store._catalog.run_many(f"INSERT INTO videos VALUES (NULL, {', '.join('?' * 12)})", videos)
            store._catalog.run_many(
                "INSERT INTO files (path, size_bytes, mtime_ns, fingerprint, volume, mount, label)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                files,
            )

    def run(self, store: Store, look: Callable[[], Volumes] = Volumes) -> Summary:
        """An index run, which must have nothing to decode."""
        options = Options(paths=(self.folder,), asr="base")
        *_, summary = index(options, store, nothing_to_decode, look=look)
        return summary

    def rename(self) -> None:
        self.n_names += 1
        self.folder = self.folder.rename(self.place / f"videos {self.n_names}")


@contextlib.contextmanager
def nothing_to_decode():
    """Stands for the pipeline."""
    raise AssertionError("a file is to be decoded")
    yield


def seconds(work: Callable[[], object]) -> Took:
    """How long it takes, and how much of it a processor was busy for this and for what it starts."""
    started, used = time.perf_counter(), os.times()
    work()
    cpu_s = sum(now - before for now, before in zip(os.times()[:4], used[:4], strict=True))
    return time.perf_counter() - started, cpu_s


def looks(library: Library, n_runs: int) -> dict[str, list[Took]]:
    """Looks that change nothing on disk, and how long they took."""

    def unplugged() -> None:
        # The mount point is there, and empty.
        library.folder.rename(library.place / "away")
        library.folder.mkdir()
        summary = library.run(store, lambda: Volumes(lambda _: ELSEWHERE))
        assert (summary.n_away, summary.n_missing) == (library.n, 0)
        library.folder.rmdir()
        (library.place / "away").rename(library.folder)

    def unchanged() -> None:
        assert library.run(store).n_unchanged == library.n

    def unknown() -> None:
        assert sum(1 for _ in scan([library.folder])) == library.n

    with library.open() as store:
        library.fill(store)
        works = {
            "looked through, all unknown (each head is read)": unknown,
            "unchanged, within the process": unchanged,
            "its drive is not mounted": unplugged,
        }
        return {name: [seconds(work) for _ in range(n_runs)] for name, work in works.items()}


def commands(library: Library, n_runs: int) -> dict[str, list[Took]]:
    """The whole command over unchanged files."""

    def command(option: str) -> Callable[[], object]:
        call = (*SAVE, "index", library.folder, "--home", library.config.home, option)
        return lambda: subprocess.run(call, check=True, stdout=subprocess.DEVNULL)

    names = {"unchanged, `save index -q`": "-q", "unchanged, `save index --json`": "--json"}
    return {name: [seconds(command(option)) for _ in range(n_runs)] for name, option in names.items()}


def moves(library: Library, n_runs: int) -> dict[str, list[Took]]:
    """Changes of the whole library; the last one removes it."""

    def relinked() -> None:
        files = relink(store, library.folder.with_name(before), library.folder)
        assert not any(file.reason for file in files)

    def renamed() -> None:
        assert library.run(store).n_moved == library.n

    def removed() -> None:
        assert library.run(store).n_missing == library.n

    took: dict[str, list[Took]] = {"save relink": [], "save index of a renamed top folder": []}
    with library.open() as store:
        for work, name in zip((relinked, renamed), took, strict=True):
            for _ in range(n_runs):
                before = library.folder.name
                library.rename()
                took[name].append(seconds(work))
        shutil.rmtree(library.folder)
        (library.folder / "empty").mkdir(parents=True)
        took["all deleted: marked as missing"] = [seconds(removed)]
    return took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=10_000, help="files")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        library = Library(Path(name), given.n)
        took = looks(library, given.runs)
        took |= commands(library, given.runs)
        took |= moves(library, given.runs)
    rows = [
        (what, *(spread(values, ".2f") for values in zip(*pairs, strict=True)))
        for what, pairs in took.items()
    ]
    print(table((f"{given.n} files, {PER_FOLDER} in a folder", "s", "CPU, s"), rows))


if __name__ == "__main__":
    main()
