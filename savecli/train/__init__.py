"""Benchmark -> checkpoint: the training of SAVE, in one process or in many."""
