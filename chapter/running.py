"""Runs the chapter's studies, one after the other, in one working folder and on one set of workers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hpo import service
from hpo.errors import Interrupted
from hpo.executors import Executors
from hpo.interrupts import resumable
from hpo.ledger.address import parse
from hpo.study import Study, load

ROOT = Path(__file__).parents[1]
# In the order in which they run: what is quick and finds mistakes comes first.
STUDIES = (
    *("fig_6_3", "fig_6_5", "fig_6_6", "fig_6_7", "fig_6_8", "nesterov_and_rmsprop", "too_large_a_rate"),
    *("fig_6_10", "fig_6_11", "fig_6_13", "tanh", "fig_6_14", "fig_6_18", "fig_6_19", "ensemble"),
    *("fig_6_24", "fig_6_24_second_round", "weight_decay_axis", "fig_6_21", "fig_6_15", "fig_6_9", "fig_6_23"),
    *("fig_6_24_narrowing", "fig_6_24_tpe", "fig_6_24_grid", "fig_6_20_validation", "batch_norm_and_rates"),
    *("learning_rate_decay", "fig_6_1", "rates"),
)


def studies(names: Sequence[str] = STUDIES) -> list[Study]:
    """The chapter's studies, read from ``studies/``."""
    return [load(ROOT / "studies" / f"{name}.toml") for name in names]


def run(wanted: Sequence[Study], folder: Path, *, workers: int | None = None, tracking: str | None = None) -> None:
    """Runs studies in ``folder``, or goes on with them; what has finished is kept.

    Args:
        wanted: The studies.
        folder: The working folder, with one ledger (``hpo.journal``) and one MLflow database for all.
        workers: How many trials run at once; None for one per core, 0 for this process alone.
        tracking: Another MLflow store, or ``"none"``.

    Raises:
        Interrupted: After Ctrl-C; the same call goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    where = parse(str(folder.absolute() / "hpo.journal"))
    for study in wanted:
        service.check(study, where)
    before = Path.cwd()
    os.chdir(folder)  # MLflow puts what it keeps into the working folder
    try:
        executors = Executors(wanted[0].workers, workers)
        with resumable("make chapter"), closing(executors):
            for study in wanted:
                begun = time.monotonic()
                uri = tracking or "sqlite:///mlflow.db"
                result = service.run(study, where, executors, tracking=uri, quiet=True)
                if result.interrupted:
                    raise Interrupted.during("make chapter")
                late = f", {result.unwritten} not in MLflow yet" if result.unwritten else ""
                seconds = time.monotonic() - begun
                sys.stdout.write(f"{study.name}: {len(result.trials)} trials, {seconds:.1f} s{late}\n")
                sys.stdout.flush()
    finally:
        os.chdir(before)
