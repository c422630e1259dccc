"""What becomes of the moments that a search found: opened in a player, or written to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from savecli.cli.common import DONE, Command, Common, as_json, everywhere, opened, said, settings, together
from savecli.cli.keep import export_library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from savecli.config import Config
    from savecli.datatypes import Ask, Moment, Results, Utterance
    from savecli.store import Store

PLAYERS = ("mpv", "iina", "vlc", "system")
SHELLS = ("bash", "zsh", "fish")


class How(TypedDict):
    """The options of writing moments, as the command line names them."""

    pad: float
    fast: bool
    each: bool
    relative: bool
    force: bool


def writing(command: Command) -> Command:
    """Options that say how moments are written."""
    return together(
        click.option(
            "--pad",
            type=click.FloatRange(min=0),
            default=0.0,
            metavar="SECONDS",
            help="Add before and after.",
        ),
        click.option("--fast", is_flag=True, help="Copy clips from the key frame before, encode nothing."),
        click.option("--each", is_flag=True, help="One file for each moment (.mp4, .srt)."),
        click.option("--relative", is_flag=True, help="Paths in a playlist are relative to its folder."),
        click.option("--force", is_flag=True, help="Write over a file that is there."),
    )(command)


@click.command("open")
@click.argument("target", metavar="N|PATH[@TIME]")
@click.option(
    "--player", type=click.Choice(PLAYERS), help="What plays it.  [default: the first that is here]"
)
@click.option("--dry-run", is_flag=True, help="Print the command, and run nothing.")
@everywhere
def open_(target: str, player: str | None, dry_run: bool, **common: Unpack[Common]) -> None:
    """Open a video at a moment in a player.

    N is a result of the last search (./2 is a file of that name); PATH@1:20 is a file and a time in it. mpv,
    IINA and VLC start there; the system's own opener, taken where none of them is installed, starts at the
    beginning.
    """
    config = settings(**common)
    from savecli import play

    moment = _one(config, target)
    path, start_s = (moment.path, moment.start_s) if moment else play.parse(target)
    play_at(path, start_s or 0.0, moment.drive if moment else "", player=player, dry_run=dry_run)


def play_at(
    path: Path, start_s: float, drive: str = "", *, player: str | None = None, dry_run: bool = False
) -> None:
    """Open a video, or print how."""
    from savecli import play, render
    from savecli.errors import ConfigError, MediaError

    if not path.exists():
        hint = f"it is on the drive {drive}: connect it" if drive else "was it moved? is its drive connected?"
        raise MediaError(f"{path} is not there now", hint=hint)
    chosen = play.command(path, start_s, player=player)
    if chosen is None:
        raise ConfigError(
            f"{player or 'no player'} is {'not ' if player else ''}installed",
            hint=f"install mpv or VLC; the command is then\n{play.typed(path, start_s)}",
        )
    if dry_run:
        render.command_line(chosen.shown)
        return
    if not chosen.seeks and start_s:
        render.warn(
            f"the system's opener starts at the beginning; the moment is at {render.clock(start_s)}",
            "mpv, VLC or IINA would start there",
        )
    play.play(chosen)


def write_moments(
    config: Config,
    numbered: Sequence[tuple[int, Moment]],
    file: str,
    asked: str,
    how: How,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write moments to a file, or a folder, and say what was written."""
    from savecli import render
    from savecli.export.options import Options
    from savecli.export.run import export
    from savecli.export.target import target

    options = Options(
        pad_s=how["pad"],
        fast=how["fast"],
        each=how["each"],
        relative=how["relative"],
        force=how["force"],
        title=asked,
        stall_s=config.stall_s,
    )
    where = target(Path(file), each=options.each, named_as_folder=file.endswith(("/", "\\")))
    with opened(config) as store:
        facts = _Stored(store, [moment for _, moment in numbered])
    with render.exporting(Path(file).name, quiet=quiet) as tell:
        done = export(numbered, where, options, facts, tell=tell)
    render.exported(done.paths, done.n_moments, done.length_s, done.notes, as_json=as_json, quiet=quiet)


def show(
    config: Config, ask: Ask, results: Results, *, preview: bool, first: int = 1, by_video: bool = False
) -> None:
    """Results for a person, with a picture of each where that was asked for and the terminal has any.

    The first one is number `first`.
    """
    from savecli import render

    if preview and render.can_show(render.out()):
        with pictures(config) as picture:
            render.results_table(ask, results, picture, first=first, by_video=by_video)
        return
    if preview:
        render.warn("no pictures: this is no terminal with colours")
    render.results_table(ask, results, first=first, by_video=by_video)


def follow_up(
    config: Config,
    told: Sequence[tuple[Ask, Results]],
    *,
    file: str | None,
    open_n: int | None,
    quiet: bool,
) -> None:
    """What `save search` does with what it found: keep the numbers, write a file, open a player."""
    from savecli import last, render

    asked = "; ".join(render.asked(ask) for ask, _ in told)
    found = last.Last(asked=asked, moments=tuple(m for _, results in told for m in results.moments))
    if not last.remember(config.home, asked, found.moments) and not quiet:
        why = f"{config.home} cannot be written"
        render.warn(f"save open, show and export do not know these numbers: {why}")
    if file is not None and found.moments:
        how = How(pad=0.0, fast=False, each=False, relative=False, force=False)
        write_moments(config, found.pick("all"), file, asked, how, as_json=False, quiet=quiet)
    if open_n is not None and found.moments:
        ((_, moment),) = found.pick(str(open_n))
        play_at(moment.path, moment.start_s, moment.drive)


class _Stored:
    """What the store knows of the moments' videos, read at once: it is closed while clips are cut."""

    def __init__(self, store: Store, moments: Sequence[Moment]) -> None:
        ids = {moment.video_id for moment in moments}
        self._videos = {video_id: video for video_id in ids if (video := store.named(video_id))}
        self._utterances = {video_id: store.transcript(video_id).utterances for video_id in self._videos}

    def utterances(self, moment: Moment) -> Sequence[Utterance]:
        """All that is said in the video."""
        return self._utterances.get(moment.video_id, ())

    def duration_s(self, moment: Moment) -> float | None:
        """How long the video is; None where it was forgotten since."""
        video = self._videos.get(moment.video_id)
        return video.duration_s if video else None


@contextmanager
def pictures(config: Config) -> Iterator[Callable[[Moment], NDArray[np.uint8] | None]]:
    """What gives a small picture of a moment where it answers best, None where there is none."""
    from savecli import render
    from savecli.errors import MediaError
    from savecli.media.worker import Decoder

    with Decoder(stall_s=config.stall_s) as decoder:

        def one(moment: Moment) -> NDArray[np.uint8] | None:
            size = {"width_px": render.WIDTH_PX, "height_px": render.HEIGHT_PX}
            try:
                shown = list(decoder.stills(moment.path, (moment.best_s,), **size))
                return shown[0].image if shown else None
            except MediaError:
                return None

        yield one


def named(config: Config, text: str) -> Path:
    """A video by its path, or by its number among the last results."""
    moment = _one(config, text)
    return moment.path if moment else Path(text)


def _one(config: Config, text: str) -> Moment | None:
    """The result of the last search that a number names; None where the text is no number but a file."""
    from savecli import last
    from savecli.errors import QueryError

    if not last.are_numbers(text):
        return None
    picked = last.recall(config.home).pick(text)
    if len(picked) != 1:
        raise QueryError(f"{text} names {len(picked)} results", hint="name one of them")
    return picked[0][1]


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="[HITS] FILE")
@writing
@as_json
@everywhere
def export(
    names: tuple[str, ...],
    pad: float,
    fast: bool,
    each: bool,
    relative: bool,
    force: bool,
    as_json: bool,
    **common: Unpack[Common],
) -> int:
    """Write moments of the last search, or the library, to a file.

    \b
    save export 1-5 cut.mp4     moments 1 to 5
    save export library.save    all that the store knows of all videos, for `save import`; not the videos

    Only --force goes with a whole library.
    """  # noqa: D301 - click reads the escape as: leave this paragraph's lines alone
    from savecli import last
    from savecli.export.target import SUFFIXES

    if len(names) == 1:
        if last.are_numbers(names[0]):
            raise click.UsageError("Missing argument 'FILE'.")
        if Path(names[0]).suffix.lower() in SUFFIXES:
            raise click.UsageError(f"Which moments? As in: save export all {names[0]}")
        if pad or fast or each or relative:
            raise click.UsageError("--pad, --fast, --each and --relative need HITS.")
        return export_library(Path(names[0]), force=force, as_json=as_json, **common)
    if len(names) > 2:
        raise click.UsageError(f"Got unexpected extra arguments ({' '.join(names[2:])}).")
    hits, file = names
    config = settings(**common)
    found = last.recall(config.home)
    how = How(pad=pad, fast=fast, each=each, relative=relative, force=force)
    quiet = said("quiet", common["quiet"])
    write_moments(config, found.pick(hits), file, found.asked, how, as_json=as_json, quiet=quiet)
    return DONE


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands and options.

    \b
    bash  save completion bash > ~/.local/share/bash-completion/completions/save
    zsh   save completion zsh > ~/.zfunc/_save    (with fpath+=~/.zfunc before compinit in ~/.zshrc)
    fish  save completion fish > ~/.config/fish/completions/save.fish
    """  # noqa: D301 - click reads the escape as: leave this paragraph's lines alone
    from click.shell_completion import get_completion_class

    from savecli import render

    root = click.get_current_context().find_root().command
    maker = get_completion_class(shell)
    assert maker is not None  # noqa: S101 - click knows all of SHELLS
    render.write(maker(root, {}, "save", "_SAVE_COMPLETE").source())


COMMANDS = (open_, export, completion)
