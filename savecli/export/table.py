"""The moments as a table for a spreadsheet or a script."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from savecli.export.options import Options
from savecli.export.take import MODALITIES, Take
from savecli.plain import plain

HEADS = ("rank", "path", "start_s", "end_s", "score", *MODALITIES, "best_s", "snippet", "video_id")
_FORMULA = re.compile(r"[=+\-@\t\r]")


def table(takes: Sequence[Take], _: Options) -> str:
    """CSV with a row of heads; what a spreadsheet would take for a formula gets an apostrophe before it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADS)
    for take in takes:
        moment = take.moment
        why = [f"{moment.why.get(name, 0.0):.4f}" for name in MODALITIES]
        spans = [
            f"{take.start_s:.3f}",
            f"{take.end_s:.3f}",
            f"{moment.score:.4f}",
            *why,
            f"{moment.best_s:.3f}",
        ]
        writer.writerow(
            [take.number, _text(str(take.path)), *spans, _text(plain(moment.snippet)), moment.video_id]
        )
    return text.getvalue()


def _text(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text
