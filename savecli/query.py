"""What a person types -> an Ask: the language of `save search`, described in docs/search.md.

A text is read once, from left to right. Nothing in it can be wrong by its spelling alone: what is no part of
the language is text to look for. Values of filters are checked, and a bad one is a `QueryError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from savecli import fold
from savecli.datatypes import HAS, Aim, Ask, Has, Part, Phrase, Run, Term, Where
from savecli.errors import QueryError
from savecli.when import day, length, moment

NEAR_WORDS = 10
"""How many words lie between those around a NEAR at most, where it has no number."""
MAX_NEAR_WORDS = 1000
MAX_WEIGHT = 100.0
LEAST_PREFIX = 2
MAX_CHARACTERS = 10_000
AIMED: dict[str, Aim] = {"sees": "sees", "hears": "hears", "says": "says"}
FILTERS = ("in", "has", "lang", "language", "since", "until", "min-duration", "max-duration")

_MINUS = r"(?P<minus>-(?![-\d\s])|-(?=\d{1,4}(?:\.\d{1,4})?:[^\s\d]))?"
_WEIGHT = r"(?:(?P<weight>\d{1,4}(?:\.\d{1,4})?):(?=[^\s\d]))?"
_KEY = rf"(?:(?P<key>{'|'.join((*AIMED, *FILTERS))}):(?=\S))"
_ITEM = re.compile(
    rf"{_MINUS}{_WEIGHT}{_KEY}?"
    r'(?:"(?P<quoted>[^"]*)"|\((?P<group>[^()]*)\)|(?P<word>\S+))',
    re.IGNORECASE,
)
_ARGUMENT = re.compile(rf"(?P<minus>-(?!-)\s*)?{_WEIGHT}(?=[^\s(\"])(?!{_KEY})", re.IGNORECASE)
_NEAR = re.compile(r"NEAR(?:/(\d{1,9}))?")
_QUOTES = str.maketrans("\u201c\u201d\u201e\u201f\uff02", '"' * 5)  # what keyboards and word processors make
_LANGUAGE = re.compile(r"([a-z]{2,3})(?:[-_][a-z0-9]+)*", re.IGNORECASE)


def parse(arguments: Sequence[str], given: Ask | None = None, *, now: datetime | None = None) -> Ask:
    """One query out of several arguments, as a shell hands them over.

    Args:
        arguments: each a text; a minus or a weight at its very beginning goes for all of it.
        given: what options ask beside it.
        now: local time, for tests.

    Raises:
        QueryError: a filter, a weight or a phrase that makes no sense, or a blank argument.
    """
    reading = _Reading(ask=given or Ask(), now=now)
    for argument in arguments:
        reading.argument(argument.translate(_QUOTES).strip())
    return reading.result()


@dataclass(slots=True, kw_only=True)
class _Reading:
    """What was read so far; `free` are the words of free text."""

    ask: Ask
    now: datetime | None
    free: list[str] = field(default_factory=list)

    def argument(self, text: str) -> None:
        if not text:
            raise empty_query()
        if len(text) > MAX_CHARACTERS:
            raise QueryError(f"the query has {len(text)} characters", hint=f"{MAX_CHARACTERS} is the most")
        head = _ARGUMENT.match(text)
        body = text[head.end() :] if head else text
        against = head is not None and bool(head["minus"]) and bool(fold.words(body)) and not _is_number(text)
        if head is None or not (against or head["weight"]):
            self.free += self._words(text, against=False)
            return
        weight = _weight(head["weight"])
        words = " ".join(self._words(body, against=against))
        if words:
            self._part(Part(text=words, weight=weight), against=against)

    def _words(self, text: str, *, against: bool) -> list[str]:
        """Reads items, and returns the words that are none."""
        free, at = [], 0
        while found := _ITEM.search(text, at):
            at = found.end()
            if not self._item(found, against=against):
                free.append(found[0])
        return free

    def _item(self, found: re.Match[str], *, against: bool) -> bool:
        """Takes in what is part of the language; whether it was."""
        value = next(v for v in (found["quoted"], found["group"], found["word"]) if v is not None)
        key = (found["key"] or "").lower()
        against ^= bool(found["minus"])
        if key in FILTERS:
            if against:
                raise QueryError(f"{found[0]!r}: a filter cannot be turned round", hint="leave out the minus")
            self.ask = replace(self.ask, where=narrow(self.ask.where, key, value, now=self.now))
        elif key:
            if not value.strip():
                return False
            weight = _weight(found["weight"])
            self._part(Part(text=value.strip(), aim=AIMED[key], weight=weight), against=against)
        elif found["quoted"] is not None:
            self._quoted(value, against=against)
        elif (found["minus"] or found["weight"]) and fold.words(value):
            weight = _weight(found["weight"])
            self._part(Part(text=value.strip(), weight=weight), against=against)
        else:
            return False
        return True

    def _quoted(self, text: str, *, against: bool) -> None:
        """A phrase; or a text with a minus or a weight, which a shell would have taken the quotes from."""
        head = _ARGUMENT.match(text)
        if head is None or not (head["minus"] or head["weight"]) or _is_number(text) or not fold.words(text):
            self._phrase(text, against=against)
            return
        weight = _weight(head["weight"])
        self._part(
            Part(text=text[head.end() :].strip(), weight=weight), against=against ^ bool(head["minus"])
        )

    def _part(self, part: Part, *, against: bool) -> None:
        if against:
            self.ask = replace(self.ask, against=(*self.ask.against, part))
        else:
            self.ask = replace(self.ask, more=(*self.ask.more, part))

    def _phrase(self, text: str, *, against: bool) -> None:
        if against:
            self.ask = replace(self.ask, banned=(*self.ask.banned, phrase(text)))
        else:
            self.ask = replace(self.ask, phrases=(*self.ask.phrases, phrase(text)))

    def result(self) -> Ask:
        text = " ".join(filter(None, [self.ask.text, *self.free]))
        return replace(self.ask, text=text)


def given(
    *,
    sees: str | None = None,
    hears: str | None = None,
    says: str | None = None,
    like: str | None = None,
    against: Sequence[str] = (),
    phrases: Sequence[str] = (),
    regexes: Sequence[str] = (),
    filters: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Ask:
    """What options and arguments ask beside the text of a query; None and () ask nothing.

    Args:
        sees: what is to be seen there.
        hears: what is to be heard there, speech aside.
        says: what is to be said there.
        like: the example that is given.
        against: texts of what should not be there.
        phrases: exact words, as `phrase` reads them.
        regexes: regular expressions for what is said.
        filters: values by their names in the language, as in FILTERS.

    Raises:
        QueryError: a text that is blank, a phrase without words, or a filter that makes no sense.
    """
    texts = [text for text in (sees, hears, says, *against) if text is not None]
    if not all(text.strip() for text in texts):
        raise empty_query()
    where = Where()
    for key, values in filters.items():
        if key not in FILTERS:
            raise QueryError(f"no filter is called {key!r}", hint=f"there are {', '.join(FILTERS)}")
        for value in values:
            where = narrow(where, key, value)
    return Ask(
        sees=sees or "",
        hears=hears or "",
        says=says or "",
        against=tuple(Part(text=text) for text in against),
        phrases=tuple(phrase(text) for text in phrases),
        regexes=tuple(regexes),
        like=like or "",
        where=where,
    )


def empty_query() -> QueryError:
    """What to raise where a query, or what one modality should answer to, is blank."""
    return QueryError("the query is empty", hint='save search "man says good boy"')


def require(ask: Ask) -> None:
    """Looks whether a query asks for anything.

    Raises:
        QueryError: it is empty, has a blank text, or only says what should not be there.
    """
    texts = [part.text for part in (*ask.parts, *ask.against)]
    if not all(text.strip() for text in texts):
        raise empty_query()
    if ask.parts or ask.is_exact or ask.like:
        return
    if ask.against or ask.banned:
        raise QueryError(
            "nothing is looked for, something is only left out", hint='save search "a dog" "-a cat"'
        )
    if ask.where != Where():
        raise QueryError("nothing is looked for: there are only filters", hint="`save list` shows all videos")
    raise empty_query()


def phrase(text: str) -> Phrase:
    """Exact words: `word*` is a beginning, NEAR or NEAR/5 between words stands for others.

    Raises:
        QueryError: there is no word in it, or only the beginning of one that fits half of all words.
    """
    runs: list[list[Term]] = [[]]
    gaps: list[int] = []
    for piece in text.split():
        near = _NEAR.fullmatch(piece)
        if near and runs[-1]:
            gaps.append(min(int(near[1]) if near[1] else NEAR_WORDS, MAX_NEAR_WORDS))
            runs.append([])
            continue
        runs[-1] += _terms(piece)
    if gaps and not runs[-1]:  # at the very end it is a word like others
        runs.pop()
        gaps.pop()
        runs[-1].append(Term("near"))
    if not runs[0]:
        raise QueryError(f'"{text}" has no words that could be said', hint='as in --phrase "good boy"')
    return Phrase(text=text, runs=tuple(tuple(run) for run in runs), gaps=tuple(gaps))


def _terms(piece: str) -> Run:
    words = fold.words(piece)
    if not words or not piece.endswith("*"):
        return tuple(Term(word) for word in words)
    if words[-1].isascii() and len(words[-1]) < LEAST_PREFIX:
        raise QueryError(
            f"{piece!r} fits too many words", hint=f"give the first {LEAST_PREFIX} letters, or more"
        )
    return (*(Term(word) for word in words[:-1]), Term(words[-1], is_prefix=True))


def narrow(where: Where, key: str, value: str, *, now: datetime | None = None) -> Where:
    """Filters with one more, by its name in the language.

    Raises:
        QueryError: the value makes no sense, or no video could pass.
    """
    value = value.strip()
    if not value:
        raise QueryError(f"{key} has no value", hint=f"`save search --help` shows what {key} takes")
    if key == "in":
        return replace(where, below=(*where.below, _path(value)))
    if key == "has":
        return replace(where, has=where.has | {_has(value)})
    if key in ("lang", "language"):
        named = _LANGUAGE.fullmatch(value)
        if not named:
            raise QueryError(f"{value!r} is no code of a language", hint="as in en, de or zh")
        return replace(where, languages=where.languages | {named[1].lower()})
    return _bounded(where, key, value, now)


def _path(value: str) -> Path:
    if "\0" in value:
        raise QueryError(f"{value!r} is no path", hint="as in in:~/Movies")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise QueryError(f"{value!r} is in nobody's home", hint="./~ is a name that begins so") from error


def _has(value: str) -> Has:
    for name in HAS:
        if value.lower() == name:
            return name
    raise QueryError(f"a video cannot have {value!r}", hint=f"one of {', '.join(HAS)}")


def _bounded(where: Where, key: str, value: str, now: datetime | None) -> Where:
    is_date = key in ("since", "until")
    number = moment(value, is_end=key == "until", now=now) if is_date else length(value)
    name = f"{key.replace('-', '_')}_s"
    before = getattr(where, name)
    if before is not None and before != number:
        raise QueryError(f"{key} is given twice, and not the same", hint="give it once")
    changes: dict[str, Any] = {name: number}
    found = replace(where, **changes)
    _check_bounds(found)
    return found


def _check_bounds(where: Where) -> None:
    if where.since_s is not None and where.until_s is not None and where.since_s >= where.until_s:
        raise QueryError(
            f"no time is since {day(where.since_s)} and before {day(where.until_s)}",
            hint="since is the earlier one",
        )
    least, most = where.min_duration_s, where.max_duration_s
    if least is not None and most is not None and least > most:
        raise QueryError(
            f"no video is at least {least:g} s and at most {most:g} s long",
            hint="the least is the smaller one",
        )


def _weight(text: str | None) -> float:
    """1 where none was typed."""
    if text is None:
        return 1.0
    weight = float(text)
    if not 0 < weight <= MAX_WEIGHT:
        raise QueryError(
            f"{text} is no weight", hint=f"above 0, and {MAX_WEIGHT:g} at most; -text leaves it out"
        )
    return weight


def _is_number(text: str) -> bool:
    """Whether it begins like -5, and not like -2:cat."""
    return bool(re.match(r"-\d+(?![\d.]*:\D)", text))
