"""The real `save index` over a mixed folder, to be ended at any moment, and what its store then holds.

For the scripts of trials beside it: each ends a run in its own way, judges what is left, and lets the next
run go on.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

from savecli import config, toy
from savecli.pipeline import make_encoder
from savecli.search import search
from savecli.store import Store
from savecli.store.check import verify
from savecli.store.folder import exists
from savecli.store.records import KINDS, Problem

HERE = Path(__file__).parent
CLIPS = ("s01.mp4", "s03.mp4", "s11.mkv", "s13.mp4", "s14.mpg")
"""Of the folder of test footage: with and without sound and speech, none longer than 7 s."""
BROKEN = ("truncated.mkv", "bitflips.mp4", "corrupt_moov.mp4", "text_renamed.mp4", "zero_byte.mp4")
QUERIES = ("a man who talks", "a red circle", "water", "set white now", "music")
LIMIT_S = 240
PAGE_BYTES = 4096
BUSY_S = 5.0

# Graphs pay from a hundred thousand rows on; here they are built for a handful.
START = """
import atexit, ctypes, os, resource, sys
from savecli.store import searcher
searcher.GRAPH_MIN_ROWS = 4
if limit := int(os.environ.get("TRIAL_LIMIT", 0)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if armed := os.environ.get("TRIAL_ARM"):
    folder, mode, number = armed.rsplit(" ", 2)
    library = ctypes.CDLL(None)
    library.faults_counted.restype = ctypes.c_long
    library.faults_arm(os.fsencode(folder), ctypes.c_int(int(mode)), ctypes.c_long(int(number)))
    if "TRIAL_COUNT" in os.environ:
        count = lambda: open(os.environ["TRIAL_COUNT"], "w").write(str(library.faults_counted()))
        atexit.register(count)
from savecli.__main__ import main
main()
"""
KEPT_NAMES = re.compile(
    r"FORMAT|write\.lock|writer\.json|catalog\.db(-wal|-shm|\.sum|\.r\d{10,}\.[0-9a-f]{8}\.bak)?"
    r"|\w+-g\d{4}\.(f16|usearch)"
)
AT_WORK = re.compile(r"writer\.json|catalog\.db-(wal|shm)")
State = dict[str, object]


def mixed_folder(folder: Path, media: Path | None) -> Path:
    """Real clips, or made-up ones where there are none; a copy, broken files, a name in many letters."""
    folder.mkdir(parents=True)
    if media is not None and media.is_dir():
        for path in [media / name for name in CLIPS] + [media / "broken" / name for name in BROKEN]:
            shutil.copyfile(path, folder / path.name)
        first = folder / CLIPS[3]
    else:
        first = _made_up(folder)
    (folder / "Ünïcödé 日本").mkdir()
    shutil.copyfile(first, folder / "Ünïcödé 日本" / "copy\n1.mp4")
    for path in folder.rglob("*"):
        os.utime(path, (1.7e9, 1.7e9))  # not written just now, which would have it wait
    return folder


def _made_up(folder: Path) -> Path:
    toy.make_toy(folder / "toy", n_train=4, n_test=1, seed=0)
    videos = sorted((folder / "toy" / "videos").iterdir())
    whole = videos[0].read_bytes()
    for path in videos:
        path.rename(folder / path.name)
    shutil.rmtree(folder / "toy")
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("no video\n" * 99)
    (folder / "zero.mp4").touch()
    return folder / videos[0].name


@dataclass(kw_only=True)
class Run:
    """A run of `save index --json`, and what it has told so far, with the seconds since its start."""

    process: subprocess.Popen[str]
    mark: str
    started_s: float
    told: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.told.append((time.monotonic() - self.started_s, json.loads(line)))

    @property
    def acknowledged(self) -> set[str]:
        """Paths that it said are stored."""
        stored = ("indexed", "unchanged", "moved")
        return {event["path"] for _, event in list(self.told) if event["event"] in stored}

    def wait_until(self, told: Callable[[], bool], limit_s: float) -> bool:
        """Whether something came true before the time was up or the run was over."""
        until = time.monotonic() + limit_s
        while not told():
            if time.monotonic() > until or self.process.poll() is not None:
                return told()
            time.sleep(0.001)
        return True

    def end(self, listener: Thread) -> tuple[int, str]:
        """Waits for it; exit code and what it said on stderr."""
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        code = self.process.wait(LIMIT_S)
        listener.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return code, said

    def phase(self) -> str:
        """How far it came, by what it told."""
        events = [event["event"] for _, event in self.told]
        if "summary" in events:
            return "closing"
        return "reading" if "indexed" in events else "starting"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended."""

    run: Run
    code: int
    said: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where trials take place: a folder of videos, a home beside it, and a scratch folder for all else.

    Attributes:
        faults: the library of faults.c, None where it cannot be built.
        disk: the folder that has the home, None for `folder`.
    """

    folder: Path
    videos: Path
    asr: str
    faults: Path | None
    disk: Path | None = None

    @property
    def home(self) -> Path:
        return (self.disk or self.folder) / "home"

    @property
    def store(self) -> Path:
        return self.home / "store"

    def start(self, home: Path | None = None, **env: str) -> tuple[Run, Thread]:
        """Starts a run, by itself in a session of its own."""
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        own = {"HOME": scratch, "TMPDIR": scratch, "SAVE_HOME": home or self.home, "TRIAL_MARK": mark}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SAVE_")}
        if self.faults is not None:
            own["LD_PRELOAD"] = self.faults
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, "index", self.videos, "--json", "--asr", self.asr],
            env={**kept, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in own.items()}, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=scratch,
        )
        run = Run(process=process, mark=mark, started_s=time.monotonic())
        listener = Thread(target=run.listen, daemon=True)
        listener.start()
        return run, listener

    def finish(self, home: Path | None = None, **env: str) -> Ended:
        """A run that is left alone."""
        run, listener = self.start(home, **env)
        code, said = run.end(listener)
        return Ended(run=run, code=code, said=said)

    def armed(self, home: Path, mode: int, number: int) -> dict[str, str]:
        """What has the run meet a fault; see faults.c."""
        return {"TRIAL_ARM": f"{home} {mode} {number}"}


def open_place(folder: Path, *, media: Path | None, asr: str) -> Place:
    """A place in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "faults.so"
    built = shutil.which("cc") and sys.platform == "linux"
    if built:
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "faults.c", "-ldl"]
        subprocess.run(command, check=True)
    videos = mixed_folder(folder / "videos", media)
    return Place(folder=folder, videos=videos, asr=asr, faults=library if built else None)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """An undisturbed run: what it leads to, and how long it takes until it tells of each file.

    Attributes:
        state: of each path.
        answers: to `QUERIES`.
        names: of the files of its store; copies of the catalog count without their numbers.
        code: how it ended.
        n_changes: writes, syncs, cuts and renames in its store; 0 where they were not counted.
        took_s: of each path.
        whole_s: of the run.
        peak_bytes, longest_bytes: of all files of the store together, and of one, while it went on.
    """

    state: State
    answers: list[object]
    names: list[str]
    code: int
    n_changes: int
    took_s: Mapping[str, float]
    whole_s: float
    peak_bytes: int
    longest_bytes: int

    def left_s(self, state: Iterable[str]) -> float:
        """About how long a run goes on that finds these paths stored."""
        done = [path for path in state if path in self.took_s]
        return self.whole_s - sum(
            sorted(self.took_s[path] for path in done)[:-1]
        )  # models load for the first


def undisturbed(place: Place) -> Truth:
    """Index the folder in one go, in a home of its own that does not stay."""
    home, counted = place.folder / "truth", place.folder / "counted"
    env = {"TRIAL_COUNT": str(counted), **place.armed(home, 0, 0)} if place.faults else {}
    run, listener = place.start(home, **env)
    lengths = [[0]]
    while run.process.poll() is None:
        lengths.append(_lengths(home / "store"))
        time.sleep(0.005)
    code, said = run.end(listener)
    done = Ended(run=run, code=code, said=said)
    assert done.code in (0, 1), done.said
    times = [(at_s, event["path"]) for at_s, event in done.run.told if "path" in event]
    took_s = {path: at_s - before for (before, _), (at_s, path) in itertools.pairwise(times)}
    truth = Truth(
        state=seen(home / "store"),
        answers=answers(home),
        names=[name for name in file_names(home / "store") if not AT_WORK.fullmatch(name)],
        code=done.code,
        n_changes=int(counted.read_text()) if place.faults else 0,
        took_s=took_s,
        whole_s=done.run.told[-1][0],
        peak_bytes=max(map(sum, lengths)),
        longest_bytes=max(map(max, lengths)),
    )
    assert not problems(home / "store")
    assert sum(1 for what in truth.state.values() if isinstance(what, dict)) > 4, "too little to lose"
    shutil.rmtree(home)
    return truth


def _lengths(store: Path) -> list[int]:
    """Of all files that are there, whole pages; one that goes meanwhile counts nothing."""
    found = [0]
    for path in store.rglob("*"):
        with contextlib.suppress(OSError):
            found.append(-(-path.stat().st_size // PAGE_BYTES) * PAGE_BYTES)
    return found


def seen(store: Path, mode: Any = "read") -> State:
    """What each path is: all that is stored of its content, or why there is nothing."""
    found: State = {}
    with Store.open(store, identity=None, mode=mode) as opened:
        videos = {video.video_id: video for video in opened.videos()}
        assert len(videos) == len(opened.videos()), "a video twice"
        contents = {video_id: _content(opened, video) for video_id, video in videos.items()}
        paths = [path for video in videos.values() for path in video.paths]
        assert len(set(paths)) == len(paths), "a path twice"
        for path, file in opened.known().items():
            if file.fingerprint is None:
                found[str(path)] = (file.size_bytes, file.mtime_ns, file.reason, file.hint, file.attempts)
            else:
                found[str(path)] = {
                    "file": (file.size_bytes, file.mtime_ns, file.fingerprint),
                    **contents[file.fingerprint],
                }
    return found


def _content(opened: Store, video: Any) -> dict[str, object]:
    segments = opened.stored_segments(video.video_id)
    ids = [segment.segment_id for segment in segments]
    said = opened.transcript(video.video_id)
    times = opened.frame_times(ids)
    rows = {}
    for kind in KINDS:
        own = opened.rows(kind, ids)
        rows[kind] = zlib.crc32(b"".join(own[i].tobytes() for i in ids if i in own))
    return {
        "video": (video.duration_s, video.has_audio, video.has_video, video.partial, video.notes, video.asr),
        "segments": [(s.start_s, s.end_s, s.n_seen, s.n_frames, s.n_said, s.n_heard) for s in segments],
        "frame_times": [times[i].tolist() for i in ids],
        "said": (said.language, [(u.start_s, u.end_s, u.text, u.words) for u in said.utterances]),
        "rows": rows,
    }


def answers(home: Path) -> list[object]:
    """What searches say, with all their scores."""
    found: list[object] = []
    with Store.open(home / "store", identity=None, mode="read") as opened:
        for query in QUERIES:
            moments = search(query, opened, _encoder(), top_k=99, threshold=0.0).moments
            found.append(sorted((str(m.path), m.start_s, m.end_s, round(m.score, 5)) for m in moments))
    return found


@cache
def _encoder() -> Any:
    return make_encoder(config.load(home=Path("/nowhere")))


def problems(store: Path) -> list[Problem]:
    """What `save verify` finds."""
    return [found for found in verify(store) if isinstance(found, Problem)]


def file_names(store: Path) -> list[str]:
    """Of all files of a store, copies of the catalog all by one name."""
    paths = (path for path in store.rglob("*") if path.is_file())
    return sorted({re.sub(r"\.r\d+\.\w+\.bak", ".bak", str(path.relative_to(store))) for path in paths})


def judge(place: Place, truth: Truth, before: State, told: Iterable[str]) -> tuple[State, list[str]]:
    """What a store holds after a run was cut short, and what is wrong with that.

    Args:
        place: its store is looked at where it lies, and a copy of it as the next writer would.
        truth: what every path must be that is there at all.
        before: what was there before the run.
        told: paths that the run said are stored.
    """
    store = place.store
    if not exists(store):
        lost = sorted({*before, *told})
        return {}, [f"there is no store, and {lost} were in it"] if lost else []
    wrong = [f"verify: {problem}" for problem in problems(store)]
    state = seen(store)
    copy = place.folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(store, copy)
    if seen(copy, "write") != state:
        wrong.append("the next writer sees another store")
    wrong += [f"lost: {path}" for path in sorted({*before, *told} - set(state))]
    wrong += [f"is not what it should be: {path}" for path in state if state[path] != truth.state.get(path)]
    return state, wrong + litter(place)


def litter(place: Place) -> list[str]:
    """Files that pile up: more than one half-written one in the store, or any elsewhere."""
    paths = [path for path in place.store.rglob("*") if path.is_file()]
    strange = [path.name for path in paths if not KEPT_NAMES.fullmatch(path.name)]
    copies = [path.name for path in paths if path.suffix == ".bak"]
    elsewhere = [str(path) for path in (place.folder / "scratch").rglob("*") if path.is_file()]
    elsewhere = [path for path in elsewhere if not path.endswith("/save/models/verified.json")]
    elsewhere += [path.name for path in place.home.iterdir() if path.name != "store"]
    wrong = [f"files pile up: {strange}"] if len(strange) > 1 else []
    wrong += [f"too many copies: {copies}"] if len(copies) > 3 else []
    return wrong + ([f"files elsewhere: {elsewhere}"] if elsewhere else [])


def judge_end(place: Place, truth: Truth, done: Ended) -> list[str]:
    """What tells a store that was finished after all from one that was made undisturbed."""
    if done.code != truth.code:
        return [f"the last run ended with {done.code}: {done.said}"]
    _, wrong = judge(place, truth, truth.state, truth.state)
    if answers(place.home) != truth.answers:
        wrong.append("searches have other answers")
    names = [name for name in file_names(place.store) if not AT_WORK.fullmatch(name)]
    if [name for name in names if "graphs/" not in name] != [n for n in truth.names if "graphs/" not in n]:
        wrong.append(f"the store has other files: {names}, not {truth.names}")
    graphs = {name.removeprefix("graphs/") for name in names if "graphs/" in name}
    with Store.open(place.store, identity=None, mode="read") as opened:
        listed = {graph.name for graph in opened.graphs()}
        kinds = {graph.kind for graph in opened.graphs()}
    wanted = {Path(name).name.partition("-")[0] for name in truth.names if "graphs/" in name}
    if graphs != listed or kinds != wanted:
        wrong.append(f"it has the graphs {graphs}, lists {listed}, and should have some of {wanted}")
    return wrong


def left_behind(mark: str) -> list[int]:
    """Processes of a run that are still there after a while."""
    until = time.monotonic() + BUSY_S
    while found := list(_marked(mark)):
        if time.monotonic() > until:
            return found
        time.sleep(0.01)
    return []


def _marked(mark: str) -> Iterator[int]:
    wanted = f"TRIAL_MARK={mark}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes():
                yield int(path.parent.name)
        except OSError:
            continue


def stopped(run: Run) -> bool:
    """Stops a run where it is; whether it was still going on."""
    if run.process.poll() is not None:
        return False
    run.process.send_signal(signal.SIGSTOP)
    state = Path(f"/proc/{run.process.pid}/stat")
    while (letter := state.read_text().rpartition(")")[2].split()[0]) not in "TtZ":
        time.sleep(0.0005)
    time.sleep(0.02)  # what it has written to its pipe is read meanwhile
    return letter != "Z"


def guarded(work: Callable[[], list[str]]) -> list[str]:
    """What a trial finds wrong; one that itself fails has found something too."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        traceback.print_exc()
        return [f"{type(error).__name__}: {error}"]


def sync() -> None:
    """Has the system write all that it holds."""
    ctypes.CDLL(None).sync()
