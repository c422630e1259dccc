"""That training learns, what each branch is worth, and what the reference's padding does.

Small networks trained from scratch on made-up videos (`save train toy`), by the kind of query. Test videos
are new, but what they show, play and say occurs in training.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from report import table
from torch.nn.functional import cosine_similarity

from savecli.bench.datasets import Dataset, load
from savecli.bench.metrics import t2v_ranks
from savecli.events import Trained
from savecli.model import checkpoint
from savecli.model.dims import VIT_B_32, ModelDims
from savecli.model.network import Inputs, pool
from savecli.model.start import fresh
from savecli.prepare import Shelf
from savecli.toy import kind_of, make_toy
from savecli.train.loop import train
from savecli.train.measure import score_all
from savecli.train.options import Options

KINDS = ("seen", "heard", "said")
RUNS = {
    "all of it": {},
    "without audio": {"no_audio": True},
    "without speech": {"no_speech": True},
}
PADDINGS = {"reference": True, "masked": False}
N_TEST = 12
N_SLOTS = 6  # two frames in six: most of them padding
N_VALID = (12, 6, 3, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)  # layers this small only wait for a second one
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_toy(folder / "toy", n_train=160, n_test=N_TEST, seed=1)
        dataset = load("msrvtt", folder / "toy", n_val=0)
        print(
            f"R@1 on {N_TEST} test videos (chance 8), {given.epochs} epochs, seeds 0 to {given.seeds - 1}:\n"
        )
        print(table(["trained", "seed", *KINDS, "s"], list(ablations(folder, dataset, given))))
        print(f"\nThe same with {N_SLOTS} slots, trained one way and run either way, mean over seeds:\n")
        print(table(["trained", "run", *KINDS], list(paddings(folder, dataset, given))))
    print("\nCosine of a video's pooled embedding with the reference's padding to that with a true mask,")
    print("ViT-B/32 and AST in full size, untrained:\n")
    print(table(["frames of 12", "sound and speech", "sound alone", "neither"], untrained()))


def ablations(folder: Path, dataset: Dataset, given: argparse.Namespace) -> Iterator[list[str]]:
    for seed in range(given.seeds):
        for name, chosen in RUNS.items():
            began = time.perf_counter()
            path, options = trained(folder, dataset, given.epochs, seed, **chosen)
            elapsed_s = time.perf_counter() - began
            found = by_kind(path, options, folder, compat=True)
            yield [name, str(seed), *(f"{found[kind]:.0f}" for kind in KINDS), f"{elapsed_s:.0f}"]


def paddings(folder: Path, dataset: Dataset, given: argparse.Namespace) -> Iterator[list[str]]:
    for padding in PADDINGS:
        networks = [
            trained(folder, dataset, given.epochs, seed, padding=padding, n_frames=N_SLOTS)
            for seed in range(given.seeds)
        ]
        for run, compat in PADDINGS.items():
            found = [by_kind(path, options, folder, compat=compat) for path, options in networks]
            yield [padding, run, *(f"{np.mean([one[kind] for one in found]):.0f}" for kind in KINDS)]


def trained(folder: Path, dataset: Dataset, epochs: int, seed: int, **chosen) -> tuple[Path, Options]:
    out = folder / "-".join(["run", str(seed), *(f"{name}-{value}" for name, value in chosen.items())])
    given = {"out": out, "epochs": epochs, "seed": seed, "n_val": 0, "device": "cpu", **chosen}
    options = Options.of("toy", folder / "toy", folder / "cache", given)
    events = list(train(options, dataset, model_dir=folder))
    return next(event.path for event in events if isinstance(event, Trained)), options


def by_kind(path: Path, options: Options, folder: Path, *, compat: bool) -> dict[str, float]:
    """R@1 of each kind of query, in per cent; each test video has one of each."""
    clips = load("csv", folder / "toy" / "toy_queries.csv", asr=folder / "toy" / "toy_asr_text.json").test
    network, card = checkpoint.load(path)
    network.dims = replace(card.dims, reference_compat=compat)
    score, targets = score_all(
        network,
        clips,
        Shelf(folder / "cache", card.media),
        no_audio=options.no_audio,
        no_speech=options.no_speech,
    )
    kinds = np.array([kind_of(caption) for clip in clips for caption in clip.captions])
    first = t2v_ranks(score, targets) == 1
    return {kind: 100 * float(first[kinds == kind].mean()) for kind in KINDS}


def untrained() -> list[list[str]]:
    network, _ = fresh(ModelDims(clip=VIT_B_32), seed=1, clip=None, ast=None)
    network.requires_grad_(False).eval()
    noise = torch.Generator().manual_seed(1)
    mask = torch.arange(12) < torch.tensor(N_VALID).unsqueeze(1)
    frames = torch.randn(len(N_VALID), 12, 3, 224, 224, generator=noise) * mask[:, :, None, None, None]
    fbank = torch.randn(len(N_VALID), 1024, 128, generator=noise)
    words = torch.zeros(len(N_VALID), 32, dtype=torch.long)
    words[:, :10] = torch.tensor([49406, 320, 786, 533, 2578, 781, 320, 1615, 1615, 49407])
    cells = []
    for has_sound, speech in ((True, words), (True, words * 0), (False, words * 0)):
        inputs = Inputs(
            frames=frames,
            frame_mask=mask,
            fbank=fbank * has_sound,
            audio_mask=torch.full((len(N_VALID),), has_sound),
            speech=speech,
        )
        pooled = []
        for compat in PADDINGS.values():
            network.dims = replace(network.dims, reference_compat=compat)
            with torch.inference_mode():
                features = network.encode_video(inputs)
            pooled.append(pool(features.fused, features.frame_mask)[1])
        cells.append([f"{float(value):.4f}" for value in cosine_similarity(*pooled)])
    return [[str(n), *row] for n, *row in zip(N_VALID, *cells, strict=True)]


if __name__ == "__main__":
    main()
