"""Which player opens a video, with which words; and that they are words and no shell's."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import pytest

from savecli import play
from savecli.errors import MediaError, QueryError


def finder(*programs):
    return lambda program: f"/bin/{program}" if program in programs else None


@pytest.mark.parametrize(
    ("here", "platform", "words", "seeks"),
    [
        (
            ("mpv", "vlc"),
            "linux",
            ("/bin/mpv", "--start=80.500", "--force-window=yes", "--", "/v/dog.mp4"),
            True,
        ),
        (("vlc", "xdg-open"), "linux", ("/bin/vlc", "file:///v/dog.mp4", ":start-time=80.500"), True),
        (("iina-cli", "vlc"), "darwin", ("/bin/iina-cli", "--mpv-start=80.500", "/v/dog.mp4"), True),
        (("xdg-open",), "linux", ("/bin/xdg-open", "/v/dog.mp4"), False),
        (("open",), "darwin", ("/bin/open", "/v/dog.mp4"), False),
        (("explorer",), "win32", ("/bin/explorer", "/v/dog.mp4"), False),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
def test_the_first_player_that_is_here_starts_at_the_moment(here, platform, words, seeks):
    chosen = play.command(Path("/v/dog.mp4"), 80.5, find=finder(*here), platform=platform)
    assert chosen.words == words
    assert chosen.seeks == seeks


def test_one_player_can_be_asked_for():
    chosen = play.command(Path("/v/dog.mp4"), 1, player="vlc", find=finder("mpv", "vlc"))
    assert chosen.player == "vlc"
    assert play.command(Path("/v/dog.mp4"), 1, player="iina", find=finder("mpv", "vlc")) is None


def test_without_a_player_the_command_can_be_told():
    assert play.command(Path("/v/dog.mp4"), 1, find=finder(), platform="linux") is None
    assert play.typed(Path("/v/a dog.mp4"), 80) == "mpv --start=80.000 --force-window=yes -- '/v/a dog.mp4'"


@pytest.mark.parametrize(
    "name", ["-dash.mp4", "--script=evil.lua", "a b; rm -rf ~.mp4", "$(x).mp4", "#t%41.mp4", "http:x"]
)
@pytest.mark.parametrize("player", ["mpv", "vlc", "iina", "system"])
def test_no_name_is_taken_for_an_option(monkeypatch, tmp_path, name, player):
    monkeypatch.chdir(tmp_path)
    here = finder("mpv", "vlc", "iina-cli", "xdg-open", "open", "explorer")
    chosen = play.command(Path(name), 3, player=player, find=here)
    (file,) = [word for word in chosen.words[1:] if "tmp" in word or str(tmp_path) in word]
    assert file.startswith(("/", "file:///"))
    assert shlex.split(chosen.shown) == list(chosen.words)


@pytest.fixture
def program(tmp_path):
    """A player of our own: writes its arguments, then ends with a code or stays."""

    def make(code: str) -> Path:
        path = tmp_path / "player"
        noting = f"open({str(tmp_path / 'ran')!r}, 'w').write(repr(sys.argv[1:]))"
        path.write_text(f"#!{sys.executable}\nimport sys, time\n{noting}\n{code}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.mark.skipif(sys.platform == "win32", reason="a script with a shebang")
def test_a_player_gets_its_words_and_is_left_running(program, tmp_path):
    path = program("time.sleep(2.5)")
    started = time.monotonic()
    play.play(play.Command(player="mpv", words=(str(path), "--", "-a b$;.mp4"), seeks=True))
    assert time.monotonic() - started < 2.3
    assert (tmp_path / "ran").read_text() == repr(["--", "-a b$;.mp4"])


@pytest.mark.skipif(sys.platform == "win32", reason="a script with a shebang")
def test_a_player_that_fails_at_once_is_told_of(program):
    chosen = play.Command(player="mpv", words=(str(program("sys.exit(3)")), "x.mp4"), seeks=True)
    with pytest.raises(MediaError, match="exit code 3") as caught:
        play.play(chosen)
    assert chosen.shown in caught.value.hint
    play.play(play.Command(player="mpv", words=(str(program("")), "x.mp4"), seeks=True))


def test_a_player_that_cannot_be_started(tmp_path):
    with pytest.raises(MediaError, match="cannot start"):
        play.play(play.Command(player="mpv", words=(str(tmp_path / "absent"), "x.mp4"), seeks=True))


@pytest.mark.parametrize(
    ("text", "path", "start_s"),
    [
        ("dog.mp4", "dog.mp4", None),
        ("dog.mp4@80", "dog.mp4", 80),
        ("dog.mp4@1:20", "dog.mp4", 80),
        ("/v/me@home/dog.mp4@1:02:03.5", "/v/me@home/dog.mp4", 3723.5),
        ("me@home.mp4", "me@home.mp4", None),
        ("@80", "@80", None),
    ],
)
def test_a_path_with_a_time(text, path, start_s):
    assert play.parse(text) == (Path(path), start_s)


def test_a_file_that_is_called_so_is_meant(tmp_path):
    path = tmp_path / "dog@80"
    path.touch()
    assert play.parse(str(path)) == (path, None)


@pytest.mark.parametrize("text", ["1:2:3:4", "1:x", "1e5", "8..0", "1:", "١"])
def test_what_is_no_time(text):
    with pytest.raises(QueryError, match="no time"):
        play.seconds(text)
