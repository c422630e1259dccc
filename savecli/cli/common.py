"""What the commands share: exit codes, options, settings, and ways to the store and the model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import click

if TYPE_CHECKING:
    from savecli.api import Library
    from savecli.config import Config
    from savecli.model.encode import MiniEncoder
    from savecli.model.likeness import Example
    from savecli.pipeline import Pipeline
    from savecli.store import Store

DONE, NOTHING, EXPECTED = 0, 1, 2
ASR_PULLED = ("tiny", "small", "medium", "large-v3", "large-v3-turbo")
ASR_CHOICES = ("auto", "base", "tiny.en", "openai/base", "openai/tiny.en", "off", *ASR_PULLED)
NICENESS = 15
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
    jobs: int | None
    batch_size: str | None
    data: Path | None


def together(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in this order in the help."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


_named_home: ContextVar[Path | None] = ContextVar("named_home", default=None)


def named_home() -> Path | None:
    """What --home named, also when the command is over: what becomes of a bug is decided after it."""
    return _named_home.get()


def _note_home(context: click.Context, _: click.Parameter, home: Path | None) -> Path | None:
    _named_home.set(home or context.find_root().params.get("home"))
    return home


def everywhere(command: Command) -> Command:
    """Options that stand before or after a command's name."""
    return together(
        click.option(
            "--home",
            type=PATH,
            callback=_note_home,
            help="Folder of the store and its settings.  [env: SAVE_HOME]",
        ),
        click.option(
            "--offline",
            is_flag=True,
            default=None,
            help="Open no network connection.  [env: SAVE_OFFLINE]",
        ),
        click.option("-v", "--verbose", is_flag=True, default=None, help="Say more."),
        click.option("-q", "--quiet", is_flag=True, default=None, help="Say less."),
    )(command)


def what_computes(command: Command) -> Command:
    """Options of the commands that index: what listens and computes, and how much at a time."""
    return together(
        click.option(
            "--asr",
            type=click.Choice(ASR_CHOICES),
            help="What listens; auto takes the best model that is fast enough here.  [default: base]",
        ),
        click.option(
            "--language", metavar="CODE", help="What is spoken, as in en or de.  [default: it is detected]"
        ),
        click.option(
            "--device",
            type=click.Choice(("auto", "cpu", "cuda", "mps")),
            help="What computes.  [default: auto]",
        ),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            metavar="N",
            help="Files read at a time, and threads that look at them."
            "  [default: as tuned, or one for each core]",
        ),
        click.option(
            "--batch-size",
            metavar="N|auto",
            help="Segments looked at together; fewer where memory does not suffice. More pays on a GPU alone."
            "  [default: auto]",
        ),
    )(command)


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
        jobs=given.get("jobs"),
        batch_size=given.get("batch_size"),
        data=given.get("data"),
    )


def give_way() -> None:
    """This process, and those that it starts, take what time others leave, where the system can say so."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)


@contextmanager
def throwing_away() -> Iterator[None]:
    """Whatever ends it, what it began is cleaned up; and it says that nothing is kept."""
    from savecli.watch import ended_by_signals

    try:
        with ended_by_signals():
            yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("interrupted; nothing of this run is kept") from error


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


def opened(config: Config, identity: Mapping[str, str] | None = None) -> AbstractContextManager[Store]:
    """The store, open for reading; in a shell it stays open."""
    library = warm(config)
    if library is not None:
        return nullcontext(library.store())
    from savecli.store import Store

    return Store.open(config.store_dir, identity=identity, mode="read")


def searcher(config: Config) -> MiniEncoder:
    """The model that searches; in a shell it stays loaded."""
    from savecli.pipeline import make_encoder

    library = warm(config)
    return make_encoder(config) if library is None else library.encoder


def examined(text: str, config: Config, store: Store, encoder: MiniEncoder) -> Example:
    """The example that --like names; what is not stored takes a moment to read."""
    from savecli import render
    from savecli.example import load

    with render.busy("reading the example"):
        return load(text, config, store, encoder)


def warm(config: Config) -> Library | None:
    """What a shell keeps open, if this runs in one and is about its store."""
    library: Library | None = click.get_current_context().find_root().obj
    return library if library is not None and library.config.store_dir == config.store_dir else None


def identity(config: Config) -> Mapping[str, str]:
    """What makes the embeddings, known without loading what sees."""
    from savecli.pipeline import make_encoder

    return make_encoder(config).identity


def pipelines(config: Config) -> Callable[[], AbstractContextManager[Pipeline]]:
    """A pipeline when one is needed."""
    from savecli.pipeline import open_pipeline

    return lambda: open_pipeline(config)
