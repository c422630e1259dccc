"""`.saveignore`: what a folder's owner wants left out, in gitignore's patterns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

NAME = ".saveignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """The patterns that hold in a folder: its own, and those of the folders above that are looked through.

    Attributes:
        rules: (folder, its patterns), the innermost first.
    """

    rules: tuple[tuple[Path, GitIgnoreSpec], ...] = ()

    def within(self, folder: Path, lines: Iterable[str]) -> Ignored:
        """What holds below `folder`, whose own file has these lines.

        Raises:
            ValueError: a line is no pattern; the message quotes it.
        """
        from pathspec import GitIgnoreSpec  # a folder without such a file does not wait for it

        return Ignored(rules=((folder, GitIgnoreSpec.from_lines(lines)), *self.rules))

    def leaves_out(self, path: Path, *, is_folder: bool) -> bool:
        """Whether a path is left out: the innermost file that speaks of it decides, there its last line."""
        for folder, patterns in self.rules:
            verdict = patterns.check_file(path.relative_to(folder).as_posix() + "/" * is_folder).include
            if verdict is not None:
                return verdict
        return False
