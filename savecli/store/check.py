"""Is the store what it says it is? Its own rules, lengths, checksums, and graphs that answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from savecli.errors import StoreError
from savecli.store import folder, rules
from savecli.store.catalog import Catalog, DamagedError, VersionError
from savecli.store.queries import paths_by_video
from savecli.store.records import KINDS, Headway, Problem, StoredGraph
from savecli.store.shelf import Shelf
from savecli.store.vectors import RowView, crc32_of_rows
from savecli.store.views import Views

REPAIR = "run `save verify --repair`"
_REINDEX = "run `save verify --repair`, and `save index` reads it again"
_SLOWER = "searches look at all rows meanwhile; run `save rebuild`"
_REPORT_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong, and what it is about: one video, one graph, or where both are None the catalog."""

    problem: Problem
    video_key: int | None = None
    graph: StoredGraph | None = None


def verify(home: Path) -> Iterator[Headway | Problem]:
    """Reads every file of a store through, whatever state it is in; a writer may be at work meanwhile.

    Raises:
        StoreError: there is no store, or it was written by another version of save.
    """
    if not folder.is_begun(home):
        raise folder.not_indexed(home)
    try:
        folder.check_format(home)
        catalog = Catalog(home / folder.CATALOG_NAME, writable=False)
    except VersionError:
        raise
    except StoreError as error:
        yield Problem(subject=str(home), message=error.message, hint=error.hint)
        return
    try:
        for found in inspect(catalog, Views(home, catalog), Shelf(home, catalog)):
            yield found.problem if isinstance(found, Fault) else found
    except DamagedError as error:
        yield Problem(subject=str(catalog.path), message=error.message, hint=error.hint)
    finally:
        catalog.close()


def check_store(catalog: Catalog, views: Views, shelf: Shelf) -> list[Problem]:
    """Reads everything once; returns what is wrong, or nothing."""
    return [found.problem for found in inspect(catalog, views, shelf) if isinstance(found, Fault)]


def inspect(catalog: Catalog, views: Views, shelf: Shelf) -> Iterator[Headway | Fault]:
    """Reads everything in an open store once, and says how far it is."""
    size_bytes = catalog.path.stat().st_size
    yield Headway(part="catalog", done=0, total=size_bytes)
    with catalog.reading():
        broken = list(rules.broken(catalog))
    if broken:
        for message in broken:
            yield Fault(problem=Problem(subject=str(catalog.path), message=message, hint=REPAIR))
        return
    yield Headway(part="catalog", done=size_bytes // 2, total=size_bytes)
    with views.snapshot():
        yield from _check_videos(catalog)
        yield Headway(part="catalog", done=size_bytes, total=size_bytes)
        yield from _check_rows(catalog, views)
    yield from _check_graphs(shelf, views)


def _check_videos(catalog: Catalog) -> Iterator[Fault]:
    try:
        for video_key, message in rules.broken_videos(catalog):
            yield _of_video(catalog, video_key, message)
    except StoreError as error:
        yield Fault(problem=Problem(subject=str(catalog.path), message=error.message, hint=REPAIR))


def _check_rows(catalog: Catalog, views: Views) -> Iterator[Headway | Fault]:
    spans = catalog.rows("SELECT kind, video_key, start, n_rows, crc32 FROM spans ORDER BY kind, start")
    total = 2 * views.dim * sum(span[3] for span in spans)
    done = told = 0
    for kind, video_key, start, n_rows, crc32 in spans:
        if kind not in KINDS:
            continue  # told of by a rule
        view = views.of(kind)
        if message := _fault_of_rows(view, start, n_rows, crc32):
            yield _of_video(catalog, video_key, message)
        done += 2 * views.dim * n_rows
        if done - told >= _REPORT_BYTES or done == total:
            told = done
            yield Headway(part="rows", done=done, total=total)


def _fault_of_rows(view: RowView, start: int, n_rows: int, crc32: int) -> str | None:
    if start + n_rows > len(view.rows) and n_rows:
        return f"its rows are missing from {view.path.name}, which was cut short"
    if crc32_of_rows(view, start, start + n_rows) != crc32:
        return f"its rows in {view.path.name} are damaged"
    return None


def _check_graphs(shelf: Shelf, views: Views) -> Iterator[Headway | Fault]:
    entries = shelf.listed()
    total = sum(entry.size_bytes for entry in entries)
    done = 0
    for entry in entries:
        with views.snapshot():
            message = shelf.fault(entry, views.of(entry.kind))
        # A writer takes a graph off the list before its file goes: what is still listed should be whole.
        if message and entry in shelf.listed():
            problem = Problem(subject=str(shelf.path(entry)), message=message, hint=_SLOWER)
            yield Fault(problem=problem, graph=entry)
        done += entry.size_bytes
        yield Headway(part="graphs", done=done, total=total)


def _of_video(catalog: Catalog, video_key: int, message: str) -> Fault:
    named = catalog.rows("SELECT fingerprint FROM videos WHERE video_key = ?", video_key)
    subject = str(named[0][0]) if named else f"video {video_key}"
    paths = paths_by_video(catalog, [subject]).get(subject, ())
    problem = Problem(subject=", ".join(map(str, paths)) or subject, message=message, hint=_REINDEX)
    return Fault(problem=problem, video_key=video_key)
