"""docs/cli.md from the commands' own help; tests/test_architecture.py holds the two equal.

python scripts/make_cli_docs.py
"""

from __future__ import annotations

from pathlib import Path

import click

from savecli.cli import cli

TARGET = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
HEAD = """# The command line

Made by `python scripts/make_cli_docs.py` from `--help`; do not edit.

Results go to stdout, all else to stderr. `--json` prints one JSON object a line and nothing else on stdout.
`save search --json` prints moments: `rank`, `path`, `start_s`, `end_s`, `score`, `why` (what `seen`,
`heard` and `said` add to the score), `snippet`, `marks` (where in it words stand that were looked for, as
pairs of characters), `best_s`, `video_id`, `mounted`, `drive` (the label of its drive, where that is not
mounted), `copies` (moments of other videos that repeat it), with `--explain` also `explain`, and before all
`query`, where there are several. `save index --json` prints events: `event` is `indexed` (`path`,
`duration_s`, `n_segments`, `has_audio`, `speech_s`, `elapsed_s`, `notes`, `partial`), `unchanged`, `moved`
(`old_path`), `removed` (it was gone from its drive, and is forgotten), `skipped` (`reason`, `hint`,
`known`: it failed before and was not tried again, `unfinished`: it is still being written) or, once and
last, `summary`. What is promised about files that move, vanish or fail is in [library.md](library.md), what
about faults of machines and disks in [durability.md](durability.md). `save verify --json` prints `problem`
(`subject`, `message`, `hint`), `repaired` (`subject`, `message`) and `summary` (`n_problems`, `n_repaired`,
`ok`); `save import --json` prints `added` (`video_id`, `paths`), `joined` (`video_id`, `path`), `kept` (a
path that is another video here), `left` (a video all of whose paths are) and `summary`.

Exit codes: 0 done, or something found; 1 nothing found, or files were skipped; 2 a usage error, or a
failure with a hint; 3 a bug, whose traceback is in the log that the message names (`SAVE_DEBUG=1` raises
it); 130 interrupted.

Settings: a flag wins over the environment (`SAVE_HOME`, `SAVE_MODEL_DIR`, `SAVE_ASR`, `SAVE_LANGUAGE`,
`SAVE_DEVICE`, `SAVE_JOBS`, `SAVE_BATCH_SIZE`, `SAVE_OFFLINE`, `SAVE_STALL_S`, `SAVE_DATA`), which wins over
`config.toml` in the home folder (the same names in lower case, without `SAVE_`, and no `home`), which wins
over what `save doctor --tune` measured. `save status` shows each value and its source. `SAVE_STALL_S` (60)
is how many seconds a file may keep the decoder busy without any headway. `asr = "auto"`, tuning and
`save bench`: [speed.md](speed.md).
"""


def render_docs() -> str:
    """The whole page."""
    return HEAD + "".join(_sections(cli, "save"))


def _sections(command: click.Command, name: str, parent: click.Context | None = None) -> list[str]:
    options = command.context_settings
    with click.Context(command, info_name=name, parent=parent, terminal_width=100, **options) as context:
        sections = [f"\n## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"]
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                sections += _sections(command.commands[child], child, context)
    return sections


if __name__ == "__main__":
    TARGET.write_text(render_docs(), "utf-8")
