"""Commands that keep a store and an install well, and show that they are."""

from __future__ import annotations

import shlex
import tempfile
from contextlib import closing
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
    pipelines,
    settings,
    throwing_away,
)
from savecli.errors import ConfigError

if TYPE_CHECKING:
    from savecli.config import Config
    from savecli.tuned import Tuned


@click.command()
@click.option("--engine", type=click.Choice(("usearch", "hnswlib")), default="usearch", show_default=True)
@everywhere
def rebuild(engine: str, **common: Unpack[Common]) -> None:
    """Drop what forgotten videos left, and build the graphs anew."""
    from savecli import library, render
    from savecli.store import Store

    with Store.open(settings(**common).store_dir, identity=None, mode="write") as store:
        with render.busy("rebuilding"):
            library.rebuild(store, engine)
        n_graphs = len(store.graphs())
    render.say(f"rebuilt, with {n_graphs} graphs on {engine}")


@click.command()
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@click.option("-n", "--dry-run", is_flag=True, help="Only tell what would be done.")
@as_json
@everywhere
def relink(old: Path, new: Path, dry_run: bool, as_json: bool, **common: Unpack[Common]) -> int:
    """Tell the store that a library lies elsewhere now.

    What it knows below the folder or drive OLD now lies below NEW, and keeps its index. A file counts as the
    same if its size and time of change are, or its fingerprint is. Any other is listed and left as it was;
    exit code 1 if there is one. No video is read, and nothing on disk is changed.
    """
    from savecli import library, render
    from savecli.store import Store

    config = settings(**common)
    place = opened(config) if dry_run else Store.open(config.store_dir, identity=None, mode="write")
    with place as store, render.busy("comparing files"):
        files = library.relink(store, old, new, dry_run=dry_run)
    return NOTHING if render.relinked(files, dry_run=dry_run, as_json=as_json) else DONE


@click.command()
@click.option("--tune", is_flag=True, help="Measure which settings are fastest here, and remember them.")
@as_json
@everywhere
def doctor(tune: bool, as_json: bool, **common: Unpack[Common]) -> int:
    """Check that this machine can do the job, and say what to do.

    With --tune it measures instead, for about a minute, on made-up videos and speech (pip install
    'savecli[toy]'): with how many --jobs indexing is fastest, and for --asr auto how fast each Whisper model
    listens that is there. What it finds is kept in tuned.json in the home folder. It holds on this machine
    only, where neither a flag nor the environment nor config.toml says otherwise. Leave the machine alone
    meanwhile. Removing the file undoes it.
    """
    from savecli import library, render

    config = settings(**common)
    if tune:
        found, path = _tune(config, as_json=as_json)
        render.tuned(found, path, settings(**common).asr_auto, as_json=as_json)
        return DONE
    everything_ok = render.checks(library.doctor(config), library.versions(), as_json=as_json)
    return DONE if everything_ok else EXPECTED


def _tune(config: Config, *, as_json: bool) -> tuple[Tuned, Path]:
    """What was measured, and the file that remembers it."""
    from savecli import render, tuned
    from savecli.tune import tune

    config.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=config.home):
        pass  # a folder that takes no file would else be told of after minutes
    with throwing_away(), closing(tune(config)) as work:
        found = render.tune_watch(work, as_json=as_json)
    return found, tuned.write(config.home, found)


@click.command()
@click.option(
    "--keep", type=PATH, metavar="DIR", help="Keep the sample videos and their store in this new folder."
)
@everywhere
def demo(keep: Path | None, **common: Unpack[Common]) -> None:
    """Index sample videos in a throw-away store, and search them."""
    from savecli import render

    if keep is None:
        with tempfile.TemporaryDirectory(prefix="save-demo-") as folder:
            _demo(Path(folder), **common)
        return
    if keep.exists():
        raise ConfigError(f"{keep} exists already", hint="name a folder that does not")
    _demo(keep.absolute(), **common)
    render.say("\nkept; to search it:")
    render.command_line(f"{shlex.join(('save', 'search', '--home', str(keep / 'home')))} QUERY")


def _demo(folder: Path, **common: Unpack[Common]) -> None:
    from savecli import render
    from savecli.demo import QUERIES, make_samples
    from savecli.index import Options
    from savecli.index import index as run_index
    from savecli.pipeline import make_encoder
    from savecli.search import search as run_search
    from savecli.store import Store

    common["home"] = folder / "home"
    config = settings(**common)
    videos = folder / "videos"
    with render.busy("making sample videos"):
        make_samples(videos)
    render.say(f"$ save index {videos}")
    options = Options(paths=(videos,), asr=config.asr)
    with Store.open(config.store_dir, identity=identity(config), mode="write") as store:
        render.index_table(run_index(options, store, pipelines(config)))
        encoder = make_encoder(config)
        for query in QUERIES:
            render.say(f'\n$ save search -k 3 "{query.text}"')
            render.results_table(query.text, run_search(query.text, store, encoder, top_k=3))


COMMANDS = (rebuild, relink, doctor, demo)
