"""The store's own affairs: finding, forgetting, relinking, rebuilding; and can this machine do the job?"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from savecli.config import Config
from savecli.datatypes import Check
from savecli.errors import MediaError, SaveError, StoreError, WeightsError
from savecli.events import Pulled, Pulling, Relinked
from savecli.media.scan import fingerprint, whole
from savecli.media.volumes import Volumes, absent, is_there
from savecli.store import KnownFile, Store, StoredVideo, folder

if TYPE_CHECKING:
    from savecli.model.weights import Weights

LOW_DISK_BYTES = 1 << 30


def nothing_indexed(config: Config) -> StoreError | None:
    """What there is to say before the first index; None where there is a store, or what is left of one."""
    return None if folder.is_begun(config.store_dir) else folder.not_indexed(config.store_dir)


def find(store: Store, path: Path) -> StoredVideo:
    """The stored video at `path`.

    Raises:
        StoreError: it is not in the store, with the reason if it was skipped.
    """
    path = whole(path)
    video = store.video(path)
    if video is not None:
        return video
    file = store.files([path]).get(path)
    if file is not None and file.reason is not None:
        raise StoreError(f"{path} could not be indexed: {file.reason}", hint=file.hint or "")
    raise StoreError(f"{path} is not in the store", hint=shlex.join(("save", "index", str(path))))


def away(
    store: Store, paths: Sequence[Path] | None = None, look: Callable[[], Volumes] = Volumes
) -> dict[Path, str]:
    """Files of stored videos that cannot be played now.

    Each comes with the label of its drive if that is not mounted, "" otherwise.

    Args:
        store: open for reading or writing.
        paths: the files to look at; None looks at all.
        look: what is mounted.
    """
    files = store.known() if paths is None else store.files(paths)
    stored = {path: file.volume for path, file in files.items() if file.fingerprint is not None}
    return absent(stored, look())


def looked_up(store: Store, paths: Sequence[Path]) -> tuple[dict[Path, KnownFile], list[Path]]:
    """What the store knows of some files and folders and below them, and those of which it knows nothing."""
    named = [whole(path) for path in paths]
    known = store.known(named)
    above = {folder for path in known for folder in (path, *path.parents)}
    return known, [path for path in named if path not in above]


def not_stored(*paths: Path) -> StoreError:
    """What there is to say of files and folders of which nothing is in the store."""
    return StoreError(f"nothing under {', '.join(map(str, paths))} is in the store", hint="save list")


def forget(store: Store, paths: Sequence[Path]) -> tuple[int, list[Path]]:
    """Removes files, and all files below folders, from the store; never from disk.

    Returns:
        How many, and those of `paths` of which nothing was in the store.

    Raises:
        StoreError: of none of them anything was.
    """
    known, unknown = looked_up(store, paths)
    if not known:
        raise not_stored(*unknown)
    return store.unlink(*known), unknown


def relink(
    store: Store, old: Path, new: Path, *, dry_run: bool = False, look: Callable[[], Volumes] = Volumes
) -> list[Relinked]:
    """Tells the store, in one commit, that what it knows below `old` now lies below `new`.

    A file counts as the same if size and time of change are, or its fingerprint is. Any other is left where
    it was, and so is one whose new path the store knows with another video.

    Args:
        store: open for writing; for reading is enough for a dry run.
        old: a folder that need not exist any more, or a file.
        new: where it is now.
        dry_run: change nothing.
        look: what is mounted.

    Returns:
        All that is known below `old`, in order of path.

    Raises:
        StoreError: nothing is known below `old`, or `new` is not there.
    """
    old, new = whole(old), whole(new)
    known = store.known([old])
    if not known:
        raise not_stored(old)
    if old == new or not is_there(new):
        what = "both are the same folder" if old == new else f"{new} is not there"
        raise StoreError(what, hint="name the folder where the videos are now; is its drive mounted?")
    targets = {path: new / path.relative_to(old) for path in known}
    found = {path: _same(file, targets[path]) for path, file in known.items()}
    reasons = {path: same for path, same in found.items() if isinstance(same, str)}
    taken = store.files(targets.values())
    while clashes := [
        path
        for path in known.keys() - reasons.keys()
        if (there := taken.get(targets[path])) is not None
        and (targets[path] not in known or targets[path] in reasons)
        and there.fingerprint not in (None, known[path].fingerprint)
    ]:
        reasons |= dict.fromkeys(clashes, "the store knows another video there")
    volumes = look()
    moves = {
        path: (targets[path], same.st_size, same.st_mtime_ns, volumes.of(targets[path]))
        for path, same in found.items()
        if path not in reasons and not isinstance(same, str)
    }
    if moves and not dry_run:
        store.relink(moves)
    return [
        Relinked(path=targets[path], old_path=path, reason=reasons.get(path, "")) for path in sorted(known)
    ]


def _same(file: KnownFile, path: Path) -> os.stat_result | str:
    """The status of `path` if it is the file that is known, or why it is not."""
    try:
        status = path.stat()
    except OSError as error:
        return "it is not there" if isinstance(error, FileNotFoundError) else f"{error.strerror or error}"
    if status.st_size != file.size_bytes:
        return "the file there has another size"
    if status.st_mtime_ns == file.mtime_ns:
        return status
    try:
        same = file.fingerprint is not None and fingerprint(path) == file.fingerprint
    except MediaError as error:
        return error.message
    return status if same else "the file there is another one, or has changed"


def rebuild(store: Store, engine: str) -> None:
    """Drops what forgotten videos left in the vector files, and builds the graphs anew from what stays.

    Raises:
        StoreError: an engine that is not installed.
    """
    store.compact()
    store.rebuild_graphs(engine)


def doctor(config: Config) -> Iterator[Check]:
    """Everything that the job needs, each tried for real and not only looked for."""
    for name, attempt in (
        ("decoder", _decoder),
        ("weights", lambda: _weights(config)),
        ("encoder", lambda: _encoder(config)),
        ("speech", lambda: _speech(config)),
        ("speed", lambda: _speed(config)),
        ("store", lambda: _store(config)),
        ("disk", lambda: _disk(config)),
    ):
        yield _tried(name, attempt)


def _tried(name: str, attempt: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, message=attempt())
    except SaveError as error:
        return Check(name=name, ok=False, message=error.message, hint=error.hint)
    except ImportError as error:
        return Check(
            name=name, ok=False, message=f"cannot import {error.name}: {error}", hint="pip install savecli"
        )
    except OSError as error:
        return Check(name=name, ok=False, message=str(error), hint="can this place be read and written?")


def _decoder() -> str:
    import numpy as np

    from savecli.media.encode import write_video
    from savecli.media.worker import Decoder

    grey = np.full((64, 64, 3), 128, np.uint8)
    with tempfile.TemporaryDirectory() as folder, Decoder() as decoder:
        path = Path(folder) / "grey.mp4"
        write_video(path, [grey] * 25, fps=25)
        shown = list(decoder.frames(decoder.probe(path), [0.5], resize_px=32, size_px=32))
    if len(shown) != 1 or abs(float(shown[0].image.mean()) - 128) > 4:
        raise MediaError("a video written here does not read back", hint="pip install --force-reinstall av")
    return "a video written here reads back"


def _weights(config: Config) -> str:
    from savecli.model import weights
    from savecli.pipeline import make_encoder

    needed = {"efficientnet-lite0", "all-minilm-l6-v2"}
    needed |= {f"whisper-{config.asr.split('/')[-1]}"} if config.asr != "off" else set()
    for name in sorted(needed):
        weights.verify(name, config.model_dir)
    make_encoder(config).verify()
    return f"{', '.join(sorted(needed))} and save-mini: every byte as published"


def _encoder(config: Config) -> str:
    import numpy as np

    from savecli.pipeline import make_encoder

    encoder = make_encoder(config)
    size_px = encoder.spec.size_px
    rows = encoder.see(np.zeros((1, size_px, size_px, 3), np.uint8))
    encoder.hear(np.zeros(encoder.spec.sample_rate_hz, np.float32))
    return f"{encoder.name} sees, hears and reads, on {encoder.device}, in {rows.shape[1]} dimensions"


def _speech(config: Config) -> str:
    if config.asr == "off":
        return "turned off (asr)"
    from savecli.pipeline import make_transcriber

    transcriber = make_transcriber(config)
    assert transcriber is not None  # noqa: S101 - asr is not off
    return f"Whisper {transcriber.name} loads"


def _speed(config: Config) -> str:
    auto = config.asr_auto
    return f"jobs {config.jobs} ({config.sources['jobs']}); asr auto is {auto.name}: {auto.why}"


def _store(config: Config) -> str:
    from savecli.pipeline import make_encoder

    if not (config.store_dir / "FORMAT").exists():
        return f"none yet at {config.store_dir}"
    with Store.open(config.store_dir, identity=make_encoder(config).identity, mode="read") as store:
        problems = store.check()
        counts = store.counts()
    if problems:
        worst = problems[0]
        raise StoreError(f"{worst.subject}: {worst.message} ({len(problems)} problems)", hint=worst.hint)
    return f"{counts.n_videos} videos at {config.store_dir}, every checksum right"


def _disk(config: Config) -> str:
    place = next(p for p in (config.home, *config.home.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < LOW_DISK_BYTES:
        raise StoreError(
            f"only {free / 1e6:.0f} MB free at {place}", hint="free some space, or use --home elsewhere"
        )
    return f"{free / 1e9:.0f} GB free at {place}"


def versions() -> dict[str, str]:
    """What a bug report should name; a package that is not installed is left out."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("savecli", "torch", "av", "faster-whisper", "openai-whisper", "usearch", "hnswlib"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def weights_list(model_dir: Path) -> list[dict[str, str]]:
    """Every set of weights, ours first, with its state on this machine."""
    from savecli.model import weights

    rows = [
        {
            "name": "save-mini",
            "role": "encoder",
            "size": _megabytes(sum(f.stat().st_size for f in weights.bundled("save-mini").iterdir())),
            "licence": "MIT",
            "state": "bundled",
            "origin": "scripts/train_mini",
        }
    ]
    for entry in weights.manifest().values():
        rows.append(
            {
                "name": entry.name,
                "role": entry.role,
                "size": _megabytes(entry.size_bytes),
                "licence": entry.licence,
                "state": _state(entry, model_dir),
                "origin": entry.origin,
            }
        )
    return rows


def weights_info(name: str, model_dir: Path) -> dict[str, str]:
    """The facts of one set of weights; for those that are here, after hashing every byte.

    Raises:
        WeightsError: no weights have that name.
    """
    from savecli.model import weights

    if name == "save-mini":
        return weights.bundled_facts(name)
    entry = weights.known(name)
    problem = _missing(name, model_dir)
    facts = {
        "name": name,
        "what": entry.about,
        "role": entry.role,
        "licence": entry.licence,
        "origin": entry.origin,
        "upstream": entry.upstream,
        "packages": ", ".join(entry.packages),
        "state": problem or "every byte as published",
    }
    if not entry.packages:
        del facts["packages"]
        facts["sha256 from"] = entry.digest_source
    for file in entry.files:
        facts[f"sha256 of {file.name}"] = f"{file.sha256} ({file.size_bytes} bytes)"
        if file.urls:
            facts[f"published at, {file.name}"] = " ".join(file.urls)
    return facts


def pull(names: Sequence[str], config: Config) -> list[Iterator[Pulling | Pulled]]:
    """For each set of weights a download that starts when it is iterated; all names are looked up before.

    Raises:
        WeightsError: no weights have one of the names, or they are ours and part of the package. While
            iterated: as `savecli.model.pull.pull`.
    """
    from savecli.model import pull, weights

    for name in names:
        if name == "save-mini":
            raise WeightsError("save-mini is part of savecli, nothing to pull", hint="save model list")
        weights.known(name)
    return [pull.pull(name, config.model_dir, offline=config.offline) for name in dict.fromkeys(names)]


def _state(entry: Weights, model_dir: Path) -> str:
    from savecli.model import weights

    if entry.packages:
        return "missing" if _missing(entry.name, model_dir) else "here"
    # Downloads take gigabytes: a file hashed before is not hashed again for a list.
    placed = {file: model_dir / entry.name / file.name for file in entry.files}
    if not all(path.is_file() for path in placed.values()):
        return f"not pulled ({entry.size_bytes / 1e6:.0f} MB)"
    return "here" if all(weights.is_right(p, f, model_dir) for f, p in placed.items()) else "damaged"


def _missing(name: str, model_dir: Path) -> str:
    from savecli.model import weights

    try:
        weights.verify(name, model_dir)
    except WeightsError as error:
        return "; ".join((error.message, *error.hint.splitlines()))
    return ""


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
