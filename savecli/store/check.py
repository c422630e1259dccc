"""Is the store what it says it is? Lengths, checksums, and SQLite's own check."""

from __future__ import annotations

from savecli.errors import StoreError
from savecli.store.catalog import Catalog
from savecli.store.queries import paths_by_video
from savecli.store.records import KINDS, Kind, Problem
from savecli.store.shelf import Shelf
from savecli.store.vectors import crc32_of_rows
from savecli.store.views import Views

_REINDEX = "`save forget` it and `save index` it again"


def check_store(catalog: Catalog, views: Views, shelf: Shelf) -> list[Problem]:
    """Reads everything once; returns what is wrong, or nothing."""
    problems = _check_catalog(catalog)
    if problems:
        return problems
    with views.snapshot():
        for kind in KINDS:
            problems += _check_rows(catalog, views, kind)
        return problems + shelf.check()


def _check_catalog(catalog: Catalog) -> list[Problem]:
    try:
        said = [row[0] for row in catalog.rows("PRAGMA quick_check(5)")]
        orphans = catalog.rows("PRAGMA foreign_key_check")
    except StoreError as error:
        said, orphans = [error.message], []
    if orphans:
        said.append(f"{len(orphans)} rows refer to something that is gone")
    hint = "put back a copy of the folder, or index again into another --home"
    return [Problem(subject=str(catalog.path), message=what, hint=hint) for what in said if what != "ok"]


def _check_rows(catalog: Catalog, views: Views, kind: Kind) -> list[Problem]:
    view = views.of(kind)
    problems = []
    spans = catalog.rows(
        "SELECT fingerprint, start, n_rows, crc32 FROM spans JOIN videos USING (video_key)"
        " WHERE kind = ? ORDER BY start",
        kind,
    )
    for video_id, start, n_rows, crc32 in spans:
        if start + n_rows > len(view.rows) and n_rows:
            message = f"its rows are missing from {view.path.name}, which was cut short"
        elif crc32_of_rows(view, start, start + n_rows) != crc32:
            message = f"its rows in {view.path.name} are damaged"
        else:
            continue
        paths = paths_by_video(catalog, [video_id]).get(video_id, ())
        subject = ", ".join(map(str, paths)) or video_id
        problems.append(Problem(subject=subject, message=message, hint=_REINDEX))
    return problems
