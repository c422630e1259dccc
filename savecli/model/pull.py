"""Downloads of weights: the only code here that opens a connection, and only for `save model pull`.

A file grows beside its place as `.NAME.part` and appears under its name when its size and SHA-256 are those
of the manifest. What was fetched survives a broken connection or a kill, and the next pull asks for the rest
only (RFC 9110, sections 13.1.5 and 14: Range, If-Range, Content-Range). The checksum decides in the end, so
a part may even be continued from another mirror.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from savecli.errors import WeightsError
from savecli.events import Pulled, Pulling
from savecli.model.weights import Weights, WeightsFile, is_right, known, locate, matches, vouch

BLOCK_BYTES = 1 << 18
TIMEOUT_S = 60.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _UnusableError(Exception):
    """This URL does not give the file; `restart` if it may once nothing is kept of an earlier attempt."""

    def __init__(self, reason: str, *, restart: bool = False) -> None:
        super().__init__(reason)
        self.restart = restart


def pull(name: str, model_dir: Path, *, offline: bool = False) -> Iterator[Pulling | Pulled]:
    """Fetches what is missing of one entry into ``model_dir/name``; a `Pulled` for each file, in order.

    Opens no socket where all is here.

    Raises:
        WeightsError: no weights have that name; they come as packages that are not installed; `offline` and
            a file is missing; no URL gives the file; what came is not what was published; no space; another
            process pulls the same.
    """
    entry = known(name)
    if entry.packages:
        for file in entry.files:
            yield _pulled(entry, file, locate(name, model_dir)[file.name], 0)
        return
    places = {file: model_dir / name / file.name for file in entry.files}
    missing = [file for file, place in places.items() if not is_right(place, file, model_dir)]
    if not missing:
        yield from (_pulled(entry, file, place, 0) for file, place in places.items())
        return
    if offline:
        raise _forbidden(entry, missing[0], places[missing[0]])
    with _alone(entry, model_dir / name):
        missing = [file for file in missing if not is_right(places[file], file, model_dir)]  # now alone
        _check_space(model_dir / name, [(file, _Part(places[file])) for file in missing])
        for file, place in places.items():
            n_fetched = 0
            if file in missing:
                n_fetched = yield from _fetch(entry, file, _Part(place))
                vouch(place, file, model_dir)
            yield _pulled(entry, file, place, n_fetched)


def _pulled(entry: Weights, file: WeightsFile, path: Path, n_fetched: int) -> Pulled:
    return Pulled(
        name=entry.name, file=file.name, path=path, size_bytes=file.size_bytes, fetched_bytes=n_fetched
    )


def _by_hand(file: WeightsFile, place: Path) -> str:
    return f"it is published at {' and '.join(file.urls)}\nto place it by hand, put it at {place}"


def _forbidden(entry: Weights, file: WeightsFile, place: Path) -> WeightsError:
    return WeightsError(
        f"{entry.name} needs its file {file.name}, and offline nothing is fetched",
        hint=f"{_by_hand(file, place)}\nor go online: save model pull {entry.name}",
    )


@contextmanager
def _alone(entry: Weights, folder: Path) -> Iterator[None]:
    """Two pulls would write into one part. The lock is the system's and ends with its process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".pull.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise WeightsError(f"another process is pulling {entry.name}", hint="wait until it is done") from None
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _unwritable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(
        f"cannot write {path}: {error.strerror}",
        hint="free some space; the same command goes on where it stopped"
        if error.errno == errno.ENOSPC
        else "SAVE_MODEL_DIR names another folder",
    )


def _check_space(folder: Path, wanted: list[tuple[WeightsFile, _Part]]) -> None:
    needed = sum(file.size_bytes - min(file.size_bytes, _size(part.path)) for file, part in wanted)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise WeightsError(
            f"{needed / 1e6:.0f} MB are needed in {folder}, and {free / 1e6:.0f} MB are free",
            hint="free some space; SAVE_MODEL_DIR names another folder",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@dataclass(frozen=True, slots=True)
class _Part:
    """What there is of the file that will be `place`, and a note of the URL and ETag it came with."""

    place: Path

    @property
    def path(self) -> Path:
        return self.place.with_name(f".{self.place.name}.part")

    @property
    def _note(self) -> Path:
        return self.place.with_name(f".{self.place.name}.part.json")

    def validator(self, url: str) -> str:
        """The strong ETag that `url` gave with these bytes, or ""."""
        try:
            note = json.loads(self._note.read_text("utf-8"))
        except (OSError, ValueError):
            return ""
        known_ = isinstance(note, dict) and note.get("url") == url
        return str(note["etag"]) if known_ and not str(note.get("etag", "W/")).startswith("W/") else ""

    def remember(self, url: str, etag: str | None) -> None:
        self._note.write_text(json.dumps({"url": url, "etag": etag or ""}), encoding="utf-8")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Gives the file its name; it is on disk before that."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self.place)
        self._note.unlink(missing_ok=True)


def _fetch(entry: Weights, file: WeightsFile, part: _Part) -> Generator[Pulling, None, int]:
    """One file from the first URL that gives it; returns the number of bytes that came over the network."""
    n_fetched = 0
    reasons: list[tuple[str, str]] = []
    for url in (url for url in file.urls for _ in range(2)):
        if reasons and reasons[-1][0] == url:
            continue  # it failed for a reason that another attempt does not mend
        try:
            for n_new in _continue(url, file, part):
                n_fetched += n_new
                yield Pulling(
                    name=entry.name,
                    file=file.name,
                    done_bytes=_size(part.path),
                    total_bytes=file.size_bytes,
                )
            _check(entry, file, part)
            part.finish()
        except _UnusableError as error:
            if error.restart:
                part.remove()
            else:
                reasons.append((url, str(error)))
        except OSError as error:  # the network's are _UnusableError by now
            raise _unwritable(part.path, error) from error
        else:
            return n_fetched
    told = "; ".join(f"{urllib.parse.urlsplit(url).hostname}: {reason}" for url, reason in reasons)
    raise WeightsError(
        f"cannot fetch {file.name} of {entry.name}: {told or 'no server continues what is here'}",
        hint=f"the same command goes on where it stopped: save model pull {entry.name}\n"
        + _by_hand(file, part.place),
    )


def _check(entry: Weights, file: WeightsFile, part: _Part) -> None:
    if not matches(part.path, file):
        part.remove()
        raise WeightsError(
            f"what came as {file.name} of {entry.name} is not what was published: its SHA-256 differs",
            hint=f"it was removed; a proxy may have changed it, or {entry.upstream} has another version now",
        )


def _continue(url: str, file: WeightsFile, part: _Part) -> Iterator[int]:
    """Appends to the part until it has the file's size, yielding the length of each block that came."""
    have = _size(part.path)
    if have > file.size_bytes:
        part.remove()
        have = 0
    if have == file.size_bytes:
        return
    with _opened(url, have, part.validator(url) if have else "") as response:
        appends = _judge(response, have, file)
        if not appends:
            part.remove()
            have = 0
        part.remember(url, response.headers.get("ETag"))
        declared = response.headers.get("Content-Length") is not None
        with part.path.open("ab") as out:
            while have < file.size_bytes and (block := _read(response, file.size_bytes - have)):
                out.write(block)
                out.flush()  # what the system has survives a kill of this process
                have += len(block)
                yield len(block)
        if have < file.size_bytes:
            raise _UnusableError(f"the connection broke after {have} of {file.size_bytes} bytes")
        if not declared and _read(response, 1):
            part.remove()
            raise _UnusableError(f"more came than the {file.size_bytes} bytes that were published")


def _judge(response: Any, have: int, file: WeightsFile) -> bool:  # noqa: ANN401 - as urllib has it
    """Whether the body continues the `have` bytes; False where it is the whole file."""
    if response.status == http.client.PARTIAL_CONTENT:
        given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if not given or int(given[1]) != have or given[2] not in ("*", str(file.size_bytes)):
            raise _UnusableError("another part of a file came than was asked for", restart=have > 0)
        return True
    size = response.headers.get("Content-Length", "")
    if size.isdigit() and int(size) != file.size_bytes:
        raise _UnusableError(f"it serves {size} bytes, and {file.size_bytes} were published")
    return False


def _read(response: Any, n_left: int) -> bytes:  # noqa: ANN401 - as urllib has it
    try:
        block: bytes = response.read1(min(BLOCK_BYTES, n_left))
    except (OSError, http.client.HTTPException) as error:
        raise _UnusableError(f"the connection broke: {error or type(error).__name__}") from error
    return block


@contextmanager
def _opened(url: str, have: int, validator: str) -> Iterator[Any]:
    headers = {"User-Agent": "savecli", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if validator:
        headers["If-Range"] = validator  # another file now: all of it comes, not a part that does not fit
    if not _is_allowed(url):
        raise _UnusableError("only https is spoken")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - looked at above
    try:
        response = urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        restart = error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have > 0
        raise _UnusableError(f"{error.code} {error.reason}", restart=restart) from error
    except urllib.error.URLError as error:
        raise _UnusableError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _UnusableError(str(error) or type(error).__name__) from error
    with response:
        yield response


def _is_allowed(url: str, before: str = "http") -> bool:
    there = urllib.parse.urlsplit(url)
    return there.scheme == "https" or (
        there.scheme == "http" and before == "http" and there.hostname in LOOPBACK
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to https only; plain http is for servers on this machine, as the tests have."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if not _is_allowed(newurl, before=req.type):
            raise urllib.error.URLError("it redirects away from https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
