"""`save eval`: a benchmark, or one's own table, searched by its captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from savecli.cli.common import PATH, as_json, everywhere, said, settings
from savecli.cli.train import toy_folder
from savecli.errors import ConfigError
from savecli.evaluate.options import ABLATIONS, ENGINES, MINI, PRECISIONS, Options

if TYPE_CHECKING:
    from savecli.bench.records import Dataset, Part
    from savecli.config import Config

NAMES = ("msrvtt", "vatex", "charades", "lsmdc", "toy")


@click.command("eval")
@click.argument("benchmark")
@click.option("--data", type=PATH, help="Folder of the benchmark.  [env: SAVE_DATA]")
@click.option("--split", metavar="9k|7k|full", help="Of MSR-VTT; full has 2,990 test videos.  [default: 9k]")
@click.option(
    "--part", type=click.Choice(("test", "val")), default="test", show_default=True, help="What is searched."
)
@click.option(
    "--model",
    default=MINI,
    show_default=True,
    metavar="NAME|PATH",
    help="The bundled model, a SAVE checkpoint, or a folder of save train.",
)
@click.option(
    "--asr",
    metavar="FILE|NAME|off",
    help="JSON of transcripts, or what listens.  [default: the benchmark's own JSON if it has one, or base]",
)
@click.option("--ablate", type=click.Choice(ABLATIONS), multiple=True, help="Leave this out; repeat it.")
@click.option(
    "--hnsw",
    "engine",
    is_flag=False,
    flag_value=ENGINES[0],
    type=click.Choice(ENGINES),
    help=f"Search through a graph, and print what that loses.  [without a name: {ENGINES[0]}]",
)
@click.option("--exact", is_flag=True, help="Score every caption with every video; the default.")
@click.option("--dual-softmax", is_flag=True, help="Normalise over all queries, which no search can do.")
@click.option("--reference-metrics", is_flag=True, help="Count ties as the usual code does, for comparison.")
@click.option("--six", is_flag=True, help="Also the sum of all six recalls, as other papers have it.")
@click.option("--markdown", is_flag=True, help="Tables as Markdown.")
@click.option("--csv", "csv_file", type=PATH, help="New file: every query, its rank and its best five.")
@click.option("--html", "html_file", type=PATH, help="New file: a page with the worst queries.")
@click.option("--cache", type=PATH, help="Where features are kept.  [default: the user's cache]")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Videos read at once."
)
@click.option(
    "--device", type=click.Choice(("auto", "cpu", "cuda", "mps")), help="What computes.  [default: auto]"
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="What a SAVE checkpoint encodes frames and sound in. On a CPU int8 takes two thirds of fp32's "
    "time, and cosines move by up to .003; bf16 is for GPUs, and moves them by .002.",
)
@as_json
@everywhere
def evaluate(benchmark: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options
    """Measure how well captions and videos find each other.

    BENCHMARK is msrvtt, vatex, charades, lsmdc, toy (small made-up videos, which need no download and are
    made at first use), or a CSV or JSONL of video,caption. Features are kept, so a run that was stopped goes
    on, and other metrics, ablations or HNSW encode nothing again. docs/eval.md says what is measured.

    \b
    save eval toy
    save eval msrvtt --data ~/MSRVTT --model runs/msrvtt --html report.html
    save eval my-videos.csv --ablate speech --json
    """  # noqa: D301 - click reads the escape as: leave this paragraph's lines alone
    if as_json and given["markdown"]:
        raise click.UsageError("Give either --json or --markdown.")
    if given["engine"] and given["exact"]:
        raise click.UsageError("Give either --hnsw or --exact.")
    from savecli import render
    from savecli.evaluate.run import evaluate as run

    files = [file for file in (given["csv_file"], given["html_file"]) if file is not None]
    for file in files:
        render.refuse(file)
    if len({file.absolute() for file in files}) < len(files):
        raise ConfigError(f"--csv and --html both name {files[0]}", hint="name two files")
    transcripts, asr = _asr(given["asr"])
    common = {name: given[name] for name in ("home", "offline", "device", "data")}
    config = settings(**common, asr=asr)
    options = Options(
        cache=given["cache"] or config.cache_dir / "features",
        part=given["part"],
        model=given["model"],
        precision=given["precision"],
        ablate=tuple(name for name in ABLATIONS if name in given["ablate"]),
        engine=given["engine"],
        dual_softmax=given["dual_softmax"],
        reference_metrics=given["reference_metrics"],
        n_workers=given["jobs"],
    )
    dataset = _dataset(
        benchmark, config, given, part=options.part, transcripts=transcripts, with_speech=asr is None
    )
    quiet = said("quiet", given["quiet"])
    report = render.watch(run(options, dataset, config), quiet=quiet)
    if as_json:
        render.line(render.record(report))
    elif given["markdown"]:
        render.write(render.markdown(report, six=given["six"]))
    else:
        render.show(report, six=given["six"])
    if given["csv_file"] is not None:
        render.write_csv(report, given["csv_file"])
    if given["html_file"] is not None:
        from savecli.evaluate.thumbnails import thumbnails

        with thumbnails(config.stall_s) as thumbnail:
            render.write_page(report, given["html_file"], thumbnail, six=given["six"], quiet=quiet)


def _asr(value: str | None) -> tuple[Path | None, str | None]:
    """What --asr names: a file, or what listens."""
    from savecli.config import ASR_NAMES

    if value is None or value in ASR_NAMES:
        return None, value
    path = Path(value)
    if not path.is_file():
        raise ConfigError(
            f"--asr {value} is neither a file nor what listens",
            hint=f"a JSON file, or {', '.join(ASR_NAMES)}",
        )
    return path, None


def _dataset(
    benchmark: str,
    config: Config,
    given: dict[str, Any],
    *,
    part: Part,
    transcripts: Path | None,
    with_speech: bool,
) -> Dataset:
    from savecli.bench.datasets import load

    named = benchmark in NAMES and benchmark != "toy"
    if given["split"] is not None and not named:
        raise ConfigError(f"{benchmark} has no split {given['split']!r}", hint="leave out --split")
    if part == "val" and benchmark == "toy":
        raise ConfigError("the toy has no validation videos", hint="leave out --part")
    own = Path(benchmark)
    if benchmark == "toy":
        # A caption of each kind for each test video.
        own = toy_folder(config, given["data"]) / "toy_queries.csv"
    elif benchmark not in NAMES and not own.exists():
        raise ConfigError(
            f"there is no benchmark {benchmark}, nor a file of that name",
            hint=f"{', '.join(NAMES)}, or a CSV or JSONL of video,caption",
        )
    dataset = load(
        benchmark if named else "csv",
        _folder(config, benchmark) if named else own,
        split=given["split"],
        asr=transcripts,
        parts=(part,),
        with_speech=with_speech,
    )
    return replace(dataset, name="toy") if benchmark == "toy" else dataset


def _folder(config: Config, benchmark: str) -> Path:
    from savecli.bench.datasets import HINTS

    if config.data is None:
        raise ConfigError(
            f"where is {benchmark}?", hint=f"--data DIR, or SAVE_DATA, names its folder: {HINTS[benchmark]}"
        )
    return config.data_of(benchmark)


COMMANDS = (evaluate,)
