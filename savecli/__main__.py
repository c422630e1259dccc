"""`save`, and `python -m savecli`: the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import NoReturn

import click

from savecli import __version__
from savecli.cli import DONE, EXPECTED, ReaderLeftError, cli, named_home
from savecli.errors import SaveError
from savecli.plain import plain
from savecli.private import private

UNEXPECTED, INTERRUPTED = 3, 130
OUT_OF_OUR_HANDS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
}


def main() -> NoReturn:
    """Run, and turn every ending into an exit code."""
    # A sentence is too little work to share: BLAS threads that wait for each other cost a query .4 s.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # torch's threads spin while they wait: beside other work, two of them then take longer than one
    # (benchmarks/RESULTS.md, encoding a video with SAVE).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = cli(standalone_mode=False, complete_var="_SAVE_COMPLETE")
    except click.ClickException as error:
        error.show()
        sys.exit(EXPECTED)
    except SaveError as error:
        _complain(error)
        sys.exit(EXPECTED)
    except (KeyboardInterrupt, click.Abort) as error:
        said = str(error) or str(error.__cause__ or "")  # click's Abort comes of an interrupt
        click.echo(said or "interrupted; what is done is kept, and the next run goes on from here", err=True)
        sys.exit(INTERRUPTED)
    except ReaderLeftError:
        # The reader of our output has seen enough; what is left of it must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OUT_OF_OUR_HANDS:
            _complain(_as_expected(error))
            sys.exit(EXPECTED)
        if os.environ.get("SAVE_DEBUG"):
            raise
        _log(error)
        sys.exit(UNEXPECTED)
    sys.exit(code if isinstance(code, int) else DONE)


def _complain(error: SaveError) -> None:
    _say(f"save: {error.message}", error.hint)


def _say(message: str, hint: str) -> None:
    # Not through rich: this must also work where an install is broken.
    lines = [message, *(f"  {line}" for line in hint.splitlines())]
    click.echo("\n".join(map(plain, lines)), err=True)


def _as_expected(error: OSError) -> SaveError:
    where = f": {error.filename}" if error.filename else ""
    return SaveError(
        f"{error.strerror}{where}", hint="what was stored before is safe; --home names another folder"
    )


def _log(error: Exception) -> None:
    from savecli import config

    try:
        file = config.load(home=named_home()).log_file
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8", errors="backslashreplace", opener=private) as log:
            log.write(
                f"save {__version__} {' '.join(sys.argv[1:])}\n{''.join(traceback.format_exception(error))}\n"
            )
        where = f"the traceback is in {file}"
    except (OSError, SaveError):
        where = "set SAVE_DEBUG=1 to see the traceback"
    _say(f"save: this is a bug: {type(error).__name__}: {error}", f"{where}; please report it")


if __name__ == "__main__":
    main()
