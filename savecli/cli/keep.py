"""Commands that keep a library for years: look after it, take it along, join it with another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from savecli.cli.common import (
    DONE,
    EXPECTED,
    NOTHING,
    PATH,
    Common,
    as_json,
    everywhere,
    identity,
    opened,
    said,
    settings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from savecli.config import Config
    from savecli.store.archive import Archive
    from savecli.store.outcomes import Merging, Repaired, Taken
    from savecli.store.records import Headway, Problem


@click.command()
@click.option("--repair", is_flag=True, help="Put right what can be.")
@as_json
@everywhere
def verify(repair: bool, as_json: bool, **common: Unpack[Common]) -> int:
    """Read every file of the store, and say what is wrong with it.

    Compares checksums, lengths and the catalog's own rules, and asks the search graphs for known rows; other
    commands may be at work meanwhile. Exit code 2 if something is wrong.

    With --repair a damaged catalog comes back from the newest good copy of it and from what can still be
    read of it; the damaged file is kept aside. Graphs are built again. Videos that cannot be believed are
    forgotten, and the next `save index` reads them again. No video on disk is touched.
    """
    config = settings(**common)
    from savecli import render

    quiet = said("quiet", common["quiet"])
    found = _verify(config, repair=repair)
    events: Iterator[Problem | Repaired] = render.past_headway(found, quiet=quiet or as_json)
    sound = render.verified(events, config.store_dir, as_json=as_json, quiet=quiet)
    return DONE if sound else EXPECTED


def _verify(config: Config, *, repair: bool) -> Iterator[Headway | Problem | Repaired]:
    from savecli.store.check import verify
    from savecli.store.repair import repair as put_right

    if repair:
        yield from put_right(config.store_dir, _identity(config))
    yield from verify(config.store_dir)


def _identity(config: Config) -> Mapping[str, str] | None:
    """What makes embeddings here; None where the model is not there, for a repair can do without."""
    from savecli.errors import SaveError

    try:
        return identity(config)
    except SaveError:
        return None


def export_library(file: Path, *, force: bool, as_json: bool, **common: Unpack[Common]) -> int:
    """Write all that the store knows into one file."""
    config = settings(**common)
    from savecli import render
    from savecli.store.outcomes import Exported

    quiet = said("quiet", common["quiet"])
    with opened(config) as store:
        events = store.export(file.absolute(), force=force)
        for done in render.past_headway(events, quiet=quiet or as_json):
            assert isinstance(done, Exported)  # noqa: S101 - all else is headway
            render.library_exported(done, as_json=as_json, quiet=quiet)
    return DONE


@click.command("import")
@click.argument("file", type=PATH)
@click.option("-n", "--dry-run", is_flag=True, help="Only tell what would happen.")
@as_json
@everywhere
def import_(file: Path, dry_run: bool, as_json: bool, **common: Unpack[Common]) -> int:
    """Join a library that was exported with the one that is here.

    FILE is what `save export FILE` wrote. A video that is known here stays as it is, and gets the paths that
    it has there. A path at which another video is known here is left alone and listed; exit code 1 if there
    is one. The file may come from anybody: all of it is checked before anything is stored. Both must have
    been made by the same model.
    """
    config = settings(**common)
    from savecli import render
    from savecli.store.archive import Archive

    quiet = said("quiet", common["quiet"])
    with Archive(file) as archive:
        taken = _import(config, archive, dry_run=dry_run)
        events: Iterator[Taken] = render.past_headway(taken, quiet=quiet or as_json)
        all_taken = render.merged(events, dry_run=dry_run, as_json=as_json, quiet=quiet)
    return DONE if all_taken else NOTHING


def _import(config: Config, archive: Archive, *, dry_run: bool) -> Iterator[Merging]:
    from savecli.store import Store
    from savecli.store.folder import exists
    from savecli.store.merge import plan_for_nothing, require_identity

    made_by = identity(config)
    require_identity(archive, made_by)
    yield from archive.check()
    if dry_run and not exists(config.store_dir):
        yield from plan_for_nothing(archive)
    elif dry_run:
        with opened(config, made_by) as store:
            yield from store.merge_plan(archive)
    else:
        with Store.open(config.store_dir, identity=made_by, mode="write") as store:
            yield from store.merge(archive)
            store.maybe_rebuild()


COMMANDS = (verify, import_)
