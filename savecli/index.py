"""Folders -> store: what is new or changed is read, what is known is left alone, what is gone is noted.

A generator of events: progress bars, JSON lines and tests are readers of one stream. One bad file is a
`Skipped`, and each video is one commit, so a killed run loses at most the video in work.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from savecli import events
from savecli.datatypes import Video, Volume
from savecli.errors import MediaCrash, MediaError, MediaTimeout, MediaUnfinished
from savecli.events import Event, Indexed, Moved, Planned, Progress, Removed, Skipped, Summary, Unchanged
from savecli.known import clash, link
from savecli.media.scan import (
    Found,
    Unreadable,
    changing,
    fingerprint,
    is_as_found,
    rest_s,
    scan,
    settled,
    whole,
)
from savecli.media.volumes import Volumes, is_there
from savecli.missing import Losses, losses
from savecli.pipeline import Pipeline, Processed
from savecli.reading import Job, Read, Reading
from savecli.store import KnownFile, Store, StoredVideo

N_ATTEMPTS = 3
"""So often a file is read, in as many runs, whose failure may be the machine's: no headway, a crash."""
N_TOGETHER = 256
"""So many files are linked to what is known of them in one commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to index.

    Attributes:
        paths: folders and files.
        exclude: shell patterns of names or whole paths to leave out.
        force: read everything again, also what failed before.
        retry_failed: read only what failed before, under `paths`, or anywhere if they are none.
        sweep: forget at once what is gone, and not after 30 days.
        asr: the transcriber that the pipeline will have, to tell what was indexed without one.
        jobs: so many files are read at a time.
        settle_s: a file must have been left in peace for so long.
    """

    paths: tuple[Path, ...]
    exclude: tuple[str, ...] = ()
    force: bool = False
    retry_failed: bool = False
    sweep: bool = False
    asr: str = "off"
    settle_s: float = 0.0
    jobs: int = 1


@dataclass(slots=True, kw_only=True)
class _Counts:
    indexed: int = 0
    unchanged: int = 0
    moved: int = 0
    skipped: int = 0
    without_speech: int = 0
    footage_s: float = 0.0
    stage_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(slots=True, kw_only=True)
class _Plan:
    """What a look at the folders says.

    Attributes:
        known: what the store has of these folders.
        found: what is there, and which volume it lies on.
        todo: what must be read.
        moved: old path -> new path of files that turned up under another one.
        successors: pairs of identities, of the volume that an unchanged file lay on and the one it lies on.
    """

    known: Mapping[Path, KnownFile]
    found: dict[Path, Volume] = field(default_factory=dict)
    todo: list[Found] = field(default_factory=list)
    moved: dict[Path, Path] = field(default_factory=dict)
    successors: set[tuple[str, str]] = field(default_factory=set)


def index(
    options: Options,
    store: Store,
    open_pipeline: Callable[[], AbstractContextManager[Pipeline]],
    *,
    look: Callable[[], Volumes] = Volumes,
    now: Callable[[], float] = time.time,
) -> Iterator[Event]:
    """Bring the store up to date with `options.paths`.

    Args:
        options: what to index.
        store: open for writing.
        open_pipeline: called once, and only if there is something to read.
        look: what is mounted, each time it matters.
        now: seconds since the epoch.

    Raises:
        SaveError: what no other file would survive either: weights, disk, store.
    """
    started = time.perf_counter()
    counts = _Counts()
    plan = yield from _compare(options, store, counts, look())
    sizes = {found.path: found.size_bytes for found in plan.todo}
    yield Planned(n_files=len(plan.todo), n_bytes=sum(sizes.values()), sizes=sizes)
    yield from _read_all(plan, options, store, open_pipeline, counts, look)
    store.maybe_rebuild()
    lost = None if options.retry_failed else _losses(options, plan, store, look, now)
    if lost is not None:
        yield from _note(lost, plan, options, store, counts)
    yield Summary(
        n_indexed=counts.indexed,
        n_unchanged=counts.unchanged,
        n_moved=counts.moved,
        n_skipped=counts.skipped,
        footage_s=counts.footage_s,
        elapsed_s=time.perf_counter() - started,
        stage_s=dict(counts.stage_s),
        n_without_speech=counts.without_speech,
        n_removed=len(lost.due) if lost else 0,
        n_missing=len(lost.gone) if lost else 0,
        n_away=len(lost.away) if lost else 0,
    )


def news_in_s(
    options: Options,
    store: Store,
    *,
    look: Callable[[], Volumes] = Volumes,
    now: Callable[[], float] = time.time,
) -> float | None:
    """How long until `index` has something to do: 0 if it has now, None if nothing is in sight.

    The store may be open for reading only. A file that was written just now is in sight: it must be left in
    peace first.
    """
    plan = events.ended(_compare(options, store, _Counts(), look()))
    if _losses(options, plan, store, look, now).is_news:
        return 0.0
    return min((rest_s(found.mtime_ns, options.settle_s) for found in plan.todo), default=None)


def _compare(
    options: Options, store: Store, counts: _Counts, volumes: Volumes
) -> Generator[Event, None, _Plan]:
    """Events for what needs no reading; returns the plan for the rest."""
    roots = [whole(path) for path in options.paths]
    known = store.known(roots or None)
    paths: list[Path] | tuple[Path, ...] = roots
    if options.retry_failed:
        known = {path: file for path, file in known.items() if file.reason is not None}
        paths = tuple(known)
    plan = _Plan(known=known)
    mute = store.without_speech() if options.asr != "off" else set()

    def is_known(path: Path, size_bytes: int, mtime_ns: int) -> bool:
        file = known.get(path)
        return file is not None and (file.size_bytes, file.mtime_ns) == (size_bytes, mtime_ns)

    for item in scan(paths, exclude=options.exclude, is_known=is_known, volumes=volumes):
        if isinstance(item, Unreadable):
            yield _skip(item.path, item.error, counts)
            continue
        plan.found[item.path] = item.volume
        file = known.get(item.path)
        if file is None or not is_known(item.path, item.size_bytes, item.mtime_ns):
            plan.todo.append(item)
            continue
        if file.volume is not None and file.volume.identity != item.volume.identity:
            plan.successors.add((file.volume.identity, item.volume.identity))
        if options.force or options.retry_failed or (file.passing and file.attempts < N_ATTEMPTS):
            plan.todo.append(item)
        elif file.reason is not None:
            yield _skip(item.path, MediaError(file.reason, hint=file.hint or ""), counts, known=True)
        else:
            counts.unchanged += 1
            counts.without_speech += file.fingerprint in mute
            yield Unchanged(path=item.path)
    return plan


def _read_all(
    plan: _Plan,
    options: Options,
    store: Store,
    open_pipeline: Callable[[], AbstractContextManager[Pipeline]],
    counts: _Counts,
    look: Callable[[], Volumes],
) -> Iterator[Event]:
    """What is to be done is done, several files at a time; only this thread touches the store."""
    pending: list[tuple[Found, StoredVideo]] = []

    def link_all() -> Iterator[Event]:
        return _link_all(pending, plan, store, counts, look)

    def begin(found: Found, video_id: str) -> Iterator[Event]:
        """Read it, or link it to what is known of it."""
        file = plan.known.get(found.path)
        refusal = None if options.force else clash(found, video_id, file, plan.successors)
        if refusal is not None:
            yield _skip(found.path, refusal, counts)
            return
        stored = None if options.force else store.named(video_id)
        if stored is not None:
            pending.append((found, stored))
        if stored is None or len(pending) == N_TOGETHER:
            yield from link_all()
        if stored is None:
            reading.give(found, video_id)

    with Reading(open_pipeline, min(options.jobs, len(plan.todo))) as reading:
        for found in _steady_first(plan.todo, options.settle_s):
            yield from _written(reading.told(lambda: not reading.is_full), reading, store, counts)
            video_id = ""
            try:
                found = settled(found, options.settle_s)
                video_id = fingerprint(found.path)
                # A copy of what is being read is linked to it afterwards.
                yield from _written(reading.told(partial(reading.lacks, video_id)), reading, store, counts)
                yield from begin(found, video_id)
            except MediaError as error:
                yield _failed(found, video_id, error, store, counts)
        yield from _written(reading.told(), reading, store, counts)
    yield from link_all()


def _written(
    told: Iterator[Progress | Read], reading: Reading, store: Store, counts: _Counts
) -> Iterator[Event]:
    """The same, and what was read is written down before it is told, or why it could not be."""
    for event in told:
        if isinstance(event, Progress):
            yield event
            continue
        try:
            processed = event.result()
            if not is_as_found(event.job.found):
                raise changing()
        except MediaError as error:
            yield _failed(event.job.found, event.job.video_id, error, store, counts)
        else:
            yield _add(event.job, processed, reading.asr, store, counts)


def _failed(found: Found, video_id: str, error: MediaError, store: Store, counts: _Counts) -> Skipped:
    if video_id and not isinstance(error, MediaUnfinished) and is_as_found(found):
        store.fail(
            found.path,
            found.size_bytes,
            found.mtime_ns,
            error.message,
            error.hint,
            passing=isinstance(error, MediaTimeout | MediaCrash),
            volume=found.volume,
        )
    return _skip(found.path, error, counts)


def _skip(path: Path, error: MediaError, counts: _Counts, *, known: bool = False) -> Skipped:
    counts.skipped += 1
    unfinished = isinstance(error, MediaUnfinished)
    return Skipped(path=path, reason=error.message, hint=error.hint, known=known, unfinished=unfinished)


def _steady_first(todo: list[Found], settle_s: float) -> list[Found]:
    """What was written just now comes last: it is left in peace meanwhile."""
    return sorted(todo, key=lambda found: rest_s(found.mtime_ns, settle_s) > 0)


def _link_all(
    pending: list[tuple[Found, StoredVideo]],
    plan: _Plan,
    store: Store,
    counts: _Counts,
    look: Callable[[], Volumes],
) -> Iterator[Event]:
    """Links what is pending, in one commit, and tells it."""
    if not pending:
        return
    told = link(pending, store, look, plan.moved)
    pending.clear()
    for event in told:
        match event:
            case Unchanged():
                counts.unchanged += 1
            case Moved():
                counts.moved += 1
            case Indexed():
                counts.indexed += 1
        yield event


def _losses(
    options: Options,
    plan: _Plan,
    store: Store,
    look: Callable[[], Volumes],
    now: Callable[[], float],
) -> Losses:
    known = {path: file for path, file in plan.known.items() if path not in plan.moved}
    return losses(known, plan.found, store, look(), now=now(), sweep=options.sweep)


def _note(
    lost: Losses, plan: _Plan, options: Options, store: Store, counts: _Counts
) -> Iterator[Removed | Skipped]:
    """Writes down what is gone, and tells what is forgotten, and which folders have lost their drive."""
    if lost.due:
        store.unlink(*lost.due)
        yield from (Removed(path=path) for path in lost.due)
    if lost.is_news:
        store.survey(seen=lost.seen, missing=lost.gone, now=lost.now, afresh=lost.afresh)
    for root in dict.fromkeys(whole(path) for path in options.paths):
        drives = [drive for path, drive in lost.away.items() if path == root or root in path.parents]
        empty = not any(path == root or root in path.parents for path in plan.found)
        if drives and empty and is_there(root):
            yield _skip(root, _without_drive(drives), counts)


def _without_drive(drives: list[str]) -> MediaError:
    labels = ", ".join(sorted({drive for drive in drives if drive}))
    return MediaError(
        f"no video is in it now, but the store knows {len(drives)} there"
        + (f" on drive {labels}, which is not mounted" if labels else ", and their drive may not be mounted"),
        hint="nothing was changed: mount it and run this again, or `save forget` them",
    )


def _add(job: Job, processed: Processed, asr: str, store: Store, counts: _Counts) -> Indexed:
    video = _video(job.found, job.video_id, processed)
    storing = time.perf_counter()
    store.add(
        video,
        processed.segments,
        processed.embeddings,
        processed.transcript,
        asr=asr,
        frame_times=processed.frame_times,
        notes=processed.notes,
        partial=processed.partial,
        volume=job.found.volume,
    )
    stage_s = {**processed.stage_s, "store": time.perf_counter() - storing}
    _count(video.duration_s, stage_s, counts)
    return Indexed(
        path=job.found.path,
        duration_s=video.duration_s,
        n_segments=len(processed.segments),
        has_audio=video.has_audio,
        speech_s=processed.transcript.speech_s,
        elapsed_s=time.perf_counter() - job.started,
        size_bytes=job.found.size_bytes,
        stage_s=stage_s,
        notes=processed.notes,
        partial=processed.partial,
    )


def _count(duration_s: float, stage_s: Mapping[str, float], counts: _Counts) -> None:
    counts.indexed += 1
    counts.footage_s += duration_s
    for stage, seconds in stage_s.items():
        counts.stage_s[stage] += seconds


def _video(found: Found, video_id: str, processed: Processed) -> Video:
    timeline = processed.timeline
    return Video(
        path=found.path,
        fingerprint=video_id,
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        duration_s=timeline.duration_s,
        has_video=timeline.has_video,
        has_audio=timeline.has_audio,
    )
