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
from collections import Counter
from pathlib import Path

import numpy as np

from savecli import config, pipeline
from savecli.datatypes import Ask
from savecli.index import Options, index
from savecli.search import gather, search
from savecli.store import Store

REELS = {"s_long.mp4"}
RULES = (
    "save-mini",
    "frames only",
    "sound only",
    "speech only",
    "maximum of the three",
    "maximum of seen and said",
    "sum of the three",
    "fused row alone",
)
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
    """Print the tables."""
    answers: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for row in rows:
        for place, query in enumerate(row["queries"].split("|")):
            answers.setdefault(query, set()).add(row["file"])
            kinds[query] = "said" if (row["file"], place) in SAID else "seen"
    print(f"{len(rows)} clips, {len(answers)} queries, {len(ABSENT)} about nothing in them\n")
    rankings = {query: ranked(query, store, encoder) for query in answers}
    print("| queries | n | score | R@1 | R@5 |\n|---|---|---|---|---|")
    for kind in ("seen", "said"):
        asked = [query for query in answers if kinds[query] == kind]
        for rule in RULES:
            ranks = [best_rank(rankings[query][rule], answers[query]) for query in asked]
            at = {k: sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5)}
            print(f"| {kind} | {len(ranks)} | {rule} | {at[1]:.2f} | {at[5]:.2f} |")
    first = {query: search(query, store, encoder, top_k=1, threshold=0).moments[0] for query in answers}
    for kind in ("seen", "said"):
        right = [m for q, m in first.items() if kinds[q] == kind and m.path.name in answers[q]]
        kept = sum(moment.score >= encoder.score.threshold for moment in right)
        print(f"\nRight first hits about what is {kind} that the threshold keeps: {kept} of {len(right)}.")
    alarms = [query for query in ABSENT if search(query, store, encoder).moments]
    print(f"\nFalse alarms: {len(alarms)} of {len(ABSENT)} absent queries got an answer.")
    tops = Counter(
        moment.path.name for query, moment in first.items() if moment.path.name not in answers[query]
    )
    tops += Counter(
        search(query, store, encoder, top_k=1, threshold=0).moments[0].path.name for query in ABSENT
    )
    n_asked = len(answers) + len(ABSENT)
    print(f"\nHubs, first hits of queries they do not answer, of {n_asked}: {tops.most_common(4)}.")
    misses = [
        f"- {query!r}: rank {best_rank(rankings[query]['save-mini'], files)}, first {first[query].path.name}"
        f" ({first[query].score:.2f})"
        for query, files in answers.items()
        if first[query].path.name not in files
    ]
    print("\nMisses:\n" + "\n".join(misses) + "\n\nAlarms:\n" + "\n".join(f"- {query}" for query in alarms))


def ranked(query: str, store: Store, encoder: pipeline.MiniEncoder) -> dict[str, list[str]]:
    """By way of scoring, the files in order: each by its best segment."""
    ids, _ = store.sample(10**9)
    candidates = gather(store, ids)
    (read,) = encoder.queries(Ask(text=query))
    cosines = {
        term: values[0]
        for term, values in encoder.score.cosines(
            {term: row[None] for term, row in read.rows.items()}, candidates
        ).items()
    }
    there = [np.where(np.isfinite(cosines[t]), cosines[t], 0) for t in ("seen", "heard", "said")]
    values = {
        "save-mini": encoder.score.evidence(read, candidates).total,
        "frames only": there[0],
        "sound only": there[1],
        "speech only": there[2],
        "maximum of the three": np.max(there, axis=0),
        "maximum of seen and said": np.maximum(there[0], there[2]),
        "sum of the three": np.sum(there, axis=0),
        "fused row alone": cosines["fused"],
    }
    files = np.array([segment.paths[0].name for segment in store.segments(ids)])
    return {rule: list(dict.fromkeys(files[np.argsort(-values[rule], kind="stable")])) for rule in RULES}


def best_rank(files: list[str], right: set[str]) -> int:
    """From 1; one past the end where none is right."""
    return min((files.index(name) for name in right if name in files), default=len(files)) + 1


if __name__ == "__main__":
    main()
