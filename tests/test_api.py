"""The library from Python, on a small store of made-up rows; the real model is in tests/e2e."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import savecli
from savecli import api
from savecli.datatypes import Results
from savecli.errors import ConfigError, QueryError, SaveError, StoreError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def home(tmp_path, put, monkeypatch, encoder) -> Path:
    """A home whose store holds two videos, searched by the encoder of colours."""
    monkeypatch.setattr(api, "make_encoder", lambda config: encoder)
    put(Path("/v/red.mp4"), ["red", "blue"], said=[("green",), ()])
    put(Path("/v/blue.mp4"), ["blue"])
    return tmp_path


def test_a_library_is_searched(home):
    with savecli.open_library(home) as library:
        results = library.search("red")
        assert isinstance(results, Results)
        assert [str(moment.path) for moment in results.moments] == ["/v/red.mp4"]
        assert library.search(says="green").moments[0].why["said"] > 0.5
        assert len(library.search("blue", top_k=1, threshold=0).moments) == 1
        assert {video.paths[0].name for video in library.videos()} == {"red.mp4", "blue.mp4"}


def test_it_takes_what_the_command_takes(home, put):
    put(Path("/w/red.mp4"), ["red"], said=[("blue",)])
    with savecli.open_library(home) as library:

        def names(*texts, **options):
            moments = library.search(texts, threshold=0.1, copies=True, **options).moments
            return {str(moment.path) for moment in moments}

        assert names("red", '"blue"') == {"/w/red.mp4"} == names("red", phrases=["blue"])
        assert names("red", regexes=["gr.*n"]) == {"/v/red.mp4"}
        assert names("red", filters={"in": "/w"}) == {"/w/red.mp4"} == names("red in:/w")
        assert names("red", filters={"in": ["/w", "/v"]}) == {"/v/red.mp4", "/w/red.mp4"}
        (moment, *_) = library.search("red", against=["says:nothing"], explain=True).moments
        assert [terms.is_against for terms in moment.terms] == [False, True]
        with pytest.raises(QueryError, match="no filter is called 'colour'"):
            library.search("red", filters={"colour": "red"})


def test_the_example_of_the_docs_runs(home, monkeypatch, capsys):
    monkeypatch.setenv("SAVE_HOME", str(home))
    example = (ROOT / "docs" / "api.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(example, "docs/api.md", "exec"), {})
    assert capsys.readouterr().out.startswith("nothing matches; the nearest is /v/red.mp4")


def test_what_is_indexed_meanwhile_is_found(home, put):
    with savecli.open_library(str(home)) as library:
        assert library.search("green", threshold=0.5).moments[0].why["seen"] < 0.1
        put(Path("/v/green.mp4"), ["green"])
        assert "green.mp4" in [moment.path.name for moment in library.search("green").moments]
        assert len(library.videos()) == 3


def test_a_store_in_the_place_of_another_is_opened(home, tmp_path_factory, colour_store, put):
    with savecli.open_library(home) as library:
        assert len(library.videos()) == 2
        store = home / "store"
        colour_store.close()
        aside = tmp_path_factory.mktemp("aside")
        store.rename(aside / "old")
        with pytest.raises(StoreError):
            library.videos()
        import shutil

        shutil.copytree(aside / "old", store)
        assert len(library.videos()) == 2


def test_mistakes_are_errors_with_a_hint(home, tmp_path):
    with savecli.open_library(home) as library:
        for ask in ({}, {"text": "  "}, {"sees": " "}, {"text": "red", "like": ""}):
            with pytest.raises(QueryError) as raised:
                library.search(**ask)
            assert raised.value.hint
    for again in (library.videos, lambda: library.search("red")):
        with pytest.raises(StoreError, match="closed"):
            again()
    library.close()
    with pytest.raises(StoreError) as raised:
        savecli.open_library(tmp_path / "none")
    assert raised.value.hint
    assert issubclass(ConfigError, SaveError)


def test_each_thread_opens_its_own(home):
    found = []

    def search() -> None:
        with savecli.open_library(home) as library:
            found.append(library.search("red").moments[0].path.name)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["red.mp4"] * 4


def test_a_thread_that_did_not_open_it_is_told_so(home):
    said = []

    def search(library) -> None:
        with pytest.raises(StoreError, match="another thread") as raised:
            library.search("red")
        said.append(raised.value.hint)

    with savecli.open_library(home) as library:
        thread = threading.Thread(target=search, args=(library,))
        thread.start()
        thread.join()
        assert "open_library" in said[0]
        assert library.search("red").moments


def test_one_text_is_not_taken_for_its_letters(home):
    with savecli.open_library(home) as library:
        one = library.search("red", against="blue", phrases="green", regexes="gre+n", threshold=0)
        assert one == library.search(
            "red", against=["blue"], phrases=["green"], regexes=["gre+n"], threshold=0
        )
        assert one.moments


def test_importing_it_loads_nothing_and_an_unknown_name_is_an_error():
    code = (
        "import sys, savecli\n"
        "print(savecli.__version__)\n"
        "print(sorted({'numpy', 'click', 'rich', 'savecli.api'} & set(sys.modules)))\n"
        "print(callable(savecli.open_library), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.splitlines()[1:] == ["[]", "True False"]
    with pytest.raises(AttributeError, match="nothing_like_it"):
        savecli.nothing_like_it  # noqa: B018
    assert "open_library" in savecli.__all__
