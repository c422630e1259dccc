"""The teacher's features on disk: what `save train teacher` writes, and training reads.

One safetensors file holds the features of many videos, or of one while the work goes on. Needs neither the
teacher nor torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from savecli.errors import SaveError, WeightsError

WIDTH = 1024
FORMAT = "save-teacher"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TeacherFeatures:
    """What the teacher makes of N videos, each by its row.

    Attributes:
        video_ids: N, all different.
        sources: N; the fingerprint of the file that each row is from.
        audio, video: (N, WIDTH) float32 of any norm.
        teacher: which teacher, as it names itself.
    """

    video_ids: tuple[str, ...]
    sources: tuple[str, ...]
    audio: NDArray[np.float32]
    video: NDArray[np.float32]
    teacher: str


def read_teacher(path: Path) -> TeacherFeatures:
    """Reads and checks a file of features.

    Raises:
        WeightsError: there is none, or it holds anything but rows of finite numbers, one for each video.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        if metadata.get("format") != FORMAT:
            raise ValueError("it is of another kind")
        if tensors.keys() != {"audio", "video"}:
            raise ValueError(f"it holds {', '.join(sorted(tensors)) or 'nothing'}, not audio and video")
        features = TeacherFeatures(
            video_ids=tuple(json.loads(metadata["video_ids"])),
            sources=tuple(json.loads(metadata["sources"])),
            teacher=metadata["teacher"],
            **tensors,
        )
        _check(features)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(
            f"cannot read teacher features from {path}: {error}", hint="save train teacher --help"
        ) from error
    return features


def write_teacher(path: Path, features: TeacherFeatures) -> None:
    """Writes a file of features, which appears under its name whole or not at all, in place of an old one.

    Raises:
        WeightsError: features that `read_teacher` would refuse: the teacher's weights are at fault.
        SaveError: the file cannot be written.
    """
    from safetensors.numpy import save

    try:
        _check(features)
    except ValueError as error:
        raise WeightsError(
            f"{features.teacher} gives no usable features: {error}", hint="are its weights damaged?"
        ) from error
    metadata = {
        "format": FORMAT,
        "teacher": features.teacher,
        "video_ids": json.dumps(features.video_ids),
        "sources": json.dumps(features.sources),
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(save({"audio": features.audio, "video": features.video}, metadata))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise SaveError(
            f"cannot write {path}: {error.strerror}", hint="8 kB a video are needed; is the disk full?"
        ) from error


def merged(found: list[TeacherFeatures]) -> TeacherFeatures:
    """All rows in one, ordered by video; of several rows of one video, the last is taken.

    Raises:
        ValueError: nothing to merge, or rows of different teachers.
    """
    if len({features.teacher for features in found}) != 1:
        raise ValueError("rows of one teacher are needed")
    rows = {
        video_id: (features, row) for features in found for row, video_id in enumerate(features.video_ids)
    }
    chosen = [rows[video_id] for video_id in sorted(rows)]
    return TeacherFeatures(
        video_ids=tuple(sorted(rows)),
        sources=tuple(features.sources[row] for features, row in chosen),
        audio=np.stack([features.audio[row] for features, row in chosen]),
        video=np.stack([features.video[row] for features, row in chosen]),
        teacher=found[0].teacher,
    )


class Parts:
    """One file for each video while the work goes on, in a folder of their own beside the whole.

    Args:
        out: of the whole; the folder is `<out>.parts`.
    """

    def __init__(self, out: Path) -> None:
        self._folder = out.with_name(f"{out.name}.parts")

    def add(self, features: TeacherFeatures) -> None:
        """Keeps the features of one video.

        Raises:
            WeightsError, SaveError: as `write_teacher`.
        """
        [video_id] = features.video_ids
        # Any string may be an id; a file's name may not be any string.
        name = hashlib.blake2b(video_id.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        write_teacher(self._folder / f"{name}.safetensors", features)

    def read(self) -> dict[Path, TeacherFeatures]:
        """What is kept, by file; one that a crash of the system left damaged is removed, and made again."""
        found: dict[Path, TeacherFeatures] = {}
        for path in sorted(self._folder.glob("*.safetensors")):
            try:
                found[path] = read_teacher(path)
            except WeightsError:
                path.unlink(missing_ok=True)
        return found

    def remove(self, paths: list[Path]) -> None:
        """Lets go of parts that are in the whole, and of the folder if it holds no other."""
        for path in paths:
            path.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()


def _check(features: TeacherFeatures) -> None:
    """Raises ValueError where the record does not keep what its class says."""
    n_rows = len(features.video_ids)
    if not n_rows or len(set(features.video_ids)) != n_rows or len(features.sources) != n_rows:
        raise ValueError("a row for each video is needed, and one or more of them")
    if not all(isinstance(text, str) for text in (*features.video_ids, *features.sources)):
        raise ValueError("videos are named by strings")
    for name, rows in (("audio", features.audio), ("video", features.video)):
        if rows.shape != (n_rows, WIDTH) or rows.dtype != np.float32:
            raise ValueError(f"{name} is {rows.dtype}{list(rows.shape)}, not float32[{n_rows}, {WIDTH}]")
        if not np.isfinite(rows).all():
            raise ValueError(f"{name} has rows that are not finite")
