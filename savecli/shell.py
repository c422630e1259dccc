"""A prompt for many queries in a row: lines in, the words of commands out; history and completion.

readline of the standard library does the editing where there is one: history, search in it, completion, and a
person's own key bindings from ~/.inputrc. It asks for nothing to be installed, and a pipe needs none of it.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import ModuleType

from savecli.private import private

PROMPT = "save> "
FILE = "history"
N_KEPT = 1000
_TOKEN = re.compile(r'(?:[^\s"(]|"[^"]*"|\([^()]*\))+|["(]')
_MORE = 2  # a history file may grow to so many times N_KEPT before it is cut


def words(line: str, options: Mapping[str, bool]) -> list[str]:
    """What a line asks of `save search`: its options, and all the rest as texts, as they were typed.

    Only double quotes and parentheses hold words together: an apostrophe is part of a word.

    Args:
        line: as typed.
        options: by name, as in `-k` and `--top-k`, whether a value follows.
    """
    given: list[str] = []
    text: list[str] = []
    tokens = iter(_TOKEN.findall(line))
    for token in tokens:
        name, equals, value = token.partition("=")
        if token == "--":  # noqa: S105 - no password
            text += tokens
        elif token in options:
            given.append(token)
            if options[token]:
                given += [_unquoted(value) for value in islice(tokens, 1)]
        elif equals and options.get(name):
            given.append(f"{name}={_unquoted(value)}")
        elif (options.get(token[:2]) and token[2:].isdigit()) or re.match(r"--\w", token):
            given.append(token)
        else:
            text.append(token)
    return [*given, *(["--", *text] if text else [])]


def command(line: str) -> list[str]:
    """The words of a line that begins with a colon, without it."""
    return [_unquoted(token) for token in _TOKEN.findall(line.strip().removeprefix(":"))]


def _unquoted(token: str) -> str:
    """As other shells have it: without quotes, and with what a ~ stands for where none is around it."""
    return os.path.expanduser(token).replace('"', "")  # noqa: PTH111 - a Path drops what a text may end with


def lines(history: Path | None, complete: Callable[[str], Sequence[str]]) -> Iterator[str]:
    """What is typed, line by line, until the input ends; from a pipe as well.

    Ctrl-C gives up a line, Ctrl-D ends. Blank lines are left out.

    Args:
        history: the file that keeps what is typed; None keeps nothing, and so does a pipe.
        complete: what a line could go on with: the words that its last one may become.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # as for arguments: one bad byte is no end
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    readline = _readline(complete)
    if history is not None and readline is not None:
        for line in kept(history):
            readline.add_history(line)
    while True:
        try:
            line = _ask().strip()
        except EOFError:
            _tell("\n")
            return
        except KeyboardInterrupt:
            _tell("\n")
            continue
        if line:
            if history is not None:
                keep(history, line)
            yield line


def _ask() -> str:
    if sys.stdout.isatty():
        return input(PROMPT)
    _tell(PROMPT)  # what goes to a file or a pipe is results alone
    return input()


def _tell(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _readline(complete: Callable[[str], Sequence[str]]) -> ModuleType | None:
    """Line editing, set up; None where there is none, as on Windows."""
    try:
        import readline
    except ImportError:
        return None
    found: list[str] = []

    def completer(_: str, state: int) -> str | None:
        if state == 0:
            found[:] = complete(readline.get_line_buffer()[: readline.get_endidx()])
        return found[state] if state < len(found) else None

    readline.set_completer(completer)
    readline.set_completer_delims(" \t")
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    readline.set_auto_history(True)
    return readline


def kept(file: Path) -> list[str]:
    """The lines in a history file, the last N_KEPT; none where it cannot be read."""
    try:
        found = file.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    if len(found) > _MORE * N_KEPT:
        aside = file.with_name(f".{file.name}.{os.getpid()}.part")
        with suppress(OSError):
            _append(aside, found[-N_KEPT:])
            aside.replace(file)
    return found[-N_KEPT:]


def keep(file: Path, line: str) -> None:
    """Adds a line to a history file, which nobody else may read; a home that cannot be written keeps none."""
    with suppress(OSError):
        _append(file, [line])


def _append(file: Path, rows: Sequence[str]) -> None:
    with open(file, "a", encoding="utf-8", errors="replace", opener=private) as opened:
        opened.writelines(f"{row}\n" for row in rows)


def completions(
    line: str, options: Mapping[str, bool], commands: Sequence[str], files: frozenset[str]
) -> list[str]:
    """What the last word of a line may become.

    Args:
        line: up to the cursor.
        options: as in `words`.
        commands: names that may follow a colon.
        files: options whose value is a file, and commands that take one.
    """
    before, _, last = line.rpartition(" ")
    earlier = before.split()
    if not earlier and last.startswith(":"):
        return sorted(f":{name} " for name in commands if name.startswith(last[1:]))
    if earlier and (earlier[-1] in files or earlier[0] in files):
        return _paths(last)
    if last.startswith("-"):
        return sorted(f"{name} " for name in options if name.startswith(last))
    return []


def _paths(begun: str) -> list[str]:
    """Files and folders whose path begins so."""
    cut = begun.rfind("/") + 1
    shown, name = begun[:cut], begun[cut:]
    try:
        inside = sorted(Path(shown).expanduser().iterdir())
    except OSError:
        return []
    return [
        f"{shown}{entry.name}{'/' if entry.is_dir() else ' '}"
        for entry in inside
        if entry.name.startswith(name)
    ]
