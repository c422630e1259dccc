"""Names: words that the text encoder knows by their letters alone, looked for among all words that are said.

A name is found where it is said, and where something is said that differs from it by a letter or two: what
listens spells a name by ear. Such a word makes its segment a candidate, counts there as the word itself, and
is a reason of its own (`scoring.LETTERS`). A query without such words knows nothing of all this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from savecli import fold
from savecli.datatypes import Phrase, Term
from savecli.model.score import Candidates, Query
from savecli.model.words import content
from savecli.search import exact
from savecli.store import Store

MAX_SPELLINGS = 10
MAX_PLACES = 100
"""Of one name: what is said more often than this is no rare word."""
LEAST_LETTERS = 3
NEARNESS = (1.0, 0.6, 0.3)
"""How much of a name is said where as many letters differ."""
_LEAST_WITH_EDITS = ((8, 2), (5, 1))  # from this many letters on, this many may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Where the names of a query are said.

    Attributes:
        words: the spellings that were found, folded.
        segments: for each segment in which a name is said, the stems that it counts for, and how near in 0..1
            the nearest spelling of each is.
    """

    words: frozenset[str] = frozenset()
    segments: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    def told(self, ids: Sequence[int], candidates: Candidates) -> Candidates:
        """Candidates that also know what is said there by another spelling."""
        if not self.segments:
            return candidates
        spoken = [
            words | self.segments.get(segment_id, {}).keys()
            for segment_id, words in zip(ids, candidates.spoken, strict=True)
        ]
        return replace(candidates, spoken=spoken)

    def near(self, ids: Sequence[int]) -> list[Mapping[str, float]]:
        """How near what is said in each of these segments is to a name, by its stem."""
        return [self.segments.get(segment_id, {}) for segment_id in ids]


def look_up(queries: Iterable[Query], store: Store, videos: Collection[int] | None) -> Names:
    """The names of all queries, in the only `videos` to look at, by their keys."""
    met: defaultdict[int, dict[str, float]] = defaultdict(dict)
    words: set[str] = set()
    for name in {name for query in queries for name in query.names}:
        stems = set(content(name))
        for spelling, n_edits in spellings(fold.fold(name), store):
            phrase = Phrase(text=spelling, runs=((Term(spelling),),))
            found = exact.find([phrase], [], store, most=MAX_PLACES, videos=videos)
            if found.has_more:
                continue
            words.add(spelling)
            for place in found.places:
                segment_id = store.segment_of_utterance(place.video_id, place.marks[0].utterance)
                if segment_id is not None:
                    known = met[segment_id]
                    known |= {stem: max(known.get(stem, 0.0), NEARNESS[n_edits]) for stem in stems}
    return Names(words=frozenset(words), segments=met)


def spellings(name: str, store: Store) -> list[tuple[str, int]]:
    """The words that are said somewhere and may be this folded name, the nearest first, with their edits."""
    if len(name) < LEAST_LETTERS:
        return []
    most = next((edits for letters, edits in _LEAST_WITH_EDITS if len(name) >= letters), 0)
    away = {word: edits(name, word, most) for word in store.near_words(name, most)}
    near = sorted((n, word) for word, n in away.items() if n <= most)
    return [(word, n) for n, word in near[:MAX_SPELLINGS]]


def edits(one: str, other: str, most: int) -> int:
    """How many letters must be put in, left out, changed or swapped with the next; ``most + 1`` for more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)
