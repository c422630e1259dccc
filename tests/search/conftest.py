"""A search with copies shown: videos of the same plain colours are copies of one another."""

from __future__ import annotations

import pytest

from savecli.query import parse
from savecli.search import Show, search


@pytest.fixture
def find(colour_store, encoder):
    """Searches for an Ask, or for what is typed."""

    def find_(query, *, top_k=10, threshold=None, copies=True, **options):
        ask = parse([query]) if isinstance(query, str) else query
        show = Show(top_k=top_k, threshold=threshold, copies=copies, **options)
        return search(ask, colour_store, encoder if ask.parts or ask.against else None, show=show)

    return find_
