"""What ask and tell cost when many trials have finished: hpo with its journal ledger, and plain Optuna.

Both have the same history, the same sampler with the same settings, and a journal file, in one process. Both write
every trial durably when it begins and when it ends. They take turns; the medians count.

    python benchmarks/sampler_cost.py [--finished 100 1000 10000] [--steps 30]

With --asks, only what asking TPE costs: hpo's advisor and Optuna's study in memory, with the same trials, sampler
settings and clock, in turns.

    python benchmarks/sampler_cost.py --asks 100 [--finished 10000 100000] [--parameters 2 10] [--clock cpu]
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from hpo.ledger.address import parse as parse_address
from hpo.ledger.ledger import Ledger, connect
from hpo.ledger.record import attributes
from hpo.search.advisor import Advisor, trial_seed
from hpo.study import Study, parse
from hpo.trial import State, Trial

SPACE = {"lr": {"low": 1e-6, "high": 1e-2, "log": True}, "weight_decay": {"low": 1e-8, "high": 1e-4, "log": True}}
SAMPLERS: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
    "random": lambda: optuna.samplers.RandomSampler(seed=0),
    "tpe": lambda: optuna.samplers.TPESampler(
        seed=0, n_startup_trials=10, n_ei_candidates=24, multivariate=True, group=False, constant_liar=True
    ),
}

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


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


def value(params: Mapping[str, float]) -> float:
    return -abs(math.log10(params["lr"]) + 3)


def hpo_side(study: Study, past: list[FrozenTrial], folder: Path) -> Callable[[], None]:
    address = parse_address(str(folder / "hpo.journal"))
    Ledger.open(address, study).close()
    with closing(connect(address)) as store:
        study_id = store.get_study_id_from_name(study.name)
        for trial in past:
            store.create_new_trial(study_id, template_trial=trial)
    ledger = Ledger.open(address, study)
    advisor = Advisor(study, ledger.loaded)

    def step() -> None:
        trial = advisor.ask()
        ledger.begin(trial)
        ledger.finish(advisor.tell(replace(trial, state=State.COMPLETE, values=(value(trial.params),))))

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


def ask_costs(finished: int, parameters: int, asks: int, theirs: int, clock: Callable[[], float]) -> None:
    """Prints what an ask costs both sides; with very many trials Optuna is asked ``theirs`` times only."""
    names = [f"p{index}" for index in range(parameters)]
    study = parse(table("tpe", dict.fromkeys(names, SPACE["lr"])), file="sampler_cost")
    rng = np.random.default_rng(0)
    draws, values = 10 ** rng.uniform(-6, -2, (finished, parameters)), rng.normal(size=finished + asks + 3)
    trials = [
        Trial(number, dict(zip(names, map(float, draw), strict=True)), 0, state=State.COMPLETE, values=(float(result),))
        for number, (draw, result) in enumerate(zip(draws, values, strict=False))
    ]
    started = clock()
    advisor = Advisor(study, trials)
    ready = clock() - started
    started = clock()
    advisor.tell(replace(advisor.ask(), state=State.COMPLETE, values=(0.0,)))
    first, memory = clock() - started, peak_megabytes()
    plain = optuna.create_study(direction=study.direction, sampler=SAMPLERS["tpe"]())
    plain._storage = Advisor(study, trials)._storage  # the same trials, in memory
    distributions = study.space.distributions()
    times: list[list[float]] = [[], []]
    for round_ in range(asks + 3):
        started = clock()
        trial = advisor.ask()
        times[0].append(1000 * (clock() - started))
        advisor.tell(replace(trial, state=State.COMPLETE, values=(float(values[finished + round_]),)))
        if round_ < theirs + 3:
            started = clock()
            asked = plain.ask(distributions)
            times[1].append(1000 * (clock() - started))
            plain.tell(asked, float(values[finished + round_]))
    ours, optunas = (side[3:] for side in times)  # the first ones fill caches, in both programs
    print(
        f"| {finished:,} | {parameters} | {statistics.median(ours):.1f} | {np.percentile(ours, 99):.1f} "
        f"| {statistics.median(optunas):.0f} | {statistics.median(ours) / statistics.median(optunas):.3f} "
        f"| {1000 * first:.0f} | {1000 * ready:.0f} | {memory:.0f} |",
        flush=True,
    )


def peak_megabytes() -> float:
    # On Linux; with several cases in one run, the largest until now.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(sampler: str, space: Mapping[str, object]) -> dict[str, object]:
    return {
        "name": sampler,
        "objective": "none:none",
        "metric": "value",
        "direction": "maximize",
        "space": space,
        "sampler": {"name": sampler},
        "budget": {"trials": 10**6},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--asks", type=int, help="measure only asks, so many for each side, in memory")
    parser.add_argument("--theirs", type=int, default=10**6, help="at most so many asks of Optuna's")
    parser.add_argument("--parameters", type=int, nargs="+", default=[2, 10])
    clock_help = "cpu: leave out the time in which other programs had the core (default: wall)"
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=clock_help)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if options.asks:
        print("| finished trials | parameters | hpo, ms | p99 | Optuna, ms | ratio | first ask | start | peak MB |")
        print("|---|---|---|---|---|---|---|---|---|")
        for finished in options.finished:
            for parameters in options.parameters:
                ask_costs(finished, parameters, options.asks, options.theirs, CLOCKS[options.clock])
        return
    print("| sampler | finished trials | hpo, ms | Optuna, ms | ratio |\n|---|---|---|---|---|")
    for name in SAMPLERS:
        study = parse(table(name, SPACE), file="sampler_cost")
        for finished in options.finished:
            past = history(study, finished)
            with tempfile.TemporaryDirectory() as folder:
                sides = [make(study, past, Path(folder)) for make in (hpo_side, optuna_side)]
                times: list[list[float]] = [[], []]
                for round_ in range(options.steps + 3):
                    for step, taken in zip(sides, times, strict=True):
                        start = time.perf_counter()
                        step()
                        if round_ >= 3:  # the first steps fill caches, in both programs
                            taken.append(1000 * (time.perf_counter() - start))
            ours, theirs = map(statistics.median, times)
            print(f"| {name} | {finished:,} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
