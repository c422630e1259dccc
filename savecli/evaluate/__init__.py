"""A benchmark and a model -> how well the one is found by the other. Flow: see `run.evaluate`."""
