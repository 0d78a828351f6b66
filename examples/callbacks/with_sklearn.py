"""A pipeline and its data: all that ``hpo.sklearn:cross_validate`` needs."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def pipeline() -> Pipeline:
    return make_pipeline(StandardScaler(), SVC())


def data() -> tuple[np.ndarray, np.ndarray]:
    features, target = load_digits(return_X_y=True)
    return features[:600], target[:600]
