"""Whom a trial is compared with."""

from __future__ import annotations

from optuna.trial import FrozenTrial


def before_batch(trials: list[FrozenTrial], number: int, batch: int | None) -> list[FrozenTrial]:
    """The trials that may decide on trial ``number``: all of them, or with a batch those of finished batches.

    Within a batch, who has reported what is a matter of timing; earlier batches are as finished as they will ever be.
    """
    return trials if batch is None else trials[: number - number % batch]
