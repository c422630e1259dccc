"""Known files that a look at the disks does not find: which are gone, away, or due to be forgotten.

A file is gone where that is certain (`Volumes.is_gone`), and away otherwise: its drive is not mounted, or
does not answer. What is gone is marked, and due when a later look finds it gone for 30 days. The clock is
not trusted: where it has gone back since the last look, or on by half a year, the wait begins anew.

Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from savecli.datatypes import Volume
from savecli.media.volumes import Volumes, absent, is_there
from savecli.store import KnownFile, Store

DAY_S = 86_400.0
WAIT_S = 30 * DAY_S
LEAP_S = 180 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What a look found of the files that are known.

    Attributes:
        seen: files that are there, but on another volume than before, or were missing until now.
        gone: files that stay in the store, and count as missing.
        due: files to be forgotten.
        away: files out of reach, each with the label of its drive if that is not mounted, "" otherwise.
        now: when this was, in seconds since the epoch.
        afresh: whether the wait of all missing files begins anew.
        is_news: whether the store has something to learn.
    """

    seen: Mapping[Path, Volume]
    gone: tuple[Path, ...]
    due: tuple[Path, ...]
    away: Mapping[Path, str]
    now: float
    afresh: bool
    is_news: bool


def has_leapt(clock: float, now: float) -> bool:
    """Whether the time between two looks cannot be told from a clock that was set."""
    return not clock <= now <= clock + LEAP_S


def is_due(missing_since: float | None, now: float) -> bool:
    """Whether a file that is still gone has been missing long enough."""
    return missing_since is not None and now - missing_since >= WAIT_S


def losses(
    known: Mapping[Path, KnownFile],
    found: Mapping[Path, Volume],
    store: Store,
    volumes: Volumes,
    *,
    now: float,
    sweep: bool = False,
) -> Losses:
    """Compares files that are known with those that were found.

    Args:
        known: of a folder, say.
        found: files that were seen there, each with what it lies on.
        store: it tells when it was last looked for missing files.
        volumes: as they are mounted now, and not when the look began.
        now: seconds since the epoch.
        sweep: forget what is gone without any wait.
    """
    clock = store.clock
    afresh = clock is not None and has_leapt(clock, now)
    lost = {path: file.volume for path, file in known.items() if path not in found and not is_there(path)}
    gone = [path for path, volume in lost.items() if volumes.is_gone(path, volume)]
    due = [path for path in gone if sweep or (not afresh and is_due(known[path].missing_since, now))]
    left = tuple(path for path in gone if path not in set(due))
    seen = {**_changed(known, found), **_back(known, found, lost, volumes)}
    unmarked = any(known[path].missing_since is None for path in left)
    outdated = clock is not None and now - clock >= DAY_S
    return Losses(
        seen=seen,
        gone=left,
        due=tuple(due),
        away=absent({path: lost[path] for path in lost.keys() - set(gone)}, volumes),
        now=now,
        afresh=afresh,
        is_news=bool(seen or due or unmarked or afresh or outdated),
    )


def _changed(known: Mapping[Path, KnownFile], found: Mapping[Path, Volume]) -> dict[Path, Volume]:
    """Files that lie on another volume than was known, or are missing no more."""
    return {
        path: volume
        for path, volume in found.items()
        if (file := known.get(path)) and (file.volume != volume or file.missing_since is not None)
    }


def _back(
    known: Mapping[Path, KnownFile],
    found: Mapping[Path, Volume],
    lost: Collection[Path],
    volumes: Volumes,
) -> dict[Path, Volume]:
    """Missing files that are there again, where this run had no reason to look."""
    return {
        path: volumes.of(path)
        for path, file in known.items()
        if file.missing_since is not None and path not in found and path not in lost
    }
