"""What a line at the prompt of `save shell` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from savecli.cli.common import DONE, EXPECTED
from savecli.cli.search import Searching

if TYPE_CHECKING:
    from savecli.config import Config

_COMMANDS = ("open", "show", "export", "list", "status", "dupes")
_FILES = frozenset({"--like", "--in", "--export", ":show", ":export", ":dupes"})
_QUIT = (":quit", ":exit", ":q", "quit", "exit")


class Prompt:
    """Runs lines, one after the other, and never fails for one of them.

    Args:
        context: of the shell; its root holds the open library.
        given: options of `save search` for every line.
    """

    def __init__(self, context: click.Context, given: Sequence[str]) -> None:
        self._context = context
        group = context.find_root().command
        assert isinstance(group, click.Group)  # noqa: S101 - what has commands is one
        self._group = group
        self._given = list(given)
        search = group.commands["search"]
        assert isinstance(search, Searching)  # noqa: S101 - it is
        with click.Context(search) as there:
            self._options = search.takes_value(there)

    def run(self, config: Config, *, quiet: bool) -> int:
        """Every line that is typed, until the input ends; the worst exit code of all."""
        from savecli import render, shell

        if sys.stdin.isatty() and not quiet:
            render.warn("a query, or :help; ^D ends")
        worst = DONE
        for line in shell.lines(config.home / shell.FILE, self._completions):
            if line in _QUIT:
                break
            worst = max(worst, self._line(line))
        return worst

    def _completions(self, line: str) -> list[str]:
        from savecli import shell

        return shell.completions(line, self._options, (*_COMMANDS, "help", "quit"), _FILES)

    def _line(self, line: str) -> int:
        from savecli import render, shell
        from savecli.errors import SaveError

        try:
            if not line.startswith(":"):
                words = ["search", *self._given, *shell.words(line, self._options)]
                if "--json" in words:
                    render.line({"query": line})
                return self._command(words)
            words = shell.command(line)
            if words[:1] == ["help"]:
                return self._help()
            if not words or words[0] not in _COMMANDS:
                named = ", ".join(f":{name}" for name in (*_COMMANDS, "help", "quit"))
                render.warn(f"no command is called {line}", f"there are {named}")
                return EXPECTED
            return self._command(words)
        except SaveError as error:
            render.warn(error.message, error.hint)
        except click.ClickException as error:
            render.warn(error.format_message())
        except click.exceptions.Exit as ended:  # as --help does
            return ended.exit_code
        except (KeyboardInterrupt, click.Abort):
            render.warn("given up")
        return EXPECTED

    def _command(self, words: Sequence[str]) -> int:
        command = self._group.commands[words[0]]
        with command.make_context(words[0], list(words[1:]), parent=self._context) as context:
            code = command.invoke(context)
        return code if isinstance(code, int) else DONE

    def _help(self) -> int:
        from savecli import render

        search = self._group.commands["search"]
        with click.Context(search, info_name="", parent=None) as context:
            options = "\n".join(search.get_help(context).split("\nOptions:\n")[1:])
        render.say(
            "A line is a query: words as they come, and options of save search before or behind them.\n"
            "    a dog on a beach --says sit -k 3\n"
            "Other commands begin with a colon; numbers are those of the last results.\n"
            "    :open 2   :show 2   :export 1-3 clips.mp4   :list   :status   :dupes   :quit\n"
            f"\nOptions:\n{options}"
        )
        return DONE
