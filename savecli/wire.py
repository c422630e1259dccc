"""Records as JSON, and JSON on a socket: what `save search` and the daemon tell each other.

A message is one JSON object on one line, in ASCII. A record becomes an object of its fields, and back, by the
types that its fields declare, so that what arrives equals what was sent: numbers to the last bit, and names
that are no text in any encoding. Whatever else arrives is a `WireError`, never a record that is half right.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from savecli import errors
from savecli.errors import SaveError

if TYPE_CHECKING:
    from socket import socket

T = TypeVar("T")
Message = dict[str, Any]
_BLOCK_BYTES = 1 << 16
_PLAIN: Mapping[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (float, int), str: (str,)}


class WireError(Exception):
    """What arrived is no message, too long, or no record of the kind that was expected."""


def encoded(value: object) -> Any:  # noqa: ANN401 - what JSON is made of
    """A record, or anything that records hold, as JSON has it.

    Raises:
        TypeError: there is no way to write this.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return os.fspath(value)
    if is_dataclass(value):
        return {field.name: encoded(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): encoded(one) for name, one in value.items()}
    if isinstance(value, Set):
        return sorted(encoded(one) for one in value)
    if isinstance(value, Sequence):
        return [encoded(one) for one in value]
    raise TypeError(f"{type(value).__name__} is no part of a message")


def decoded(kind: type[T], value: object) -> T:
    """What `encoded` wrote, as the record that it was.

    Raises:
        WireError: it is no such record, or one that its own checks refuse.
    """
    try:
        return cast("T", _as(kind, value))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise WireError(f"this is no {kind.__name__}: {error!r}") from error


def _as(kind: Any, value: Any) -> Any:  # noqa: ANN401 - types as values
    if kind in _PLAIN:
        # A whole number stays one where any number may stand; true and false are none.
        if not isinstance(value, _PLAIN[kind]) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"{value!r:.80} is no {kind.__name__}")
        return value
    if kind is NoneType or kind is Path:
        return _as_path(value) if kind is Path else _as_none(value)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _as_one_of(inner, value)
    if origin in (Union, UnionType):
        return _as_either(inner, value)
    if origin is not None:
        return _as_several(origin, inner, value)
    return _as_record(kind, value)


def _as_none(value: object) -> None:
    if value is not None:
        raise TypeError(f"{value!r:.80} is not nothing")


def _as_path(value: object) -> Path:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no path")
    return Path(value)


def _as_one_of(allowed: Sequence[object], value: object) -> object:
    if value not in allowed:
        raise ValueError(f"{value!r:.80} is none of {allowed}")
    return value


def _as_either(kinds: Sequence[Any], value: object) -> object:
    """Of several types the first that fits: where a literal stands beside others, there is no doubt."""
    failures = []
    for kind in kinds:
        try:
            return _as(kind, value)
        except (TypeError, ValueError) as error:
            failures.append(str(error))
    raise TypeError("; ".join(failures))


def _as_several(origin: Any, inner: Sequence[Any], value: Any) -> object:  # noqa: ANN401
    if issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise TypeError(f"{value!r:.80} is no mapping")
        return {_as(inner[0], name): _as(inner[1], one) for name, one in value.items()}
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.80} is no list")
    if origin is tuple and inner[-1:] != (Ellipsis,):
        return tuple(_as(kind, one) for kind, one in zip(inner, value, strict=True))
    several = (_as(inner[0], one) for one in value)
    return frozenset(several) if issubclass(origin, frozenset) else tuple(several)


def _as_record(kind: Any, value: Any) -> object:  # noqa: ANN401
    hints = _hints(kind)
    if issubclass(kind, tuple):  # a named one, which is written as a list
        if not isinstance(value, list):
            raise TypeError(f"{value!r:.80} is no {kind.__name__}")
        return kind(*(_as(hint, one) for hint, one in zip(hints.values(), value, strict=True)))
    if not isinstance(value, dict) or value.keys() != hints.keys():
        raise TypeError(f"{value!r:.80} has not the fields of {kind.__name__}")
    return kind(**{name: _as(hints[name], one) for name, one in value.items()})


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    """The fields of a record with their types."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)} if is_dataclass(kind) else hints


def failure(error: SaveError) -> Message:
    """An expected failure as a message has it; of a class that a room keeps to itself, the one above it."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    return {"kind": kind.__name__, "message": error.message, "hint": error.hint}


def raised(told: object) -> SaveError:
    """The failure that `failure` wrote, of the same class.

    Raises:
        WireError: it is none.
    """
    match told:
        case {"kind": str(name), "message": str(message), "hint": str(hint)}:
            kind = getattr(errors, name, None)
            if isinstance(kind, type) and issubclass(kind, SaveError):
                return kind(message, hint=hint)
    raise WireError(f"this is no failure: {told!r:.80}")


class Line:
    """One end of a connection: messages, one after the other, each of them whole or not at all."""

    def __init__(self, connection: socket) -> None:
        self._socket = connection
        self._rest = bytearray()

    def send(self, message: Message, *, most_bytes: int, within_s: float) -> None:
        """Sends a message.

        Raises:
            WireError: it is longer than the other end takes; nothing is sent.
            OSError: the other end is gone, or does not take it in time.
        """
        text = json.dumps(message).encode("ascii") + b"\n"
        if len(text) > most_bytes:
            raise WireError(f"a message of {len(text)} bytes is too long")
        self._socket.settimeout(within_s)
        self._socket.sendall(text)

    def drain(self, *, within_s: float) -> None:
        """Lets the other end say all that it has to say, unheard: else it would not hear our last word.

        Raises:
            OSError: the connection failed, or it does not come to an end in time.
        """
        until_s = time.monotonic() + within_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            if not self._socket.recv(_BLOCK_BYTES):
                return

    def receive(self, *, most_bytes: int, within_s: float) -> Message | None:
        """The next message; None where the other end has closed.

        Raises:
            WireError: it is too long, or no JSON object.
            OSError: the connection failed, or the message is not whole in time.
        """
        until_s = time.monotonic() + within_s
        end = self._rest.find(b"\n")
        while end < 0:
            if len(self._rest) > most_bytes:
                raise WireError(f"a message of more than {most_bytes} bytes")
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("no whole message came in time")
            self._socket.settimeout(left_s)
            block = self._socket.recv(_BLOCK_BYTES)
            if not block:
                return None
            end = block.find(b"\n")
            end += len(self._rest) if end >= 0 else 0
            self._rest += block
        text = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return parsed(text)


def parsed(text: bytes) -> Message:
    """What one line of a connection, or a file, holds.

    Raises:
        WireError: it is no JSON object.
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"no JSON: {error!r:.200}") from error
    if not isinstance(told, dict):
        raise WireError("a message is a JSON object")
    return told
