"""The search command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from savecli.cli import moments
from savecli.cli.common import (
    DONE,
    NOTHING,
    Common,
    as_json,
    everywhere,
    examined,
    opened,
    said,
    searcher,
    settings,
    together,
    warm,
)

if TYPE_CHECKING:
    from savecli.config import Config
    from savecli.datatypes import Ask, Results, Show

NEAREST = 3
"""How many moments --all shows where none of them is an answer."""


class Asked(TypedDict):
    """What is looked for, as the command line names it; None or () where an option was not given."""

    sees: str | None
    hears: str | None
    says: str | None
    like: str | None
    against: tuple[str, ...]
    phrases: tuple[str, ...]
    regexes: tuple[str, ...]
    within: tuple[str, ...]
    since: str | None
    until: str | None
    min_duration: str | None
    max_duration: str | None
    spoken: tuple[str, ...]
    has: tuple[str, ...]


class Shown(TypedDict):
    """How it is shown."""

    top_k: int
    threshold: float | None
    show_all: bool
    by_video: bool
    copies: bool
    explain: bool
    only_paths: bool
    paths0: bool
    preview: bool
    open_n: int | None
    file: str | None
    as_json: bool


class Given(Asked, Shown, Common):
    """All options of the command."""

    queries: str | None
    each: bool


class Searching(click.Command):
    """A command whose arguments may begin with a minus: `-cat` is a text to leave out, and no options."""

    def takes_value(self, ctx: click.Context) -> dict[str, bool]:
        """For each option, by any of its names, whether a value follows."""
        return {
            name: not (option.is_flag or option.count)
            for option in self.get_params(ctx)
            if isinstance(option, click.Option)
            for name in (*option.opts, *option.secondary_opts)
        }

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts what is no option behind a `--`, where click leaves it as it is."""
        options, texts = self._apart(ctx, args)
        return super().parse_args(ctx, [*options, "--", *texts])

    def _apart(self, ctx: click.Context, args: Sequence[str]) -> tuple[list[str], list[str]]:
        takes = self.takes_value(ctx)
        flags = {name[1] for name, value in takes.items() if len(name) == 2 and not value}
        options: list[str] = []
        texts: list[str] = []
        left = iter(args)
        for arg in left:
            if arg == "--":
                texts += left
            elif arg in takes:
                options.append(arg)
                if takes[arg]:
                    options += [value for value in (next(left, None),) if value is not None]
            elif _is_option(arg, takes, flags):
                options.append(arg)
            else:
                texts.append(arg)
        return options, texts


def _is_option(arg: str, takes: Mapping[str, bool], flags: set[str]) -> bool:
    """Whether an argument is an option with its value, several in one, or one that there is not."""
    if arg.startswith("--"):
        return len(arg) > 2  # click says which of its options is meant
    if not arg.startswith("-") or len(arg) == 1:
        return False
    with_value = takes.get(arg[:2], False) and arg[2:].lstrip("=").isdigit()
    return with_value or set(arg[1:]) <= flags or (len(arg) == 2 and arg.isascii() and arg[1].isalpha())


_asking = together(
    click.option("--sees", metavar="TEXT", help="What is to be seen there."),
    click.option("--hears", metavar="TEXT", help="What is to be heard there, speech aside."),
    click.option("--says", metavar="TEXT", help="What is to be said there."),
    click.option(
        "--like", metavar="FILE[@START-END]", help="What a picture, a sound or a part of a video is like."
    ),
    click.option(
        "--not", "against", multiple=True, metavar="TEXT", help='What is not to be there; as "-TEXT".'
    ),
    click.option(
        "--phrase", "phrases", multiple=True, metavar="TEXT", help="Words that are said exactly like this."
    ),
    click.option(
        "--regex",
        "regexes",
        multiple=True,
        metavar="RE",
        help="What is said matches this regular expression.",
    ),
    click.option("--in", "within", multiple=True, metavar="PATH", help="Only below this folder; repeat it."),
    click.option(
        "--since", metavar="DATE", help="Only files changed since: 2024, 2024-05-31, yesterday, 7d."
    ),
    click.option("--until", metavar="DATE", help="Only files changed until then."),
    click.option("--min-duration", metavar="LENGTH", help="Only videos at least so long: 90, 1:30, 2h."),
    click.option("--max-duration", metavar="LENGTH", help="Only videos at most so long."),
    click.option(
        "--language", "spoken", multiple=True, metavar="CODE", help="Only where this is spoken: en."
    ),
    click.option(
        "--has",
        multiple=True,
        metavar="WHAT",
        help="Only videos with speech, audio or video; repeat it.",
    ),
)
_showing = together(
    click.option(
        "-k", "--top-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many moments."
    ),
    click.option(
        "--threshold", type=click.FloatRange(0, 1), help="Lowest score shown.  [default: the model's own]"
    ),
    click.option(
        "--all",
        "show_all",
        is_flag=True,
        help=f"Show what is nearest, however far; the {NEAREST} nearest if nothing matches.",
    ),
    click.option("--by-video", is_flag=True, help="Put the moments of a video together; -k counts videos."),
    click.option("--copies", is_flag=True, help="Show moments that repeat another one of the results, too."),
    click.option("--explain", is_flag=True, help="Tell how each score came about."),
    click.option("-f", "--paths", "only_paths", is_flag=True, help="Only the path of each video, for pipes."),
    click.option("--paths0", is_flag=True, help="The same, each ended by a NUL, for xargs -0."),
    click.option("--preview", is_flag=True, help="Show a picture of each moment, on a terminal."),
    click.option(
        "--open", "open_n", type=click.IntRange(min=1), metavar="N", help="Open moment N in a player."
    ),
    click.option("--export", "file", metavar="FILE", help="Write the moments; see save export."),
)


@click.command(cls=Searching)
@click.argument("query", nargs=-1, metavar="QUERY...")
@_asking
@click.option("--each", is_flag=True, help="Each QUERY is one by itself.")
@click.option("--queries", metavar="FILE", help="One query on each line of a file; - for standard input.")
@_showing
@as_json
@everywhere
def search(query: tuple[str, ...], **given: Unpack[Given]) -> int:
    """Find moments for a text, by what is seen, heard and said.

    QUERY is matched with all three; --sees, --hears and --says each with one alone. --like looks for what
    resembles an example, which is no answer to itself. Each moment comes with its reason: how much what is
    seen, heard and said there adds to its score. Exit code 1 if nothing matches. The results keep their
    numbers for save open, show and export.

    \b
    a dog on a beach           words in any order, one text also without quotes
    2:dog "-a cat"             the dog counts twice, and no cat is there
    '"good boy" in a park'     these words are said exactly, and a park is there
    '"anne*"' '"cat NEAR dog"' beginnings of words; words close to one another
    has:speech in:~/Movies lang:de since:2024-05 min-duration:1h   filters, also as options
    sees:(a red car) says:"where are you"                          one modality
    """  # noqa: D301 - click reads the escape as: leave this paragraph's lines alone
    config = settings(**_common(given))
    asks = list(_asks(query, given))
    if len(asks) > 1 and (given["file"] is not None or given["open_n"] is not None):
        raise click.UsageError("--export and --open go with one query, not with several.")
    found = _run(config, [ask for _, ask in asks], given)
    return _tell(
        config, [(text, ask, results) for (text, ask), results in zip(asks, found, strict=True)], given
    )


def _common(given: Given) -> Common:
    return Common(
        home=given["home"], offline=given["offline"], verbose=given["verbose"], quiet=given["quiet"]
    )


def _asks(query: tuple[str, ...], given: Given) -> Iterator[tuple[str | None, Ask]]:
    """Each query, and its text where there are several."""
    from savecli.query import parse, require

    base = _base(given)
    several = _lines(given["queries"]) if given["queries"] is not None else []
    if given["each"] or given["queries"] is not None:
        several += query
        if not several:
            raise click.UsageError("There is no query to run.")
        yield from ((text, parse([text], base)) for text in several)
        return
    if not query and not (base.parts or base.is_exact or base.against or base.like):
        raise click.UsageError(
            "Give a QUERY, or one of --sees, --hears, --says, --like, --phrase and --regex."
        )
    ask = parse(query, base)
    require(ask)
    yield None, ask


def _base(given: Given) -> Ask:
    """What the options ask."""
    from savecli import query as language

    return language.given(
        sees=given["sees"],
        hears=given["hears"],
        says=given["says"],
        like=given["like"],
        against=given["against"],
        phrases=given["phrases"],
        regexes=given["regexes"],
        filters=_filters(given),
    )


def _filters(given: Given) -> dict[str, tuple[str, ...]]:
    """The values of each filter, by its name in the language."""
    once = {
        "since": given["since"],
        "until": given["until"],
        "min-duration": given["min_duration"],
        "max-duration": given["max_duration"],
    }
    bounds = {key: (value,) for key, value in once.items() if value is not None}
    return {"in": given["within"], "language": given["spoken"], "has": given["has"], **bounds}


def _lines(name: str) -> list[str]:
    """The queries in a file; blank lines and those that begin with # are none."""
    from savecli.errors import QueryError

    try:
        with click.open_file(name, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise QueryError(f"cannot read queries from {name}: {why}", hint="one query a line") from error
    return [line for line in lines if line and not line.startswith("#")]


def _run(config: Config, asks: Sequence[Ask], given: Given) -> list[Results]:
    """What every query finds, from a daemon as far as there is one that answers."""
    from savecli.datatypes import Show
    from savecli.query import require

    for ask in asks:
        require(ask)
    show = Show(
        top_k=given["top_k"],
        threshold=0.0 if given["show_all"] else given["threshold"],
        by_video=given["by_video"],
        copies=given["copies"],
        explain=given["explain"],
    )
    needs = given["like"] is not None or any(ask.parts or ask.against for ask in asks)
    found = _asked(config, asks, show, given, needs=needs)
    if len(found) < len(asks):
        found += _searched(config, asks[len(found) :], show, given["like"], needs=needs)
    return [_few(results) for results in found] if given["show_all"] and not _is_given("top_k") else found


def _asked(config: Config, asks: Sequence[Ask], show: Show, given: Given, *, needs: bool) -> list[Results]:
    """What a daemon finds; nothing in a shell, which is warm itself, and for an example."""
    if given["like"] is not None or warm(config) is not None:
        return []

    def tell(why: str) -> None:
        if said("verbose", given["verbose"]):
            from savecli import render

            render.warn(f"searched without a daemon: {why}")

    if not config.daemon_file.exists():  # most often; what would ask is not even imported
        tell("none runs")
        return []
    from savecli import caller

    return caller.found(config, asks, show, has_meaning=needs, tell=tell)


def _searched(
    config: Config, asks: Sequence[Ask], show: Show, like: str | None, *, needs: bool
) -> list[Results]:
    """Every query on one opened store, with one model, which is loaded if one of all has a meaning."""
    from savecli.search import search as run

    encoder = searcher(config) if needs else None
    with opened(config, encoder.identity if encoder else None) as store:
        example = None if like is None or encoder is None else examined(like, config, store, encoder)
        return [run(ask, store, encoder, show=show, example=example) for ask in asks]


def _few(results: Results) -> Results:
    """The nearest moments alone, where none of them is an answer."""
    return results if results.has_answer else replace(results, moments=results.moments[:NEAREST])


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _tell(config: Config, told: Sequence[tuple[str | None, Ask, Results]], given: Given) -> int:
    """Shows what was found, and keeps its numbers."""
    from savecli import render

    number = 1
    for text, ask, results in told:
        if given["as_json"]:
            render.results_json(results, query=text, explain=given["explain"])
        elif given["only_paths"] or given["paths0"]:
            (render.results_paths0 if given["paths0"] else render.results_paths)(results)
        else:
            if text is not None:
                render.query_heading(text)
            moments.show(
                config, ask, results, preview=given["preview"], first=number, by_video=given["by_video"]
            )
        number += len(results.moments)
    is_data = given["as_json"] or given["only_paths"] or given["paths0"]
    quiet = said("quiet", given["quiet"]) or is_data
    moments.follow_up(
        config,
        [(ask, results) for _, ask, results in told],
        file=given["file"],
        open_n=given["open_n"],
        quiet=quiet,
    )
    return DONE if any(results.moments for _, _, results in told) else NOTHING


COMMANDS = (search,)
