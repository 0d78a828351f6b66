"""The handwritten digits that come with scikit-learn: 1,797 images of 8x8, pixels 0 to 16, no download.

They have no official test set, so it is defined here: the first 1,437 images are the training set, the last 360 (a
fifth) the sealed test set, both in scikit-learn's order. Each class has 141 to 146 and 33 to 37 of them.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np

from trainer.data.examples import DataError, Description, Examples

DESCRIPTION = Description(features=64, classes=10, train_size=1437, test_size=360)


def check() -> None:
    _package()


def load_train() -> Examples:
    x, t = _load()
    return Examples(x[: DESCRIPTION.train_size], t[: DESCRIPTION.train_size])


def load_test() -> Examples:
    x, t = _load()
    return Examples(x[DESCRIPTION.train_size :], t[DESCRIPTION.train_size :])


@functools.cache
def _load() -> Examples:
    # Importing scikit-learn takes a second in every worker; reading its file takes a hundredth of that.
    try:
        table = np.loadtxt(_package() / "datasets" / "data" / "digits.csv.gz", delimiter=",")
        images, labels = table[:, :-1], table[:, -1]
    except FileNotFoundError:  # another release may have its digits elsewhere
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
    x = np.divide(images, 16, dtype=np.float32, casting="same_kind")
    t = labels.astype(np.int64)
    x.setflags(write=False)
    t.setflags(write=False)
    return Examples(x, t)


def _package() -> Path:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("the data set 'digits' comes with scikit-learn, which is not installed here")
    return Path(spec.origin).parent
