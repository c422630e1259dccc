"""The log-mel rows are those of the reference, on every golden waveform, and on odd ones at least numbers."""

from __future__ import annotations

import json
import time
import tracemalloc
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from savecli.model.fbank import MEAN, N_MELS, N_ROWS, STD, log_mel, mel_filters

RATE_HZ = 16_000
SILENCE = -1.6639
KINDS = ("noise", "chirp", "mix", "zeros", "speechlike", "stereo")
TOLERANCE = 1e-3
CHIRP_TOLERANCE = 5e-3  # most of its filters are at float32's own noise


def made(kind: str, n_samples: int) -> np.ndarray:
    """The golden waveform of that name: (S,) float32, or (2, S)."""
    time_s = np.arange(n_samples) / RATE_HZ
    chirp = np.sin(2 * np.pi * (100 * time_s + 0.5 * (6900 * RATE_HZ / n_samples) * time_s**2))
    seed = crc32(f"wav/noise/{n_samples}".encode())
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(n_samples)
    mix = 0.1 + 0.4 * chirp * (0.5 + 0.5 * np.sin(2 * np.pi * 1.5 * time_s)) + 0.02 * noise
    if kind == "stereo":
        return np.stack([mix.astype(np.float32), noise.astype(np.float32) + np.float32(0.3)])
    return {
        "noise": 0.1 * noise,
        "chirp": 0.5 * chirp,
        "mix": mix,
        "zeros": np.zeros(n_samples),
        "speechlike": np.round(np.clip(mix - 0.1, -1, 1) * 32767) / 32768,
    }[kind].astype(np.float32)


@pytest.fixture(scope="module")
def golden(parity):
    with np.load(parity / "fbank.npz") as arrays:
        return json.loads((parity / "fbank.json").read_text("utf-8")), dict(arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_golden_rows(golden, kind):
    facts, arrays = golden
    cases = [case for case in facts["cases"] if case["name"].startswith(kind)]
    assert cases
    for case in cases:
        name, tolerance = case["name"], CHIRP_TOLERANCE if kind == "chirp" else TOLERANCE
        waveform = made(kind, case["n_samples"])
        if "wave_sum" in case:
            assert waveform.sum(dtype=np.float64) == pytest.approx(case["wave_sum"], abs=1e-5)
        rows = log_mel(waveform)
        assert rows.dtype == np.float32
        seen = {"rows": rows[facts["rows"]], "row_mean": rows.mean(1), "col_mean": rows.mean(0)}
        for key, value in (*seen.items(), ("full_f16", rows)):
            if (stored := arrays.get(f"{name}.{key}")) is not None:
                half = np.spacing(np.abs(stored)).astype(float) / 2 if key == "full_f16" else 0
                assert np.all(np.abs(value - stored.astype(float)) <= tolerance + half), (name, key)
        assert rows.mean(dtype=np.float64) == pytest.approx(case["mean"], abs=1e-4)
        assert rows.std(dtype=np.float64) == pytest.approx(case["std"], abs=1e-4)


def test_every_golden_array_is_looked_at(golden):
    facts, arrays = golden
    named = {case["name"] for case in facts["cases"]}
    assert {key.partition(".")[0] for key in arrays} == named | {"mel_banks", "mel_empty"}
    assert all(case["name"].startswith(KINDS) for case in facts["cases"])


def test_golden_filters(golden):
    _, arrays = golden
    assert np.abs(mel_filters() - arrays["mel_banks"]).max() < 2e-5
    assert np.flatnonzero(mel_filters().sum(1) == 0).tolist() == arrays["mel_empty"].tolist() == [3]


def test_lengths_that_the_reference_refuses(golden):
    facts, _ = golden
    for case in facts["errors"]:
        if case["ok"]:
            log_mel(made("mix", case["n_samples"]))
        else:
            with pytest.raises(ValueError, match="too few"):
                log_mel(made("mix", case["n_samples"]))


def test_the_number_of_rows_at_every_length(golden):
    facts, _ = golden
    nothing = np.float32(-MEAN / (2 * STD))
    for n_samples, _, n_rows in facts["shift_table"]:
        if n_samples < 10 * 60 * RATE_HZ:
            rows = log_mel(np.zeros(n_samples, np.float32))
            given_ = np.count_nonzero(np.abs(rows[:, 0] - SILENCE) < 1e-4)
            assert given_ == min(n_rows, N_ROWS)
            assert np.allclose(rows[n_rows:], nothing)


@given(st.integers(1024, 40_000), st.integers(0, 2**32 - 1), st.sampled_from([1e-30, 1e-3, 1.0]))
@settings(max_examples=25, deadline=None)
def test_always_numbers(n_samples, seed, loudness):
    waveform = np.random.default_rng(seed).uniform(-loudness, loudness, n_samples).astype(np.float32)
    before = waveform.copy()
    rows = log_mel(waveform)
    assert rows.shape == (N_ROWS, N_MELS)
    assert np.isfinite(rows).all()
    assert rows.min() >= SILENCE - 1e-4
    assert np.array_equal(waveform, before)


def test_an_offset_changes_nothing():
    waveform = made("noise", RATE_HZ)
    assert np.abs(log_mel(waveform + np.float32(0.25)) - log_mel(waveform)).max() < 1e-3
    assert (
        np.abs(log_mel(np.full(RATE_HZ, 0.7, np.float32)) - log_mel(np.zeros(RATE_HZ, np.float32))).max() == 0
    )


def test_channels():
    first, second = made("noise", RATE_HZ), made("chirp", RATE_HZ)
    assert np.array_equal(log_mel(first[None]), log_mel(first))
    assert np.array_equal(log_mel(np.stack([first, first])), log_mel(first))
    assert np.abs(log_mel(np.stack([first, second])) - log_mel(first)).max() < 1e-3
    assert np.array_equal(log_mel(np.stack([first, second], axis=1).T), log_mel(np.stack([first, second])))


@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros(0, np.float32),
        np.zeros((0, 5000), np.float32),
        np.zeros(5000, np.int16),
        np.zeros(5000),
        np.zeros((1, 1, 5000), np.float32),
        np.float32(0),
    ],
)
def test_refuses(waveform):
    with pytest.raises(ValueError, match="waveform must be"):
        log_mel(np.asarray(waveform))


def test_ten_minutes_cost_what_ten_seconds_do():
    short, long = made("noise", 10 * RATE_HZ), np.zeros(600 * RATE_HZ, np.float32)
    log_mel(short)
    peaks, times = [], []
    for waveform in (short, long):
        tracemalloc.start()
        log_mel(waveform)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    for _ in range(5):
        start = time.process_time()
        log_mel(short)
        times.append(time.process_time() - start)
    assert peaks[1] < 1.1 * peaks[0] < 4e6
    assert min(times) < 0.05  # 4 ms on the slow machine that this was written on
