"""Runs a trial: a script beside the tests that tells a record a line, and in it what went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def run(script: Path, *arguments: object, last_alone: bool = False, **env: str) -> list[dict]:
    """The records of a script that ran to its end and found nothing wrong; the `last_alone` may tell so."""
    ran = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
    )
    records = [json.loads(line) for line in ran.stdout.splitlines()]
    assert records, ran.stderr
    telling = records[-1:] if last_alone else records
    assert [record["wrong"] for record in telling if record["wrong"]] == [], ran.stderr
    assert ran.returncode == 0, ran.stderr
    return records
