"""Options wherever they stand, and every ending as an exit code; no model is needed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from savecli import __version__, cli, config
from savecli.__main__ import main
from savecli.datatypes import Ask, Part, Results, Where
from savecli.errors import SaveError, StoreError
from savecli.query import phrase
from savecli.store import Store

COMMANDS = [
    "bench",
    "completion",
    "daemon",
    "demo",
    "doctor",
    "dupes",
    "eval",
    "export",
    "forget",
    "import",
    "index",
    "list",
    "model",
    "open",
    "rebuild",
    "relink",
    "search",
    "shell",
    "show",
    "status",
    "train",
    "verify",
]


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
def boom(monkeypatch):
    """Adds a command `boom` that raises or returns what it is told."""

    def add(outcome):
        def body():
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setitem(cli.cli.commands, "boom", click.command("boom")(body))

    return add


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_what_a_command_returns_is_the_exit_code(end, boom, returned, code):
    boom(returned)
    assert end("boom") == (code, "", "")


def test_an_expected_error_is_message_and_hint(end, boom):
    boom(StoreError("the store is on fire", hint="use water"))
    assert end("boom") == (2, "", "save: the store is on fire\n  use water\n")


def test_an_error_without_a_hint_has_one_line(end, boom):
    boom(SaveError("no more"))
    assert end("boom")[2] == "save: no more\n"


def test_control_characters_of_a_message_do_not_reach_the_terminal(end, boom):
    boom(SaveError("cannot read \x1b]0;title\x07.mp4"))
    assert "\x1b" not in end("boom")[2]


@pytest.mark.parametrize("signal", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_130_and_says_that_nothing_is_lost(end, boom, signal):
    boom(signal)
    code, out, err = end("boom")
    assert (code, out) == (130, "")
    assert "what is done is kept" in err


def test_an_interrupt_of_what_keeps_nothing_says_that(end, boom):
    boom(KeyboardInterrupt("interrupted; nothing of this run is kept"))
    assert end("boom")[0] == 130
    assert end("boom")[2].strip() == "interrupted; nothing of this run is kept"


def test_where_nothing_can_be_remembered_no_minutes_are_spent_on_measuring(end, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied", "/home/somebody")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("savecli.tune.tune", lambda _: pytest.fail("it was measured"))
    code, out, err = end("doctor", "--tune")
    assert (code, out) == (2, "")
    assert "Permission denied: /home/somebody" in err


@pytest.mark.parametrize("limit", ["0", "9.9", "-inf", "nan", "a minute"])
def test_a_limit_of_a_bench_that_makes_no_sense_is_refused(end, monkeypatch, limit):
    monkeypatch.setattr("savecli.measure.measure", lambda *_, **__: pytest.fail("it was measured"))
    code, out, err = end("bench", "--limit", limit)
    assert (code, out) == (2, "")
    assert "--limit" in err


def test_a_bug_is_3_and_its_traceback_goes_to_the_log(end, boom):
    boom(RuntimeError("a bug"))
    code, out, err = end("boom")
    log = config.load().log_file
    assert (code, out) == (3, "")
    assert "this is a bug: RuntimeError: a bug" in err
    assert str(log) in err
    assert "Traceback" not in err
    written = log.read_text("utf-8")
    assert written.startswith(f"save {__version__} boom\n")
    assert "RuntimeError: a bug" in written
    assert os.name == "nt" or stat.S_IMODE(log.stat().st_mode) == 0o600  # it holds what was looked for


@pytest.fixture
def broken_list(monkeypatch):
    """A bug in a command that takes --home."""

    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli.everyday, "opened", fail)


@pytest.mark.parametrize("before", [True, False])
def test_the_log_of_a_bug_is_in_the_home_that_was_named(end, broken_list, tmp_path, before):
    named = ("--home", tmp_path / "there")
    code, _, err = end(*named, "list") if before else end("--home", tmp_path / "x", "list", *named)
    log = tmp_path / "there" / "errors.log"
    assert code == 3
    assert str(log) in err
    assert "RuntimeError: a bug" in log.read_text("utf-8")
    assert not config.load().log_file.exists()
    assert not (tmp_path / "x").exists()
    assert end("list")[0] == 3  # the next run in this process names none
    assert config.load().log_file.exists()


def test_bugs_are_added_to_the_log(end, boom):
    for what in ("first", "second"):
        boom(RuntimeError(what))
        end("boom")
    written = config.load().log_file.read_text("utf-8")
    assert written.index("RuntimeError: first") < written.index("RuntimeError: second")


def test_a_bug_where_no_log_can_be_written_still_is_3(end, boom, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAVE_HOME", str(tmp_path / "file" / "home"))
    boom(RuntimeError("a bug"))
    code, _, err = end("boom")
    assert code == 3
    assert "SAVE_DEBUG=1" in err


def test_save_debug_raises_the_bug_itself(boom, monkeypatch):
    monkeypatch.setenv("SAVE_DEBUG", "1")
    monkeypatch.setattr("sys.argv", ["save", "boom"])
    boom(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        main()


@pytest.mark.parametrize(
    "arguments", [("search",), ("no-such-command",), ("search", "x", "--no-such-option")]
)
def test_a_usage_error_is_2_and_names_what_is_wrong(end, arguments):
    code, out, err = end(*arguments)
    assert (code, out) == (2, "")
    assert "Error: " in err


@pytest.mark.parametrize("before", [True, False])
def test_home_stands_before_or_after_the_command(end, tmp_path, before):
    option = ("--home", tmp_path / "there")
    code, _, err = end(*option, "list") if before else end("list", *option)
    assert code == 2
    assert str(tmp_path / "there" / "store") in err


def test_the_option_after_the_command_wins(end, tmp_path):
    _, _, err = end("--home", tmp_path / "first", "list", "--home", tmp_path / "second")
    assert str(tmp_path / "second") in err


def test_offline_before_the_command_reaches_it(end, monkeypatch):
    given = []
    real = config.load
    monkeypatch.setattr(config, "load", lambda **flags: given.append(flags) or real(**flags))
    end("--offline", "list")
    end("list", "--offline")
    assert [flags["offline"] for flags in given] == [True, True]


def test_status_before_the_first_index_shows_the_settings_and_the_way_to_one(end, tmp_path):
    home = tmp_path / "there"
    code, out, err = end("status", "--home", home)
    assert code == 0
    assert f"{home}  (--home)" in out
    assert "nothing indexed yet" in err
    assert "save index FOLDER" in err
    assert not home.exists()


def test_status_shows_no_settings_where_a_store_has_lost_its_mark(end, colour_store, put):
    """What is left of a store is no empty one."""
    put(Path("/v/a.mp4"), ["red"])
    (colour_store.home / "FORMAT").unlink()
    code, out, err = end("status", "--home", colour_store.home.parent)
    assert (code, out) == (2, "")
    assert "nothing indexed yet" in err


def test_help_names_every_command():
    shown = CliRunner().invoke(cli.cli, ["--help"])
    assert shown.exit_code == 0
    assert sorted(cli.cli.commands) == COMMANDS
    assert all(f"\n  {name} " in shown.output for name in COMMANDS)


def groups(group, *names):
    """Every group of commands, by the words that name it."""
    yield " ".join(names), group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from groups(command, *names, name)


GROUPS = dict(groups(cli.cli))


@pytest.mark.parametrize("name", GROUPS)
def test_the_summary_of_no_command_is_cut_at_80_columns(name):
    group = GROUPS[name]
    shown = CliRunner().invoke(cli.cli, [*name.split(), "--help"], terminal_width=78)  # click leaves two free
    summaries = dict(line.split(maxsplit=1) for line in shown.output.split("Commands:\n")[1].splitlines())
    assert summaries.keys() == group.commands.keys()
    first = {name: " ".join(command.help.split()) for name, command in group.commands.items()}
    for name, summary in summaries.items():
        assert summary.endswith("."), summary
        assert not summary.endswith("..."), summary
        assert first[name].startswith(summary)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_by_both_names(name):
    long, short = (CliRunner().invoke(cli.cli, [name, flag]) for flag in ("--help", "-h"))
    assert long.exit_code == short.exit_code == 0
    assert long.output == short.output
    assert long.output.startswith("Usage: ")


def test_version():
    assert CliRunner().invoke(cli.cli, ["--version"]).output == f"save, version {__version__}\n"


def test_a_batch_size_that_makes_no_sense_is_refused_before_any_work(end):
    code, out, err = end("index", ".", "--batch-size", "0")
    assert (code, out) == (2, "")
    assert "batch_size cannot be '0' (from --batch-size)" in err
    assert "or auto" in err


class TestSearch:
    """What `save search` asks for; no model and no video is needed."""

    @pytest.fixture
    def asked(self, monkeypatch, encoder):
        """The queries that reached the flow."""
        asked = []
        nothing = Results(moments=(), nearest=None, exact=True)
        monkeypatch.setattr("savecli.pipeline.make_encoder", lambda config: encoder)
        monkeypatch.setattr("savecli.search.search", lambda ask, *_, **__: asked.append(ask) or nothing)
        Store.open(config.load().store_dir, identity=encoder.identity, mode="write").close()
        return asked

    @pytest.mark.parametrize(
        ("arguments", "ask"),
        [
            (("a dog",), Ask(text="a dog")),
            (("--sees", "a dog"), Ask(sees="a dog")),
            (("--hears", "barking"), Ask(hears="barking")),
            (("--says", "sit"), Ask(says="sit")),
            (
                ("--says", "sit", "a dog", "--hears", "barking", "--sees", "a beach"),
                Ask(text="a dog", sees="a beach", hears="barking", says="sit"),
            ),
            (("a", "dog", "on", "grass"), Ask(text="a dog on grass")),
            (("a dog", "-cat"), Ask(text="a dog", against=(Part(text="cat"),))),
            (("-kitten on a sofa", "a dog"), Ask(text="a dog", against=(Part(text="kitten on a sofa"),))),
            (("-fish", "a dog", "-k", "3"), Ask(text="a dog", against=(Part(text="fish"),))),
            (("-k3", "a dog", "-quiet", "-q"), Ask(text="a dog", against=(Part(text="quiet"),))),
            (("a dog", "--not", "-cat"), Ask(text="a dog", against=(Part(text="-cat"),))),
            (
                ("--", "a dog", "-version", "--says"),
                Ask(text="a dog --says", against=(Part(text="version"),)),
            ),
            (("--says", "-5 degrees"), Ask(says="-5 degrees")),
            (("a dog", "-\u732b"), Ask(text="a dog", against=(Part(text="\u732b"),))),
            (("2:dog", "cat"), Ask(text="cat", more=(Part(text="dog", weight=2.0),))),
            (
                ('"good boy"', "--regex", "s[iy]t", "--phrase", "ca*"),
                Ask(phrases=(phrase("ca*"), phrase("good boy")), regexes=("s[iy]t",)),
            ),
            (
                ("a dog", "--in", "/v", "--has", "speech", "--language", "DE", "--min-duration", "1:30"),
                Ask(
                    text="a dog",
                    where=Where(
                        below=(Path("/v"),),
                        has=frozenset({"speech"}),
                        languages=frozenset({"de"}),
                        min_duration_s=90,
                    ),
                ),
            ),
        ],
    )
    def test_each_text_goes_where_it_is_aimed(self, end, asked, arguments, ask):
        code, out, err = end("search", *arguments)
        assert (code, err) == (1, "")
        assert out.startswith("nothing here matches ")
        assert asked == [ask]

    def test_what_looks_like_an_option_and_is_none_is_refused(self, end, asked):
        for arguments in (("a dog", "--nonsense"), ("a dog", "-x")):
            code, _, err = end("search", *arguments)
            assert (code, asked) == (2, [])
            assert "No such option" in err

    def test_each_query_by_itself(self, end, asked, tmp_path):
        file = tmp_path / "queries.txt"
        file.write_text("\ufeff# comment\na dog -cat\n\n  sees:(a beach)\n", "utf-8")
        code, out, _ = end("search", "--each", "one", "two words", "--queries", file, "--says", "x")
        assert code == 1
        dog = Ask(text="a dog", says="x", against=(Part(text="cat"),))
        beach = Ask(says="x", more=(Part(text="a beach", aim="sees"),))
        assert asked == [dog, beach, Ask(text="one", says="x"), Ask(text="two words", says="x")]
        assert [line for line in out.splitlines() if line.startswith("? ")] == [
            "? a dog -cat",
            "? sees:(a beach)",
            "? one",
            "? two words",
        ]

    @pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"\xff\xfe\n"])
    def test_queries_that_cannot_be_read_or_are_none_are_refused(self, end, asked, tmp_path, content):
        file = tmp_path / "queries.txt"
        if content is not None:
            file.write_bytes(content)
        code, _, err = end("search", "--queries", file)
        assert (code, asked) == (2, [])
        assert "quer" in err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("-cat",), "nothing is looked for"),
            (("has:speech",), "only filters"),
            (("a dog", "--since", "someday"), "'someday' is no date"),
            (("a dog", "--since", "2024", "--until", "2023"), "no time is since 2024-01-01"),
            (("a dog", "--min-duration", "long"), "'long' is no duration"),
            (("a dog", "--min-duration", "2h", "--max-duration", "1h"), "no video is at least"),
            (("a dog", "--has", "fun"), "cannot have 'fun'"),
            (("a dog", "--language", "german!"), "no code of a language"),
            (("0:dog",), "0 is no weight"),
            (('"a*"',), "too many words"),
            (("--phrase", "?!"), "no words"),
            (("a" * 10_001,), "10001 characters"),
        ],
    )
    def test_what_makes_no_sense_is_refused_with_a_hint(self, end, asked, arguments, message):
        code, out, err = end("search", *arguments)
        assert (code, out, asked) == (2, "", [])
        first, hint, *_ = err.splitlines()
        assert message in first
        assert hint.startswith("  ")

    def test_exact_words_need_no_model(self, end, asked, monkeypatch):
        monkeypatch.setattr("savecli.pipeline.make_encoder", lambda config: pytest.fail("it was loaded"))
        assert end("search", "--phrase", "good boy")[0] == 1
        assert len(asked) == 1

    @pytest.mark.parametrize(
        "arguments", [("",), ("--hears", ""), ("a dog", "--says", ""), ("", "--sees", "a dog")]
    )
    def test_an_empty_text_is_refused(self, end, asked, arguments):
        code, out, err = end("search", *arguments)
        assert (code, out, asked) == (2, "", [])
        assert "the query is empty" in err

    def test_no_text_at_all_is_a_usage_error(self, end, asked):
        code, _, err = end("search", "-k", "3")
        assert (code, asked) == (2, [])
        assert "Give a QUERY, or one of --sees, --hears, --says, --like, --phrase and --regex" in err
