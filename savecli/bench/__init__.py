"""Benchmarks: their files as records, and recall from a similarity matrix."""
