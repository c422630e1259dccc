"""The score: steps and weights of its terms, and what turns evidence into a chance.

Ranking first: the steps are fitted by gradient so that right answers come before wrong ones, on two
galleries of made-up validation videos. In one everything is there. In the other a third lacks sound or
speech, most videos show, play and say other things too, and they are of labels that neither the head of the
photos nor the fusion has met, as with most of what people look for. A cohort of training queries tells what
any query would find in a video, which counts for nothing (`Score.usual`). Then a logistic regression tells
the first hit of a query that has an answer from that of a query that has none, in galleries of many sizes.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from savecli.model.mini import load_fusion
from savecli.model.network import Fusion
from savecli.model.score import (
    ABSENT,
    CALIBRATED,
    TERMS,
    Aim,
    Calibration,
    Candidates,
    Query,
    Score,
    Step,
    Term,
)
from savecli.model.text import unit
from savecli.model.words import Lexicon, content
from scripts.train_mini.compose import KINDS, Material, Videos, scripts
from scripts.train_mini.fuse import SIZES, fuse
from scripts.train_mini.work import Work

OUTPUTS = ("score.json", "words.json", "cohort.safetensors")
SHARPNESS = 20.0
N_VIDEOS = 280
N_STEPS = 400
N_COHORT = 64
SINGLE_WEIGHT = 5.0
"""Of queries about one modality: people ask those most, and a mixture gives them up first."""
GALLERY_SIZES = (4, 12, 40, 120, 250)
PRIOR_N = 20.0
THRESHOLD = 0.33
"""To miss what is there is held to be twice as bad as to show what is not."""
N_WORDS_KEPT = 3000
NEUTRAL = Calibration(
    gain=1, crowd=0, spread=0, level=0, bias=0, prior_median=0, prior_spread=0, prior_n=PRIOR_N
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Made-up videos with queries about them.

    Attributes:
        candidates: with their frames, and without, as a library's background is judged.
        queries: by kind, one about each video.
        right: by kind, (n, n) which videos answer which query.
    """

    candidates: Candidates
    plain: Candidates
    queries: dict[str, list[Query]]
    right: dict[str, NDArray[np.bool_]]


class Asker:
    """Texts -> queries, as the product's encoder makes them.

    Args:
        work: with the means of the banks.
        material: with the text encoder.
        lexicon: what words are worth.
    """

    def __init__(self, work: Work, material: Material, lexicon: Lexicon) -> None:
        self._text, self._seen_mean, self._lexicon = material.text, material.mean, lexicon
        self._heard_mean = load_file(work.path("heard.safetensors"))["mean"]

    def queries(self, texts: list[str]) -> list[Query]:
        """One for each text, asked of every term."""
        rows = self.aimed(self._text.encode(texts))
        return [
            Query(
                text=text,
                rows={term: rows[term][i] for term in TERMS},
                words=self._lexicon.weigh(text),
            )
            for i, text in enumerate(texts)
        ]

    def aimed(self, rows: NDArray[np.float32]) -> dict[Term, NDArray[np.float32]]:
        """(N, D) rows of texts -> what each term compares."""
        seen, heard = unit(rows - self._seen_mean), unit(rows - self._heard_mean)
        return {"seen": seen, "heard": heard, "said": rows, "fused": seen}


def run(work: Work) -> None:
    """Writes what words are worth, and the score."""
    material = Material(work)
    words = worth(material)
    work.save_json("words.json", words)
    asker = Asker(work, material, Lexicon(**words))
    network = load_fusion(work.folder, material.text.dim, SIZES)
    rng = np.random.default_rng(work.seed + 2)
    drawn = [
        material.draw("val", N_VIDEOS, rng),
        material.draw("val", N_VIDEOS, rng, absent=0.35, mixed=0.5, known=0.5),
    ]
    galleries = [gallery(material, asker, network, videos) for videos in drawn]
    rows = cohort(material, rng)
    score = fit_chances(fit_steps(galleries, asker.aimed(rows)), galleries, rng)
    work.save_json("score.json", to_json(score))
    work.save_safetensors("cohort.safetensors", {"rows": rows.astype(np.float16)})


def cohort(material: Material, rng: np.random.Generator) -> NDArray[np.float32]:
    """(N_COHORT, D) rows of training queries, each about one thing seen, heard or said."""
    written = scripts(material, 8 * N_COHORT, rng)
    single = np.flatnonzero([len(KINDS[kind]) == 1 for kind in written.kind])
    return written.rows[single[:N_COHORT]]


def worth(material: Material) -> dict[str, object]:
    """What words are worth, from how many of the training sentences hold them."""
    texts = [material.sentences[i]["paraphrases"] for i in material.of_split("sentence", "train")]
    counts = Counter(word for captions in texts for word in set(content(" ".join(captions))))
    rare = float(np.log(len(texts)))
    kept = {word: round(rare - float(np.log(count)), 2) for word, count in counts.most_common(N_WORDS_KEPT)}
    return {
        "worth": {w: v for w, v in sorted(kept.items()) if re.fullmatch(r"\w+", w)},
        "rare": round(rare, 2),
    }


def gallery(material: Material, asker: Asker, network: Fusion, videos: Videos) -> Gallery:
    """The videos with a query of each kind about each."""
    fused, parts = fuse(network, material, videos)
    return Gallery(
        candidates=material.candidates(videos, fused, parts),
        plain=material.candidates(videos, fused, parts, frames=False),
        queries={kind: asker.queries(material.queries(videos, kind)) for kind in KINDS},
        right={kind: material.answers(videos, kind) for kind in KINDS},
    )


def fit_steps(galleries: list[Gallery], others: dict[Term, NDArray[np.float32]]) -> Score:
    """The score whose steps and weights rank best beyond what the rows of others find; not calibrated."""
    bare = Score(
        steps={term: Step(slope=1, centre=0, weight=1) for term in TERMS},
        words=0,
        sharpness=SHARPNESS,
        calibrations=dict.fromkeys(CALIBRATED, NEUTRAL),
        threshold=THRESHOLD,
    )
    data = []
    for one in galleries:
        usual = _tensors(bare.cosines(others, one.candidates))
        for kind, queries in one.queries.items():
            rows = {term: np.stack([query.rows[term] for query in queries]) for term in TERMS}
            exact = np.array(
                [
                    [sum(q.words.get(w, 0.0) for w in spoken) for spoken in one.candidates.spoken]
                    for q in queries
                ]
            )
            weight = SINGLE_WEIGHT if len(KINDS[kind]) == 1 else 1.0
            found = (*_tensors(bare.cosines(rows, one.candidates)), torch.from_numpy(exact).float())
            data.append((weight, found, usual, torch.from_numpy(one.right[kind])))
    learned = {
        "slope": torch.full((4,), 20.0).log(),
        "centre": torch.tensor([0.3, 0.3, 0.4, 0.2]),
        "weight": torch.zeros(4),
        "words": torch.tensor(0.2),
    }
    for value in learned.values():
        value.requires_grad_()
    optimiser = torch.optim.Adam(learned.values(), lr=0.03)
    for _ in range(N_STEPS):
        total = sum(
            weight * _ranking_loss(_add_up(learned, *found) - _add_up(learned, *usual).mean(dim=0), right)
            for weight, found, usual, right in data
        )
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    slope, weight = learned["slope"].exp(), learned["weight"].exp()
    steps = {
        term: Step(
            slope=round(float(slope[i].detach()), 3),
            centre=round(float(learned["centre"][i].detach()), 4),
            weight=round(float(weight[i].detach()), 4),
        )
        for i, term in enumerate(TERMS)
    }
    return Score(
        steps=steps,
        words=round(float(learned["words"].detach()), 4),
        sharpness=SHARPNESS,
        calibrations=dict.fromkeys(CALIBRATED, NEUTRAL),
        threshold=THRESHOLD,
        cohort=others,
    )


def _tensors(cosines: dict[Term, NDArray[np.float64]]) -> tuple[Tensor, Tensor]:
    """(4, Q, n) cosines, zero where there are none, and whether there are."""
    values = np.stack([cosines[term] for term in TERMS])
    there = values > ABSENT
    return torch.from_numpy(np.where(there, values, 0)).float(), torch.from_numpy(there)


def _add_up(
    learned: dict[str, Tensor], cosines: Tensor, there: Tensor, exact: Tensor | None = None
) -> Tensor:
    """(4, Q, n) cosines -> (Q, n) evidence, as `Score` has it before the cohort's is taken off."""
    added = torch.zeros_like(cosines)
    if exact is not None:
        added[TERMS.index("said")] = learned["words"] * exact
    slope, centre, weight = (learned[name].view(-1, 1, 1) for name in ("slope", "centre", "weight"))
    steps = weight.exp() * softplus(slope.exp() * (cosines + added - centre))
    return (steps * there).sum(dim=0)


def _ranking_loss(evidence: Tensor, right: Tensor) -> Tensor:
    asked = right.any(dim=1)
    best = torch.logsumexp(evidence.masked_fill(~right, -1e9), dim=1)
    return (torch.logsumexp(evidence, dim=1) - best)[asked].mean()


def fit_chances(score: Score, galleries: list[Gallery], rng: np.random.Generator) -> Score:
    """The same score, calibrated for each aim: chances of one half mean as many false alarms as misses."""
    return replace(score, calibrations={aim: fit_chance(aim, score, galleries, rng) for aim in CALIBRATED})


def fit_chance(aim: Aim, score: Score, galleries: list[Gallery], rng: np.random.Generator) -> Calibration:
    """Of queries that ask every term, or one modality alone; then they are about that modality too."""
    kinds = KINDS if aim == "any" else {aim: KINDS[aim]}
    features, present = [], []
    terms = TERMS if aim == "any" else (aim,)
    for one in galleries:
        for kind in kinds:
            asked = [replace(q, rows={term: q.rows[term] for term in terms}) for q in one.queries[kind]]
            found = score.totals(asked, one.candidates)
            plain = score.totals(asked, one.plain)
            for ours, others, right in zip(found, plain, one.right[kind], strict=True):
                for size in GALLERY_SIZES:
                    cases = first_hits(ours, others, right, size, rng)
                    features += [[case[0], np.log(size), *case[1:3]] for case in cases]
                    present += [case[3] for case in cases]
    x, y = np.array(features), np.array(present)
    trust = np.exp(x[:, 1]) / (np.exp(x[:, 1]) + PRIOR_N)
    prior = np.median(x[x[:, 1] > np.log(100)], axis=0)
    for column in (2, 3):
        x[:, column] = trust * x[:, column] + (1 - trust) * prior[column]
    gain, crowd, level, spread, bias = (round(float(w), 4) for w in logistic(x, y))
    return Calibration(
        gain=gain,
        crowd=-crowd,
        spread=-spread,
        level=-level,
        bias=bias,
        prior_median=round(float(prior[2]), 4),
        prior_spread=round(float(prior[3]), 4),
        prior_n=PRIOR_N,
    )


def first_hits(
    found: NDArray[np.float64],
    usual: NDArray[np.float64],
    right: NDArray[np.bool_],
    size: int,
    rng: np.random.Generator,
) -> list[tuple[float, float, float, bool]]:
    """(evidence, median, spread, whether it is right) of the first hit among `size` videos.

    Once with a right one among them, once without.
    A first hit that is wrong although there is a right one says nothing about either case, and is left out.
    """
    wrong = rng.permutation(np.flatnonzero(~right))[:size]
    cases = []
    for members, is_present in (
        ((wrong, False), (np.append(wrong[:-1], rng.choice(np.flatnonzero(right))), True))
        if right.any()
        else ((wrong, False),)
    ):
        middle, high = np.quantile(usual[members], (0.5, 0.9))
        first = members[found[members].argmax()]
        if not is_present or right[first]:
            cases.append((float(found[first]), float(middle), float(high - middle), is_present))
    return cases


def logistic(x: NDArray[np.float64], y: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, F) features, (N,) whether -> (F + 1,) weights and bias, both outcomes counting the same."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    inputs = torch.from_numpy(np.column_stack([(x - mean) / scale, np.ones(len(x))]))
    target = torch.from_numpy(y.astype(np.float64))
    weights = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    even = torch.where(target == 1, 0.5 / target.mean(), 0.5 / (1 - target.mean()))
    optimiser = torch.optim.LBFGS([weights], max_iter=200)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = binary_cross_entropy_with_logits(inputs @ weights, target, weight=even)
        loss.backward()
        return loss

    optimiser.step(closure)
    found = weights.detach().numpy()
    plain = found[:-1] / scale
    return np.append(plain, found[-1] - plain @ mean)


def to_json(score: Score) -> dict[str, object]:
    """What `Score.from_json` reads."""
    return {
        "steps": {
            t: {"slope": s.slope, "centre": s.centre, "weight": s.weight} for t, s in score.steps.items()
        },
        "words": score.words,
        "sharpness": score.sharpness,
        "calibrations": {
            aim: {name: getattr(calibration, name) for name in Calibration.__slots__}
            for aim, calibration in score.calibrations.items()
        },
        "threshold": score.threshold,
    }
