"""Commands of every day: index, search, and what is in the store."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Unpack

import click

from savecli.cli import moments
from savecli.cli.common import (
    DONE,
    NOTHING,
    PATH,
    Common,
    as_json,
    everywhere,
    give_way,
    identity,
    opened,
    pipelines,
    said,
    settings,
    what_computes,
)

if TYPE_CHECKING:
    from savecli.config import Config
    from savecli.events import Event, Summary
    from savecli.index import Options

SETTLE_S = 2.0
"""A file that was written less than this ago is left in peace first, and then looked at again."""


class Tell(Protocol):
    """Shows the events of a run; `terse` where it is one of many."""

    def __call__(self, events: Iterator[Event], *, terse: bool = False) -> Summary:
        """Returns the last of them."""
        ...


@click.command()
@click.argument("paths", nargs=-1, type=PATH, metavar="PATH...")
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="Leave out names or whole paths like this; repeat it."
)
@click.option("--force", is_flag=True, help="Read everything again, also files that failed before.")
@click.option(
    "--retry-failed", is_flag=True, help="Read only files that failed before, below PATH or all of them."
)
@click.option("--sweep", is_flag=True, help="Forget at once what is gone from its drive, not after 30 days.")
@click.option("--watch", "watching", is_flag=True, help="Go on, and read what is new when it comes.")
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="How often --watch looks.",
)
@what_computes
@click.option("--background", is_flag=True, help="Give way to other work on this machine.")
@as_json
@everywhere
def index(
    paths: tuple[Path, ...],
    exclude: tuple[str, ...],
    force: bool,
    retry_failed: bool,
    sweep: bool,
    watching: bool,
    interval: float,
    background: bool,
    as_json: bool,
    **common: Unpack[Common],
) -> int:
    """Add or refresh folders and files.

    What is in the store and unchanged on disk is left alone, whatever --asr says now: the same command brings
    a library up to date, and an interrupted run goes on where it stopped. Exit code 1 if files were skipped.

    A file that is gone from its drive is kept for 30 days, and forgotten by the next run after that. What
    lies on a drive that is not mounted is kept for good. Nothing is ever removed from disk.

    A file named .saveignore leaves out what its lines name, in gitignore's patterns, in its folder and below:
    *.raw.mp4, drafts/, !keep.raw.mp4.

    With --watch it looks every 30 seconds, and at once where the system tells of changes (pip install
    'savecli[watch]'; not on network shares). Other commands can write meanwhile. Ctrl-C ends it with exit
    code 130, SIGTERM with 0; without --watch both are 130, and what is done is kept.
    """
    if not paths and not retry_failed:
        raise click.UsageError("Missing argument 'PATH...'.")
    if watching and (not paths or retry_failed):
        raise click.UsageError("--watch needs a PATH, and goes without --retry-failed.")
    config = settings(**common)
    if background:
        give_way()
    from savecli import render
    from savecli.index import Options

    options = Options(
        paths=paths,
        exclude=exclude,
        force=force,
        retry_failed=retry_failed,
        sweep=sweep,
        asr=config.asr,
        settle_s=SETTLE_S,
        jobs=config.jobs,
    )
    quiet, verbose = said("quiet", common["quiet"]), said("verbose", common["verbose"])

    def tell(events: Iterator[Event], *, terse: bool = False) -> Summary:
        if as_json:
            return render.index_json(events)
        return render.index_table(events, quiet=quiet, verbose=verbose, terse=terse)

    if watching:
        return _watch(options, config, interval, tell, spin=not (quiet or as_json))
    from savecli.watch import ended_by_signals

    with ended_by_signals(), closing(_run(options, config, identity(config))) as events:
        return NOTHING if tell(events).n_skipped else DONE


def _run(options: Options, config: Config, made_by: Mapping[str, str]) -> Generator[Event, None, None]:
    """The events of an index run; the store is open for writing from the first one to the last."""
    from savecli.index import index as run
    from savecli.store import Store

    with Store.open(config.store_dir, identity=made_by, mode="write") as store:
        yield from run(options, store, pipelines(config))


def _watch(options: Options, config: Config, interval_s: float, tell: Tell, *, spin: bool) -> int:
    from savecli import render
    from savecli.index import news_in_s
    from savecli.watch import Bell, Terminated, ended_by_signals, watch

    made_by = identity(config)
    later = replace(options, force=False)

    def run(is_first: bool) -> Generator[Event, None, None]:
        return _run(options if is_first else later, config, made_by)

    def news() -> float | None:
        with opened(config, made_by) as store:
            return news_in_s(later, store)

    def around() -> AbstractContextManager[None]:
        return render.busy("watching; Ctrl-C ends it") if spin else nullcontext()

    bell = Bell(options.paths, ignored=config.home, settle_s=options.settle_s, around=around)
    try:
        with ended_by_signals(), bell, closing(watch(news, run, bell.wait, interval_s=interval_s)) as rounds:
            for number, events in enumerate(rounds):
                tell(events, terse=number > 0)
    except Terminated:
        return DONE
    return DONE


@click.command()
@click.argument("video")
@as_json
@everywhere
def show(video: str, as_json: bool, **common: Unpack[Common]) -> None:
    """Show what the store keeps of a video, segment by segment.

    Each comes with what is said in it. VIDEO is a path, or the number of a result of the last search.
    """
    from savecli import library, render

    config = settings(**common)
    path = moments.named(config, video)
    with opened(config) as store:
        stored = library.find(store, path)
        segments, transcript = store.stored_segments(stored.video_id), store.transcript(stored.video_id)
        render_as = render.show_json if as_json else render.show_table
        render_as(stored, segments, transcript, library.away(store, stored.paths))


@click.command("list")
@click.option("--failed", "only_failed", is_flag=True, help="Only files that could not be indexed, and why.")
@as_json
@everywhere
def list_(only_failed: bool, as_json: bool, **common: Unpack[Common]) -> None:
    """List the videos in the store, and the files that failed."""
    from savecli import library, render

    with opened(settings(**common)) as store:
        videos = [] if only_failed else store.videos()
        away = {} if only_failed else library.away(store)
        failed = {path: file for path, file in store.known().items() if file.reason is not None}
    if as_json:
        for video in videos:
            render.line(render.video_record(video, away))
        for path, file in failed.items():
            render.line(render.failure_record(path, file))
    elif only_failed:
        render.failed_table(failed)
    else:
        render.list_table(videos, failed, away)


@click.command()
@as_json
@everywhere
def status(as_json: bool, **common: Unpack[Common]) -> None:
    """Show counts, sizes, the model, and the source of each setting.

    Before the first index all counts are 0, and the settings are those that it would go by.
    """
    from savecli import library, render

    config = settings(**common)
    chosen = {name: (_given(config, name), source) for name, source in config.sources.items()}
    if (nothing := library.nothing_indexed(config)) is not None:
        render.status(None, {}, chosen, as_json=as_json)
        render.warn(nothing.message, nothing.hint)
        return
    with opened(config) as store:
        render.status(store.counts(), store.identity, chosen, library.away(store), as_json=as_json)


def _given(config: Config, name: str) -> str:
    """A setting as one would give it."""
    from savecli.config import DEFAULTS

    value = getattr(config, name)
    return DEFAULTS[name] if value is None else str(value)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@as_json
@everywhere
def forget(paths: tuple[Path, ...], as_json: bool, **common: Unpack[Common]) -> int:
    """Remove videos from the store; never from disk.

    PATH is a file, or a folder with all that is below it. Exit code 1 if nothing was known at a PATH.
    """
    from savecli import library, render
    from savecli.store import Store

    with Store.open(settings(**common).store_dir, identity=None, mode="write") as store:
        n_forgotten, unknown = library.forget(store, paths)
    if as_json:
        render.line({"n_forgotten": n_forgotten})
    else:
        files = "1 file" if n_forgotten == 1 else f"{n_forgotten} files"
        render.say(f"{files} forgotten; nothing on disk was touched")
    for path in unknown:
        told = library.not_stored(path)
        render.warn(told.message, told.hint)
    return NOTHING if unknown else DONE


COMMANDS = (index, show, list_, status, forget)
