"""A file whose content the store has already: it was touched, or has moved, or is a copy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from savecli.errors import MediaError
from savecli.events import Indexed, Moved, Unchanged
from savecli.media.scan import Found
from savecli.media.volumes import Volumes, is_weak
from savecli.store import KnownFile, Store, StoredVideo

Linked = Unchanged | Moved | Indexed


def link(
    files: Sequence[tuple[Found, StoredVideo]],
    store: Store,
    look: Callable[[], Volumes],
    moved: dict[Path, Path],
) -> list[Linked]:
    """Gives stored videos the paths of these files, in one commit, and takes away those they have moved from.

    Args:
        files: each with the video that has its content.
        store: open for writing.
        look: what is mounted.
        moved: old path -> new one, of this run; what is moved now is added.
    """
    volumes = look()
    where = store.files({path for _, video in files for path in video.paths})
    told = [_told(found, video, where, volumes, moved) for found, video in files]
    store.touch(
        [(f.path, f.size_bytes, f.mtime_ns, video.video_id, f.volume) for f, video in files],
        gone=[event.old_path for event in told if isinstance(event, Moved)],
    )
    return told


def _told(
    found: Found,
    video: StoredVideo,
    where: Mapping[Path, KnownFile],
    volumes: Volumes,
    moved: dict[Path, Path],
) -> Linked:
    if found.path in video.paths:
        return Unchanged(path=found.path)
    others = [path for path in video.paths if path not in moved]
    gone = next(
        (path for path in others if path in where and volumes.is_gone(path, where[path].volume)), None
    )
    if gone is not None:
        moved[gone] = found.path
        return Moved(path=found.path, old_path=gone)
    return Indexed(
        path=found.path,
        duration_s=video.duration_s,
        n_segments=video.n_segments,
        has_audio=video.has_audio,
        speech_s=video.speech_s,
        elapsed_s=0.0,
        size_bytes=found.size_bytes,
        notes=(*video.notes, f"a copy of {others[0] if others else moved[video.paths[0]]}"),
        partial=video.partial,
    )


def clash(
    found: Found, video_id: str, file: KnownFile | None, successors: Collection[tuple[str, str]]
) -> MediaError | None:
    """What keeps a path that the store knows from another drive, with other content, from being replaced.

    Two drives that are mounted at one place in turns would be taken for one whose files change.

    Args:
        found: what is there now.
        video_id: its fingerprint.
        file: what the store knows of its path.
        successors: pairs of identities: the volume that an unchanged file lay on, and the one it lies on now.
            So a library that was copied to a new drive goes on there.
    """
    if file is None or file.volume is None or file.fingerprint in (None, video_id):
        return None
    was, now = file.volume, found.volume
    same = was.identity == now.identity or (was.identity, now.identity) in successors
    if same or is_weak(was) or is_weak(now):
        return None
    return MediaError(
        f"another drive, {was.label}, was indexed at this place, with another video under this name",
        hint=f"mount one of the two elsewhere, or let go of the other's: save forget {found.path}",
    )
