"""Captions, lists and transcripts -> clips in three splits that share no video."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from savecli.bench.files import SOUND_SUFFIXES, VIDEO_SUFFIXES, Folder, damaged, encodable, without
from savecli.bench.records import PARTS, Clip, Dataset, Part
from savecli.errors import DatasetError
from savecli.plain import plain

SPEECH_PATTERNS = ("*asr*.json", "*vad_text*.json")
MOST_HELD_OUT = 500  # about as many videos as MSR-VTT's authors set aside for validation
NOUNS: dict[Part, str] = {"train": "training", "val": "validation", "test": "test"}


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
    transcripts: Path | None,
    n_val: int | None,
    seed: int,
    parts: Collection[Part] = PARTS,
    published: tuple[int, int] | None = None,
) -> Dataset:
    """Clips of the splits asked for; ids listed twice go to test before val, and to val before train.

    Args:
        folder: where files are looked up and notes are taken.
        found: what its annotations say.
        name: of the benchmark.
        split: of it.
        speech: transcripts by id.
        transcripts: the file that they are from.
        n_val: videos to hold out where `found` has no validation list.
        seed: of that choice.
        parts: the splits that the caller wants.
        published: videos and captions of the test set that published results are of.

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
    clips: dict[Part, list[Clip]] = {
        "train": _clips(folder, "train", train, found.captions, speech),
        "val": _clips(folder, "val", val, found.captions, speech),
        "test": _clips(folder, "test", found.test, test_captions, speech),
    }
    if not clips["val"] and set(parts) != {"test"}:
        clips["train"], clips["val"] = hold_out(clips["train"], n_val, seed)
    wanted = {part: tuple(clips[part]) for part in PARTS if part in parts}
    _check_files(folder, name, wanted, transcripts)
    if "test" in wanted and published:
        _note_size(folder, wanted["test"], *published)
    return Dataset(
        name=name,
        split=split,
        train=wanted.get("train", ()),
        val=wanted.get("val", ()),
        test=wanted.get("test", ()),
        notes=tuple(folder.notes),
        transcripts=transcripts,
        n_published=published and published[0],
    )


def _check_files(
    folder: Folder, name: str, wanted: Mapping[Part, Sequence[Clip]], transcripts: Path | None
) -> None:
    everything = [clip for clips in wanted.values() for clip in clips]
    if not everything:
        asked = " or ".join(NOUNS[part] for part in wanted)
        raise DatasetError(f"no {asked} video of {name} has a caption", hint=_without_rows(name, wanted))
    if all(clip.path is None for clip in everything):
        message = f"none of the {len(everything)} videos of {name} is below {folder.root}"
        such = plain(without(everything[0].video_id, VIDEO_SUFFIXES))
        hint = f"put them in any folder there, named like {such}.mp4"
        raise DatasetError(message, hint=hint + folder.unread())
    for part, clips in wanted.items():
        n_missing = sum(clip.path is None for clip in clips)
        folder.note_count(n_missing, f"of {len(clips)} {NOUNS[part]} videos have no file")
        n_sounds = sum(clip.sound is not None for clip in clips)
        folder.note_count(n_sounds, f"of {len(clips)} {NOUNS[part]} videos have a sound file of their own")
    if transcripts and not any(clip.speech is not None for clip in everything):
        asked = " or ".join(NOUNS[part] for part in wanted)
        folder.notes.append(f"not one {asked} video is in {transcripts.name}: is it of this benchmark?")


def _without_rows(name: str, wanted: Mapping[Part, Sequence[Clip]]) -> str:
    if name != "csv":
        return "fetch the annotations again"
    rows = " or ".join(wanted)
    held_out = ", or with ten training videos or more, of which some are held out" if "val" in wanted else ""
    return (
        f"the table needs rows of {rows}: its column split says train, val or test, and rows without one are "
        f"the test{held_out}"
    )


def _note_size(folder: Folder, clips: Sequence[Clip], n_videos: int, n_captions: int) -> None:
    if len(clips) != n_videos:
        held, usual = f"{len(clips):,} videos", f"{n_videos:,}"
    elif (n := sum(len(clip.captions) for clip in clips)) != n_captions:
        held, usual = f"{n:,} captions", f"{n_captions:,}"
    else:
        return
    # First, since whoever overlooks it compares what cannot be compared.
    folder.notes.insert(0, f"NOT COMPARABLE with published results: this test set has {held}, not {usual}")


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


def read_speech(folder: Folder, name: str, asr: Path | None) -> tuple[Path | None, dict[str, str]]:
    """What is said in each video, by its id, out of the file that SAVE's authors give: ``[{"key", "text"}]``.

    A JSON object of id -> text is read too. A key loses its folder and its suffix of a sound or video.

    Args:
        folder: is searched for SPEECH_PATTERNS where `asr` is None; of several files one must name the
            benchmark.
        name: of the benchmark.
        asr: the file to read.

    Returns:
        The file, None where there is none, and what it says.

    Raises:
        DatasetError: where the file is missing or damaged, or where several would do.
    """
    path = asr or _find_speech(folder, name)
    if path is None:
        folder.notes.append(f"no file with transcripts ({', '.join(SPEECH_PATTERNS)}) is there")
        return None, {}
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
        said.setdefault(video_id, encodable(text) if text and text.strip() else "")
    folder.note_count(n_doubles, f"entries of {path.name} repeat an id: the first one counts")
    return path, said


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
    part: Part,
    ids: Sequence[str],
    captions: Mapping[str, Sequence[str]],
    speech: Mapping[str, str],
) -> list[Clip]:
    clips, silent, n_empty = [], [], 0
    for video_id in ids:
        given = [encodable(caption).strip() for caption in captions.get(video_id, ())]
        kept = tuple(caption for caption in given if caption)
        n_empty += len(given) - len(kept)
        if not kept:
            silent.append(video_id)
            continue
        path = folder.video(video_id)
        clips.append(
            Clip(
                video_id=video_id,
                path=path,
                captions=kept,
                speech=speech.get(
                    video_id, speech.get(without(PurePosixPath(video_id).name, VIDEO_SUFFIXES))
                ),
                sound=folder.sound(video_id, path),
            )
        )
    folder.note_count(n_empty, f"captions of {NOUNS[part]} videos are empty: left out")
    if silent:
        such = f"{NOUNS[part]} videos have no caption, such as {plain(silent[0])}: left out"
        folder.note_count(len(silent), such)
    return clips


def _lot(video_id: str, seed: int) -> bytes:
    return blake2b(f"{seed}:{video_id}".encode(), digest_size=16).digest()
