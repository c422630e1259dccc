"""`save model`: the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click
from click.core import ParameterSource

from savecli.cli.common import PATH, Common, as_json, everywhere, said, settings


@click.group()
def model() -> None:
    """See the models that save uses, and fetch more."""


@model.command("list")
@as_json
@everywhere
def model_list(as_json: bool, **common: Unpack[Common]) -> None:
    """List all weights: licence, origin, and whether they are here."""
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
    """Show a model: its files, checksums, licence and origin.

    NAME is one of save model list, or the path of a SAVE network.
    """
    from savecli import library, networks, render

    path = Path(name)
    if path.exists():
        facts = networks.facts(path)
    else:
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
    """Fetch weights that do not come with the install.

    Each file is checked by its SHA-256. The only command that opens a connection. What is here is left alone,
    what was interrupted goes on.
    """
    from savecli import library, render

    for events in library.pull(names, settings(**common)):
        if as_json:
            render.pull_json(events)
        else:
            render.pull_table(events, quiet=said("quiet", common["quiet"]))


@model.command("convert")
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@click.option(
    "--to",
    type=click.Choice(("save", "reference")),
    default="save",
    show_default=True,
    help="A folder of safetensors and JSON, or the file that the reference implementation reads.",
)
@click.option("--ast", type=PATH, help="The AST's weights, where SOURCE is CLIP's: a network to train.")
@click.option(
    "--clip", default="ViT-B-32-quickgelu", show_default=True, help="The open_clip model of such a SOURCE."
)
@click.option(
    "--n-frames", type=click.IntRange(min=1), help="What the reference's files do not tell.  [default: 12]"
)
@click.option("--frames-per-s", type=click.IntRange(min=1), help="Likewise.  [default: 1]")
@click.option(
    "--n-words", type=click.IntRange(min=3), help="Likewise; Charades has 32, 2, 64.  [default: 32]"
)
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of what is drawn.")
@as_json
@everywhere
def model_convert(
    source: Path,
    target: Path,
    to: str,
    ast: Path | None,
    clip: str,
    seed: int,
    n_frames: int | None,
    frames_per_s: int | None,
    n_words: int | None,
    as_json: bool,
    **_: Unpack[Common],
) -> None:
    """Write a SAVE network in another format; nothing is overwritten.

    SOURCE is a folder of ours, a checkpoint of the reference implementation (pytorch_model.bin.N), or, with
    --ast, CLIP's weights. Every tensor is checked by name and shape.
    """
    from savecli import networks, render

    given = click.get_current_context().get_parameter_source
    if ast is None:
        for name in ("clip", "seed"):
            if given(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name} is for a network to begin with, which needs --ast as well")
    with render.busy("converting"):
        start = networks.Start(ast=ast, clip=clip, seed=seed) if ast else None
        fed = {"n_frames": n_frames, "frames_per_s": frames_per_s, "n_words": n_words}
        facts = networks.convert(source, target, reference=to == "reference", start=start, fed=fed)
    if as_json:
        render.line(facts)
    else:
        render.facts(facts)


COMMANDS = (model,)
