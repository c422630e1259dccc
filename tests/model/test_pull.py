"""Downloads end whole or not at all, go on where they stopped, and are what the manifest names."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from savecli import library
from savecli.config import Config
from savecli.errors import WeightsError
from savecli.events import Pulled, Pulling
from savecli.model import pull, weights
from savecli.render import pull_json, pull_table

CONTENT = bytes(range(256)) * 8192  # 2 MiB
CUT = 700_000


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content` as its switches say, and keeps the headers of each request."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append(dict(self.headers))
        if server.status:
            self.send_error(server.status)
        elif server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
        else:
            self.serve(server)

    def serve(self, server):
        start = int((re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        if not server.ranges or self.headers.get("If-Range", server.etag) != server.etag:
            start = 0
        if start >= len(server.content) > 0:
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(server.content)
            self.send_header("Content-Range", server.range or f"bytes {start}-{total - 1}/{total}")
        if server.declares:
            self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        body = body if server.cut_at is None else body[: max(0, server.cut_at - start)]
        for i in range(0, len(body), 1 << 16):
            self.wfile.write(body[i : i + (1 << 16)])
            time.sleep(server.pace_s)


@pytest.fixture
def server(monkeypatch):
    """A server on this machine, which alone may be reached."""
    refuse = socket.socket.connect
    real = socket.SocketType.connect

    def connect(self, address):
        return real(self, address) if address[0] == "127.0.0.1" else refuse(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.handle_error = lambda *_: None  # clients that hang up are what is tested
    served.daemon_threads = True
    vars(served).update(
        content=CONTENT, asked=[], status=0, redirect="", ranges=True, range="", etag='"one"', declares=True
    )
    vars(served).update(cut_at=None, pace_s=0.0, url=f"http://127.0.0.1:{served.server_port}/model.bin")
    threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def entry(*urls, content=CONTENT):
    file = weights.WeightsFile(
        name="model.bin", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), urls=urls
    )
    return weights.Weights(
        name="tiny",
        role="clip",
        licence="MIT",
        about="made up",
        origin="a test",
        upstream="https://example.org/tiny",
        packages=(),
        files=(file,),
    )


@pytest.fixture
def model_dir(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def known(monkeypatch, server):
    """Makes the manifest hold one download, from the server unless other URLs are given."""

    def put(*urls, content=CONTENT):
        made = {"tiny": entry(*(urls or (server.url,)), content=content)}
        monkeypatch.setattr(weights, "manifest", lambda: made)

    put()
    return put


@pytest.fixture
def fetch(known, model_dir):
    """Pulls, and returns what was told last."""

    def run(**options):
        return list(pull.pull("tiny", model_dir, **options))[-1]

    return run


def left(model_dir):
    return {path.name for path in (model_dir / "tiny").iterdir()} - {".pull.lock"}


def test_a_whole_file_is_pulled_told_and_found(server, fetch, model_dir):
    events = list(pull.pull("tiny", model_dir))
    *steps, last = events
    assert all(isinstance(step, Pulling) and step.total_bytes == len(CONTENT) for step in steps)
    done = [step.done_bytes for step in steps]
    assert done == sorted(set(done))
    assert done[-1] == len(CONTENT)
    assert last == Pulled(
        name="tiny",
        file="model.bin",
        path=model_dir / "tiny" / "model.bin",
        size_bytes=len(CONTENT),
        fetched_bytes=len(CONTENT),
    )
    assert last.path.read_bytes() == CONTENT
    assert left(model_dir) == {"model.bin"}
    assert weights.locate("tiny", model_dir) == {"model.bin": last.path}
    assert "Range" not in server.asked[0]


def test_what_is_here_opens_no_socket_even_offline(server, fetch):
    fetch()
    server.shutdown()
    assert fetch().fetched_bytes == 0
    assert fetch(offline=True).fetched_bytes == 0
    assert len(server.asked) == 1


def test_a_pulled_file_is_hashed_once(fetch, model_dir, monkeypatch):
    hashed = []
    real = weights._sha256
    monkeypatch.setattr(weights, "_sha256", lambda paths: hashed.extend(paths) or real(paths))
    fetch()
    weights.locate("tiny", model_dir)
    assert len(hashed) == 1


def test_a_cut_download_goes_on_where_it_stopped(server, fetch, model_dir):
    server.cut_at = CUT
    with pytest.raises(WeightsError, match=f"connection broke after {CUT} of") as caught:
        fetch()
    assert "save model pull tiny" in caught.value.hint
    assert "model.bin" not in left(model_dir)
    assert (model_dir / "tiny" / ".model.bin.part").read_bytes() == CONTENT[:CUT]
    server.cut_at = None
    assert fetch().fetched_bytes == len(CONTENT) - CUT
    assert server.asked[-1]["Range"] == f"bytes={CUT}-"
    assert server.asked[-1]["If-Range"] == '"one"'
    assert left(model_dir) == {"model.bin"}


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_etag_it_goes_on_as_well(server, fetch, etag):
    server.etag, server.cut_at = etag, CUT
    with pytest.raises(WeightsError):
        fetch()
    server.cut_at = None
    assert fetch().fetched_bytes == len(CONTENT) - CUT
    assert "If-Range" not in server.asked[-1]


def test_a_server_without_ranges_sends_all_again(server, fetch):
    server.cut_at = CUT
    with pytest.raises(WeightsError):
        fetch()
    server.cut_at, server.ranges = None, False
    assert fetch().fetched_bytes == len(CONTENT)


def test_a_file_that_changed_begins_anew(server, fetch):
    server.content, server.cut_at = CONTENT[::-1], CUT
    with pytest.raises(WeightsError):
        fetch()
    server.content, server.cut_at, server.etag = CONTENT, None, '"two"'
    assert fetch().fetched_bytes == len(CONTENT)


@pytest.mark.parametrize("given", ["bytes 5-9/10", "nonsense", f"bytes {CUT}-9/10"])
def test_a_part_that_was_not_asked_for_is_not_appended(server, fetch, given):
    server.cut_at = CUT
    with pytest.raises(WeightsError):
        fetch()
    server.cut_at, server.range = None, given
    assert fetch().fetched_bytes == len(CONTENT)
    assert "Range" not in server.asked[-1]


def test_a_part_the_server_cannot_continue_is_dropped(server, fetch, model_dir):
    (model_dir / "tiny").mkdir(parents=True)
    (model_dir / "tiny" / ".model.bin.part").write_bytes(CONTENT[:CUT])
    real, server.content = server.content, b""
    server.status = 416
    with pytest.raises(WeightsError):
        fetch()
    assert left(model_dir) == set()
    server.status, server.content = 0, real
    assert fetch().fetched_bytes == len(CONTENT)


@pytest.mark.parametrize("n_bytes", [len(CONTENT), len(CONTENT) + 9], ids=["whole", "too long"])
def test_a_part_with_nothing_to_fetch(server, fetch, model_dir, n_bytes):
    (model_dir / "tiny").mkdir(parents=True)
    (model_dir / "tiny" / ".model.bin.part").write_bytes((CONTENT * 2)[:n_bytes])
    assert fetch().fetched_bytes == (0 if n_bytes == len(CONTENT) else n_bytes - 9)


def test_another_file_of_the_same_size_is_refused_and_removed(server, fetch, model_dir):
    server.content = CONTENT[::-1]
    with pytest.raises(WeightsError, match="SHA-256 differs") as caught:
        fetch()
    assert "https://example.org/tiny" in caught.value.hint
    assert left(model_dir) == set()


def test_a_wrong_file_in_its_place_is_replaced(fetch, model_dir):
    (model_dir / "tiny").mkdir(parents=True)
    (model_dir / "tiny" / "model.bin").write_bytes(b"damaged")
    assert fetch().path.read_bytes() == CONTENT


@pytest.mark.parametrize("declares", [True, False])
@pytest.mark.parametrize("served", [CONTENT + b"more", CONTENT[:-9]], ids=["longer", "shorter"])
def test_a_file_of_another_size_never_gets_its_name(server, fetch, model_dir, served, declares):
    server.content, server.declares = served, declares
    with pytest.raises(WeightsError, match=r"serves|more came|broke"):
        fetch()
    assert "model.bin" not in left(model_dir)


def test_not_found_is_told_with_the_way_by_hand(server, fetch, model_dir):
    server.status = 404
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1: 404 Not Found") as caught:
        fetch()
    assert server.url in caught.value.hint
    assert str(model_dir / "tiny" / "model.bin") in caught.value.hint
    assert len(server.asked) == 1


def test_the_next_mirror_goes_on_where_the_first_broke(server, known, fetch, model_dir):
    (model_dir / "tiny").mkdir(parents=True)
    (model_dir / "tiny" / ".model.bin.part").write_bytes(CONTENT[:CUT])
    dead = socket.create_server(("127.0.0.1", 0))
    known(f"http://127.0.0.1:{dead.getsockname()[1]}/model.bin", server.url)
    dead.close()
    assert fetch().fetched_bytes == len(CONTENT) - CUT


@pytest.mark.parametrize(
    "url", ["http://example.org/model.bin", "ftp://127.0.0.1/model.bin", "file:///etc/hosts"]
)
def test_only_https_is_spoken(known, fetch, url):
    known(url)
    with pytest.raises(WeightsError, match="only https"):
        fetch()


@pytest.mark.parametrize("target", ["http://example.org/x", "ftp://example.org/x"])
def test_no_redirect_leaves_https(server, fetch, target):
    server.redirect = target
    with pytest.raises(WeightsError, match=r"away from https"):
        fetch()


def test_from_https_not_even_to_this_machine():
    assert not pull._is_allowed("http://127.0.0.1/x", before="https")
    assert pull._is_allowed("https://example.org/x", before="https")


def test_offline_names_the_file_its_address_and_its_place(server, fetch, model_dir):
    with pytest.raises(WeightsError, match=r"tiny needs its file model\.bin") as caught:
        fetch(offline=True)
    assert server.url in caught.value.hint
    assert str(model_dir / "tiny" / "model.bin") in caught.value.hint
    assert server.asked == []
    assert not model_dir.exists()


def test_space_is_looked_at_before_anything_is_fetched(server, fetch, monkeypatch):
    monkeypatch.setattr(pull.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(WeightsError, match="2 MB are needed") as caught:
        fetch()
    assert "SAVE_MODEL_DIR" in caught.value.hint
    assert server.asked == []


def test_a_disk_that_fills_up_keeps_what_fits(fetch, model_dir, monkeypatch):
    def full(self, url, etag):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pull._Part, "remember", full)
        with pytest.raises(WeightsError, match="No space left on device") as caught:
            fetch()
    assert "goes on" in caught.value.hint
    assert fetch().fetched_bytes == len(CONTENT)


def test_a_folder_that_cannot_be_written_is_told(known, tmp_path):
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match="cannot write") as caught:
        list(pull.pull("tiny", tmp_path / "models"))
    assert "SAVE_MODEL_DIR" in caught.value.hint


def test_two_pulls_of_the_same_do_not_meet(known, model_dir):
    first = pull.pull("tiny", model_dir)
    next(first)
    with pytest.raises(WeightsError, match="another process is pulling tiny"):
        list(pull.pull("tiny", model_dir))
    assert list(first)[-1].path.read_bytes() == CONTENT


CHILD = """
import json, sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from test_pull import entry
from savecli.model import pull, weights
weights.manifest = lambda: {"tiny": entry(sys.argv[1])}
for event in pull.pull("tiny", Path(sys.argv[2])):
    print(event, flush=True)
    if sys.argv[3] == "hang" and event.done_bytes > 500_000:
        import time; time.sleep(60)
"""


def child(server, model_dir, how):
    from pathlib import Path

    arguments = [server.url, str(model_dir), how, str(Path(__file__).parent)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True)


def test_a_killed_pull_goes_on_where_it_stopped(server, model_dir):
    with child(server, model_dir, "hang") as process:
        part = model_dir / "tiny" / ".model.bin.part"
        until = time.monotonic() + 60
        while not part.exists() or part.stat().st_size <= 500_000:
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    kept = part.stat().st_size
    assert left(model_dir) == {".model.bin.part", ".model.bin.part.json"}
    with child(server, model_dir, "run") as process:
        assert f"fetched_bytes={len(CONTENT) - kept})" in process.stdout.read()
    assert server.asked[-1]["Range"] == f"bytes={kept}-"
    assert (model_dir / "tiny" / "model.bin").read_bytes() == CONTENT


def test_all_names_are_looked_up_before_anything_is_fetched(server, known, model_dir, tmp_path):
    config = Config(home=tmp_path, model_dir=model_dir)
    for name, message in (("gpt", "no weights are called gpt"), ("save-mini", "part of savecli")):
        with pytest.raises(WeightsError, match=message):
            library.pull(["tiny", name], config)
    assert server.asked == []
    assert len(library.pull(["tiny", "tiny"], config)) == 1


def test_weights_of_packages_are_told_and_not_fetched(model_dir):
    told = list(pull.pull("all-minilm-l6-v2", model_dir, offline=True))
    assert [event.file for event in told] == ["model.safetensors", "tokenizer.json"]


def test_the_list_and_the_facts_say_what_is_not_pulled(fetch, model_dir, server):
    states = {row["name"]: row["state"] for row in library.weights_list(model_dir)}
    assert states["tiny"] == "not pulled (2 MB)"
    facts = library.weights_info("tiny", model_dir)
    assert server.url in facts["published at, model.bin"]
    assert "save model pull tiny" in facts["state"]
    assert "packages" not in facts
    path = fetch().path
    assert {row["name"]: row["state"] for row in library.weights_list(model_dir)}["tiny"] == "here"
    assert library.weights_info("tiny", model_dir)["state"] == "every byte as published"
    path.write_bytes(b"damaged")
    assert {row["name"]: row["state"] for row in library.weights_list(model_dir)}["tiny"] == "damaged"


@pytest.mark.parametrize("how", ["--offline", "SAVE_OFFLINE", "HF_HUB_OFFLINE"])
def test_the_command_offline_is_an_expected_failure(how, model_dir, monkeypatch, capsys):
    from savecli.__main__ import main

    monkeypatch.setenv("SAVE_MODEL_DIR", str(model_dir))
    flags = [how] if how.startswith("--") else []
    if not flags:
        monkeypatch.setenv(how, "1")
    monkeypatch.setattr("sys.argv", ["save", "model", "pull", "clip-vit-b-32", *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    for named in ("ViT-B-32.pt", "https://openaipublic.azureedge.net/clip", str(model_dir)):
        assert named in err


def test_the_command_pulls(known, model_dir, monkeypatch, capsys):
    from savecli.__main__ import main

    monkeypatch.setenv("SAVE_MODEL_DIR", str(model_dir))
    monkeypatch.setattr("sys.argv", ["save", "model", "pull", "tiny", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["fetched_bytes"] == len(CONTENT)


def test_json_has_one_object_a_file(known, model_dir, capsys):
    pull_json(pull.pull("tiny", model_dir))
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "name": "tiny",
        "file": "model.bin",
        "path": str(model_dir / "tiny" / "model.bin"),
        "size_bytes": len(CONTENT),
        "fetched_bytes": len(CONTENT),
    }


def test_a_pipe_gets_one_line_and_no_bar(known, model_dir, capsys):
    for word in ("pulled", "here"):
        pull_table(pull.pull("tiny", model_dir))
        out, err = capsys.readouterr()
        assert out.startswith(f"{word}  tiny")
        assert out.count("\n") == 1
        assert err == ""
    pull_table(pull.pull("tiny", model_dir), quiet=True)
    assert capsys.readouterr().out == ""
