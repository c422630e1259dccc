"""Query -> moments. `search` is all that others need."""

from __future__ import annotations

from savecli.datatypes import Show
from savecli.search.flow import search
from savecli.search.scoring import QueryEncoder, gather
from savecli.search.snippet import CHARACTERS as SNIPPET_CHARACTERS

__all__ = ["SNIPPET_CHARACTERS", "QueryEncoder", "Show", "gather", "search"]
