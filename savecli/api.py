"""The library from Python: open it, search it, close it. docs/api.md has an example that runs.

>>> import savecli
>>> with savecli.open_library() as library:
...     for moment in library.search("a dog on a beach").moments:
...         print(moment.path, moment.start_s, moment.score)

What is searched for is what `save search` takes, and so is the answer. All that goes wrong on purpose is a
`savecli.errors.SaveError` with a `hint`. A `Library` belongs to the thread that opened it; several threads,
or processes, open one each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

from savecli import config as settings
from savecli import query as language
from savecli.config import Config
from savecli.datatypes import Results
from savecli.errors import StoreError
from savecli.example import load
from savecli.pipeline import make_encoder
from savecli.search import Show, search
from savecli.store import Store, StoredVideo

if TYPE_CHECKING:
    from savecli.model.encode import MiniEncoder


def open_library(home: str | os.PathLike[str] | None = None) -> Library:
    """The library in a home folder, open for searching.

    Args:
        home: the folder of the store and its settings; None takes `SAVE_HOME`, or the user's own.

    Raises:
        StoreError: nothing is indexed there, or by another model.
        WeightsError: weights that are missing or damaged.
        ConfigError: a setting that makes no sense.
    """
    return Library(settings.load(home=None if home is None else Path(home)))


class Library:
    """A store that stays open, with the model that searches it.

    What is indexed meanwhile, in whichever process, is found by the next search.

    Args:
        config: the settings; `open_library` reads them.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.encoder: MiniEncoder = make_encoder(config)
        self._store: Store | None = None
        self._file = (0, 0)
        self._is_closed = False
        self._thread = threading.get_ident()
        self.store()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store; may be called twice."""
        self._is_closed = True
        if self._store is not None:
            self._store.close()
            self._store = None

    def search(
        self,
        text: str | Sequence[str] = (),
        *,
        sees: str | None = None,
        hears: str | None = None,
        says: str | None = None,
        like: str | os.PathLike[str] | None = None,
        against: str | Sequence[str] = (),
        phrases: str | Sequence[str] = (),
        regexes: str | Sequence[str] = (),
        filters: Mapping[str, str | Sequence[str]] = MappingProxyType({}),
        top_k: int = 10,
        threshold: float | None = None,
        by_video: bool = False,
        copies: bool = False,
        explain: bool = False,
    ) -> Results:
        """The moments that answer a query, the best first.

        Args:
            text: what `save search` takes, in the language of docs/search.md: of what is seen, heard or said.
                Several texts must all be met.
            sees: of what is seen alone.
            hears: of what is heard alone, speech aside.
            says: of what is said alone.
            like: a picture, a sound or a video, or a part of one as in "dog.mp4@1:20-1:32", that the moments
                are to be like; it is no answer to itself.
            against: texts of what is not to be there.
            phrases: words that are said exactly so.
            regexes: regular expressions for what is said.
            filters: by name, as in ``{"in": "~/Movies", "has": ["speech"], "since": "2024-05"}``.
            top_k: how many moments at most, or videos.
            threshold: 0..1, the least score; None takes the model's own, 0 shows the nearest however far.
            by_video: puts the moments of a video together.
            copies: also gives moments that repeat a better one of another video.
            explain: fills in each moment's `terms`.

        Raises:
            QueryError: nothing is asked, or it makes no sense.
            StoreError: the library is closed or of another thread, or its store is damaged.
        """
        base = language.given(
            sees=sees,
            hears=hears,
            says=says,
            like=None if like is None else os.fspath(like),
            against=_several(against),
            phrases=_several(phrases),
            regexes=_several(regexes),
            filters={name: _several(own) for name, own in filters.items()},
        )
        ask = language.parse(_several(text), base)
        language.require(ask)
        show = Show(top_k=top_k, threshold=threshold, by_video=by_video, copies=copies, explain=explain)
        store = self.store()
        example = None if like is None else load(ask.like, self.config, store, self.encoder)
        return search(ask, store, self.encoder, show=show, example=example)

    def videos(self) -> list[StoredVideo]:
        """All videos, in order of their first indexing.

        Raises:
            StoreError: the store is closed, or damaged.
        """
        return self.store().videos()

    def store(self) -> Store:
        """The store, opened again where another file took its place, as a repair does."""
        if threading.get_ident() != self._thread:
            raise StoreError(
                "the library was opened in another thread", hint="savecli.open_library() in each thread"
            )
        if self._is_closed:
            raise StoreError("the library is closed", hint="savecli.open_library() opens it again")
        file = self._identity()
        if self._store is None or file != self._file:
            opened = Store.open(self.config.store_dir, identity=self.encoder.identity, mode="read")
            if self._store is not None:
                self._store.close()
            self._store, self._file = opened, file
        return self._store

    def reopen(self) -> None:
        """Have the next search open the store anew, and check it as it is then."""
        self._file = (0, 0)

    def _identity(self) -> tuple[int, int]:
        """Which file the catalog is; nothing where there is none, which opening then says."""
        try:
            status = (self.config.store_dir / "catalog.db").stat()
        except OSError:
            return (0, 0)
        return status.st_dev, status.st_ino


def _several(texts: str | Sequence[str]) -> Sequence[str]:
    """One text is no sequence of its letters."""
    return [texts] if isinstance(texts, str) else texts
