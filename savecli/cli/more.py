"""Commands beside the search: what is there twice, and a prompt for many queries in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from savecli.cli.common import DONE, NOTHING, PATH, Common, as_json, everywhere, opened, said, settings
from savecli.cli.prompt import Prompt


@click.command()
@click.argument("paths", nargs=-1, type=PATH, metavar="[PATH]...")
@click.option(
    "--least",
    "least_s",
    type=click.FloatRange(min=1),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="Leave out scenes shorter than this.",
)
@click.option(
    "--looks",
    "n_looks",
    type=click.IntRange(min=0),
    default=2000,
    show_default=True,
    metavar="N",
    help="Compare the pictures of so many pairs at most, the likeliest first.",
)
@as_json
@everywhere
def dupes(
    paths: tuple[Path, ...], least_s: float, n_looks: int, as_json: bool, **common: Unpack[Common]
) -> int:
    """Find files, videos and scenes that are there more than once.

    Copies of a file are listed first. Then come videos that show the same in another encoding, size or
    length, and scenes that several videos have in common, each with its times. What the store keeps of every
    video proposes pairs, and their pictures decide; where a file is not there now, it says so. With PATH only
    what lies there, and what in all of the library shows the same.

    Nothing is ever deleted. Exit code 1 if nothing is there twice.
    """
    config = settings(**common)
    from savecli import library, render
    from savecli.dupes.run import find
    from savecli.media.worker import Decoder
    from savecli.twins import Options

    options = Options(below=paths, least_s=least_s, n_looks=n_looks)
    with opened(config) as store:
        if unknown := library.looked_up(store, paths)[1]:
            raise library.not_stored(*unknown)
        stages = find(store, options, lambda: Decoder(stall_s=config.stall_s))
        found = render.dupes_watch(stages, quiet=said("quiet", common["quiet"]) or as_json)
    (render.dupes_json if as_json else render.dupes_table)(found)
    return DONE if found.copies or found.twins else NOTHING


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[SEARCH OPTIONS]...")
@everywhere
@click.pass_context
def shell(context: click.Context, /, options: tuple[str, ...], **common: Unpack[Common]) -> int:
    """Search again and again at a prompt that is started once.

    Each line is a query with the options of save search, as in: a dog on a beach --says sit -k 3. Lines that
    begin with a colon are other commands, as in :open 2, :show 2, :export 1-3 clips.mp4, :list, and :help.
    Options given here go for every line. History, in the home folder, and completion work as in a shell; ^C
    gives up a line, ^D ends. What is indexed meanwhile is found.

    Reads one query a line where stdin is a pipe. Exit code 1 if a query found nothing, 2 if one failed.
    """
    config = settings(**common)
    from savecli import api, render

    root = context.find_root()
    root.params["home"] = config.home
    with render.busy("opening the library"):
        library = api.Library(config)
        library.encoder.read(["a first sentence, so that the first query is as fast as the others"])
    with library:
        root.obj = library
        return Prompt(context, options).run(config, quiet=said("quiet", common["quiet"]))


COMMANDS = (dupes, shell)
