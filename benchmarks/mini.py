"""What save-mini finds, on photos, sounds and made-up videos that no part of its training saw.

    python benchmarks/mini.py ../shared/training-data [--work .cache/train_mini] [--json FILE]

The work folder is that of scripts/train_mini, whose first steps are run where they are missing (photos,
sounds, speech; about 40 minutes on one core). All figures are of the test split: near-duplicates, recordings
and speakers are on one side (docs/mini.md). Queries use phrases, wordings and captions that are in no bank
and in no training query.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from report import ROOT, table

from savecli import config
from savecli.datatypes import Ask
from savecli.model.encode import MiniEncoder
from savecli.model.mini import load_fusion
from savecli.model.score import TERMS, Candidates, Query, Score, Term
from scripts.train_mini.__main__ import train
from scripts.train_mini.compose import KINDS, Material
from scripts.train_mini.fuse import SIZES, fuse, pass_through
from scripts.train_mini.work import Work, average_precision

N_VIDEOS = 300
SEED = 77
Right = np.ndarray


def main() -> None:
    """Print Markdown; keep the figures for the model card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "train_mini")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    work = Work(given.data, given.work, False, 0)
    with redirect_stdout(sys.stderr):  # its headway is no result
        train(work, "speech")
    material = Material(work)
    encoder = MiniEncoder(config.load().model_dir, device="cpu")
    figures = {
        "photos": photos(work, material, encoder),
        "sounds": sounds(work, material, encoder),
        "videos": videos(material, encoder),
    }
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


def photos(work: Work, material: Material, encoder: MiniEncoder) -> dict[str, float]:
    """Mean average precision of each set's labels among its own photos, and what WordNet's glosses find."""
    test = material.of_split("photo", "test")
    rows, labels = material.photo_rows[True][test, 0], material.photo_label[test]
    found = {}
    lines = []
    for name in sorted({label.split("/")[0] for label in labels}):
        members = np.array([label.startswith(name) for label in labels])
        own = sorted(set(labels[members]))
        figures = []
        for texts in (["held_out"], ["bank", "held_out"]):
            precisions = []
            for label in own:
                entry = material.phrases["seen"][label]
                asked = [entry["held_out"], *(entry["bank"] if len(texts) > 1 else [])]
                for query in queries(encoder, asked):
                    precisions.append(
                        average_precision(rows[members] @ query.rows["seen"], labels[members] == label)
                    )
            figures.append(float(np.mean(precisions)))
        found[name] = figures[0]
        lines.append((name, len(own), int(members.sum()), f"{figures[0]:.2f}", f"{figures[1]:.2f}"))
    print("### Photos: from a phrase to the pictures\n")
    heads = ("set", "labels", "photos", "mAP, phrase not in the bank", "mAP, all phrases")
    print(table(heads, lines))
    classes = {name.lower(): c["gloss"] for c in work.text("imagenet1k_wordnet.json") for name in c["lem"]}
    glossed = [(label, classes[n]) for label in sorted(set(labels)) if (n := plain(label)) in classes]
    hits = []
    for label, gloss in glossed:
        (query,) = queries(encoder, [gloss])
        hits.append(bool((labels == label)[np.argsort(-(rows @ query.rows["seen"]))[:10]].any()))
    found["gloss"] = float(np.mean(hits))
    print(
        f"\nA WordNet gloss finds a photo of its class in the first ten of {len(rows)}: {interval(hits)}.\n"
    )
    return found


def sounds(work: Work, material: Material, encoder: MiniEncoder) -> dict[str, object]:
    """How often the class is right, how well a phrase finds its sounds, which sounds it dependably knows."""
    entries = work.read_json("sounds.json")
    test = material.of_split("sound", "test")
    labels, sets = material.sound_label[test], np.array([entries[i]["set"] for i in test])
    names = list(material.phrases["heard"])
    chances = np.load(work.path("sound_rows.npz"))["chances"][test].astype(float)
    ten = sorted(set(labels[sets == "esc10"]))
    among = [names.index(label) for label in ten]
    esc10 = np.array(ten)[chances[sets == "esc10"][:, among].argmax(axis=1)] == labels[sets == "esc10"]
    right = np.array(names)[chances.argmax(axis=1)] == labels
    precisions = {}
    for label in sorted(set(labels)):
        (query,) = queries(encoder, [material.phrases["heard"][label]["held_out"]])
        precisions[label] = average_precision(
            material.sound_rows[test] @ query.rows["heard"], labels == label
        )
    known = [
        n
        for n, p in precisions.items()
        if p >= 0.8 and (labels == n).sum() >= 3 and right[labels == n].mean() >= 0.7
    ]
    print("### Sounds\n")
    by_set = [(name, int((sets == name).sum()), interval(right[sets == name])) for name in sorted(set(sets))]
    print(
        table(
            ("set", "clips", f"top-1 of {len(names)}"),
            [("esc10, of its ten classes", len(esc10), interval(esc10)), *by_set],
        )
    )
    mean = float(np.mean(list(precisions.values())))
    print(f"\nParaphrased queries, mAP over {len(precisions)} labels and {len(test)} clips: {mean:.2f}.")
    print(f"Dependable (precision >= .8 and right >= .7 on at least three new clips): {', '.join(known)}.")
    weak = [f"{n} {p:.2f}" for n, p in sorted(precisions.items(), key=lambda item: item[1]) if p < 0.4]
    print(f"Not known: {', '.join(weak)}.\n")
    return {"esc10": float(esc10.mean()), "n_esc10": len(esc10), "paraphrase": mean, "dependable": known}


def videos(material: Material, encoder: MiniEncoder) -> dict[str, object]:
    """R@1 by kind of query and way of scoring; hubs; false alarms."""
    rng = np.random.default_rng(SEED)
    made = material.draw("test", N_VIDEOS, rng)
    network = load_fusion(encoder.home, encoder.dim, SIZES)
    systems: dict[str, Candidates] = {}
    rule = encoder.score
    whole = material.candidates(made, *fuse(network, material, made))
    untrained = material.candidates(made, *fuse(pass_through(encoder.dim), material, made))
    deaf, mute = made.without(sound=True), made.without(speech=True)
    systems["save-mini"] = whole
    systems["no audio"] = material.candidates(deaf, *fuse(network, material, deaf))
    systems["no speech"] = material.candidates(mute, *fuse(network, material, mute))
    systems["untrained fusion"] = untrained
    scored = {
        name: {}
        for name in (*systems, "fused row alone", "late fusion, maximum", "late fusion, sum", *SINGLE)
    }
    for kind in KINDS:
        right = material.answers(made, kind)
        asked = queries(encoder, material.queries(made, kind))
        for name, candidates in systems.items():
            scored[name][kind] = first_right(list(rule.totals(asked, candidates)), right)
        terms = rule.cosines(rows_of(asked), whole)
        three = np.stack([terms[t] for t in TERMS[:3]])
        scored["fused row alone"][kind] = first_right(list(terms["fused"]), right)
        scored["late fusion, maximum"][kind] = first_right(list(three.max(axis=0)), right)
        scored["late fusion, sum"][kind] = first_right(list(three.sum(axis=0)), right)
        for name, term in SINGLE.items():
            scored[name][kind] = first_right(list(terms[term]), right)
    print(f"### Made-up videos: R@1 in a gallery of {N_VIDEOS}\n")
    rows = [
        (name, *(f"{np.mean(hits):.2f}" for hits in by_kind.values())) for name, by_kind in scored.items()
    ]
    print(table(("score", *KINDS), rows))
    ours = scored["save-mini"]
    print("\n95 % intervals: " + "; ".join(f"{kind} {interval(hits)}" for kind, hits in ours.items()) + ".")
    gaps = {k: max(np.mean(scored[n][k]) for n in SINGLE) - np.mean(ours[k]) for k in KINDS}
    worst = max(gaps, key=lambda kind: gaps[kind])
    print(f"Furthest below the best single modality: {worst}, by {gaps[worst]:.2f}.\n")
    alarms = thresholds(material, encoder, rng)
    return {"r1": {kind: float(np.mean(hits)) for kind, hits in ours.items()}, "n": N_VIDEOS, **alarms}


SINGLE = {"frames only": "seen", "sound only": "heard", "speech only": "said"}


def thresholds(material: Material, encoder: MiniEncoder, rng: np.random.Generator) -> dict[str, object]:
    """False alarms and kept hits at the shipped threshold in libraries of several sizes, and hubs."""
    network = load_fusion(encoder.home, encoder.dim, SIZES)
    rule, lines, overall = encoder.score, [], []
    for size, repeats in ((10, 12), (50, 4), (N_VIDEOS, 1)):
        alarms, kept, hubs = [], [], np.zeros(size)
        for _ in range(repeats):
            made = material.draw("test", size, rng, absent=0.35, mixed=0.7, known=0.5)
            strangers = material.draw("test", 40, rng)
            library = fuse(network, material, made)
            candidates = material.candidates(made, *library)
            pooled = material.candidates(made, *library, frames=False)
            for kind in KINDS:
                right = material.answers(made, kind)
                asked = queries(encoder, material.queries(made, kind))
                for i, chance in enumerate(_chances(rule, asked, candidates, pooled)):
                    first = int(chance.argmax())
                    if right[i].any() and right[i][first]:
                        kept.append(chance[first] >= rule.threshold)
                    elif right[i].any():
                        hubs[first] += 1
                answered = material.answers(strangers, kind, made)
                asked = queries(encoder, material.queries(strangers, kind))
                for i, chance in enumerate(_chances(rule, asked, candidates, pooled)):
                    if not answered[i].any():
                        alarms.append(chance.max() >= rule.threshold)
        lines.append((size, interval(kept), interval(alarms), f"{hubs.max() / (size * len(KINDS)):.3f}"))
        overall = [float(np.mean(kept)), float(np.mean(alarms))]
    print("### The threshold, in libraries where a third lacks sound or speech\n")
    heads = (
        "videos",
        "right first hits kept",
        "false alarms",
        "largest share of queries that one video wrongly tops",
    )
    print(table(heads, lines))
    print()
    return {"kept": overall[0], "alarms": overall[1]}


def _chances(rule: Score, asked: list[Query], candidates: Candidates, pooled: Candidates) -> np.ndarray:
    """(Q, n); `pooled` are the candidates as a library's background is judged."""
    usual = rule.totals(asked, pooled)
    pairs = zip(asked, rule.totals(asked, candidates), usual, strict=True)
    return np.stack(
        [rule.chance(q.aim, found, rule.background(q.aim, u, candidates.n)) for q, found, u in pairs]
    )


def rows_of(asked: list[Query]) -> dict[Term, np.ndarray]:
    """(Q, D) by term."""
    return {term: np.stack([query.rows[term] for query in asked]) for term in TERMS}


def queries(encoder: MiniEncoder, texts: list[str]) -> list[Query]:
    """As the product asks."""
    return [encoder.queries(Ask(text=text))[0] for text in texts]


def first_right(scores: list[np.ndarray], right: Right) -> list[bool]:
    """Of the queries that have an answer: whether the first hit is one; a tie counts against it."""
    hits = []
    for row, answers in zip(scores, right, strict=True):
        if answers.any():
            wrong = row[~answers].max(initial=-np.inf)
            hits.append(bool(row[answers].max() > wrong))
    return hits


def plain(label: str) -> str:
    """A label's own name."""
    return label.split("/")[1].replace("_", " ").lower()


def interval(hits: list[bool] | np.ndarray) -> str:
    """A share with its 95 % interval (Wilson) and its number of cases."""
    n, k = len(hits), int(np.sum(hits))
    p, z2 = k / n, 1.96**2
    middle, half = p + z2 / (2 * n), 1.96 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z2 / n) for sign in (-1, 1))
    return f"{p:.2f} ({low:.2f} to {high:.2f}, n {n})"


if __name__ == "__main__":
    main()
