"""Every command, option and help text.

Imports click and the standard library only: each command imports what it needs when it runs, so that
`save --help` is instant and a search never waits for what only indexing needs.
"""

from __future__ import annotations

import click

from savecli import __version__
from savecli.cli import daemon, evaluate, everyday, keep, measure, model, moments, more, search, train, upkeep
from savecli.cli.common import DONE, EXPECTED, NOTHING, ReaderLeftError, Shell, everywhere, named_home

__all__ = ["DONE", "EXPECTED", "NOTHING", "ReaderLeftError", "cli", "named_home"]


@click.group(cls=Shell, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="save")
@everywhere
def cli(**_: object) -> None:
    """Find the moment in your own videos by what is seen, heard and said. Offline.

    \b
    save index ~/Videos             read new and changed videos
    save search "a dog on a beach"  the moments that show it, or where it is said
    """  # noqa: D301 - click reads the escape as: leave this paragraph's lines alone


for module in (everyday, search, daemon, moments, more, keep, upkeep, measure, evaluate, train, model):
    for command in module.COMMANDS:
        cli.add_command(command)
