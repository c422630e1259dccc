"""The commands of the daemon, which answers `save search` from a library that stays open."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Unpack

import click

from savecli.cli.common import DONE, NOTHING, Common, as_json, everywhere, said, settings

if TYPE_CHECKING:
    from savecli.config import Config

_STOP_S = 10.0


@click.group()
def daemon() -> None:
    """Keep the library open in the background, for faster searches.

    While a daemon runs, `save search` asks it, and gets the same answer sooner. No command needs one: where
    none runs, or it is busy or of another version, a search goes on by itself (-v says so). It belongs to one
    home and one user, listens on a local socket that nobody else can open and on no network, writes nothing
    into the store, and ends by itself when nobody has searched for half an hour.
    """


@daemon.command()
@click.option(
    "--idle",
    default="30min",
    show_default=True,
    metavar="LENGTH",
    help="End when nobody has searched for so long: 90 (seconds), 20min, 8h.",
)
@everywhere
def start(idle: str, **common: Unpack[Common]) -> int:
    """Start it; one that runs already is left alone."""
    config = settings(**common)
    from savecli import caller, render
    from savecli.errors import QueryError
    from savecli.when import length

    try:
        idle_s = length(idle)
    except QueryError as error:
        raise click.BadParameter(error.message, param_hint="--idle") from error
    if idle_s <= 0:
        raise click.BadParameter("a daemon that is idle at once is none", param_hint="--idle")
    found = _status(config)
    if found is not None and found["build"] != caller.build():
        _end(config, found["pid"])
        found = None
    is_new = found is None and _begun(config, idle_s)
    found = found or _status(config)
    if found is not None and not said("quiet", common["quiet"]):
        how = "started" if is_new else "it runs already"
        render.say(f"{how}: process {found['pid']}, {found['memory_mb']:.0f} MB{_files(found)}")
    return DONE


def _begun(config: Config, idle_s: float) -> bool:
    """Starts a daemon; False where another start was first."""
    from savecli import launch, render

    waited = launch.launch(config, idle_s=idle_s)
    with render.busy("opening the library"):
        return launch.ready(waited, config)


def _status(config: Config) -> dict[str, Any] | None:
    """What the daemon of a home says; None where there is none."""
    from savecli import caller
    from savecli.errors import SaveError

    try:
        found: dict[str, Any] = caller.told(config, "status")["status"]
    except caller.SilentDaemonError as error:
        hint = "searches go on without it" + (f"; kill {error.pid} ends it" if error.pid else "")
        raise SaveError("the daemon does not answer", hint=hint) from error
    except (caller.NoDaemonError, KeyError):
        return None
    return found


def _end(config: Config, pid: int) -> None:
    from savecli import caller, launch
    from savecli.errors import SaveError

    with suppress(caller.NoDaemonError):  # where it has ended meanwhile, there is nothing to wait for
        caller.told(config, "stop")
    if not launch.wait_for_end(config, _STOP_S):
        raise SaveError(f"the daemon, process {pid}, does not end", hint=f"kill {pid}")


def _files(found: dict[str, Any]) -> str:
    """How much of the memory is no burden."""
    files_mb = found["files_mb"]
    return f", {files_mb:.0f} of them files that the system can let go of" if files_mb else ""


@daemon.command()
@everywhere
def stop(**common: Unpack[Common]) -> int:
    """End it."""
    config = settings(**common)
    from savecli import render

    found = _status(config)
    if found is not None:
        _end(config, found["pid"])
    if not said("quiet", common["quiet"]):
        render.say("no daemon runs" if found is None else f"ended: process {found['pid']}")
    return DONE


@daemon.command()
@as_json
@everywhere
def status(as_json: bool, **common: Unpack[Common]) -> int:
    """Say whether it runs, and what it holds. Exit code 1 if none runs."""
    config = settings(**common)
    from savecli import caller, render

    found = _status(config)
    if found is not None:
        found["is_current"] = found.pop("build") == caller.build()
    if as_json:
        render.line({"running": found is not None, **(found or {})})
    elif found is None:
        render.say("no daemon runs; save daemon start")
    else:
        old = "" if found["is_current"] else ", another than this one: save daemon start"
        left_s = max(found["idle_s"] - found["unused_s"], 0)
        render.facts(
            {
                "process": f"{found['pid']}, of save {found['version']}{old}",
                "home": found["home"],
                "memory": f"{found['memory_mb']:.0f} MB{_files(found)}",
                "searches": found["n_searches"],
                "runs for": render.clock(found["up_s"]),
                "ends in": f"{render.clock(left_s)}, if nobody searches",
            }
        )
    return DONE if found is not None else NOTHING


COMMANDS = (daemon,)
