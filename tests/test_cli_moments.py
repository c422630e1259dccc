"""What the commands make of the last results: open, show, export, completion; no model is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from savecli import last
from savecli.__main__ import main
from savecli.datatypes import Moment

from . import counted


@pytest.fixture
def end(monkeypatch, capsysbinary):
    """Runs `main`, and returns its exit code with what was written."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["save", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsysbinary.readouterr()
        return ended.value.code, os.fsdecode(out), os.fsdecode(err)

    return run


@pytest.fixture
def video(tmp_path):
    return counted.make(tmp_path / "videos" / "-a dog & é.mp4", n=100, sound=counted.beeps(4))


@pytest.fixture
def found(tmp_path, monkeypatch, video, put, colour_store):
    """A store with a video, and a search that found two moments in it and one that is out of reach."""
    monkeypatch.setenv("SAVE_HOME", str(tmp_path))
    stored = put(video, ["red", "green"], said=[["good boy"], ["come here"]])
    colour_store.close()
    gone = Moment(
        path=tmp_path / "gone.mp4", video_id="00" * 16, start_s=1, end_s=2, score=0.3, drive="Trip-2019"
    )
    moments = [
        Moment(path=video, video_id=stored.fingerprint, start_s=start, end_s=start + 0.4, score=0.5)
        for start in (2.0, 0.4)
    ]
    last.remember(tmp_path, '"dog"', [*moments, gone])
    return video


def test_a_result_is_opened_by_its_number(end, found, tmp_path, monkeypatch):
    player = tmp_path / "bin" / "mpv"
    player.parent.mkdir()
    player.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path / 'ran'}\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{player.parent}:/usr/bin:/bin")
    code, out, err = end("open", "1")
    assert (code, out, err) == (0, "", "")
    assert (tmp_path / "ran").read_text().splitlines() == [
        "--start=2.000",
        "--force-window=yes",
        "--",
        str(found),
    ]
    code, out, _ = end("open", "1", "--dry-run")
    assert out.startswith(f"{player} --start=2.000 ")


def test_a_search_whose_numbers_cannot_be_kept_says_so(end, found, tmp_path):
    (tmp_path / last.FILE).unlink()
    (tmp_path / last.FILE).mkdir()
    code, out, err = end("search", "--phrase", "good boy")
    assert code == 0
    assert "good boy" in out
    assert err == f"save open, show and export do not know these numbers: {tmp_path} cannot be written\n"
    assert end("search", "-q", "--phrase", "good boy")[2] == ""
    code, _, err = end("open", "1")
    assert code == 2
    assert "Is a directory" in err


def test_copies_below_a_folder_that_is_not_known_are_no_answer(end, found, tmp_path):
    code, out, err = end("dupes", tmp_path / "nope")
    assert (code, out) == (2, "")
    assert err == f"save: nothing under {tmp_path / 'nope'} is in the store\n  save list\n"


def test_what_was_not_known_is_told_where_other_files_are_forgotten(end, found, tmp_path):
    code, out, err = end("forget", "--", tmp_path / "nope", found)
    assert (code, out) == (1, "1 file forgotten; nothing on disk was touched\n")
    assert err == f"nothing under {tmp_path / 'nope'} is in the store\n  save list\n"
    assert found.exists()


def test_a_path_is_opened_at_its_time(end, found, tmp_path, monkeypatch):
    monkeypatch.chdir(found.parent)
    monkeypatch.setattr("savecli.play._find", lambda program: f"/bin/{program}" if program == "vlc" else None)
    code, out, _ = end("open", "--dry-run", "--", f"{found.name}@1:20")
    assert code == 0
    assert out == f"/bin/vlc file://{found.parent}/-a%20dog%20%26%20%C3%A9.mp4 :start-time=80.000\n"


def test_without_a_player_the_command_is_shown(end, found, monkeypatch):
    monkeypatch.setattr("savecli.play._find", lambda program: None)
    code, out, err = end("open", "2")
    assert (code, out) == (2, "")
    assert "no player is installed" in err
    assert "mpv --start=0.400" in err
    code, _, err = end("open", "2", "--player", "vlc")
    assert (code, "vlc is not installed" in err) == (2, True)


def test_the_systems_opener_is_told_to_know_no_moment(end, found, monkeypatch):
    monkeypatch.setattr("savecli.play._find", lambda program: "/bin/true" if program == "xdg-open" else None)
    code, _, err = end("open", "1")
    assert code == 0
    assert "starts at the beginning; the moment is at 0:02" in err


def test_what_cannot_be_opened_is_told(end, found):
    code, _, err = end("open", "3")
    assert code == 2
    assert "gone.mp4 is not there now" in err
    assert "Trip-2019" in err
    assert end("open", "4")[0] == 2
    assert "names 2 results" in end("open", "1-2")[2]
    assert "no search yet" in end("open", "1", "--home", found.parent)[2]


def test_a_result_is_shown_by_its_number(end, found):
    code, out, _ = end("show", "2", "--json")
    assert code == 0
    assert str(found) in json.dumps(json.loads(out.splitlines()[0]), ensure_ascii=False)


def test_results_are_exported_by_their_numbers(end, found, tmp_path):
    code, out, err = end("export", "2,1", tmp_path / "out.mp4")
    assert (code, err) == (0, "")
    assert out == f"wrote {tmp_path / 'out.mp4'}  2 moments, 0:00\n"
    assert counted.numbers(tmp_path / "out.mp4") == [*range(10, 20), *range(50, 60)]
    code, out, _ = end("export", "1-2", f"{tmp_path / 'clips'}/", "--json")
    told = json.loads(out)
    assert [Path(path).name for path in told["paths"]] == ["01 -a dog _ é 0.02.mp4", "02 -a dog _ é 0.00.mp4"]
    assert told["n_moments"] == 2
    assert told["length_s"] == pytest.approx(0.8)


def test_words_in_an_export_come_from_the_store(end, found, tmp_path):
    assert end("export", "1-2", tmp_path / "out.srt", "--pad", "1")[0] == 0
    text = (tmp_path / "out.srt").read_text()
    assert "good boy" in text
    assert "come here" in text


def test_an_export_says_what_is_wrong_and_leaves_nothing(end, found, tmp_path):
    before = sorted(tmp_path.iterdir())
    for arguments, told in (
        (("1-3", tmp_path / "out.mp4"), "Trip-2019"),
        (("9", tmp_path / "out.mp4"), "no result 9"),
        (("1", tmp_path / "out.doc"), "no format is called .doc"),
        (("1", found), "one of the videos"),
        (("x", tmp_path / "out.mp4"), "names no results"),
        ((tmp_path / "out.mp4",), "Which moments?"),
        (("1",), "Missing argument 'FILE'"),
        (("1", tmp_path / "a.csv", "b"), "unexpected extra"),
        ((tmp_path / "library.save", "--pad", "1"), "need HITS"),
    ):
        code, out, err = end("export", *arguments)
        assert (code, out) == (2, "")
        assert told in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(end, shell):
    code, out, err = end("completion", shell)
    assert (code, err) == (0, "")
    assert f"_SAVE_COMPLETE={shell}_complete" in out


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_options(end, tmp_path):
    (tmp_path / "save.bash").write_text(end("completion", "bash")[1])
    (tmp_path / "save").write_text(f'#!/bin/sh\nexec {sys.executable} -m savecli "$@"\n')
    (tmp_path / "save").chmod(0o755)
    root = Path(__file__).parents[1]

    def complete(*words: str) -> list[str]:
        script = (
            f"source save.bash; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1};"
            f' _save_completion ./save; printf "%s\\n" "${{COMPREPLY[@]}}"'
        )
        env = {**os.environ, "PYTHONPATH": str(root), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        run = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
        return run.stdout.split()

    assert complete("save", "exp") == ["export"]
    assert "--dry-run" in complete("save", "open", "--d")
    assert complete("save", "open", "--player", "i") == ["iina"]
