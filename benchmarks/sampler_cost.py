"""What ask and tell cost when many trials have finished: hpo with its journal ledger, and plain Optuna.

Both have the same history, the same sampler with the same settings and a journal file, and durably write every trial
twice, when it begins and when it ends, in one process. Steps alternate between the sides; the medians count.

    python benchmarks/sampler_cost.py [--finished 100 1000 10000] [--steps 30]
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from hpo.advisor import Advisor
from hpo.ledger import storage
from hpo.ledger.address import parse as parse_address
from hpo.ledger.ledger import Ledger
from hpo.ledger.record import attributes
from hpo.search import trial_seed
from hpo.study import Study, parse
from hpo.trial import COMPLETE, Trial

SPACE = {"lr": {"low": 1e-6, "high": 1e-2, "log": True}, "weight_decay": {"low": 1e-8, "high": 1e-4, "log": True}}
SAMPLERS: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
    "random": lambda: optuna.samplers.RandomSampler(seed=0),
    "tpe": lambda: optuna.samplers.TPESampler(
        seed=0, n_startup_trials=10, n_ei_candidates=24, multivariate=True, group=False, constant_liar=True
    ),
}


def history(study: Study, count: int) -> list[FrozenTrial]:
    """Finished trials whose value falls with the distance of lr from 1e-3."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        params = {"lr": 10 ** rng.uniform(-6, -2), "weight_decay": 10 ** rng.uniform(-8, -4)}
        trial = Trial(number, params, trial_seed(0, number))
        made.append(
            optuna.trial.create_trial(
                params=params,
                distributions=study.space.distributions(),
                value=value(params),
                user_attrs=attributes(trial),
            )
        )
    return made


def value(params: dict[str, float]) -> float:
    return -abs(math.log10(params["lr"]) + 3)


def hpo_side(study: Study, past: list[FrozenTrial], folder: Path) -> Callable[[], None]:
    address = parse_address(str(folder / "hpo.journal"))
    Ledger.open(address, study).close()
    with closing(storage.connect(address)) as store:
        study_id = store.get_study_id_from_name(study.name)
        for trial in past:
            store.create_new_trial(study_id, template_trial=trial)
    ledger = Ledger.open(address, study)
    advisor = Advisor(study, ledger.loaded)

    def step() -> None:
        frozen, params = advisor.ask()
        trial = Trial(frozen.number, params, trial_seed(0, frozen.number))
        ledger.begin(frozen, trial)
        ledger.finish(advisor.tell(frozen.number, COMPLETE, value(params)), trial)

    return step


def optuna_side(study: Study, past: list[FrozenTrial], folder: Path) -> Callable[[], None]:
    store = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    plain = optuna.create_study(storage=store, direction=study.direction, sampler=SAMPLERS[study.sampler.name]())
    plain.add_trials(past)
    distributions = study.space.distributions()

    def step() -> None:
        trial = plain.ask(distributions)
        plain.tell(trial, value(trial.params))

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print("| sampler | finished trials | hpo, ms | Optuna, ms | ratio |\n|---|---|---|---|---|")
    for name in SAMPLERS:
        raw = {
            "name": name,
            "objective": "none:none",
            "metric": "value",
            "direction": "maximize",
            "space": SPACE,
            "sampler": {"name": name},
            "budget": {"trials": 10**6},
        }
        study = parse(raw, file="sampler_cost")
        for finished in options.finished:
            past = history(study, finished)
            with tempfile.TemporaryDirectory() as folder:
                sides = [make(study, past, Path(folder)) for make in (hpo_side, optuna_side)]
                times: list[list[float]] = [[], []]
                for round_ in range(options.steps + 3):
                    for step, taken in zip(sides, times, strict=True):
                        start = time.perf_counter()
                        step()
                        if round_ >= 3:  # the first fill caches, on both sides
                            taken.append(1000 * (time.perf_counter() - start))
            ours, theirs = map(statistics.median, times)
            print(f"| {name} | {finished:,} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
