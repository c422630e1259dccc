"""R@1 and R@5 by file on the real clips of ../shared/media, and what the threshold keeps and lets through.

    python benchmarks/quality.py ../shared/media [--home DIR]

The clips and queries are for reporting only: nothing in this project was chosen by them. `s_long.mp4`, a
reel made of the other clips, is left out of the gallery. Queries about what is said are named by their place
in the manifest; all others are about what is seen.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

from savecli import config, pipeline
from savecli.index import Options, index
from savecli.search import search
from savecli.store import Store

REELS = {"s_long.mp4"}
SAID = {
    ("s01.mp4", 2),
    ("s14.mpg", 1),
    ("s15.ts", 1),
    ("s16.mp4", 0),
    ("s16.mp4", 1),
    ("s22.mp4", 2),
    ("s23.mp4", 0),
}
SAID |= {("s23.mp4", 1), ("s24.mp4", 1), ("s31.mp4", 0), ("s31.mp4", 1)}
# Things, sounds and words that are in none of the clips; written before the first run.
ABSENT = (
    "an elephant bathing in a river",
    "a snowboarder jumping off a ramp",
    "a wedding couple cutting the cake",
    "a chess board",
    "a penguin colony on ice",
    "a violin concert",
    "a surgeon in an operating theatre",
    "a hot air balloon",
    "sushi on a plate",
    "a horse race",
    "a soccer goal celebration",
    "an underwater coral reef",
    "a train entering a station",
    "a baby in a cradle",
    "fireworks over a harbour",
    "a tennis match",
    "a camel in the desert",
    "a sailing boat in a storm",
    "a pizza in the oven",
    "a construction crane",
    "a lion hunting a zebra",
    "a ski lift",
    "a knight in armour",
    "a steam locomotive",
    "a volcano erupting",
    "a tractor ploughing a field",
    "a giraffe",
    "the stock market fell sharply today",
    "turn left at the next traffic light",
    "my grandmother's secret recipe",
    "the patient has a fever",
    "we need to talk about the budget",
    "once upon a time there was a princess",
    "the rain in Spain stays mainly in the plain",
    "ladies and gentlemen, fasten your seat belts",
    "the defendant pleads not guilty",
    "add two cups of flour and stir",
    "the suspect fled on foot",
    "happy birthday to you",
    "checkmate in three moves",
)


def main() -> None:
    """Index the clips once, run every query, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("media", type=Path)
    parser.add_argument("--home", type=Path, help="keep the store here and use it again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = config.load(home=given.home or Path(folder))
        encoder = pipeline.make_encoder(settings)
        rows = [
            row for row in csv.DictReader((given.media / "manifest.csv").open()) if row["file"] not in REELS
        ]
        clips = tuple(given.media.absolute() / row["file"] for row in rows)
        with Store.open(settings.store_dir, identity=encoder.identity, mode="write") as store:
            for _ in index(
                Options(paths=clips, asr=settings.asr), store, lambda: pipeline.open_pipeline(settings)
            ):
                pass
            report(rows, store, encoder)


def report(rows: list[dict[str, str]], store: Store, encoder: pipeline.MiniEncoder) -> None:
    """Print the table."""
    answers: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for row in rows:
        for place, query in enumerate(row["queries"].split("|")):
            answers.setdefault(query, set()).add(row["file"])
            kinds[query] = "said" if (row["file"], place) in SAID else "seen"
    print(f"{len(rows)} clips, {len(answers)} queries, {len(ABSENT)} about nothing in them\n")
    print("| queries | n | R@1 | R@5 | first hit kept at the threshold |\n|---|---|---|---|---|")
    misses = []
    for kind in ("seen", "said"):
        ranks, kept = [], []
        for query in (q for q in answers if kinds[q] == kind):
            moments = search(query, store, encoder, top_k=1000, threshold=0).moments
            files = list(dict.fromkeys(moment.path.name for moment in moments))
            rank = (
                min((files.index(name) for name in answers[query] if name in files), default=len(files)) + 1
            )
            ranks.append(rank)
            if rank == 1:
                kept.append(moments[0].score >= encoder.score.threshold)
            else:
                misses.append(f"- {query!r}: rank {rank}, first {files[0]} ({moments[0].score:.2f})")
        at = {k: sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5)}
        print(f"| {kind} | {len(ranks)} | {at[1]:.2f} | {at[5]:.2f} | {sum(kept)} of {len(kept)} |")
    alarms = [query for query in ABSENT if search(query, store, encoder).moments]
    print(
        f"\nFalse alarms: {len(alarms)} of {len(ABSENT)} absent queries got an answer.\n\nMisses:\n"
        + "\n".join(misses)
    )
    print("\nAlarms:\n" + "\n".join(f"- {query}" for query in alarms))


if __name__ == "__main__":
    main()
