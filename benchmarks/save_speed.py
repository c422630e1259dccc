"""What encoding a video with SAVE costs: the spec's plain formulation, ours, and ours in fewer bits.

    python benchmarks/save_speed.py ../shared/parity [--quick] [--repeats 3] [--compile]

All rows have the same weights, those of the spec's rule at full size (CLIP ViT-B/32), and take turns, because
other work on the machine comes and goes. "Plain" is written from the spec alone: products by hand, every
padded frame and every silent video encoded anew, captions at their padded length. "Shipped" is what
`save eval --precision` runs, the rest are ways that were tried. Before anything is timed, plain and ours must
give the golden scores. Random weights have none of the outliers that trained ones have: what fewer bits cost
must be measured again on a trained network; what they save need not.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import get_args

import torch
from report import ROOT, spread, table
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn import functional

from savecli.model.audio import AST_EPS, FUSION_EPS, quick_gelu
from savecli.model.dims import ModelDims, Precision
from savecli.model.names import reference_name
from savecli.model.network import Inputs, Masks, Save, pool, similarity, word_mask
from savecli.model.precision import refit

sys.path.insert(0, str(ROOT / "tests" / "model"))
from golden import Golden  # the tests' own rule, not a copy of it

STAGES = ("12 frames", "sound", "speech", "resampler + fusion", "caption")
PER_VIDEO = STAGES[:-1]
TOLERANCE = 5e-4  # of scores, section 13 of the spec
CLIP_EPS = 1e-5
FLAGS = ("avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
ENCODERS = ("visual_encoder", "audio_encoder")
IN_FOURS = ("plain, fp32", "shipped, fp32", "shipped, int8")
QUICK = (*IN_FOURS, "torch, fp32", "shipped, bf16", "int8 by torch.ao, frames and sound")
# Also on two threads: all would take minutes more.


class Plain:
    """The spec's section 4, line by line, on our names of its tensors; the stages are called as `Save`'s."""

    def __init__(self, state: dict[str, Tensor], network: Save) -> None:
        self.w, self.dims = state, network.dims
        self.visual_heads = self.dims.clip["vision_cfg"]["width"] // 64
        self.text_heads = self.dims.clip["text_cfg"]["heads"]

    def encode_frames(self, frames: Tensor, mask: Tensor) -> Tensor:
        w, at = self.w, "visual_encoder."
        kernel = w[at + "conv1.weight"]
        x = functional.conv2d(frames.flatten(0, 1), kernel, stride=kernel.shape[-1]).flatten(2).mT
        x = (
            torch.cat([w[at + "class_embedding"].expand(len(x), 1, -1), x], 1)
            + w[at + "positional_embedding"]
        )
        x = self.clip_blocks(self.norm(x, at + "ln_pre"), at, self.visual_heads)
        return (self.norm(x, at + "ln_post") @ w[at + "proj"])[:, 0].view(*mask.shape, -1)

    def encode_audio(self, fbank: Tensor, mask: Tensor) -> Tensor:
        w, at, dims = self.w, "audio_encoder.", self.dims
        kernel, bias = w[at + "patch_embed.weight"], w[at + "patch_embed.bias"]
        x = functional.conv2d(fbank.mT.unsqueeze(1), kernel, bias, stride=dims.audio_stride).flatten(2).mT
        tokens = [w[at + name].expand(len(mask), 1, -1) for name in ("cls_token", "dist_token")]
        x = torch.cat([*tokens, x], 1) + w[at + "pos_embed"]
        for i in range(dims.audio_layers):
            block = f"{at}blocks.{i}."
            qkv = self.linear(self.norm(x, block + "norm1", AST_EPS), block + "attn.qkv")
            x = x + self.linear(by_hand(*qkv.chunk(3, -1), dims.audio_heads), block + "attn.proj")
            h = self.linear(self.norm(x, block + "norm2", AST_EPS), block + "mlp.fc")
            x = x + self.linear(functional.gelu(h), block + "mlp.proj")
        x = torch.cat([(x[:, :1] + x[:, 1:2]) / 2, x[:, 2:]], 1)
        return self.norm(x, at + "norm", AST_EPS) @ w[at + "projection"]

    def text_encoder(self, ids: Tensor) -> Tensor:
        w, at, n_words = self.w, "text_encoder.", ids.shape[1]
        x = w[at + "token_embedding.weight"][ids] + w[at + "positional_embedding"][:n_words]
        causal = torch.full((n_words, n_words), -torch.inf).triu(1)
        x = self.clip_blocks(x, at, self.text_heads, causal)
        return self.norm(x, at + "ln_final") @ w[at + "text_projection"]

    def encode_caption(self, ids: Tensor) -> Tensor:
        return self.text_encoder(ids)[torch.arange(len(ids)), ids.argmax(1)]

    def audio_resampler(self, audio: Tensor) -> Tensor:
        at = "audio_resampler."
        x = (self.w[at + "queries"].T + self.w[at + "positions.weight"]).expand(len(audio), -1, -1)
        for i in range(self.dims.resampler_layers):
            layer = f"{at}layers.{i}."
            h = self.norm(x, layer + "ln_self", FUSION_EPS)
            x = x + self.attention(h, h, layer + "self_attn", self.dims.fusion_heads)
            h, memory = (self.norm(y, layer + "ln_cross", FUSION_EPS) for y in (x, audio))
            x = x + self.attention(h, memory, layer + "cross_attn", self.dims.fusion_heads)
            x = x + self.feed_forward(self.norm(x, layer + "ln_mlp", FUSION_EPS), layer + "mlp")
        return x

    def fuse(self, visual: Tensor, audio: Tensor, speech: Tensor, masks: Masks) -> SimpleNamespace:
        v = visual + self.w["frame_positions.weight"][: visual.shape[1]]
        heard, said = self.fusion(v, audio, "audio_fusion."), self.fusion(v, speech, "speech_fusion.")
        return SimpleNamespace(fused=0.5 * heard + 0.5 * said + v, frame_mask=masks.frames)

    def fusion(self, x: Tensor, memory: Tensor, at: str) -> Tensor:
        heads = self.dims.fusion_heads
        for i in range(self.dims.fusion_layers):
            layer = f"{at}layers.{i}."
            z = torch.cat([x.mean(1), memory.mean(1)], -1)
            a, f = (
                torch.tanh(self.feed_forward(z, layer + gate))[:, None] for gate in ("attn_gate", "ff_gate")
            )
            # The offset of padded rows is left out: it cancels in the softmax (docs/save.md, section 4).
            h = self.norm(x, layer + "ln_cross", FUSION_EPS)
            x = x + a * self.attention(h, memory, layer + "cross_attn", heads)
            x = x + f * self.feed_forward(self.norm(x, layer + "ln_cross_ff", FUSION_EPS), layer + "cross_ff")
            h = self.norm(x, layer + "ln_self", FUSION_EPS)
            x = x + self.attention(h, h, layer + "self_attn", heads)
            x = x + self.feed_forward(self.norm(x, layer + "ln_mlp", FUSION_EPS), layer + "mlp")
        return x

    def clip_blocks(self, x: Tensor, at: str, n_heads: int, mask: Tensor | None = None) -> Tensor:
        tower = "vision_cfg" if at.startswith("visual") else "text_cfg"
        for i in range(self.dims.clip[tower]["layers"]):
            block = f"{at}transformer.resblocks.{i}."
            h = self.norm(x, block + "ln_1")
            x = x + self.attention(h, h, block + "attn", n_heads, mask)
            h = self.linear(self.norm(x, block + "ln_2"), block + "mlp.c_fc")
            x = x + self.linear(quick_gelu(h), block + "mlp.c_proj")
        return x

    def attention(
        self, x: Tensor, memory: Tensor, at: str, n_heads: int, mask: Tensor | None = None
    ) -> Tensor:
        weights, biases = self.w[at + ".in_proj_weight"].chunk(3), self.w[at + ".in_proj_bias"].chunk(3)
        parts = map(functional.linear, (x, memory, memory), weights, biases)
        return self.linear(by_hand(*parts, n_heads, mask), at + ".out_proj")

    def feed_forward(self, x: Tensor, at: str) -> Tensor:
        return self.linear(quick_gelu(self.linear(x, at + ".fc")), at + ".proj")

    def linear(self, x: Tensor, at: str) -> Tensor:
        return functional.linear(x, self.w[at + ".weight"], self.w.get(at + ".bias"))

    def norm(self, x: Tensor, at: str, eps: float = CLIP_EPS) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.w[at + ".weight"], self.w[at + ".bias"], eps)


def by_hand(q: Tensor, k: Tensor, v: Tensor, n_heads: int, mask: Tensor | None = None) -> Tensor:
    """softmax(QK^T)V with all of the weights in memory."""
    q, k, v = (y.unflatten(-1, (n_heads, -1)).transpose(1, 2) for y in (q, k, v))
    weights = q @ k.mT * q.shape[-1] ** -0.5
    weights = (weights if mask is None else weights + mask).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """nn.MultiheadAttention with its weights in linear layers, which packing and quantisation can replace."""

    def __init__(self, old: nn.MultiheadAttention) -> None:
        super().__init__()
        self.batch_first, self.n_heads, width = True, old.num_heads, old.embed_dim
        weight, bias = old.in_proj_weight, old.in_proj_bias
        self.qkv = linear(weight, bias)
        self.q, self.kv = linear(weight[:width], bias[:width]), linear(weight[width:], bias[width:])
        self.out = linear(old.out_proj.weight, old.out_proj.bias)

    def forward(self, x: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **_: object) -> tuple:
        to_itself = k is x and v is x
        parts = self.qkv(x).chunk(3, -1) if to_itself else (self.q(x), *self.kv(k).chunk(2, -1))
        parts = (y.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for y in parts)
        mixed = functional.scaled_dot_product_attention(*parts, attn_mask=attn_mask)
        return (self.out(mixed.transpose(1, 2).flatten(2)),)


class Packed(nn.Module):
    """A linear layer with its weights in the order that oneDNN wants, once and for all; a private call."""

    def __init__(self, old: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(old.weight.contiguous()), old.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return layer.requires_grad_(False)


def replaced(module: nn.Module, kind: type, make: Callable) -> nn.Module:
    """The same module with other children in place of those of one kind."""
    for name, child in module.named_children():
        setattr(module, name, make(child) if type(child) is kind else replaced(child, kind, make))
    return module


def quantised(module: nn.Module, engine: str) -> nn.Module:
    torch.backends.quantized.engine = engine
    # A scale for each row of the weights is by a third nearer than one for each matrix, at no cost.
    layers = {nn.Linear: quantization.per_channel_dynamic_qconfig}
    return quantization.quantize_dynamic(module, layers, inplace=True)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to compute the network.

    Attributes:
        model: a `Save`, or a `Plain`.
        dtype: of what it is fed.
        autocast: whether torch chooses where to take bf16.
    """

    model: Save | Plain
    dtype: torch.dtype = torch.float32
    autocast: bool = False


def shipped(network: Callable[[], Save], precision: Precision) -> Variant:
    whole = network()
    refit(whole, precision)
    return Variant(model=whole)


def make_variants(
    state: dict[str, Tensor], dims: ModelDims, names: tuple[str, ...] | None, compiled: bool
) -> dict[str, Variant]:
    """All ways by name; what they do not change they share."""

    def network() -> Save:
        with torch.device("meta"):
            fresh = Save(dims)
        fresh.load_state_dict(state, assign=True)
        return fresh.eval().requires_grad_(False)

    def in_parts(change: Callable) -> Save:
        whole = network()
        for part in ENCODERS:
            setattr(whole, part, change(replaced(getattr(whole, part), nn.MultiheadAttention, Attention)))
        return whole

    def by_torch() -> Save:
        whole = network()
        for block in whole.audio_encoder.blocks:
            block.compile()
        return whole

    def onednn(module: nn.Module) -> nn.Module:
        return quantised(module, "onednn")

    def split() -> Save:
        return replaced(network(), nn.MultiheadAttention, Attention)

    makers = {
        "plain, fp32": lambda: Variant(model=Plain(state, network())),
        "torch, fp32": lambda: Variant(model=network()),
        **{f"shipped, {name}": partial(shipped, network, name) for name in get_args(Precision)},
        "fp32, packed for oneDNN": lambda: Variant(model=replaced(split(), nn.Linear, Packed)),
        "bf16, autocast": lambda: Variant(model=network(), autocast=True),
        "bf16, all weights": lambda: Variant(model=network().bfloat16(), dtype=torch.bfloat16),
        "int8 by torch.ao, linear modules alone": lambda: Variant(model=quantised(network(), "x86")),
        "int8 by torch.ao, frames and sound": lambda: Variant(model=in_parts(onednn)),
        "int8 by torch.ao, all weights": lambda: Variant(model=onednn(split())),
    }
    if compiled:
        makers["fp32, sound compiled"] = lambda: Variant(model=by_torch())
    return {name: make() for name, make in makers.items() if names is None or name in names}


@dataclass(frozen=True, kw_only=True)
class Passed:
    """One pass: what came out, and the seconds of each stage on the wall and of the CPU."""

    vectors: tuple[Tensor, ...]
    wall_s: dict[str, float]
    cpu_s: dict[str, float]


def once(variant: Variant, inputs: Inputs, captions: Tensor) -> Passed:
    """Videos and captions through the network, stage by stage."""
    model, wall_s, cpu_s = variant.model, {}, {}
    inputs = replace(inputs, frames=inputs.frames.to(variant.dtype), fbank=inputs.fbank.to(variant.dtype))

    def stage(name: str, work: Callable, *arguments: object) -> Tensor:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work(*arguments)
        wall_s[name], cpu_s[name] = time.perf_counter() - wall, time.process_time() - cpu
        return result

    def meet(visual: Tensor, audio: Tensor, speech: Tensor) -> Tensor:
        masks = Masks(frames=inputs.frame_mask, audio=inputs.audio_mask, speech=word_mask(inputs.speech))
        return model.fuse(visual, model.audio_resampler(audio), speech, masks).fused

    bits = torch.autocast("cpu", torch.bfloat16) if variant.autocast else nullcontext()
    with torch.inference_mode(), bits:
        visual = stage(STAGES[0], model.encode_frames, inputs.frames, inputs.frame_mask)
        audio = stage(STAGES[1], model.encode_audio, inputs.fbank, inputs.audio_mask)
        speech = stage(STAGES[2], model.text_encoder, inputs.speech)
        fused = stage(STAGES[3], meet, visual, audio, speech).float()
        text = stage(STAGES[4], model.encode_caption, captions).float()
    local, pooled = pool(fused, inputs.frame_mask)
    return Passed(vectors=(functional.normalize(text, dim=-1), local, pooled), wall_s=wall_s, cpu_s=cpu_s)


def main() -> None:
    """Run everything, print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parity", type=Path, help="the spec's folder")
    parser.add_argument(
        "--size", choices=("full", "tiny"), default="full", help="tiny only shows that it runs"
    )
    parser.add_argument("--quick", action="store_true", help="six of the rows, on one thread, no batches")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="also torch.compile on the sound's blocks")
    given = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # a table is told when it is there
    # Both torch.ao.quantization and its quantised tensors are to go in some later torch.
    warnings.filterwarnings("ignore", message=".*deprecated")
    golden = Golden(given.parity, given.size)
    with torch.device("meta"):
        names = Save(golden.dims).state_dict()
    state = {name: golden.state[reference_name(name)] for name in names}
    torch.set_num_threads(1)  # before anything is made: ONNX Runtime's sessions keep their number
    variants = make_variants(state, golden.dims, QUICK if given.quick else None, given.compile)
    inputs, captions = golden.inputs(), torch.from_numpy(golden.arrays["in.caption_ids"])
    mask, wanted = inputs.frame_mask, torch.from_numpy(golden.arrays["out.sim"])
    one, four = some(inputs, [0]), some(inputs, [0, 2, 0, 2])  # those with twelve frames and sound

    versions = f"torch {torch.__version__}, ONNX Runtime {version('onnxruntime')}"
    print(f"This CPU has {', '.join(flags())}; {versions}.\n")
    golden_passes = {name: once(variant, inputs, captions) for name, variant in variants.items()}
    verify(golden_passes, mask, wanted)
    print("The four golden videos with five captions, against torch in fp32:\n")
    print(accuracy(golden_passes, mask))
    print(f"\nOne video of 12 frames, sound and speech; 1 thread, {given.repeats} turns:\n")
    print(timed(variants, one, captions[:1], given.repeats))
    if not given.quick:
        few = {name: variants[name] for name in IN_FOURS}
        print("\nFour such videos as one batch, for each video; 1 thread, one turn:\n")
        print(timed(few, four, captions[:1], 1))
        torch.set_num_threads(2)
        pairs = make_variants(state, golden.dims, QUICK, compiled=False)
        print(f"\nOne video of 12 frames, sound and speech; 2 threads, {given.repeats} turns:\n")
        print(timed(pairs, one, captions[:1], given.repeats))
    print("\nParts on one thread, CPU ms:\n\n" + parts(variants["torch, fp32"].model, one, captions[:1]))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nAll rows side by side took {peak_gb:.1f} GB of memory.")


def some(inputs: Inputs, rows: list[int]) -> Inputs:
    return Inputs(**{name: getattr(inputs, name)[rows] for name in inputs.__slots__})


def flags() -> list[str]:
    """Which instructions for few bits the CPU has, and which not."""
    info = Path("/proc/cpuinfo")
    known = info.read_text().split() if info.exists() else []
    return [name if name in known else f"no {name}" for name in FLAGS]


def scores(passed: Passed, mask: Tensor) -> Tensor:
    return similarity(*passed.vectors, mask, 100.0)[0]


def verify(passes: dict[str, Passed], mask: Tensor, wanted: Tensor) -> None:
    """Plain and ours must be the same network before it means anything which one is faster."""
    found = {name: scores(passes[name], mask) for name in ("plain, fp32", "torch, fp32", "shipped, fp32")}
    for name, rows in found.items():
        off = rows - wanted
        if not off.abs().max() <= TOLERANCE:
            raise SystemExit(f"{name}: scores are off by {off.abs().max():.2g}")


def accuracy(passes: dict[str, Passed], mask: Tensor) -> str:
    """A table of how far each way's vectors, cosines and scores are from those of torch in fp32."""

    def cosines(passed: Passed) -> tuple[Tensor, Tensor]:
        text, local, pooled = passed.vectors
        return text @ pooled.T, torch.einsum("nd,bfd->nbf", text, local)[:, mask]

    def orders(passed: Passed) -> Tensor:
        rows = scores(passed, mask)
        return rows[:, :, None] > rows[:, None, :]

    right, lines = passes["torch, fp32"], []
    for name, passed in passes.items():
        (_, local, pooled), (_, local_right, pooled_right) = passed.vectors, right.vectors
        apart = [1 - (pooled * pooled_right).sum(-1), 1 - (local * local_right).sum(-1)[mask]]
        moved = [a - b for a, b in zip(cosines(passed), cosines(right), strict=True)]
        off = scores(passed, mask) - scores(right, mask)
        turned = int((orders(passed) != orders(right)).sum()) // 2
        cells = [f"{values.abs().max():.4f}" for values in (*apart, *moved)]
        lines.append([name, *cells, f"{off.abs().max():.4f}", f"{turned} of {off.numel() * 3 // 2}"])
    heads = ["1 - cos of fused_global", "of fused_frames", "Δ cos text to global", "to frames", "Δ score"]
    return table(["largest of", *heads, "pairs of videos reordered"], lines)


def timed(variants: dict[str, Variant], inputs: Inputs, captions: Tensor, repeats: int) -> str:
    """A table of seconds for each video, the ways in turns."""
    passes = {name: [] for name in variants}
    for _ in range(repeats):
        for name, variant in variants.items():
            passes[name].append(once(variant, inputs, captions))
    n, lines = len(inputs.frames), []
    for name, runs in passes.items():
        stages = [f"{median(run.cpu_s[stage] for run in runs) / n:.2f}" for stage in PER_VIDEO]
        cpu_s, wall_s = (
            [sum(spent[stage] for stage in PER_VIDEO) / n for spent in spents]
            for spents in ([run.cpu_s for run in runs], [run.wall_s for run in runs])
        )
        caption_ms = [1e3 * run.wall_s[STAGES[-1]] for run in runs]
        lines.append([name, *stages, spread(cpu_s, ".2f"), spread(wall_s, ".2f"), spread(caption_ms, ".0f")])
    heads = [
        *(f"{stage}, CPU s" for stage in PER_VIDEO),
        "whole, CPU s",
        "whole, wall s",
        "a caption, wall ms",
    ]
    return table(["", *heads], lines)


def parts(network: Save, one: Inputs, caption: Tensor) -> str:
    """A table of single steps, each one way and another."""
    torch.set_num_threads(1)
    dims, frames = network.dims, one.frames[0]
    q, k, v = torch.randn(3, 1, dims.n_audio_tokens + 1, dims.audio_width)
    heads = (y.unflatten(-1, (dims.audio_heads, -1)).transpose(1, 2) for y in (q, k, v))
    in_heads, layer = tuple(heads), network.audio_encoder.blocks[0].mlp.fc
    conv, few = network.visual_encoder.conv1, layer.weight.bfloat16()
    last = frames.contiguous(memory_format=torch.channels_last)
    kernel = conv.weight.contiguous(memory_format=torch.channels_last)
    packed, int8 = Packed(layer), quantised(nn.Sequential(linear(layer.weight, layer.bias)), "onednn")
    q16, bias16 = q.bfloat16(), layer.bias.bfloat16()
    steps = {
        "attention of one of the 12 sound blocks, by hand": lambda: by_hand(q, k, v, dims.audio_heads),
        "the same, scaled_dot_product_attention": lambda: functional.scaled_dot_product_attention(*in_heads),
        "one linear layer of it, fp32 (MKL)": lambda: layer(q),
        "the same, fp32 packed (oneDNN)": lambda: packed(q),
        "the same, bf16 (oneDNN)": lambda: functional.linear(q16, few, bias16),
        "the same, int8 (oneDNN)": lambda: int8(q),
        "patches of 12 frames": lambda: conv(frames),
        "the same, channels last": lambda: functional.conv2d(last, kernel, stride=conv.stride),
        "a caption, inference_mode": lambda: network.encode_caption(caption),
        "the same, no_grad": lambda: no_grad(network, caption),
    }
    spent_ms = {name: [] for name in steps}
    for turn in range(6):
        for name, step in steps.items():
            with torch.inference_mode(name != "the same, no_grad"):
                started = time.process_time()
                step()
                if turn:
                    spent_ms[name].append(1e3 * (time.process_time() - started))
    return table(["step", "ms"], [[name, spread(values)] for name, values in spent_ms.items()])


def no_grad(network: Save, caption: Tensor) -> Tensor:
    with torch.no_grad():
        return network.encode_caption(caption)


if __name__ == "__main__":
    main()
