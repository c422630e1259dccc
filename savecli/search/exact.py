"""Exact words: where phrases are said, and regular expressions met, over the words of whole videos.

The store names the videos (`savecli.store.words`); here each place is found, and with it the words' times.
"""

from __future__ import annotations

import bisect
import re
import time
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

from savecli import fold
from savecli.datatypes import Phrase, Run, Utterance
from savecli.errors import QueryError
from savecli.store import Spoken, Store

MAX_VIDEOS = 200
"""Videos that are looked through for a phrase: a stop word alone is said in every one."""
MAX_PLACES_IN_VIDEO = 100
"""Places of one video that are found; more are told."""
MAX_MET = 100_000
"""Places of one of several phrases, or of one that must not be said: the last may be the one that counts."""
TOGETHER_S = 60.0
"""Several phrases are one answer if all are said within this time."""
REGEX_LIMIT_S = 10.0
MAX_PATTERN = 1000

Range = tuple[int, int]


class Mark(NamedTuple):
    """A word that was looked for: the number of its utterance, its ``[start, end)`` there, and its time."""

    utterance: int
    start: int
    end: int
    start_s: float
    end_s: float


class Place(NamedTuple):
    """Where exact words are said in a video; `marks` in order of time."""

    video_id: str
    marks: tuple[Mark, ...]

    @property
    def start_s(self) -> float:
        """When the first word begins."""
        return min(mark.start_s for mark in self.marks)

    @property
    def end_s(self) -> float:
        """When the last word ends."""
        return max(mark.end_s for mark in self.marks)


class Found(NamedTuple):
    """Places, and whether there may be more than were looked for."""

    places: list[Place]
    has_more: bool


def find(
    phrases: Sequence[Phrase],
    regexes: Sequence[str],
    store: Store,
    *,
    most: int | None,
    most_in_video: int = MAX_PLACES_IN_VIDEO,
    videos: Collection[int] | None = None,
) -> Found:
    """Where all of the phrases are said, and all of the regular expressions met, within `TOGETHER_S`.

    Args:
        phrases: exact words.
        regexes: regular expressions; of both together, one at least.
        store: open, in a snapshot.
        most: how many places are enough; None for all, of all videos.
        most_in_video: how many of one video; with `most` None all.
        videos: keys of the only videos to look at.

    Raises:
        QueryError: a regular expression is none, or takes longer than `REGEX_LIMIT_S`.
    """
    patterns = [_Pattern(text, time.monotonic() + REGEX_LIMIT_S) for text in regexes]
    runs = [run for phrase in phrases for run in phrase.runs]
    limit = -1 if most is None else MAX_VIDEOS + 1
    most_in_video = MAX_MET if most is None else most_in_video
    is_cut = False
    spoken = store.saying(runs, limit, among=videos) if phrases else _every(store, videos)
    places: list[Place] = []
    for number, (video_id, text) in enumerate(spoken, 1):
        if phrases and number == limit:
            return Found(places, has_more=True)
        video = _Video(video_id, store, text=text, needs_all=most is None)
        met: list[Iterable[_Spot]] = [list(islice(video.saying(phrase), MAX_MET)) for phrase in phrases]
        if patterns and all(met):
            video = _Video(video_id, store, texts=store.texts(video_id), needs_all=most is None)
            met += [islice(video.matching(pattern), MAX_MET) for pattern in patterns]
        here = list(islice(_together(met), most_in_video + 1))
        places += here[:most_in_video]
        is_cut |= len(here) > most_in_video >= MAX_PLACES_IN_VIDEO
        if most is not None and len(places) >= most:
            return Found(places, has_more=True)
    return Found(places, has_more=is_cut)


def _every(store: Store, videos: Collection[int] | None) -> Iterator[Spoken]:
    for video_id in store.speaking(among=videos):
        yield Spoken(video_id, "")


class _Video:
    """One video's words, and the way from a place in them to times.

    Args:
        text: its folded words, see `Spoken`; places are counted in words.
        texts: or what is said in it as it was said, by utterance; places are counted in characters.
        needs_all: reads the times of all words at once, where most of them will be asked for.
    """

    def __init__(
        self, video_id: str, store: Store, *, text: str = "", texts: Sequence[str] = (), needs_all: bool
    ) -> None:
        self._id = video_id
        self._store = store
        self._by_letter = bool(texts)
        lines = text.split("\n")
        # Words stand one space apart: counted so, a transcript takes a twentieth of the time of a split.
        self._text = " ".join(texts).translate(_LETTERS) if texts else f" {' '.join(filter(None, lines))} "
        lengths = [len(one) + 1 for one in texts] or [line.count(" ") + 1 if line else 0 for line in lines]
        self._ends = list(accumulate(lengths))
        self._needs_all = needs_all
        self._all: list[list[Timed]] = []

    def saying(self, phrase: Phrase) -> Iterator[_Spot]:
        """Where a phrase is said."""
        return (self._spot(ranges) for ranges in _near(phrase, self._text))

    def matching(self, pattern: _Pattern) -> Iterator[_Spot]:
        """Where a regular expression is met."""
        return (self._spot([span]) for span in pattern.spans(self._text))

    def _spot(self, ranges: Sequence[Range]) -> _Spot:
        start = ranges[0][0]
        number = self._number(start)
        before = self._ends[number - 1] if number else 0
        return _Spot(number + (start - before) / (self._ends[number] - before), self, ranges)

    def place(self, ranges: Sequence[Range]) -> Place:
        """A range of words or characters with its times; without marks where no word is in it."""
        first, last = self._number(ranges[0][0]), self._number(ranges[-1][1] - 1)
        marks = []
        for number, words in enumerate(self._words(first, last), first):
            before = self._ends[number - 1] if number else 0
            for place, word in enumerate(words):
                begin, end = (word.start, word.end) if self._by_letter else (place, place + 1)
                if any(begin + before < to and since < end + before for since, to in ranges):
                    marks.append(Mark(number, word.start, word.end, word.start_s, word.end_s))
        return Place(self._id, tuple(marks))

    def _words(self, first: int, last: int) -> list[list[Timed]]:
        """The words of the utterances from one number to another."""
        if not self._needs_all:
            return [timed(one) for one in self._store.utterances_from(self._id, first, last - first + 1)]
        if not self._all:
            self._all = [timed(one) for one in self._store.transcript(self._id).utterances]
        return self._all[first : last + 1]

    def _number(self, at: int) -> int:
        """The utterance that holds a word or character."""
        return bisect.bisect_right(self._ends, at)


class _Spot(NamedTuple):
    """Where something is met: `at` is the number of the utterance, and how far in it. Times cost a look."""

    at: float
    video: _Video
    ranges: Sequence[Range]

    def place(self) -> Place:
        return self.video.place(self.ranges)


class Timed(NamedTuple):
    """A folded word of an utterance: its ``[start, end)`` in the utterance's text, and when it is said."""

    start: int
    end: int
    start_s: float
    end_s: float


def timed(utterance: Utterance) -> list[Timed]:
    """The words of an utterance, one for each that the store has; between its ends where it has no times."""
    if not utterance.words:
        rate = (utterance.end_s - utterance.start_s) / max(1, len(utterance.text))
        return [
            Timed(t.start, t.end, utterance.start_s + rate * t.start, utterance.start_s + rate * t.end)
            for t in fold.tokens(utterance.text)
        ]
    found, at = [], 0
    for word in utterance.words:
        begin = utterance.text.find(word.text, at)
        at = begin + len(word.text) if begin >= 0 else at
        for token in fold.tokens(word.text):
            inside = (begin + token.start, begin + token.end) if begin >= 0 else (at, at)
            found.append(Timed(*inside, word.start_s, word.end_s))
    return found


def _near(phrase: Phrase, flat: str) -> Iterator[list[Range]]:
    """Where the runs of a phrase stand as near to one another as it says, each as a range of words."""
    first, *others = [list(_standing(run, flat)) for run in phrase.runs]
    for start in first:
        chain = [start]
        for places, gap in zip(others, phrase.gaps, strict=True):
            beside = _beside(chain[-1], places, gap)
            if beside is None:
                break
            chain.append(beside)
        else:
            yield sorted(chain)


def _beside(one: Range, places: Sequence[Range], gap: int) -> Range | None:
    """The place nearest to `one`, before or behind it, with no more than `gap` words between."""
    # Those between share words with `one`.
    behind = bisect.bisect_left(places, one[1], key=lambda place: place[0])
    before = bisect.bisect_right(places, one[0], key=lambda place: place[1])
    beside = [*places[max(0, before - 1) : before], *places[behind : behind + 1]]
    distances = {max(place[0] - one[1], one[0] - place[1]): place for place in reversed(beside)}
    least = min(distances, default=gap + 1)
    return distances[least] if least <= gap else None


def _standing(run: Run, flat: str) -> Iterator[Range]:
    """Where a run of words stands in words that are separated, begun and ended by a space."""
    number = counted = 0
    for at in _starts(run, flat):
        number += flat.count(" ", counted, at)
        counted = at
        yield number, number + len(run)


def _starts(run: Run, flat: str) -> Iterator[int]:
    if any(term.is_prefix for term in run):
        wanted = " ".join(re.escape(term.text) + ("[^ ]*" if term.is_prefix else "") for term in run)
        yield from (found.start() for found in re.finditer(f" {wanted}(?= )", flat))
        return
    wanted, at = f" {' '.join(term.text for term in run)} ", -1
    while (at := flat.find(wanted, at + 1)) >= 0:
        yield at


def _together(met: Sequence[Iterable[_Spot]]) -> Iterator[Place]:
    """Where one of each is met within `TOGETHER_S`: all of the rarest, with the nearest of the others."""
    first, ordered = met[0], []
    if len(met) > 1:
        first, *others = sorted((list(spots) for spots in met), key=len)
        ordered = [sorted(spots, key=lambda spot: spot.at) for spots in others]
    for spot in first:
        places = [one.place() for one in (spot, *(_nearest(spot, spots) for spots in ordered))]
        marks = {mark for place in places for mark in place.marks}
        if all(place.marks for place in places):
            whole = Place(places[0].video_id, tuple(sorted(marks)))
            if whole.end_s - whole.start_s <= TOGETHER_S:
                yield whole


def _nearest(spot: _Spot, spots: Sequence[_Spot]) -> _Spot:
    at = bisect.bisect_left(spots, spot.at, key=lambda other: other.at)
    return min(spots[max(0, at - 1) : at + 1], key=lambda other: abs(other.at - spot.at))


class _Pattern:
    """A regular expression that must be done by a deadline, `time.monotonic`."""

    def __init__(self, text: str, deadline: float) -> None:
        import regex

        self._text = text
        self._deadline = deadline
        if len(text) > MAX_PATTERN or not text:
            raise QueryError(
                f"the regular expression has {len(text)} characters", hint=f"1 to {MAX_PATTERN} can be used"
            )
        try:
            composed = unicodedata.normalize("NFC", text)
            self._compiled = regex.compile(composed.translate(_LETTERS), regex.IGNORECASE)
        except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise QueryError(
                f"{text!r} is no regular expression: {error}", hint="as in --regex 'colou?rs?'"
            ) from error

    def spans(self, text: str) -> Iterator[Range]:
        """Where it is met.

        Raises:
            QueryError: the deadline has passed, or it calls itself without end.
        """
        try:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for found in self._compiled.finditer(text, timeout=left):
                if found.end() > found.start():
                    yield found.span()
        except MemoryError as error:
            raise QueryError(
                f"the regular expression {self._text!r} takes too much memory",
                hint="avoid what calls itself, as in (?R)",
            ) from error
        except TimeoutError as error:
            raise QueryError(
                f"the regular expression {self._text!r} took longer than {REGEX_LIMIT_S:g} s",
                hint="avoid repeats within repeats, as in (a+)+; look through less with --in or --since,"
                " or use --phrase, which has an index",
            ) from error


class _Letters(dict[int, str]):
    """Characters -> the same without accents, looked up once each."""

    def __missing__(self, code: int) -> str:
        self[code] = fold.letter(chr(code))
        return self[code]


_LETTERS = _Letters()
