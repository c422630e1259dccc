"""The command that tells how fast this machine is."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Unpack

import click

from savecli.cli.common import (
    DONE,
    NOTHING,
    PATH,
    Common,
    as_json,
    everywhere,
    said,
    settings,
    throwing_away,
    what_computes,
)


@click.command()
@click.argument("paths", nargs=-1, type=PATH, metavar="[PATH]...")
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(min=10),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Measure with so much footage at most.",
)
@what_computes
@as_json
@everywhere
def bench(paths: tuple[Path, ...], limit_s: float, as_json: bool, **common: Unpack[Common]) -> int:
    """Measure how fast this machine indexes and searches videos.

    PATH names videos of your own; without it the samples of save demo are taken. They are indexed in a
    throw-away library with the settings of save index; your own library is neither read nor written. Where
    there is more footage than --limit, files are drawn, in each run the same, and of long ones a part is
    copied aside.

    A stage's x real time is footage by the time that files spent in it. Of files, and of segments of a file,
    that are worked on at a time that adds up, so the whole can be faster than a part. For decode it is the
    time spent waiting, and the CPU time is that of the decoders; the rest of the CPU time is shared out by
    the time spent in the other stages. Exit code 1 if files were skipped.
    """
    if math.isnan(limit_s):  # which is in every range
        raise click.BadParameter("nan is no number of seconds", param_hint="--limit")
    config = settings(**common)
    from savecli import render
    from savecli.measure import measure

    with throwing_away(), closing(measure(paths, config, limit_s=limit_s)) as work:
        figures = render.bench_watch(work, quiet=said("quiet", common["quiet"]) or as_json)
    if as_json:
        render.line(render.bench_record(figures))
    else:
        render.bench_table(figures)
    return NOTHING if figures.n_skipped else DONE


COMMANDS = (bench,)
