"""The plans of the two convolutional networks of save-mini, whatever computes them."""

from __future__ import annotations

N_CLASSES = 1000
"""Of ImageNet."""
N_FEATURES = 1280
"""Behind them."""
BATCH_NORM_EPS = 1e-3
VISION = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""EfficientNet-Lite0: repeats, kernel, stride of the first, expansion, channels out."""

N_TAGS = 521
"""Classes of AudioSet that YAMNet knows."""
WIDTH = 1024
"""Of the features behind them."""
SOUND = (
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (2, 1024),
    (1, 1024),
)
"""YAMNet: stride of each depthwise convolution, and channels out of the pointwise one behind it."""
