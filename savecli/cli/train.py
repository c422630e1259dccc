"""`save train`: every option of a training is a flag, with the benchmark's own default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from savecli.cli.common import PATH, Command, Common, as_json, everywhere, said, settings
from savecli.train.options import DEFAULTS, PADDINGS, PRECISIONS, Options

if TYPE_CHECKING:
    from savecli.config import Config

RANGES = {int: click.IntRange(min=1), float: click.FloatRange(min=0)}
POSITIVE, SHARE = click.FloatRange(min=0, min_open=True), click.FloatRange(min=0, max=1)
WORDS = click.IntRange(min=3)
TITLES = {
    "msrvtt": "MSR-VTT",
    "vatex": "VATEX",
    "charades": "Charades",
    "csv": "your own videos",
    "toy": "made-up videos, in minutes on a CPU",
}
NEEDS = {
    "msrvtt": "Below --data: MSRVTT_data.json, MSRVTT_train.9k.csv (or 7k), MSRVTT_JSFUSION_test.csv, the "
    "videos in any folder, and transcripts (*asr*.json).",
    "vatex": "Below --data: train_list.txt, val_list.txt, test_list.txt and ref_captions.json, or the "
    "official JSON files; the videos in any folder, and transcripts (*asr*.json).",
    "charades": "Below --data: Charades_v1_train.csv, Charades_v1_test.csv, the videos in any folder, and "
    "transcripts (*asr*.json).",
    "csv": "--data is a CSV or JSONL of video, caption and, if you like, split (train, val or test).",
    "toy": "They are made at first use. Needs the extra toy: pip install 'savecli[toy]'.",
}
N_TOY_TRAIN, N_TOY_TEST = 160, 12


class Blocks(click.ParamType[int]):
    """A number of blocks, or "none"."""

    name = "N|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """-1 stands for none, as None does for an option that was not given."""
        return -1 if str(value).lower() == "none" else click.INT.convert(value, param, ctx)


def option(name: str, about: str, **more: Any) -> Callable[[Command], Command]:  # noqa: ANN401
    """An option of `Options`, spelt with dashes."""
    return click.option(f"--{name.replace('_', '-')}", name, help=about, **more)


def shown(name: str, about: str, type_: Any = None, **more: Any) -> Callable[[Command], Command]:  # noqa: ANN401
    """As `option`, with the default that all benchmarks share."""
    default = Options.__dataclass_fields__[name].default
    type_ = type_ or RANGES.get(type(default), type(default))
    return option(name, about, type=type_, default=default, show_default=True, **more)


DATA = (
    option("data", "Folder of the benchmark, or a table for csv.  [env: SAVE_DATA]", type=PATH),
    option("asr", "JSON of transcripts.  [default: looked for in --data]", type=PATH),
    option("cache", "Where decoded videos are kept, 2.5 MB each.  [default: the user's cache]", type=PATH),
    shown("n_workers", "Threads that decode and load videos."),
    option("device", "What computes.  [default: auto]", type=click.Choice(("auto", "cpu", "cuda", "mps"))),
)
SPLIT = (
    option("split", "Training list of 9k or 7k videos.  [default: 9k]", type=click.Choice(("9k", "7k"))),
)
START = (
    shown("clip", "An open_clip model to begin with."),
    option("clip_weights", "Its weights.  [default: those of save model pull]", type=PATH),
    option("ast_weights", "The AST's AudioSet weights.  [default: those of save model pull]", type=PATH),
    option("init", "A SAVE checkpoint to begin with instead.", type=PATH),
    option("dims", "JSON file of the network's sizes.", type=PATH),
    shown("from_scratch", "Begin with random weights, and train all of them.", is_flag=True),
)
LOSS = (
    shown("beta", "Of the adaptive margin."),
    shown("temperature", "Of the soft maximum over frames in the score.", POSITIVE),
    shown("distillation", "Weight of soft-ALBEF."),
    option("teacher", "Features of save train teacher; without them there is no soft-ALBEF.", type=PATH),
)
STEPS = (
    shown("epochs", "Passes over all captions."),
    shown("accumulate", "Batches whose gradients make one step."),
    shown("lr", "Base learning rate."),
    option(
        "clip_lr",
        "Factor on it for what came pretrained.  [default: 0.001; 1 from scratch]",
        type=RANGES[float],
    ),
    shown("query_lr", "Factor on it for the queries of the audio resampler."),
    shown("warmup", "Share of the steps in which the rate rises.", SHARE),
    shown("weight_decay", "Not of biases."),
    shown("grad_norm", "Limit on the norm of all gradients.", POSITIVE),
    option("freeze", "AST blocks that stay as they are.  [default: 12; none from scratch]", type=Blocks()),
    shown("seed", "Of weights, order and the videos held out.", click.IntRange(min=0)),
    shown("precision", "Of the arithmetic; auto is bf16 on a GPU that has it.", click.Choice(PRECISIONS)),
    shown("reference_gather", "Over several processes, gradients as the reference has them.", is_flag=True),
)
NETWORK = (
    option(
        "padding",
        "Whether empty frames and words take part.  [default: the checkpoint's; reference]",
        type=click.Choice(PADDINGS),
    ),
    shown("n_queries", "Of the audio resampler."),
    shown("resampler_layers", "Of the audio resampler."),
    shown("fusion_layers", "Of each gated fusion."),
    shown("no_audio", "Ablation: nothing is heard.", is_flag=True),
    shown("no_speech", "Ablation: nothing is said.", is_flag=True),
)
RUN = (
    option(
        "out",
        "Folder of the training; one that is there goes on. In full size, 10 GB.",
        type=PATH,
        required=True,
    ),
    option(
        "n_val",
        "Videos held out for choosing the epoch.  [default: a tenth, 500 at most]",
        type=click.IntRange(min=0),
    ),
    shown("log_every", "Steps between lines of the log."),
    shown("save_every", "Steps between checkpoints; each epoch has one."),
)


def own(benchmark: str) -> tuple[Callable[[Command], Command], ...]:
    """The options whose defaults are the benchmark's."""
    defaults = DEFAULTS[benchmark]
    types = {"batch_size": click.IntRange(min=2), "n_words": WORDS}
    about = {
        "batch_size": "Captions in a batch, of all processes together.",
        "n_words": "Tokens of a caption, start and end included.",
        "frames_per_s": "Of the frames that the video's are thinned out of.",
        "n_frames": "Frames of a video.",
        "margin": "Upper limit of the adaptive margin.",
    }
    return tuple(
        option(
            name,
            text,
            type=types.get(name, RANGES[type(defaults[name])]),
            default=defaults[name],
            show_default=True,
        )
        for name, text in about.items()
        if name in defaults
    )


@click.group()
def train() -> None:
    """Train SAVE on a benchmark, in one process or under torchrun.

    The defaults are those of the paper's trainings. Weights to begin with come from `save model pull
    clip-vit-b-32 ast-audioset`. A training that was stopped goes on when the same command is given again.

    \b
    save train msrvtt --data ~/MSRVTT --out runs/msrvtt
    torchrun --nproc-per-node 2 -m savecli train msrvtt --data ~/MSRVTT --out runs/msrvtt
    """  # noqa: D301 - click reads the escape as: leave this paragraph's lines alone


def split(given: dict[str, Any]) -> tuple[Common, dict[str, Any]]:
    """What was given -> what concerns every command, and the rest."""
    # To other commands `asr` is what listens, and here a file of transcripts; a batch is of captions.
    names = [name for name in Common.__annotations__ if name in given and name not in ("asr", "batch_size")]
    common = Common(**{name: given[name] for name in names})  # type: ignore[typeddict-item]
    return common, {name: value for name, value in given.items() if name not in common}


def add(benchmark: str) -> None:
    """Adds the command of one benchmark."""

    def command(as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options
        from savecli import render
        from savecli.bench.datasets import load
        from savecli.train.loop import train as run

        common, rest = split(given)
        config = settings(**common)
        data = toy_folder(config, common["data"]) if benchmark == "toy" else config.data_of(benchmark)
        options = Options.of(benchmark, data, config.cache_dir / "clips", rest)
        dataset = load(
            "msrvtt" if benchmark == "toy" else benchmark,
            options.data,
            split=options.split,
            asr=options.asr,
            n_val=options.n_val,
            seed=options.seed,
        )
        options = replace(options, device=config.device, stall_s=config.stall_s)
        events = run(options, dataset, model_dir=config.model_dir)
        if as_json:
            render.training_json(events)
        else:
            render.training_table(events, quiet=said("quiet", common["quiet"]) or config.is_follower)

    command.__doc__ = f"Train on {TITLES[benchmark]}.\n\n{NEEDS[benchmark]}"
    options = [*RUN, *DATA, *(SPLIT if benchmark == "msrvtt" else ()), *START, *own(benchmark)]
    decorated: Command = as_json(everywhere(command))
    for each in reversed([*options, *LOSS, *STEPS, *NETWORK]):
        decorated = each(decorated)
    added = train.command(benchmark)(decorated)
    for parameter in added.params:
        parameter.default = DEFAULTS[benchmark].get(str(parameter.name), parameter.default)


def toy_folder(config: Config, named: Path | None) -> Path:
    """Where the made-up benchmark lies; it is made where it does not."""
    from savecli import render
    from savecli.toy import make_toy

    folder = named or config.cache_dir / "toy"  # SAVE_DATA is where benchmarks lie that others made
    if not folder.is_dir():
        with render.busy(f"making {N_TOY_TRAIN + N_TOY_TEST} small videos"):
            folder.parent.mkdir(parents=True, exist_ok=True)
            make_toy(folder, n_train=N_TOY_TRAIN, n_test=N_TOY_TEST, seed=1)
    return folder


for name in DEFAULTS:
    add(name)


@train.command("teacher")
@click.argument("benchmark", type=click.Choice([name for name in DEFAULTS if name != "toy"]))
@option("out", "File of features; what is in it is kept.", type=PATH, required=True)
@option("weights", "ImageBind's weights.  [default: those of save model pull]", type=PATH)
@DATA[0]
@SPLIT[0]
@option("device", "What computes.  [default: auto]", type=click.Choice(("auto", "cpu", "cuda", "mps")))
@as_json
@everywhere
def teacher(benchmark: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options
    """Write ImageBind's features of videos, for soft-ALBEF.

    Those of a BENCHMARK's videos to train on. ImageBind is licensed for non-commercial use (CC BY-NC-SA 4.0),
    and its package is not installed with save: see docs/decisions.md. A run that was stopped goes on.
    """
    from savecli import render
    from savecli.bench.datasets import load
    from savecli.teach import open_teacher, teach

    common, rest = split(given)
    config = settings(**common)
    dataset = load(benchmark, config.data_of(benchmark), split=rest["split"], n_val=0, with_speech=False)
    with open_teacher(rest["weights"], config.model_dir, config.device, stall_s=config.stall_s) as (
        decoder,
        model,
    ):
        events = teach(dataset.train, decoder, model, rest["out"])
        if as_json:
            render.training_json(events)
        else:
            render.training_table(events, quiet=said("quiet", common["quiet"]))


COMMANDS = (train,)
