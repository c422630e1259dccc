"""Weights, and what they make of frames and sentences."""
