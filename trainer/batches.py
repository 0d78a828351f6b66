"""Mini-batches: choosing examples and gathering them fast."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from trainer.arrays import Floats, Labels

SAMPLINGS: Final = ("replacement", "epoch")
GATHERED_BYTES: Final = 1 << 18
"""Small batches are gathered several at a time, up to this size, which stays in the cache."""


class Batches:
    """Draws mini-batches from a set of examples.

    Args:
        x: examples, shape (n, features).
        t: labels, shape (n,).
        batch_size: examples per batch, >= 1.
        sampling: "replacement" draws every batch independently, with replacement, as the chapter does; an epoch is
            n // batch_size draws (at least one). "epoch" shuffles and uses every example once; the last batch has
            the rest.
        rng: decides what is drawn.
        updates: batches per epoch with "replacement"; None means n // batch_size.
    """

    def __init__(
        self,
        x: Floats,
        t: Labels,
        batch_size: int,
        sampling: str,
        rng: np.random.Generator,
        updates: int | None = None,
    ) -> None:
        check_batches(batch_size, sampling, updates)
        self._x, self._t, self._size, self._sampling, self._rng = x, t, batch_size, sampling, rng
        n = len(x)
        self.per_epoch = updates or max(n // batch_size, 1)
        drawn = self.per_epoch * batch_size
        if sampling == "epoch":
            self.per_epoch, drawn = -(-n // batch_size), n
        together = max(GATHERED_BYTES // (x.itemsize * x.shape[1] * batch_size), 1)
        self._gathered = np.empty((min(together * batch_size, drawn), x.shape[1]), x.dtype)

    def epoch(self) -> Iterator[tuple[Floats, Labels]]:
        """The batches of one epoch; each is valid until the next."""
        n, size = len(self._x), self._size
        if self._sampling == "replacement":
            drawn = self._rng.integers(0, n, self.per_epoch * size)
        else:
            drawn = self._rng.permutation(n)
        t = self._t[drawn]
        for low in range(0, len(drawn), len(self._gathered)):
            some = drawn[low : low + len(self._gathered)]
            # with the default mode NumPy would gather into a copy first
            x = np.take(self._x, some, axis=0, out=self._gathered[: len(some)], mode="clip")
            for start in range(0, len(some), size):
                yield x[start : start + size], t[low + start : low + start + size]


def check_batches(batch_size: int, sampling: str, updates: int | None) -> None:
    """Raises ValueError unless the arguments describe mini-batches (see Batches)."""
    if int(batch_size) != batch_size or batch_size < 1:
        raise ValueError(f"`batch_size` must be an integer >= 1, but got (batch_size={batch_size})")
    if sampling not in SAMPLINGS:
        raise ValueError(f"`sampling` must be one of {SAMPLINGS}, but got {sampling!r}")
    if updates is not None and (sampling == "epoch" or int(updates) != updates or updates < 1):
        rule = "`updates` must be an integer >= 1 with sampling 'replacement', else None"
        raise ValueError(f"{rule}, but got (updates={updates}, sampling={sampling!r})")
