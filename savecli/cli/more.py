"""Commands beside the search: what is there twice, and a prompt for many queries in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from savecli.cli.common import DONE, NOTHING, PATH, Common, as_json, everywhere, opened, said, settings


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
    """Find what the store holds more than once: files, videos and scenes.

    Copies of a file are listed first. Then come videos that show the same in another encoding, size or
    length, and scenes that several videos have in common, each with its times. What the store keeps of every
    video proposes pairs, and their pictures decide; where a file is not there now, it says so. With PATH only
    what lies there, and what in all of the library shows the same.

    Nothing is ever deleted. Exit code 1 if nothing is there twice.
    """
    config = settings(**common)
    from savecli import render
    from savecli.dupes.run import find
    from savecli.media.worker import Decoder
    from savecli.twins import Options

    options = Options(below=paths, least_s=least_s, n_looks=n_looks)
    with opened(config) as store:
        stages = find(store, options, lambda: Decoder(stall_s=config.stall_s))
        found = render.dupes_watch(stages, quiet=said("quiet", common["quiet"]) or as_json)
    (render.dupes_json if as_json else render.dupes_table)(found)
    return DONE if found.copies or found.twins else NOTHING


COMMANDS = (dupes,)
