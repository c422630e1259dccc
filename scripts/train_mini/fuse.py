"""The gated fusion, trained with SAVE's own losses on videos composed on the fly.

The teacher of soft-ALBEF is what the labels say: a photo and a sound are as alike as the names of what they
show and play. The network begins as a pass-through (attention that copies, gates half open), which already
mixes what it is given, because all of it lies in the space of one text encoder. Frames carry no positions:
four views of a photo have no order to learn. The best state on validation videos is kept.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from savecli.model import loss
from savecli.model.mini import fused_parts, fusion_dims
from savecli.model.network import Features, Fusion, Masks, pool, similarity
from scripts.train_mini.compose import KINDS, Material, Videos, answered, perform, scripts
from scripts.train_mini.work import Rows, Work, named

OUTPUTS = ("fusion.safetensors", "fusion.json")
SIZES = {"n_queries": 4, "resampler_layers": 1, "fusion_layers": 1, "feed_forward": 1}
N_POSITIONS = 16
N_SCRIPTS = 6_000
BATCH = 96
STEPS = 400
RATE = 1e-4
DECAY = 0.05
ABSENT, MIXED = 0.25, 0.5
DISTILLATION = 0.5
FIRST_SCALE = 20.0
NO_ANSWER = -1e4
CHECK_EVERY = 50
N_VALIDATION = 280


def run(work: Work) -> None:
    """Trains, going on from the last checkpoint where there is one, and writes the best state in 16 bits."""
    material = Material(work)
    trainer = Trainer(material, work)
    trainer.resume()
    best = trainer.train()
    state = {name: tensor.half().numpy() for name, tensor in best.items()}
    work.save_safetensors("fusion.safetensors", state)
    work.save_json(
        "fusion.json", {"sizes": SIZES, "speech_scale": material.speech_scale, "validation": trainer.recall}
    )


class Trainer:
    """One training.

    Args:
        material: what videos are made of.
        work: where checkpoints go.
    """

    def __init__(self, material: Material, work: Work) -> None:
        torch.manual_seed(work.seed)
        self._material = material
        self._work = work
        self._rng = np.random.default_rng(work.seed)
        self._scripts = scripts(material, N_SCRIPTS, self._rng)
        self._means = torch.from_numpy(material.mean)
        self.network = pass_through(material.text.dim)
        self._scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())
        learned = [*self.network.parameters(), self._scale]
        self._optimiser = torch.optim.AdamW(learned, lr=RATE, weight_decay=DECAY)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, RATE, total_steps=STEPS, pct_start=0.1
        )
        self._step = 0
        self._best: dict[str, Tensor] = {}
        self.recall: dict[str, float] = {}
        phrases = material.phrases
        self._named = {
            kind: dict(
                zip(by_label, named(material.text, [p["bank"] for p in by_label.values()]), strict=True)
            )
            for kind, by_label in phrases.items()
        }
        validation_rng = np.random.default_rng(work.seed + 1)
        self._validation = material.draw(
            "val", N_VALIDATION, validation_rng, mixed=MIXED, known=0.5, strange=True
        )
        self._questions = {
            kind: (
                centred(material.text.encode(material.queries(self._validation, kind)), self._means),
                material.answers(self._validation, kind),
            )
            for kind in KINDS
        }

    def train(self) -> dict[str, Tensor]:
        """The state with the best mean recall over all kinds of query."""
        if not self._best:
            self.recall, self._best = self._check(), self._copy()
            print(f"  untrained: R@1 {self.recall}", flush=True)
        while self._step < STEPS:
            retrieval, distilled = self._learn()
            self._step += 1
            if self._step % CHECK_EVERY == 0:
                recall = self._check()
                if np.mean(list(recall.values())) >= np.mean(list(self.recall.values())):
                    self.recall, self._best = recall, self._copy()
                self._save()
                losses = f"retrieval {retrieval:.2f}, teacher {distilled:.2f}"
                print(f"  {self._step}/{STEPS} {losses}, R@1 {recall}", flush=True)
        return self._best

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def resume(self) -> None:
        """Goes on from the checkpoint, if there is one."""
        if not self._work.done("fusion.pt"):
            return
        kept = torch.load(self._work.path("fusion.pt"), weights_only=False)
        self.network.load_state_dict(kept["network"])
        self._scale.data.copy_(kept["scale"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._schedule.load_state_dict(kept["schedule"])
        self._rng.bit_generator.state = kept["random"]
        self._step, self._best, self.recall = kept["step"], kept["best"], kept["recall"]

    def _save(self) -> None:
        with self._work.writing("fusion.pt") as file:
            torch.save(
                {
                    "network": self.network.state_dict(),
                    "scale": self._scale.data,
                    "optimiser": self._optimiser.state_dict(),
                    "schedule": self._schedule.state_dict(),
                    "random": self._rng.bit_generator.state,
                    "step": self._step,
                    "best": self._best,
                    "recall": self.recall,
                },
                file,
            )

    def _learn(self) -> tuple[float, float]:
        written = self._scripts
        chosen = self._rng.choice(N_SCRIPTS, BATCH, replace=False)
        videos = perform(self._material, written, chosen, self._rng, absent=ABSENT, mixed=MIXED)
        asked, scale = centred(written.rows[chosen], self._means), self._scale.exp()
        features, _ = encode(self.network, self._material, videos)
        score, _, _ = similarity(
            asked, *pool(features.fused, features.frame_mask), features.frame_mask, scale
        )
        margin = loss.adaptive_margin(
            asked, pool(features.visual, features.frame_mask)[1], beta=0.2, limit=0.1
        )
        # What answers a query by chance is no wrong answer to it.
        others = torch.from_numpy(answered(self._material, written, chosen, videos)).fill_diagonal_(False)
        retrieval = loss.retrieval_loss(score.masked_fill(others, NO_ANSWER), margin, scale)
        by_video, by_sound = (
            torch.from_numpy(np.stack([self._named[kind][label] for label in labels]))
            for kind, labels in (
                ("seen", self._material.photo_label[videos.photos[:, 0]]),
                ("heard", self._material.sound_label[videos.sounds[:, 0]]),
            )
        )
        distilled = loss.distillation_loss(
            loss.audio_similarity(features.visual, features.audio),
            by_sound,
            by_video,
            torch.from_numpy(videos.sounds[:, 0] >= 0),
        )
        self._optimiser.zero_grad()
        (retrieval + DISTILLATION * distilled).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        return float(retrieval.detach()), float(distilled.detach())

    def _check(self) -> dict[str, float]:
        fused, _ = fuse(self.network, self._material, self._validation)
        recall = {}
        for kind, (asked, right) in self._questions.items():
            first = (asked.numpy() @ fused.T).argmax(axis=1)
            recall[kind] = round(float(right[np.arange(len(first)), first].mean()), 3)
        return recall


def centred(rows: NDArray[np.float32], mean: Tensor) -> Tensor:
    """(N, D) unit rows of queries -> what the fused rows are compared with."""
    return normalize(torch.from_numpy(rows) - mean, dim=-1)


def encode(network: Fusion, material: Material, videos: Videos) -> tuple[Features, Masks]:
    """The fusion's features of made-up videos."""
    (tokens, has_sound), (states, has_words) = material.tokens(videos), material.speech(videos)
    masks = Masks(
        frames=torch.ones(len(videos), 4, dtype=torch.bool),
        audio=torch.from_numpy(has_sound),
        speech=torch.from_numpy(has_words),
    )
    read = [torch.from_numpy(rows.astype(np.float32)) for rows in (material.frames(videos), tokens, states)]
    frames, audio, speech = read
    return network.fuse(frames, network.audio_resampler(audio), speech, masks), masks


def fuse(network: Fusion, material: Material, videos: Videos) -> tuple[Rows, Rows]:
    """(n, D) fused rows and their (n, 3, D) parts, as the product computes them."""
    with torch.inference_mode():
        features, masks = encode(network, material, videos)
        fused = pool(features.fused, features.frame_mask)[1]
        return fused.numpy(), fused_parts(features, masks).numpy()


def pass_through(width: int) -> Fusion:
    """A fusion that adds what it is given to the frames, before it has learned anything."""
    network = Fusion(fusion_dims(width, SIZES), N_POSITIONS)
    nn.init.zeros_(network.frame_positions.weight)
    network.frame_positions.requires_grad_(False)
    resampler = network.audio_resampler
    nn.init.normal_(resampler.queries, std=0.05)
    nn.init.normal_(resampler.positions.weight, std=0.05)
    with torch.no_grad():
        for layer in resampler.layers:
            # The memory comes through a norm, sqrt(width) times as long as the rows that it was.
            _copy(layer.cross_attn, width**-0.5)
            _silence(layer.self_attn.out_proj, layer.mlp.proj)
        for layer in [*network.audio_fusion.layers, *network.speech_fusion.layers]:
            _copy(layer.cross_attn, 1.0)
            _silence(layer.self_attn.out_proj, layer.mlp.proj, layer.cross_ff.proj)
            for gate in (layer.attn_gate, layer.ff_gate):
                nn.init.normal_(gate.fc.weight, std=0.5)
                nn.init.constant_(gate.proj.weight, 2 / gate.proj.in_features)
    return network


def _copy(attention: nn.MultiheadAttention, scale: float) -> None:
    eye = torch.eye(attention.embed_dim)
    attention.in_proj_weight.copy_(torch.cat([eye, eye, eye]))
    attention.in_proj_bias.zero_()
    attention.out_proj.weight.copy_(scale * eye)
    attention.out_proj.bias.zero_()


def _silence(*layers: nn.Linear) -> None:
    for layer in layers:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
