"""One search, step by step as `save search --json` makes it; prints when each was done (see latency.py)."""

import time

at = {"interpreter": time.monotonic()}

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import savecli.__main__  # noqa: E402, F401

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as savecli.__main__.main does, which is not called here

at["click"] = time.monotonic()
from savecli import config, pipeline, render, search, store  # noqa: E402, F401
from savecli.datatypes import Ask  # noqa: E402
from savecli.model import encode  # noqa: E402, F401

at["imports"] = time.monotonic()
settings = config.load(home=Path(sys.argv[1]))
encoder = pipeline.make_encoder(settings)
at["weights"] = time.monotonic()
queries = encoder.queries(Ask(text=sys.argv[2]))
encoder.queries = lambda _: queries
at["encode"] = time.monotonic()
with store.Store.open(settings.store_dir, identity=encoder.identity, mode="read") as opened:
    at["open"] = time.monotonic()
    results = search.search(sys.argv[2], opened, encoder)
at["search"] = time.monotonic()
print(json.dumps(at))
