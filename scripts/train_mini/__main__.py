"""Train save-mini: `python -m scripts.train_mini ../shared/training-data`, an hour and a half on one core.

A step whose outputs lie in the work folder is not done again, so a run that was stopped goes on where it was.
The same data, seed and versions give the same weights: all chance comes from one seed, on one thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from savecli.errors import ConfigError, SaveError
from scripts.train_mini import calibrate, concepts, fuse, hearing, photos, publish, sounds, speech
from scripts.train_mini.work import Work

# Each has OUTPUTS, the names of the files that it leaves in the work folder, and run(work), which makes them.
STEPS = {
    "photos": photos,
    "concepts": concepts,
    "sounds": sounds,
    "hearing": hearing,
    "speech": speech,
    "fuse": fuse,
    "calibrate": calibrate,
    "publish": publish,
}


def main() -> None:
    """Do what is not yet done, step by step."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train_mini", description=__doc__)
    parser.add_argument("data", type=Path, help="the folder with images.jsonl, audio.jsonl and text/")
    parser.add_argument(
        "--work", type=Path, default=Path(".cache/train_mini"), help="where to work [%(default)s]"
    )
    parser.add_argument("--strict-licences", action="store_true", help="leave out data of unclear licence")
    parser.add_argument("--seed", type=int, default=0, help="of everything random [%(default)s]")
    parser.add_argument("--until", choices=STEPS, help="the last step to do")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        train(
            Work(arguments.data, arguments.work, arguments.strict_licences, arguments.seed), arguments.until
        )
    except SaveError as error:
        sys.exit(f"error: {error.message}\n hint: {error.hint}")


def train(work: Work, until: str | None) -> None:
    """The steps up to `until`, or all of them.

    Raises:
        ConfigError: no training data, or a work folder that belongs to a run with other settings.
    """
    if not (work.data / "images.jsonl").exists():
        raise ConfigError(f"{work.data} has no images.jsonl", hint="name the folder of the training data")
    settings = {"strict_licences": work.strict, "seed": work.seed}
    if work.done("run.json") and work.read_json("run.json") != settings:
        raise ConfigError(f"{work.folder} was begun with {work.read_json('run.json')}", hint="another --work")
    work.save_json("run.json", settings)
    for name, step in STEPS.items():
        if work.done(*step.OUTPUTS):
            print(f"{name}: done before")
        else:
            print(f"{name}: {step.__doc__.splitlines()[0]}", flush=True)
            begin = time.monotonic()
            step.run(work)
            print(f"{name}: took {time.monotonic() - begin:.0f} s", flush=True)
        if name == until:
            return


if __name__ == "__main__":
    main()
