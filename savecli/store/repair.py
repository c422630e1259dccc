"""Puts a store right: what can be made again is made again, what cannot be believed is forgotten.

A video that is forgotten leaves its paths behind, for the next `save index` to read. Nothing outside of
the store's folder is touched.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from savecli.errors import StoreError
from savecli.store import folder, rules, seal
from savecli.store.catalog import Catalog, DamagedError
from savecli.store.check import Fault, inspect
from savecli.store.durable import sync_folder
from savecli.store.lock import WriteLock
from savecli.store.outcomes import Repaired
from savecli.store.records import Headway, Kind, StoredGraph
from savecli.store.restore import mark_lost, restore
from savecli.store.shelf import Shelf
from savecli.store.views import Views

_DEFAULT_ENGINE = "usearch"


def repair(home: Path, identity: Mapping[str, str] | None) -> Iterator[Headway | Repaired]:
    """Finds what is wrong with the store in `home` and puts it right.

    Args:
        home: the folder.
        identity: what would make the embeddings now, for a store that cannot tell what did.

    Raises:
        StoreError: there is no store, somebody else is writing it, another version of save wrote it, the
            disk is full, or nothing can be restored.
    """
    if not folder.is_begun(home):
        raise folder.not_indexed(home)
    lock = WriteLock.take(home)
    try:
        yield from _repair_format(home)
        yield from _repair_catalog(home / folder.CATALOG_NAME, identity)
        catalog = Catalog(home / folder.CATALOG_NAME, writable=True)
        with contextlib.closing(catalog):
            yield from _repair_content(home, catalog)
    finally:
        lock.release()


def _repair_format(home: Path) -> Iterator[Repaired]:
    if folder.format_of(home) is None:
        folder.mark(home)
        yield Repaired(subject=str(home / "FORMAT"), message="written again")


def _repair_catalog(path: Path, identity: Mapping[str, str] | None) -> Iterator[Repaired]:
    try:
        seal.find(path)
    except StoreError:
        seal.break_(path)
        yield Repaired(subject=str(seal.seal_path(path)), message="was damaged; the catalog is sealed anew")
    if not _is_sound(path):
        yield from restore(path, identity)


def _is_sound(path: Path) -> bool:
    """Whether a catalog can be used; one of an earlier version is brought up to date."""
    if not path.exists():
        return False
    try:
        with contextlib.closing(Catalog(path, writable=True)) as catalog:
            return not list(rules.broken(catalog))
    except DamagedError:
        return False


def _repair_content(home: Path, catalog: Catalog) -> Iterator[Headway | Repaired]:
    views, shelf = Views(home, catalog), Shelf(home, catalog)
    for path in views.paths():
        if not path.exists():
            path.touch()
            sync_folder(home)
    videos: defaultdict[int, list[Fault]] = defaultdict(list)
    graphs: list[StoredGraph] = []
    for found in inspect(catalog, views, shelf):
        if isinstance(found, Headway):
            yield found
        elif found.video_key is not None:
            videos[found.video_key].append(found)
        elif found.graph is not None:
            graphs.append(found.graph)
        else:
            raise StoreError(f"{found.problem.subject}: {found.problem.message}", hint=found.problem.hint)
    yield from _forget(catalog, videos)
    yield from _build_again(graphs, views, shelf)


def _forget(catalog: Catalog, videos: Mapping[int, list[Fault]]) -> Iterator[Repaired]:
    if not videos:
        return
    with catalog.writing():
        for video_key in videos:
            paths = catalog.rows(
                "SELECT path FROM files JOIN videos USING (fingerprint) WHERE video_key = ?", video_key
            )
            for (path,) in paths:
                mark_lost(catalog, path)
            catalog.run("DELETE FROM videos WHERE video_key = ?", video_key)
    for faults in videos.values():
        messages = "; ".join(dict.fromkeys(fault.problem.message for fault in faults))
        yield Repaired(
            subject=faults[0].problem.subject, message=f"forgotten, to be indexed again: {messages}"
        )


def _build_again(graphs: Iterable[StoredGraph], views: Views, shelf: Shelf) -> Iterator[Repaired]:
    graphs = list(graphs)
    if not graphs:
        return
    shelf.remove(graphs)
    left = {(entry.kind, entry.n_rows) for entry in shelf.listed()}
    built: set[Kind] = set()
    for entry in graphs:
        message = "removed; an older one serves"
        if entry.kind in built:
            message = "removed"
        elif not any(kind == entry.kind and n_rows >= entry.n_rows for kind, n_rows in left):
            with views.snapshot():
                view = views.of(entry.kind)
            message = "removed"
            if view.n_live:
                shelf.build(entry.kind, view, shelf.usable_engine(entry.engine, _DEFAULT_ENGINE))
                message = "built again"
            built.add(entry.kind)
        yield Repaired(subject=str(shelf.path(entry)), message=message)
