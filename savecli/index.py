"""Folders -> store: what is new or changed is read, what is known is left alone.

A generator of events: progress bars, JSON lines and tests are readers of one stream. One bad file is a
`Skipped`, and each video is one commit, so a killed run loses at most the video in work.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from savecli.datatypes import Video
from savecli.errors import MediaError
from savecli.events import Event, Indexed, Moved, Planned, Skipped, Summary, Unchanged
from savecli.media.scan import Found, Unreadable, fingerprint, scan
from savecli.pipeline import Pipeline, Processed
from savecli.store import Store, StoredVideo

CHANGING = MediaError(
    "it changed, or went away, while it was read", hint="run `save index` again when it is complete"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to index.

    Attributes:
        paths: folders and files.
        exclude: shell patterns of names or whole paths to leave out.
        force: read everything again, also what failed before.
        asr: the transcriber that the pipeline will have, to tell what was indexed without one.
    """

    paths: tuple[Path, ...]
    exclude: tuple[str, ...] = ()
    force: bool = False
    asr: str = "off"


@dataclass(slots=True, kw_only=True)
class _Counts:
    indexed: int = 0
    unchanged: int = 0
    moved: int = 0
    skipped: int = 0
    without_speech: int = 0
    footage_s: float = 0.0
    stage_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


def index(
    options: Options, store: Store, open_pipeline: Callable[[], AbstractContextManager[Pipeline]]
) -> Iterator[Event]:
    """Bring the store up to date with `options.paths`.

    Args:
        options: what to index.
        store: open for writing.
        open_pipeline: called once, and only if there is something to read.

    Raises:
        SaveError: what no other file would survive either: weights, disk, store.
    """
    started = time.perf_counter()
    counts = _Counts()
    todo = yield from _compare(options, store, counts)
    yield Planned(n_files=len(todo), n_bytes=sum(found.size_bytes for found in todo))
    with ExitStack() as models:
        pipeline: Pipeline | None = None
        for found in todo:
            try:
                video_id = fingerprint(found.path)
                stored = None if options.force else store.named(video_id)
                if stored is not None:
                    yield _link(found, stored, store, counts)
                    continue
                pipeline = pipeline or models.enter_context(open_pipeline())
                yield (yield from _read(found, video_id, store, pipeline, counts))
            except MediaError as error:
                # A file that is still being copied, or gone, has not failed: it is tried again next time.
                if _is_as_found(found):
                    store.fail(found.path, found.size_bytes, found.mtime_ns, error.message, error.hint)
                yield _skip(found.path, error, counts)
    store.maybe_rebuild()
    yield Summary(
        n_indexed=counts.indexed,
        n_unchanged=counts.unchanged,
        n_moved=counts.moved,
        n_skipped=counts.skipped,
        footage_s=counts.footage_s,
        elapsed_s=time.perf_counter() - started,
        stage_s=dict(counts.stage_s),
        n_without_speech=counts.without_speech,
    )


def _compare(options: Options, store: Store, counts: _Counts) -> Generator[Event, None, list[Found]]:
    """Events for what needs no reading; returns what does."""
    known = store.known()
    mute = (
        {v.video_id for v in store.videos() if v.asr == "off" and v.has_audio}
        if options.asr != "off"
        else set()
    )
    todo = []
    for item in scan(options.paths, exclude=options.exclude):
        if isinstance(item, Unreadable):
            yield _skip(item.path, item.error, counts)
            continue
        file = known.get(item.path)
        if (
            options.force
            or file is None
            or (file.size_bytes, file.mtime_ns) != (item.size_bytes, item.mtime_ns)
        ):
            todo.append(item)
        elif file.reason is not None:
            yield _skip(item.path, MediaError(file.reason, hint=file.hint or ""), counts, known=True)
        else:
            counts.unchanged += 1
            counts.without_speech += file.fingerprint in mute
            yield Unchanged(path=item.path)
    return todo


def _skip(path: Path, error: MediaError, counts: _Counts, *, known: bool = False) -> Skipped:
    counts.skipped += 1
    return Skipped(path=path, reason=error.message, hint=error.hint, known=known)


def _link(found: Found, stored: StoredVideo, store: Store, counts: _Counts) -> Event:
    """A file whose content is stored already: touched, moved from a path that is gone, or copied."""
    store.link(found.path, found.size_bytes, found.mtime_ns, stored.video_id)
    if found.path in stored.paths:
        counts.unchanged += 1
        return Unchanged(path=found.path)
    if (gone := next((path for path in stored.paths if not path.exists()), None)) is not None:
        store.unlink(gone)
        counts.moved += 1
        return Moved(path=found.path, old_path=gone)
    counts.indexed += 1
    return Indexed(
        path=found.path,
        duration_s=stored.duration_s,
        n_segments=stored.n_segments,
        has_audio=stored.has_audio,
        speech_s=stored.speech_s,
        elapsed_s=0.0,
        size_bytes=found.size_bytes,
        notes=(*stored.notes, f"a copy of {stored.paths[0]}"),
        partial=stored.partial,
    )


def _read(
    found: Found, video_id: str, store: Store, pipeline: Pipeline, counts: _Counts
) -> Generator[Event, None, Indexed]:
    started = time.perf_counter()
    processed = yield from pipeline.process(found.path)
    if not _is_as_found(found):
        raise CHANGING
    video = _video(found, video_id, processed)
    storing = time.perf_counter()
    store.add(
        video,
        processed.segments,
        processed.embeddings,
        processed.transcript,
        asr=pipeline.asr,
        frame_times=processed.frame_times,
        notes=processed.notes,
        partial=processed.partial,
    )
    stage_s = {**processed.stage_s, "store": time.perf_counter() - storing}
    _count(video.duration_s, stage_s, counts)
    return Indexed(
        path=found.path,
        duration_s=video.duration_s,
        n_segments=len(processed.segments),
        has_audio=video.has_audio,
        speech_s=processed.transcript.speech_s,
        elapsed_s=time.perf_counter() - started,
        size_bytes=found.size_bytes,
        stage_s=stage_s,
        notes=processed.notes,
        partial=processed.partial,
    )


def _count(duration_s: float, stage_s: Mapping[str, float], counts: _Counts) -> None:
    counts.indexed += 1
    counts.footage_s += duration_s
    for stage, seconds in stage_s.items():
        counts.stage_s[stage] += seconds


def _is_as_found(found: Found) -> bool:
    try:
        status = found.path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (found.size_bytes, found.mtime_ns)


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
