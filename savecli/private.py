"""Files for this user alone: what a person looks for is nobody else's business."""

from __future__ import annotations

import os


def private(file: str | os.PathLike[str], flags: int) -> int:
    """An opener for `open`, or in place of `os.open`: a file that it makes can be read by nobody else."""
    return os.open(file, flags, 0o600)
