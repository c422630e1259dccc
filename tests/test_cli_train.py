"""`save train` and `save model convert`: options that arrive, mistakes that are told; nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from savecli import cli
from savecli.__main__ import main
from savecli.cli.train import Blocks
from savecli.events import Preparing, Taught, Trained, TrainingBegins
from savecli.train import loop
from savecli.train.options import DEFAULTS, Options

NAMES = ("msrvtt", "vatex", "charades", "csv")
BEGINS = TrainingBegins(
    n_samples=4, n_train=2, n_val=0, n_test=1, n_steps=2, n_done=0, device="cpu", precision="fp32"
)


@pytest.fixture
def end(monkeypatch, capsys):
    """Runs `main`, and returns its exit code with what was written."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["save", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def table(tmp_path):
    """Two videos to train on and one to test with, as a benchmark of one's own; none can be decoded."""
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_bytes(b"no video")
    path = tmp_path / "own.csv"
    rows = [
        f"{name}.mp4,a video of {name},{split}"
        for name, split in zip("abc", ("train", "train", "test"), strict=True)
    ]
    path.write_text("\n".join(["video,caption,split", *rows]) + "\n")
    return path


@pytest.fixture
def asked(monkeypatch):
    """What `train` is called with, in place of training."""
    calls = []

    def train(options, dataset, *, model_dir):
        calls.append((options, dataset, model_dir))
        yield Preparing(n_done=1, n_videos=2)
        yield BEGINS
        yield Trained(epoch=1, path=Path("/out/best-epoch-1"))

    monkeypatch.setattr(loop, "train", train)
    return calls


@pytest.mark.parametrize("name", NAMES)
def test_help_of_each_benchmark_shows_its_defaults(name):
    shown = CliRunner().invoke(cli.cli, ["train", name, "--help"])
    assert shown.exit_code == 0
    text = " ".join(shown.output.split())
    for option in ("batch_size", "margin", "n_frames", "n_words"):
        flag = text.split(f"--{option.replace('_', '-')} ")[1]
        assert f"[default: {DEFAULTS[name][option]}" in flag.split(" --")[0]
    assert ("--split" in text) == (name == "msrvtt")


def test_every_option_of_a_training_is_a_flag():
    command = cli.cli.commands["train"].commands["msrvtt"]
    flags = {parameter.name for parameter in command.params}
    assert set(Options.__dataclass_fields__) - flags == {"benchmark", "stall_s"}  # SAVE_STALL_S has no flag


def test_what_is_given_arrives(end, asked, table, tmp_path):
    said = tmp_path / "said.json"
    said.write_text(json.dumps([{"key": "a.wav", "text": "hello there"}]))
    numbers = {"batch_size": 2, "epochs": 3, "seed": 7, "n_workers": 3, "accumulate": 2, "save_every": 9}
    flags = [word for name, n in numbers.items() for word in (f"--{name.replace('_', '-')}", n)]
    places = ("--data", table, "--out", tmp_path / "out", "--cache", tmp_path / "c", "--asr", said)
    more = ("--freeze", "none", "--no-audio", "--padding", "masked", "--device", "cpu", "--lr", "0.5")
    assert end("train", "csv", *places, *flags, *more)[0] == 0
    ((options, dataset, _),) = asked
    assert {name: getattr(options, name) for name in numbers} == numbers
    assert (options.data, options.out, options.cache) == (table, tmp_path / "out", tmp_path / "c")
    assert (options.freeze, options.no_audio, options.no_speech) == (None, True, False)
    assert (options.padding, options.device, options.lr) == ("masked", "cpu", 0.5)
    assert options.asr == said
    assert dataset.train[0].speech == "hello there"


def test_what_is_not_given_is_the_benchmark_s_default(end, asked, table, tmp_path, monkeypatch):
    monkeypatch.setenv("SAVE_STALL_S", "5")
    monkeypatch.setenv("SAVE_DEVICE", "cpu")
    assert end("train", "csv", "--data", table, "--out", tmp_path / "out")[0] == 0
    options = asked[0][0]
    expected = Options.of("csv", table, options.cache, {"out": tmp_path / "out"})
    assert options.to_json() == expected.to_json()
    assert (options.stall_s, options.device) == (5.0, "cpu")


def test_save_data_is_where_benchmarks_lie(end, asked, table, tmp_path, monkeypatch):
    monkeypatch.setenv("SAVE_DATA", str(table))
    assert end("train", "csv", "--out", tmp_path / "out")[0] == 0
    assert asked[0][0].data == table
    code, _, err = end("train", "csv", "--data", tmp_path / "other", "--out", tmp_path / "out")
    assert code == 2  # the flag wins
    assert str(tmp_path / "other") in err


def test_json_lines_are_json_and_nothing_else(end, asked, table, tmp_path):
    code, out, err = end("train", "csv", "--data", table, "--out", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["preparing", "begins", "trained"]


@pytest.mark.parametrize("name", NAMES)
def test_without_data_the_way_to_it_is_shown(end, name, tmp_path):
    code, out, err = end("train", name, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert f"where is {name}?" in err
    assert "--data DIR, or SAVE_DATA" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", NAMES)
def test_missing_files_are_named(end, name, tmp_path):
    (tmp_path / "data").mkdir()
    code, out, err = end("train", name, "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert str(tmp_path / "data") in err
    assert "Traceback" not in err
    wanted = {"msrvtt": "MSRVTT", "vatex": "vatex", "charades": "harades", "csv": "video,caption"}
    assert wanted[name] in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--batch-size", "1"),
        ("--batch-size", "many"),
        ("--n-words", "2"),
        ("--temperature", "0"),
        ("--grad-norm", "0"),
        ("--warmup", "1.5"),
        ("--epochs", "0"),
        ("--lr", "-1"),
        ("--lr", "nan"),
        ("--freeze", "some"),
        ("--precision", "fp8"),
        ("--padding", "none"),
        ("--device", "abacus"),
        ("--n-val", "-1"),
        ("--n-val", "2"),
        ("--split", "9k"),
        ("--init", "x", "--dims", "y"),
        ("--init", "x", "--ast-weights", "y"),
        ("--from-scratch", "--clip-weights", "y"),
        ("--clip", "ViT-Z"),
        ("--asr", "/nowhere.json"),
        ("--out", "/dev/null"),
        ("--batch-size", "2", "--accumulate", "99"),
        ("--batch-size", "64"),
        ("--batch-size", "2", "--from-scratch", "--teacher", "/nowhere"),
        ("--batch-size", "2", "--init", "/nowhere"),
        ("--batch-size", "2"),  # there are no public weights here
    ],
)
def test_what_makes_no_sense_is_2_with_a_word_and_no_training(end, table, tmp_path, monkeypatch, wrong):
    monkeypatch.setenv("SAVE_MODEL_DIR", str(tmp_path / "models"))
    out_dir = () if "--out" in wrong else ("--out", tmp_path / "out")
    code, out, err = end("train", "csv", "--data", table, *out_dir, "--device", "cpu", *wrong)
    assert (code, out) == (2, ""), err
    assert err.strip()
    assert not (tmp_path / "out" / "options.json").exists()


def test_a_table_without_training_videos_is_told_as_such(end, table, tmp_path):
    table.write_text("video,caption\na.mp4,a video of a\n")
    code, _, err = end("train", "csv", "--data", table, "--out", tmp_path / "out")
    assert code == 2
    assert "0 captions to train on" in err
    assert "column split" in err


def test_blocks_are_a_number_or_none():
    assert [Blocks().convert(value, None, None) for value in ("none", "None", "3")] == [-1, -1, 3]


# -- the teacher ---------------------------------------------------------------------------------------


def test_the_teacher_is_told_what_was_given(end, table, tmp_path, monkeypatch):
    from contextlib import contextmanager

    from savecli import teach

    calls = []

    @contextmanager
    def open_teacher(weights, model_dir, device, *, stall_s):
        calls.append((weights, device, stall_s))
        yield "decoder", "model"

    def taught(clips, decoder, model, out):
        calls.append([clip.video_id for clip in clips])
        yield Taught(path=out, n_videos=2, n_new=2, n_failed=0)

    monkeypatch.setattr(teach, "open_teacher", open_teacher)
    monkeypatch.setattr(teach, "teach", taught)
    monkeypatch.setenv("SAVE_STALL_S", "7")
    given = ("--data", table, "--out", tmp_path / "t", "--weights", "w.pt", "--device", "cpu", "--json")
    code, out, err = end("train", "teacher", "csv", *given)
    assert (code, err) == (0, "")
    assert json.loads(out)["n_new"] == 2
    assert calls == [(Path("w.pt"), "cpu", 7.0), ["a.mp4", "b.mp4"]]


def test_a_teacher_without_weights_is_told(end, table, tmp_path, monkeypatch):
    monkeypatch.setenv("SAVE_MODEL_DIR", str(tmp_path / "models"))
    code, out, err = end("train", "teacher", "csv", "--data", table, "--out", tmp_path / "t")
    assert (code, out) == (2, "")
    assert "pull" in err


# -- converting ----------------------------------------------------------------------------------------


def test_convert_tells_what_is_wrong(end, tmp_path):
    other = tmp_path / "other.pt"
    torch.save({"layer.weight": torch.zeros(1)}, other)
    for arguments, said in (
        ((tmp_path / "gone", tmp_path / "new"), "is not there"),
        ((other, tmp_path / "new"), "not a SAVE checkpoint"),
        ((other, other), "exists already"),
        ((other, tmp_path / "new", "--to", "onnx"), "onnx"),
        ((other, tmp_path / "new", "--ast", other, "--clip", "ViT-Z"), "ViT-Z"),
        ((other, tmp_path / "new", "--clip", "ViT-L-14"), "--ast"),
        ((other, tmp_path / "new", "--seed", "3"), "--ast"),
        ((other,), "TARGET"),
    ):
        code, out, err = end("model", "convert", *arguments)
        assert (code, out) == (2, ""), arguments
        assert said in err
    assert not (tmp_path / "new").exists()


def test_info_of_a_file_that_is_no_network(end, tmp_path):
    (tmp_path / "x").write_text("x")
    code, out, err = end("model", "info", tmp_path / "x")
    assert (code, out) == (2, "")
    assert str(tmp_path / "x") in err


def test_the_toy_is_made_in_the_cache_wherever_benchmarks_lie(monkeypatch, tmp_path):
    from savecli import config, toy
    from savecli.cli.train import toy_folder

    made = []
    monkeypatch.setattr(toy, "make_toy", lambda folder, **_: made.append(folder))
    monkeypatch.setenv("SAVE_DATA", str(tmp_path))
    settings = config.load()
    assert toy_folder(settings, None) == settings.cache_dir / "toy"
    assert toy_folder(settings, tmp_path / "mine") == tmp_path / "mine"
    assert made == [settings.cache_dir / "toy", tmp_path / "mine"]
