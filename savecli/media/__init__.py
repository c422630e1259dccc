"""Files -> segments, frames and waveforms."""
