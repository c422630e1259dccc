"""Networks on disk: our own format, the reference's checkpoints, and the public weights to start from.

Ours is a folder of `model.safetensors` and `model.json` (sizes, what the weights are fed, where they come
from). Nothing is unpickled that can run code, and nothing loads in part: a tensor that is missing, unknown or
of another shape is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from savecli.datatypes import MediaSpec
from savecli.errors import WeightsError
from savecli.model.dims import ModelDims
from savecli.model.names import is_half, reference_name, unused_shapes
from savecli.model.network import Save

if TYPE_CHECKING:
    from torch import Tensor

MAX_NAMED = 40
_OPENAI_ONLY = ("input_resolution", "context_length", "vocab_size")
_HEAD_WIDTH = 64
_DAMAGED = (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError, SafetensorError)
_UNWRITABLE = (OSError, RuntimeError, SafetensorError)  # torch and safetensors wrap what the system says

State = dict[str, "Tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What `model.json` says of the weights beside it.

    Attributes:
        dims: sizes of the network.
        media: what it is fed.
        provenance: where the weights come from: source, training, scores; plain values.
        sha256: of the weights file.
    """

    dims: ModelDims
    media: MediaSpec
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""


def media_spec(dims: ModelDims) -> MediaSpec:
    """What a SAVE network is fed: a frame a second, pictures as Pillow scales them, mono sound at 16 kHz."""
    return MediaSpec(
        n_frames=dims.n_frames,
        resize_px=dims.image_px,
        size_px=dims.image_px,
        sample_rate_hz=16_000,
        window_s=dims.n_frames / dims.frames_per_s,
        frames_per_s=dims.frames_per_s,
        resampler="pillow",
    )


def load(path: Path) -> tuple[Save, Card]:
    """The network of a folder in our format, or of a reference checkpoint `pytorch_model.bin.N`, on the CPU.

    Raises:
        WeightsError: it cannot be read, or is not exactly a SAVE network; the hint names the tensors.
    """
    card, state = read(path)
    network = check_network(path, card.dims, state)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return network.requires_grad_(False).eval(), card


def read(path: Path) -> tuple[Card, State]:
    """Sizes and tensors under our names, as stored; what no forward pass reads is left out.

    Raises:
        WeightsError: as `load`.
    """
    return _read_ours(path) if path.is_dir() else _read_reference(path)


def write(folder: Path, network: Save, *, provenance: Mapping[str, Any]) -> None:
    """Writes a network in our format; the folder appears whole or not at all.

    Raises:
        WeightsError: the folder exists already, or cannot be written.
    """
    card = Card(dims=network.dims, media=media_spec(network.dims), provenance=provenance)
    write_state(folder, network.state_dict(), card)


def write_state(folder: Path, state: Mapping[str, Tensor], card: Card) -> None:
    """As `write`, of tensors under our names, in the precision that they have."""
    with _new_folder(folder) as partial:
        file = partial / "model.safetensors"
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, file)
        record = {
            "format": "save",
            "dims": card.dims.to_json(),
            "media": asdict(card.media),
            "provenance": dict(card.provenance),
            "sha256": _sha256(file),
        }
        card_file = partial / "model.json"
        card_file.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        file.chmod(card_file.stat().st_mode)  # safetensors lets nobody else read what it writes


def write_reference(path: Path, state: Mapping[str, Tensor], dims: ModelDims) -> None:
    """Writes what the reference implementation reads: its names, its precision, zeros for what it never uses.

    Raises:
        WeightsError: the file exists already, or cannot be written.
    """
    theirs = {reference_name(name): tensor.detach().cpu() for name, tensor in state.items()}
    theirs |= {name: torch.zeros(shape) for name, shape in unused_shapes(dims).items()}
    halved = {name: tensor.half() if is_half(name) else tensor.float() for name, tensor in theirs.items()}
    with _new_file(path) as partial:
        torch.save(halved, partial)


def check_reference(source: object, state: Mapping[str, Tensor], dims: ModelDims) -> None:
    """Whether a network of these sizes can be read again out of the reference's format, which tells few.

    Raises:
        WeightsError: it cannot; the hint lists the tensors.
    """
    inferred = infer_dims({reference_name(name): tensor for name, tensor in state.items()}, source)
    check_network(f"the reference's format, which cannot hold {source}: it", inferred, state)
    heads = ("audio_heads", "audio_patch", "audio_stride", "n_rows", "n_mels")
    if other := [name for name in heads if getattr(dims, name) != getattr(inferred, name)]:
        raise WeightsError(
            f"the reference's format cannot hold {source}: it has no place for {', '.join(other)}",
            hint="only networks with the paper's audio encoder fit; keep it in ours",
        )


def start_from_clip(network: Save, path: Path) -> None:
    """Loads OpenAI's CLIP, or a state dict that open_clip reads, into the visual and the text encoder.

    Raises:
        WeightsError: a file that does not hold exactly these encoders.
    """
    ours = {
        reference_name(name).removeprefix("clip."): name
        for name in network.state_dict()
        if name.startswith(("visual_encoder.", "text_encoder.", "logit_scale"))
    }
    _load_part(network, path, ours, _read_clip(path))


def start_from_ast(network: Save, path: Path) -> None:
    """Loads an AST AudioSet checkpoint into the audio encoder; its classifiers are left out.

    Raises:
        WeightsError: a file that does not hold exactly this encoder.
    """
    ours = {
        "module." + reference_name(name).removeprefix("clip.audio."): name
        for name in network.state_dict()
        if name.startswith("audio_encoder.") and name != "audio_encoder.projection"
    }
    classifiers = ("module.mlp_head.", "module.v.head.", "module.v.head_dist.")
    state = {name: t for name, t in _unpickled(path).items() if not name.startswith(classifiers)}
    _load_part(network, path, ours, state)


def check(source: object, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]) -> None:
    """Compares names and shapes.

    Raises:
        WeightsError: they differ; the hint lists the tensors.
    """
    missing = sorted(wanted.keys() - found.keys())
    unknown = sorted(found.keys() - wanted.keys())
    other = sorted(n for n in wanted.keys() & found.keys() if tuple(found[n].shape) != wanted[n])
    if not (missing or unknown or other):
        return
    lines = [
        *(f"missing: {name} {list(wanted[name])}" for name in missing),
        *(f"unknown: {name} {list(found[name].shape)}" for name in unknown),
        *(f"shape: {name} is {list(found[name].shape)}, not {list(wanted[name])}" for name in other),
    ]
    more = [f"... and {len(lines) - MAX_NAMED} more"] if len(lines) > MAX_NAMED else []
    raise WeightsError(
        f"{source} does not fit the network: {len(missing)} tensors are missing, {len(unknown)} unknown, "
        f"{len(other)} of another shape",
        hint="\n".join([*lines[:MAX_NAMED], *more]),
    )


def check_network(source: object, dims: ModelDims, state: Mapping[str, Tensor]) -> Save:
    """The network of these sizes, without weights, if the tensors are exactly its own.

    Raises:
        WeightsError: as `check`.
    """
    with torch.device("meta"):
        network = Save(dims)
    check(source, {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, state)
    return network


def _read_ours(folder: Path) -> tuple[Card, State]:
    try:
        record = json.loads((folder / "model.json").read_text("utf-8"))
        if record.get("format") != "save":
            raise ValueError("model.json is not of a SAVE network")
        card = Card(
            dims=ModelDims.from_json(record["dims"]),
            media=MediaSpec(**record["media"]),
            provenance=record["provenance"],
            sha256=record["sha256"],
        )
        file = folder / "model.safetensors"
        if _sha256(file) != card.sha256:
            raise ValueError("model.safetensors is not the file that model.json was written for")
        state = load_file(file)
    except (*_DAMAGED, AttributeError, TypeError) as error:
        raise WeightsError(f"cannot read {folder}: {error}", hint="is the copy whole?") from error
    return card, state


def _read_reference(path: Path) -> tuple[Card, State]:
    theirs = _unpickled(path)
    dims = infer_dims(theirs, path)
    with torch.device("meta"):
        names = {reference_name(name): name for name in Save(dims).state_dict()}
    unused = unused_shapes(dims)
    shapes = {name: tuple(theirs[name].shape) for name in unused.keys() & theirs.keys()}
    if odd := [name for name, shape in shapes.items() if shape != unused[name]]:
        raise WeightsError(f"{path} does not fit the network: {', '.join(odd)}", hint="is it damaged?")
    state = {names.get(name, name): tensor for name, tensor in theirs.items() if name not in unused}
    provenance = {"source": path.name, "format": "SAVE reference checkpoint", "source_sha256": _sha256(path)}
    return Card(dims=dims, media=media_spec(dims), provenance=provenance), state


def infer_dims(theirs: Mapping[str, Tensor], source: object) -> ModelDims:
    """Sizes of a reference checkpoint, from the shapes of its tensors; heads are 64 wide, as in all of CLIP.

    Raises:
        WeightsError: the tensors that tell are not there.
    """

    def n_blocks(prefix: str) -> int:
        numbered = re.compile(re.escape(prefix) + r"(\d+)\.")
        return 1 + max((int(m[1]) for name in theirs if (m := numbered.match(name))), default=-1)

    try:
        patch = theirs["clip.visual.conv1.weight"].shape
        n_patches = theirs["clip.visual.positional_embedding"].shape[0] - 1
        text_width = theirs["clip.text_projection"].shape[0]
        audio_width = theirs["clip.audio_projection"].shape[0]
        n_words, n_queries = theirs["clip.positional_embedding"].shape[0], theirs["query_tokens"].shape[1]
        clip = {
            "embed_dim": theirs["clip.text_projection"].shape[1],
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": round(n_patches**0.5) * patch[-1],
                "layers": n_blocks("clip.visual.transformer.resblocks."),
                "width": patch[0],
                "patch_size": patch[-1],
            },
            "text_cfg": {
                "context_length": n_words,
                "vocab_size": theirs["clip.token_embedding.weight"].shape[0],
                "width": text_width,
                "heads": max(1, text_width // _HEAD_WIDTH),
                "layers": n_blocks("clip.transformer.resblocks."),
            },
        }
        return ModelDims(
            clip=clip,
            audio_width=audio_width,
            audio_layers=n_blocks("clip.audio.v.blocks."),
            audio_heads=max(1, audio_width // _HEAD_WIDTH),
            n_queries=n_queries,
            resampler_layers=n_blocks("Audio_Resampler.resblocks."),
            fusion_layers=n_blocks("transformerClip.resblocks."),
        )
    except (KeyError, IndexError) as error:
        raise WeightsError(
            f"{source} is not a SAVE checkpoint: {error} is missing", hint="save model convert --help"
        ) from error


def _read_clip(path: Path) -> State:
    if path.suffix == ".safetensors":
        try:
            state: State = load_file(path)
        except _DAMAGED as error:
            raise WeightsError(f"cannot read {path}: {error}", hint="is the copy whole?") from error
        return state
    try:
        # OpenAI's file is an archive with its own code; only its tensors are taken.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # there is no other reader of such archives
            archive = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
        return {name: tensor for name, tensor in archive.items() if name not in _OPENAI_ONLY}
    except (RuntimeError, ValueError):  # no archive, or nothing at all: the other reader says which
        return _unpickled(path)


def _load_part(network: Save, path: Path, ours: Mapping[str, str], state: State) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check(path, {theirs: shapes[name] for theirs, name in ours.items()}, state)
    network.load_state_dict({name: state[theirs].float() for theirs, name in ours.items()}, strict=False)


def _unpickled(path: Path) -> State:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _DAMAGED as error:
        raise WeightsError(
            f"cannot read {path}: {str(error).splitlines()[0]}", hint="is it a PyTorch file, and whole?"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise WeightsError(f"{path} holds no plain state dict", hint="save model convert --help")
    return state


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    _refuse_existing(folder)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield partial
        for file in partial.iterdir():
            _sync(file)
        partial.chmod(0o755)  # mkdtemp lets nobody else read it
        partial.rename(folder)
    except _UNWRITABLE as error:
        raise WeightsError(f"cannot write {folder}: {error}", hint="is the disk full?") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    _refuse_existing(path)
    partial = path.with_name(
        f"{path.name}.partial-{os.getpid()}"
    )  # torch refuses names that begin with a dot
    try:
        yield partial
        _sync(partial)
        partial.rename(path)
    except _UNWRITABLE as error:
        raise WeightsError(f"cannot write {path}: {error}", hint="is the disk full?") from error
    finally:
        partial.unlink(missing_ok=True)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise WeightsError(f"{path} exists already", hint="name another; nothing is overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
