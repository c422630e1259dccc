"""From a search to a player and to files, with the installed command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import av
import pytest

LINK = re.compile(r"\x1b\]8;[^;]*;(file://[^\x1b]+)\x1b\\")


@pytest.fixture
def save(own_library):
    return own_library


@pytest.fixture
def found(save):
    """Two moments, the first of them in `cockatoo.mp4`."""
    return save("search", "a cockatoo", "--all", "-k", "2", "--json").records


def test_numbers_mean_the_last_search_and_only_that(save, found, tmp_path):
    for n in (1, 2):
        opened = save("open", n, "--dry-run", "--player", "system")
        if opened.code == 0:  # a machine with an opener
            assert opened.out.rstrip().endswith(Path(found[n - 1]["path"]).name)
    assert save("export", "1-2", tmp_path / "out.csv").code == 0
    save("search", "the best of times", "--json", "-k", "1")
    run = save("export", "2", tmp_path / "again.csv")
    assert run.code == 2
    assert "the last search found 1" in run.err
    assert not (tmp_path / "again.csv").exists()


def test_a_mpv_of_our_own_gets_the_moment(save, found, tmp_path):
    player = tmp_path / "bin" / "mpv"
    player.parent.mkdir()
    player.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path / "ran"}\n')
    player.chmod(0o755)
    here = save.using(PATH=f"{player.parent}:{os.environ['PATH']}")
    assert here("open", 2).code == 0
    words = (tmp_path / "ran").read_text().splitlines()
    assert words[-1] == found[1]["path"]
    assert words[0] == f"--start={found[1]['start_s']:.3f}"
    assert here("search", "a cockatoo", "--open", "1").code == 0
    assert (tmp_path / "ran").read_text().splitlines()[-1] == found[0]["path"]


def test_a_search_can_write_what_it_found(save, tmp_path):
    run = save("search", "a cockatoo", "--all", "-k", "2", "--export", tmp_path / "out.mp4", "--json")
    assert run.code == 0
    records = run.records  # nothing but JSON on stdout
    with av.open(str(tmp_path / "out.mp4")) as container:
        length_s = container.duration / 1e6
    assert length_s == pytest.approx(sum(r["end_s"] - r["start_s"] for r in records), abs=0.15)


@pytest.mark.parametrize("suffix", ["edl", "fcpxml", "otio", "m3u", "csv", "srt", "html"])
def test_every_format_names_its_moments(save, found, tmp_path, suffix):
    run = save("export", "1-2", tmp_path / f"out.{suffix}")
    assert run.code == 0
    assert run.out.startswith(f"wrote {tmp_path / 'out'}.{suffix}  2 moments")
    if suffix != "srt":
        text = unquote((tmp_path / f"out.{suffix}").read_text("utf-8"))
        assert all(record["path"] in text for record in found)


def test_nothing_found_writes_nothing(save, tmp_path):
    run = save("search", "a recipe for chocolate cake", "--export", tmp_path / "out.csv", "--open", "1")
    assert run.code == 1
    assert not (tmp_path / "out.csv").exists()


def test_paths0_gives_whole_names(save, found):
    run = save("search", "a cockatoo", "--all", "-k", "2", "--paths0")
    assert run.out.split("\0") == [*(record["path"] for record in found), ""]


def test_a_terminal_gets_links_and_pictures_and_a_pipe_neither(save, found):
    sent = save.on_terminal("search", "a cockatoo", "--all", "-k", "2", "--preview")
    paths = [re.sub(r"^file://[^/]*", "", unquote(url)) for url in LINK.findall(sent)]
    assert list(dict.fromkeys(paths)) == [record["path"] for record in found]
    assert sent.count("▀") > 200
    dull = save.using(NO_COLOR="1").on_terminal("search", "a cockatoo", "--preview")
    assert "▀" not in dull
    assert "no pictures" in dull
    piped = save("search", "a cockatoo", "--preview")
    assert "▀" not in piped.out
    assert "\x1b" not in piped.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_is_read_only_still_searches(save):
    save.home.chmod(0o500)
    try:
        assert save("search", "a cockatoo").code == 0
    finally:
        save.home.chmod(0o700)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(save, tmp_path, shell):
    run = save("completion", shell)
    assert run.code == 0
    if shutil.which(shell):
        (tmp_path / "script").write_text(run.out)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)
