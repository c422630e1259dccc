"""Every command, option and help text.

Imports click and the standard library only: each command imports what it needs when it runs, so that
`save --help` is instant and a search never waits for what only indexing needs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import click

from savecli import __version__
from savecli.errors import ConfigError

if TYPE_CHECKING:
    from savecli.config import Config
    from savecli.pipeline import Pipeline
    from savecli.store import Store

DONE, NOTHING, EXPECTED = 0, 1, 2
ASR_PULLED = ("tiny", "small", "medium", "large-v3", "large-v3-turbo")
ASR_CHOICES = ("base", "tiny.en", "openai/base", "openai/tiny.en", "off", *ASR_PULLED)
PATH = click.Path(path_type=Path)
Command = Callable[..., Any]

as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line on stdout, nothing else."
)


class Common(TypedDict, total=False):
    """Options that many commands share; None where one was not given."""

    home: Path | None
    offline: bool | None
    verbose: bool | None
    quiet: bool | None
    asr: str | None
    language: str | None
    device: str | None


def everywhere(command: Command) -> Command:
    """Options that stand before or after a command's name."""
    options = (
        click.option("--home", type=PATH, help="Folder of the store and its settings.  [env: SAVE_HOME]"),
        click.option(
            "--offline", is_flag=True, default=None, help="Open no socket at all.  [env: SAVE_OFFLINE]"
        ),
        click.option("-v", "--verbose", is_flag=True, default=None, help="Say more."),
        click.option("-q", "--quiet", is_flag=True, default=None, help="Say less."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def settings(**given: Unpack[Common]) -> Config:
    """The settings of this run, with the options before the command's name."""
    from savecli import config

    before = click.get_current_context().find_root().params
    return config.load(
        home=given.get("home") or before.get("home"),
        offline=given.get("offline") or before.get("offline"),
        asr=given.get("asr"),
        language=given.get("language"),
        device=given.get("device"),
    )


def said(name: Literal["verbose", "quiet"], value: bool | None) -> bool:
    """Whether -v or -q was given, before or after the command's name."""
    return bool(value or click.get_current_context().find_root().params.get(name))


class ReaderLeftError(Exception):
    """Whoever reads our output has seen enough. click itself would call that a failure."""


class Shell(click.Group):
    """The group of all commands."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - whatever the command returns
        """Runs a command; what it has printed is out when this returns."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ReaderLeftError from error
        return code


@click.group(cls=Shell, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="save")
@everywhere
def cli(**_: object) -> None:
    """Find the moment in your own videos by what is seen and what is said. Offline.

    \b
    save index ~/Videos             read new and changed videos
    save search "a dog on a beach"  the moments that show it, or where it is said
    """  # noqa: D301 - click reads the escape as: leave this paragraph's lines alone


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="Leave out names or whole paths like this; repeat it."
)
@click.option("--force", is_flag=True, help="Read everything again, also files that failed before.")
@click.option("--asr", type=click.Choice(ASR_CHOICES), help="What listens.  [default: base]")
@click.option("--language", metavar="CODE", help="What is spoken, as in en or de.  [default: it is detected]")
@click.option(
    "--device", type=click.Choice(("auto", "cpu", "cuda", "mps")), help="What computes.  [default: auto]"
)
@as_json
@everywhere
def index(
    paths: tuple[Path, ...], exclude: tuple[str, ...], force: bool, as_json: bool, **common: Unpack[Common]
) -> int:
    """Add or refresh folders and files.

    What is in the store and unchanged on disk is left alone, so the same command brings a library up to date;
    an interrupted run goes on where it stopped. Exit code 1 if files were skipped.
    """
    config = settings(**common)
    from savecli import render
    from savecli.index import Options
    from savecli.index import index as run
    from savecli.store import Store

    options = Options(paths=paths, exclude=exclude, force=force, asr=config.asr)
    with Store.open(config.store_dir, identity=identity(config), mode="write") as store:
        events = run(options, store, pipelines(config))
        if as_json:
            summary = render.index_json(events)
        else:
            quiet, verbose = said("quiet", common["quiet"]), said("verbose", common["verbose"])
            summary = render.index_table(events, quiet=quiet, verbose=verbose)
    return NOTHING if summary.n_skipped else DONE


@cli.command()
@click.argument("query")
@click.option(
    "-k", "--top-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many moments."
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Lowest score shown.  [default: the model's own]"
)
@click.option(
    "--all", "show_all", is_flag=True, help="Show the nearest, however far; the same as --threshold 0."
)
@click.option("-f", "--paths", "only_paths", is_flag=True, help="Only the path of each video, for pipes.")
@as_json
@everywhere
def search(
    query: str,
    top_k: int,
    threshold: float | None,
    show_all: bool,
    only_paths: bool,
    as_json: bool,
    **common: Unpack[Common],
) -> int:
    """Find the moments that a text describes, by what is seen and what is said there.

    Each comes with its reason: how much what is seen and what is said there add to its score. Exit code 1 if
    nothing matches.
    """
    config = settings(**common)
    from savecli import render
    from savecli.pipeline import make_encoder
    from savecli.search import search as run

    encoder = make_encoder(config)
    with opened(config, encoder.identity) as store:
        results = run(query, store, encoder, top_k=top_k, threshold=0.0 if show_all else threshold)
    if as_json:
        render.results_json(results)
    elif only_paths:
        render.results_paths(results)
    else:
        render.results_table(query, results)
    return DONE if results.moments else NOTHING


@cli.command()
@click.argument("video", type=PATH)
@as_json
@everywhere
def show(video: Path, as_json: bool, **common: Unpack[Common]) -> None:
    """Show what the store keeps of one video: its segments, and what is said in them."""
    from savecli import library, render

    with opened(settings(**common)) as store:
        stored = library.find(store, video)
        render_as = render.show_json if as_json else render.show_table
        render_as(stored, store.stored_segments(stored.video_id), store.transcript(stored.video_id))


@cli.command("list")
@as_json
@everywhere
def list_(as_json: bool, **common: Unpack[Common]) -> None:
    """List the videos in the store, and the files that could not be indexed."""
    from savecli import render

    with opened(settings(**common)) as store:
        videos = store.videos()
        failed = {path: file for path, file in store.known().items() if file.reason is not None}
    if not as_json:
        render.list_table(videos, failed)
        return
    for video in videos:
        render.line(render.video_record(video))
    for path, file in failed.items():
        render.line({"path": path, "skipped": file.reason, "hint": file.hint, "attempts": file.attempts})


@cli.command()
@as_json
@everywhere
def status(as_json: bool, **common: Unpack[Common]) -> None:
    """Show counts, sizes, the model, and where each setting came from."""
    from savecli import render

    config = settings(**common)
    chosen = {name: (str(getattr(config, name)), source) for name, source in config.sources.items()}
    with opened(config) as store:
        render.status(store.counts(), store.identity, chosen, as_json=as_json)


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@as_json
@everywhere
def forget(paths: tuple[Path, ...], as_json: bool, **common: Unpack[Common]) -> None:
    """Remove videos, or all videos below a folder, from the store; never from disk."""
    from savecli import library, render
    from savecli.store import Store

    with Store.open(settings(**common).store_dir, identity=None, mode="write") as store:
        n_forgotten = library.forget(store, paths)
    if as_json:
        render.line({"n_forgotten": n_forgotten})
    else:
        render.say(f"{n_forgotten} files forgotten; they are still on disk")


@cli.command()
@click.option("--engine", type=click.Choice(("usearch", "hnswlib")), default="usearch", show_default=True)
@everywhere
def rebuild(engine: str, **common: Unpack[Common]) -> None:
    """Drop what forgotten videos left behind, and build the search graphs anew."""
    from savecli import library, render
    from savecli.store import Store

    with Store.open(settings(**common).store_dir, identity=None, mode="write") as store:
        with render.busy("rebuilding"):
            library.rebuild(store, engine)
        n_graphs = len(store.graphs())
    render.say(f"rebuilt, with {n_graphs} graphs on {engine}")


@cli.command()
@as_json
@everywhere
def doctor(as_json: bool, **common: Unpack[Common]) -> int:
    """Check that this machine can do the job, and say what to do where it cannot."""
    from savecli import library, render

    config = settings(**common)
    everything_ok = render.checks(library.doctor(config), library.versions(), as_json=as_json)
    return DONE if everything_ok else EXPECTED


@cli.command()
@click.option(
    "--keep", type=PATH, metavar="DIR", help="Keep the sample videos and their store in this new folder."
)
@everywhere
def demo(keep: Path | None, **common: Unpack[Common]) -> None:
    """Index a few sample videos in a throw-away store and run three searches on them."""
    from savecli import render

    if keep is None:
        with tempfile.TemporaryDirectory(prefix="save-demo-") as folder:
            _demo(Path(folder), **common)
        return
    if keep.exists():
        raise ConfigError(f"{keep} exists already", hint="name a folder that does not")
    _demo(keep.absolute(), **common)
    render.say(f"\nkept: save search --home '{keep / 'home'}' QUERY")


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


@cli.group()
def model() -> None:
    """See the models that save uses, and fetch more."""


@model.command("list")
@as_json
@everywhere
def model_list(as_json: bool, **common: Unpack[Common]) -> None:
    """List every set of weights: where it is from, its licence, and whether it is here."""
    from savecli import library, render

    with render.busy("checking weights"):
        rows = library.weights_list(settings(**common).model_dir)
    if not as_json:
        render.weights_table(rows)
        return
    for row in rows:
        render.line(row)


@model.command("info")
@click.argument("name")
@as_json
@everywhere
def model_info(name: str, as_json: bool, **common: Unpack[Common]) -> None:
    """Show one model: its files, checksums, licence and origin."""
    from savecli import library, render

    facts = library.weights_info(name, settings(**common).model_dir)
    if as_json:
        render.line(facts)
    else:
        render.facts(facts)


@model.command("pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@as_json
@everywhere
def model_pull(names: tuple[str, ...], as_json: bool, **common: Unpack[Common]) -> None:
    """Fetch weights that do not come with the install, each file checked by its SHA-256.

    The only command that opens a connection. What is here is left alone, what was interrupted goes on.
    """
    from savecli import library, render

    for events in library.pull(names, settings(**common)):
        if as_json:
            render.pull_json(events)
        else:
            render.pull_table(events, quiet=said("quiet", common["quiet"]))


def opened(config: Config, identity: Mapping[str, str] | None = None) -> AbstractContextManager[Store]:
    """The store, open for reading."""
    from savecli.store import Store

    return Store.open(config.store_dir, identity=identity, mode="read")


def identity(config: Config) -> Mapping[str, str]:
    """What makes the embeddings, known without loading what sees."""
    from savecli.pipeline import make_encoder

    return make_encoder(config).identity


def pipelines(config: Config) -> Callable[[], AbstractContextManager[Pipeline]]:
    """A pipeline when one is needed."""
    from savecli.pipeline import open_pipeline

    return lambda: open_pipeline(config)
