"""Opening a video at a moment: which player is here, and its command line.

Players are started without a shell, with the file's absolute path or URL as one argument, so that no name can
be taken for an option or a command.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from savecli.errors import MediaError
from savecli.when import seconds

PLAYERS = ("mpv", "iina", "vlc", "system")
_PATIENCE_S = 1.5
_PLACES = {
    "mpv": ("/Applications/mpv.app/Contents/MacOS/mpv",),
    "iina": ("/Applications/IINA.app/Contents/MacOS/iina-cli",),
    "vlc": (
        "/Applications/VLC.app/Contents/MacOS/VLC",
        r"C:\Program Files\VideoLAN\VLC\vlc.exe",
        r"C:\Program Files (x86)\VideoLAN\VLC\vlc.exe",
    ),
}
_OPENERS = {"darwin": "open", "win32": "explorer"}
Find = Callable[[str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run.

    Attributes:
        player: one of PLAYERS.
        words: the program and its arguments.
        seeks: whether it starts at the moment; the system's opener knows no moments.
    """

    player: str
    words: tuple[str, ...]
    seeks: bool

    @property
    def shown(self) -> str:
        """As a person would type it."""
        return subprocess.list2cmdline(self.words) if sys.platform == "win32" else shlex.join(self.words)


def command(
    path: Path,
    start_s: float,
    *,
    player: str | None = None,
    find: Find | None = None,
    platform: str = sys.platform,
) -> Command | None:
    """How to play `path` from `start_s` on, with the first player that is here.

    Args:
        path: of the video.
        start_s: on the clock of its first picture or sound, as players count.
        player: only this one of PLAYERS.
        find: a program's name -> its path, None where it is not installed; `shutil.which` if left out.
        platform: as `sys.platform` has it.

    Returns:
        None where no player is here.
    """
    look = find or _find
    file = str(path.absolute())
    for name in (player,) if player else PLAYERS:
        program = (
            _opener(look, platform) if name == "system" else look("iina-cli" if name == "iina" else name)
        )
        if program is None:
            continue
        return Command(player=name, words=(program, *_arguments(name, file, start_s)), seeks=name != "system")
    return None


def typed(path: Path, start_s: float) -> str:
    """The command to type where mpv would be installed."""
    return shlex.join(("mpv", *_arguments("mpv", str(path.absolute()), start_s)))


def _arguments(player: str, file: str, start_s: float) -> tuple[str, ...]:
    start = f"{max(0.0, start_s):.3f}"
    match player:
        case "mpv":  # a window even for sound alone, so that there is something to close
            return (f"--start={start}", "--force-window=yes", "--", file)
        case "iina":
            return (f"--mpv-start={start}", file)
        case "vlc":  # a URL, as VLC takes parts of a path for its own; options of one file come after it
            return (_url(file), f":start-time={start}")
    return (file,)


def _url(file: str) -> str:
    return Path(file).as_uri() if os.name == "nt" else "file://" + quote(os.fsencode(file))


def _opener(look: Find, platform: str) -> str | None:
    return look(_OPENERS.get(platform, "xdg-open"))


def _find(program: str) -> str | None:
    found = shutil.which(program)
    places = _PLACES.get("iina" if program == "iina-cli" else program, ())
    return found or next((place for place in places if Path(place).exists()), None)


def play(chosen: Command) -> None:
    """Start a player and leave it running; one that fails at once is told of.

    Raises:
        MediaError: it cannot be started, or ends with an error within a second or two.
    """
    try:
        process = subprocess.Popen(
            chosen.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C here is not for the player
        )
    except OSError as error:
        raise MediaError(f"cannot start {chosen.words[0]}: {error.strerror}", hint=chosen.shown) from error
    with suppress(subprocess.TimeoutExpired):
        code = process.wait(_PATIENCE_S)
        if code and not (chosen.player == "system" and sys.platform == "win32"):  # its code means nothing
            raise MediaError(
                f"{chosen.player} ended with exit code {code}",
                hint=f"is there a screen? the command was:\n{chosen.shown}",
            )


def parse(text: str) -> tuple[Path, float | None]:
    """A path, and the time after its last `@` where there is one, as in `dog.mp4@1:20`.

    A file whose whole name is `text` is that file.

    Raises:
        QueryError: what follows the `@` is no time.
    """
    name, at, time = text.rpartition("@")
    if not at or not name or Path(text).exists():
        return Path(text), None
    if not time[:1].isdigit() and not Path(name).exists():
        return Path(text), None
    return Path(name), seconds(time)
