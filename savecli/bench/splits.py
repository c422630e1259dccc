"""Captions, lists and transcripts -> clips in three splits that share no video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from savecli.bench.files import SOUND_SUFFIXES, VIDEO_SUFFIXES, Folder, damaged, without
from savecli.bench.records import Clip, Dataset
from savecli.errors import DatasetError
from savecli.plain import plain

SPEECH_PATTERNS = ("*asr*.json", "*vad_text*.json")
MOST_HELD_OUT = 500  # about as many videos as MSR-VTT's authors set aside for validation


@dataclass(slots=True, kw_only=True)
class Annotations:
    """What a reader of one benchmark's files hands over.

    Attributes:
        train, val, test: video ids, as listed; `val` is empty where nobody published one for this `train`.
        captions: of each video.
        test_captions: of each test video, where they are others than in `captions`.
    """

    train: list[str]
    val: list[str]
    test: list[str]
    captions: dict[str, list[str]]
    test_captions: dict[str, list[str]] = field(default_factory=dict)


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(video id, caption) pairs -> the captions of each video, in order."""
    captions: dict[str, list[str]] = {}
    for video_id, caption in pairs:
        captions.setdefault(video_id, []).append(caption)
    return captions


def unique(folder: Folder, ids: Iterable[str], where: str) -> list[str]:
    """Ids without repetitions, the first of each kept, and empty ones dropped; both are noted."""
    listed = list(ids)
    kept = [video_id for video_id in dict.fromkeys(listed) if video_id]
    folder.note_count(
        len(listed) - len(kept), f"ids of {where} are empty or listed before: the first one counts"
    )
    return kept


def dataset(
    folder: Folder,
    found: Annotations,
    *,
    name: str,
    split: str = "",
    speech: Mapping[str, str],
    n_val: int | None,
    seed: int,
) -> Dataset:
    """Clips of all splits; ids listed twice go to test before val, and to val before train.

    Raises:
        DatasetError: where no clip has captions, none has a file, or nothing would stay to train on.
    """
    test = set(found.test)
    val = [video_id for video_id in found.val if video_id not in test]
    taken = test | set(val)
    train = [video_id for video_id in found.train if video_id not in taken]
    n_doubles = len(found.val) - len(val) + len(found.train) - len(train)
    folder.note_count(n_doubles, "videos are in two splits: test goes before val, val before train")
    test_captions = {**found.captions, **found.test_captions}
    clips = {
        "train": _clips(folder, "training", train, found.captions, speech),
        "val": _clips(folder, "validation", val, found.captions, speech),
        "test": _clips(folder, "test", found.test, test_captions, speech),
    }
    everything = [clip for some in clips.values() for clip in some]
    if not everything:
        raise DatasetError(f"no video of {name} has a caption", hint="fetch the annotations again")
    if all(clip.path is None for clip in everything):
        message = f"none of the {len(everything)} videos of {name} is below {folder.root}"
        raise DatasetError(
            message, hint=f"put them in any folder there, named like {everything[0].video_id}.mp4"
        )
    if not clips["val"]:
        clips["train"], clips["val"] = hold_out(clips["train"], n_val, seed)
    return Dataset(
        name=name, split=split, notes=tuple(folder.notes), **{k: tuple(v) for k, v in clips.items()}
    )


def hold_out(clips: Sequence[Clip], n_val: int | None, seed: int) -> tuple[list[Clip], list[Clip]]:
    """Set `n_val` clips aside for validation, in place of choosing an epoch on the test set.

    Which ones depends on the ids and the seed alone: not on their order, nor on what files are there, so
    machines with different gaps hold out the same videos. None takes a tenth, but at most MOST_HELD_OUT.

    Returns:
        The clips that stay and those set aside, each in their order.

    Raises:
        DatasetError: where nothing would stay to train on.
    """
    wanted = min(len(clips) // 10, MOST_HELD_OUT) if n_val is None else n_val
    if wanted < 0 or (wanted and wanted >= len(clips) > 0):
        message = f"cannot hold {wanted} of {len(clips)} training videos out for validation"
        raise DatasetError(message, hint="hold fewer out, or none with 0")
    chosen = {clip.video_id for clip in sorted(clips, key=lambda clip: _lot(clip.video_id, seed))[:wanted]}
    return (
        [clip for clip in clips if clip.video_id not in chosen],
        [clip for clip in clips if clip.video_id in chosen],
    )


def read_speech(folder: Folder, name: str, asr: Path | None) -> dict[str, str]:
    """What is said in each video, by its id, out of the file that SAVE's authors give: ``[{"key", "text"}]``.

    A JSON object of id -> text is read too. A key loses its folder and its suffix of a sound or video.

    Args:
        folder: is searched for SPEECH_PATTERNS where `asr` is None; of several files one must name the
            benchmark.
        name: of the benchmark.
        asr: the file to read.

    Raises:
        DatasetError: where the file is missing or damaged, or where several would do.
    """
    path = asr or _find_speech(folder, name)
    if path is None:
        folder.notes.append("no file with transcripts (such as msrvtt10k_asr_text.json): nothing is said")
        return {}
    held = folder.json(path)
    entries = held.items() if isinstance(held, dict) else _pairs(held, path)
    said: dict[str, str] = {}
    n_doubles = 0
    for key, text in entries:
        if not isinstance(key, str) or not isinstance(text, str | None):
            raise damaged(path, f"the entry of {key!r} is no text")
        video_id = without(PurePosixPath(key).name, SOUND_SUFFIXES + VIDEO_SUFFIXES)
        n_doubles += video_id in said
        # As it came: SAVE's rule for short texts counts white space.
        said.setdefault(video_id, text if text and text.strip() else "")
    folder.note_count(n_doubles, f"entries of {path.name} repeat an id: the first one counts")
    return said


def _find_speech(folder: Folder, name: str) -> Path | None:
    found = folder.named(*SPEECH_PATTERNS)
    named = [path for path in found if name in path.name.lower()]
    if len(found) > 1 and len(named) != 1:
        listed = ", ".join(str(path) for path in named or found)
        raise DatasetError(f"several files may hold the transcripts: {listed}", hint="name one of them")
    return next(iter(named or found), None)


def _pairs(held: object, path: Path) -> list[tuple[object, object]]:
    if not isinstance(held, list) or not all(isinstance(e, dict) and "key" in e for e in held):
        raise damaged(path, 'it is no list of {"key": ..., "text": ...}')
    return [(entry["key"], entry.get("text")) for entry in held]


def _clips(
    folder: Folder,
    which: str,
    ids: Sequence[str],
    captions: Mapping[str, Sequence[str]],
    speech: Mapping[str, str],
) -> list[Clip]:
    clips, silent, n_empty = [], [], 0
    for video_id in ids:
        given = [caption.strip() for caption in captions.get(video_id, ())]
        kept = tuple(caption for caption in given if caption)
        n_empty += len(given) - len(kept)
        if not kept:
            silent.append(video_id)
            continue
        said = speech.get(video_id, speech.get(without(PurePosixPath(video_id).name, VIDEO_SUFFIXES)))
        clips.append(Clip(video_id=video_id, path=folder.video(video_id), captions=kept, speech=said))
    folder.note_count(n_empty, f"captions of {which} videos are empty: left out")
    if silent:
        folder.note_count(
            len(silent), f"{which} videos have no caption, such as {plain(silent[0])}: left out"
        )
    n_missing = sum(clip.path is None for clip in clips)
    folder.note_count(n_missing, f"of {len(clips)} {which} videos have no file")
    return clips


def _lot(video_id: str, seed: int) -> bytes:
    return blake2b(f"{seed}:{video_id}".encode(), digest_size=16).digest()
