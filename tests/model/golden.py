"""The golden videos of ../shared/parity: its weights and inputs, made by the rules written there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

from savecli.model.dims import ModelDims
from savecli.model.names import reference_name
from savecli.model.network import Inputs, Save

VALID = (12, 7, 12, 1)
FBANK = ((0.5, -0.2), (0.2, 0.6), (1.0, -1.0))


def draw(name, shape):
    """The spec's stream of normal numbers for a name."""
    return np.random.Generator(np.random.PCG64(crc32(name.encode()))).standard_normal(shape)


def rule(name, shape):
    """The made-up weights of one tensor (section 1 of the spec)."""
    fan_in = np.prod(shape[1:]) if len(shape) > 1 else 1.0
    if name.endswith("logit_scale"):
        return np.float32(4.6052)
    values = draw(name, shape)
    if name.endswith("bias"):
        values *= 0.05
    elif "query_" in name:
        pass
    elif "embedding" in name or name.endswith(("cls_token", "dist_token", "pos_embed")):
        values *= 0.3
    elif len(shape) == 1:
        values = 1 + 0.1 * values
    elif "_gate." in name:
        values *= 0.6 * fan_in**-0.5
    elif name.endswith((".proj", "_projection")):
        values *= shape[0] ** -0.5
    else:
        values *= fan_in**-0.5
    return values.astype(np.float32)


def blocks(name, shape, size, scale=1.0, offset=0.0):
    """Numbers repeated into squares over the last two axes."""
    values = scale * draw(name, shape) + offset
    return values.repeat(size, axis=-2).repeat(size, axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Golden:
    """One configuration, "tiny" or "full"."""

    folder: Path
    size: str

    @cached_property
    def keys(self):
        return json.loads((self.folder / f"checkpoint_keys_{self.size}.json").read_text())

    @cached_property
    def arrays(self):
        with np.load(self.folder / f"model_{self.size}.npz") as file:
            return dict(file)

    @cached_property
    def tolerances(self):
        return json.loads((self.folder / f"tolerances_{self.size}.json").read_text())

    @cached_property
    def grad_norms(self):
        return json.loads((self.folder / f"grad_norms_{self.size}.json").read_text())

    @cached_property
    def state(self):
        """A reference checkpoint, in float32."""
        return {
            t["name"]: torch.from_numpy(np.asarray(rule(t["name"], tuple(t["shape"]))))
            for t in self.keys["tensors"]
        }

    @cached_property
    def dims(self):
        c = self.keys["config"]
        return ModelDims(
            clip={
                "embed_dim": c["embed_dim"],
                "quick_gelu": True,
                "vision_cfg": {
                    "image_size": c["image_size"],
                    "layers": c["vision_layers"],
                    "width": c["vision_width"],
                    "patch_size": c["vision_patch"],
                },
                "text_cfg": {
                    "context_length": c["context_length"],
                    "vocab_size": c["vocab_size"],
                    "width": c["text_width"],
                    "heads": c["text_heads"],
                    "layers": c["text_layers"],
                },
            },
            audio_width=c["audio_width"],
            audio_layers=c["audio_layers"],
            audio_heads=c["audio_heads"],
            fusion_layers=c["cross_num_hidden_layers"],
            resampler_layers=c["audio_query_layers"],
        )

    def network(self):
        """The network with the made-up weights."""
        network = Save(self.dims)
        network.load_state_dict({name: self.state[reference_name(name)] for name in network.state_dict()})
        return network

    def inputs(self):
        """The four golden videos (section 2)."""
        px = self.keys["config"]["image_size"]
        frames = np.zeros((4, 12, 3, px, px), np.float32)
        for i, n_valid in enumerate(VALID):
            for f in range(n_valid):
                frames[i, f] = blocks(f"frames/{i}/{f}", (3, px // 8, px // 8), 8)
        fbank = np.zeros((4, 1024, 128), np.float32)
        for i, (scale, offset) in enumerate(FBANK):
            fbank[i] = blocks(f"fbank/{i}", (128, 16), 8, scale, offset)
        return Inputs(
            frames=torch.from_numpy(frames),
            frame_mask=torch.from_numpy(self.arrays["in.video_mask"]).bool(),
            fbank=torch.from_numpy(fbank),
            audio_mask=torch.tensor([True, True, True, False]),
            speech=torch.from_numpy(self.arrays["in.asr_ids"]),
        )

    def teacher(self):
        """Teacher features, audio and video."""
        audio = np.stack([draw(f"teacher/audio/{i}", (1024,)) for i in range(4)])
        video = np.stack([0.6 * audio[i] + 0.8 * draw(f"teacher/video/{i}", (1024,)) for i in range(4)])
        return tuple(torch.from_numpy(rows.astype(np.float32)) for rows in (audio, video))
