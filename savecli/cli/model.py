"""`save model`: the weights."""

from __future__ import annotations

from typing import Unpack

import click

from savecli.cli.common import Common, as_json, everywhere, said, settings


@click.group()
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


COMMANDS = (model,)
