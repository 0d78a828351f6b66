"""The small data of all examples here: 8x8 images of digits, which scikit-learn brings along."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def load() -> list[np.ndarray]:
    """Training and validation images (float32, 64 pixels in 0 to 1), then their labels (int64)."""
    images, labels = load_digits(return_X_y=True)
    return train_test_split((images / 16).astype(np.float32), labels, test_size=0.25, random_state=0)
