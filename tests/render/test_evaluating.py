"""An evaluation as a terminal, a program, a paper's README and a spreadsheet get it."""

from __future__ import annotations

import csv
import io
import json
import re
import sys

import pytest
from rich.console import Console

from savecli.bench.kinds import LEGEND
from savecli.bench.report import Answer, GraphLoss
from savecli.errors import ConfigError
from savecli.events import Encoding, Scoring
from savecli.render import evaluating

from ..bench.reports import found, report

EVIL = "a\x1b]0;owned\x07b\rc\x9bd\u202ee"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
WIDTHS = [20, 24, 33, 50, 64, 80, 200]


def answer(**changes):
    fields = {"query": "a dog", "video_id": "video7", "kind": "neither", "rank": 3}
    return Answer(**{**fields, "top": (("video9", 2.5), ("video7", -1.25)), **changes})


def loss(**changes):
    fields = {"engine": "usearch", "n_candidates": 200, "recall_at_10": 0.9925, "exact": found(r1=50.5)}
    return GraphLoss(**{**fields, **changes})


def full(**changes):
    """A report of which every part has something to tell."""
    fields = {
        "n_videos": 997,
        "n_captions": 998,
        "missing": ("video1", "video2"),
        "broken": {"video3": "no picture in it"},
        "search": "hnsw",
        "loss": loss(),
        "dual_softmax": True,
        "ablated": ("speech",),
        "by_kind": {"sound": found(n_queries=12, r1=11.25), "both": found(n_queries=1, median_rank=2.5)},
        "answers": {"t2v": (answer(),), "v2t": (answer(query="video7", kind="", top=(("a dog", 1.0),)),)},
        "notes": ("captions: 2 empty ones left out",),
    }
    return report(**{**fields, **changes})


def shown(width, *args, **kwargs):
    screen = io.StringIO()
    evaluating.show(*args, **kwargs, out=Console(file=screen, width=width, highlight=False))
    return screen.getvalue()


def words(text):
    return " ".join(text.split())


def test_a_person_is_told_what_was_measured():
    text = words(shown(120, full(), six=True))
    for fact in (
        "benchmark msrvtt 9k",
        "gallery 997 videos of 1,000 listed",
        "queries 998 captions",
        "missing 2: video1, video2",
        "unreadable 1: video3 (no picture in it)",
        "without audio 3 videos",
        "without speech 40 videos",
        "speech from asr.json",
        "checkpoint tiny, SHA-256 0123456789ab",
        "frames 12 at most",
        "words 32 at most",
        "HNSW (usearch), 200 candidates a query",
        "ties against the model",
        "device cpu",
        "time 1:02, of it 58.2 s reading and encoding",
        "note captions: 2 empty ones left out",
        "t2v 50.0 75.0 80.0 1.5 7.2 205.0",
        "v2t 25.0 75.0 80.0 1.5 7.2 SumR: R@1 + R@5 + R@10, t2v only, as SAVE has it",  # and no SumR of v2t
        "sum of six: 385.0, t2v + v2t",
        "HNSW 50.0 75.0 80.0 1.5 7.2 205.0 exact 50.5 75.0 80.0 1.5 7.2 205.5 difference -0.5 +0.0",
        "99.2 % of the exact ten best",
        "dual softmax: scores were normalised over all queries, which no search can do",
        "ablation: without speech",
        "not comparable: 3 of the 1,000 listed videos are not in the gallery",
        "this run 50.0 75.0 80.0 205.0",
        "EclipSE 44.2 71.3 81.6 197.1 [2]",
        "SAVE 216.2 [5]",
        "[2] Lin et al., EclipSE, ECCV 2022",
        "as quoted in issue 5",
        "sound 12 11.2 75.0 80.0 1.5 7.2",
        "both 1 50.0 75.0 80.0 2.5 7.2",
        LEGEND,
    ):
        assert fact in text, fact


def test_what_is_not_there_is_not_told():
    text = words(shown(120, report()))
    for word in (
        "missing",
        "unreadable",
        "sum of six",
        "HNSW",
        "dual",
        "ablation",
        "comparable",
        "by kind",
        "listed",
    ):
        assert word not in text, word
    assert "search exact" in text


def test_what_nobody_published_has_no_table_of_it():
    text = shown(120, report(benchmark="csv", split=""))
    assert "published" not in text
    assert "benchmark" in text


def test_what_cannot_be_compared_says_so_before_the_rows():
    text = shown(80, full())
    assert text.index("not comparable") < text.index("CLIP4Clip")


def test_the_usual_code_s_rule_is_told_with_its_entries():
    text = words(shown(200, report(ties="reference", t2v=found(n_queries=1234), v2t=found(n_queries=1001))))
    assert "1,234 entries for 1,000 captions, 1,001 for video to text" in text
    assert "ties as the usual code counts them, for comparison" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_any_width_will_do_and_no_number_is_lost(width):
    long = found(mean_rank=15000.5, median_rank=14999.5)
    given = full(by_kind={"neither": long}, v2t=long, missing=("a" * 70,), model="m" * 90)
    text = shown(width, given, six=True)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for number in ("15000.5", "14999.5", "410.0", "216.2", "-0.5"):
        assert number in text
    whole = "".join(text.split())
    assert "m" * 90 in whole
    assert "a" * 70 in whole


def test_only_some_of_many_names_are_shown():
    text = shown(200, report(n_videos=991, missing=tuple(f"video{i}" for i in range(9))))
    assert "9: video0, video1, video2, video3, video4 and 4 more" in text
    assert "video5" not in text


def test_a_pipe_gets_no_colour_and_no_folding(capsys):
    evaluating.show(full())
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert LEGEND in text.splitlines()


def evil():
    return full(
        missing=(EVIL, "[red]x[/red]"),
        broken={EVIL: EVIL},
        model=EVIL,
        speech=EVIL,
        notes=(EVIL, "\ud800"),
        benchmark="csv",
        split="",
        answers={
            "t2v": (answer(query=EVIL, video_id=EVIL, top=((EVIL, 1.0), ("<script>x</script>|", 0.5))),)
        },
    )


def test_nothing_that_a_file_says_moves_the_cursor():
    for width in WIDTHS:
        text = shown(width, evil())
        assert "owned" in text
        assert not CONTROL.search(text)
    assert "[red]x[/red]" in shown(200, evil())  # a name is no markup either
    assert not CONTROL.search(evaluating.markdown(evil()))


def test_the_json_object_has_the_keys_of_the_contract():
    record = json.loads(json.dumps(evaluating.record(full())))
    assert record.pop("published_t2v")[0] == {
        "model": "CLIP4Clip",
        "R@1": 43.1,
        "R@5": 70.4,
        "R@10": 80.8,
        "SumR": 194.3,
        "source": "Luo et al., CLIP4Clip, arXiv 2104.08860",
    }
    assert [words.split()[0] for words in record.pop("not_comparable")] == ["3", "its", "its", "it"]
    direction = {"R@1": 50.0, "R@5": 75.0, "R@10": 80.0, "MdR": 1.5, "MnR": 7.25, "SumR": 205.0}
    assert record == {
        "benchmark": "msrvtt",
        "split": "9k",
        "n_listed": 1000,
        "n_videos": 997,
        "n_captions": 998,
        "missing": 2,
        "missing_ids": ["video1", "video2"],
        "broken": {"video3": "no picture in it"},
        "without_audio": 3,
        "without_speech": 40,
        "speech": "asr.json",
        "checkpoint": {"name": "tiny", "sha256": "0123456789abcdef" * 4},
        "frames": 12,
        "words": 32,
        "search": "hnsw",
        "hnsw": {
            "engine": "usearch",
            "n_candidates": 200,
            "recall_at_10": 0.9925,
            "exact_t2v": {**direction, "R@1": 50.5, "SumR": 205.5, "n_queries": 4},
        },
        "ties": "against the model",
        "dual_softmax": True,
        "ablated": ["speech"],
        "device": "cpu",
        "precision": "fp32",
        "elapsed_s": 62.5,
        "encode_s": 58.25,
        "t2v": {**direction, "n_queries": 4},
        "v2t": {**direction, "R@1": 25.0, "SumR": 180.0, "n_queries": 4},
        "sum_of_six": 385.0,
        "by_kind": {
            "sound": {**direction, "R@1": 11.25, "SumR": 166.25, "n_queries": 12},
            "both": {**direction, "MdR": 2.5, "n_queries": 1},
        },
        "kind_rule": LEGEND,
        "notes": ["captions: 2 empty ones left out"],
    }


def test_the_json_object_of_an_exact_run():
    record = evaluating.record(report())
    assert record["hnsw"] is None
    assert record["by_kind"] == {}
    assert record["not_comparable"] == []


def cells(row):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_markdown_has_whole_tables():
    text = evaluating.markdown(full(model="my_model|v2 <b> &lt;"), six=True)
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 4
    for block in blocks:
        assert len({len(cells(row)) for row in block}) == 1
        assert set(cells(block[1])) <= {"---", "---:"}
    assert cells(blocks[0][2]) == ["t2v", "50.0", "75.0", "80.0", "1.5", "7.2", "205.0"]
    assert cells(blocks[2][-1]) == ["SAVE", "", "", "", "216.2", r"\[5\]"]
    assert r"my\_model\|v2 \<b\> &amp;lt;" in text
    assert "**not comparable: 3 of the 1,000 listed" in text
    assert "sum of six: 385.0" in text
    assert "sum of six" not in evaluating.markdown(full())
    assert text.index("not comparable") < text.index("| SAVE")  # nobody reads the rows without it


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_answers_come_back_from_their_csv(tmp_path):
    answers = {
        "t2v": (
            answer(query='two, "three"\nfour', kind="both"),
            answer(query="ünï 猫", rank=0, top=tuple((f"v{i}", i / 3) for i in range(7))),
            answer(query="", top=(("x", float("-inf")),)),
        ),
        "v2t": (answer(query="video7", kind="", top=(("a dog", 1.0),)),),
    }
    evaluating.write_csv(report(answers=answers), tmp_path / "a.csv")
    head, *body = rows(tmp_path / "a.csv")
    assert head[:7] == ["direction", "kind", "query", "video", "rank", "top1", "score1"]
    assert head[-2:] == ["top5", "score5"]
    assert {len(row) for row in body} == {15}
    dog = ["video9", "2.5", "video7", "-1.25"]
    assert body[0] == ["t2v", "both", 'two, "three"\nfour', "video7", "3", *dog, *[""] * 6]
    assert body[1][2:5] == ["ünï 猫", "video7", "0"]
    assert body[1][-2:] == ["v4", "1.33333"]
    assert body[2][5:7] == ["x", "-inf"]
    assert body[3][:5] == ["v2t", "", "video7", "video7", "3"]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.csv"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_text_of_a_csv_is_a_formula(tmp_path, start):
    text = f"{start}cmd|' /C calc'!A0"
    given = answer(query=text, video_id=text, top=((text, -2.0), ("a=b", -0.5)))
    evaluating.write_csv(report(answers={"t2v": (given,)}), tmp_path / "a.csv")
    row = rows(tmp_path / "a.csv")[1]
    assert [row[2], row[3], row[5]] == ["'" + text] * 3
    assert [row[6], row[7], row[8]] == ["-2", "a=b", "-0.5"]  # numbers stay numbers


def test_names_in_no_encoding_are_written_as_escapes(tmp_path):
    evaluating.write_csv(report(answers={"t2v": (answer(query="caf\udce9"),)}), tmp_path / "a.csv")
    assert rows(tmp_path / "a.csv")[1][2] == r"caf\udce9"


def test_a_file_that_is_there_is_refused_and_stays(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("mine")
    for refuse in (lambda: evaluating.write_csv(full(), path), lambda: evaluating.refuse(path)):
        with pytest.raises(ConfigError, match="there already") as error:
            refuse()
        assert "another file" in error.value.hint
    assert path.read_text() == "mine"
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there already"):
        evaluating.refuse(dangling)


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        evaluating.write_csv(full(), tmp_path / "no" / "a.csv")
    with pytest.raises(ConfigError, match="cannot write"):
        evaluating.write_csv(full(), tmp_path / ("a" * 300))


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    broken = answer(top=(("video7", None),))
    with pytest.raises(TypeError):
        evaluating.write_csv(report(answers={"t2v": (answer(), broken)}), tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def events(screen=None, seen=None):
    yield Encoding(n_done=1, n_total=2, video_id="video1")
    yield Encoding(n_done=2, n_total=2, video_id=EVIL, reason=f"no picture {EVIL}")
    yield Scoring(n_done=256, n_total=1000)
    if seen is not None:
        seen.append(screen.getvalue())
    yield report()
    if seen is not None:
        seen.append("closed in order")


def test_a_terminal_sees_how_far_it_is(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    screen, seen = Terminal(), []
    monkeypatch.setattr(sys, "stderr", screen)

    class AtOnce(evaluating.Progress):
        def update(self, *args, **given):
            super().update(*args, **given, refresh=True)

    monkeypatch.setattr(evaluating, "Progress", AtOnce)
    assert evaluating.watch(events(screen, seen)) == report()
    assert "videos 1/2" in seen[0]
    assert "captions 256/1,000" in seen[0]
    assert "skipped" in seen[0]
    assert "no picture" in seen[0]
    assert seen[1] == "closed in order"
    assert "\x1b]0" not in screen.getvalue()
    assert "\u202e" not in screen.getvalue()


@pytest.mark.parametrize("tty", [True, False])
def test_quietly_or_in_a_pipe_there_is_nothing(monkeypatch, capsys, tty):
    if tty:
        monkeypatch.setattr(sys, "stderr", Terminal())
    assert evaluating.watch(events(), quiet=tty) == report()
    assert (sys.stderr.getvalue() if tty else capsys.readouterr().err) == ""


def test_an_evaluation_without_a_report_is_a_bug():
    with pytest.raises(ValueError, match="without a report"):
        evaluating.watch([Scoring(n_done=1, n_total=1)])
