"""What a trial costs in addition to its objective: hpo, plain Optuna and Ray Tune, in one run.

The objective is trivial (one report), so that all time is overhead. Start-up (Ray, imports) is not counted. The
programs take turns; the medians count.

    python benchmarks/overhead.py [--trials 1000] [--tune-trials 20] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

WORKERS = 2
STUDY = {
    "name": "overhead",
    "objective": "benchmarks.overhead:objective",
    "metric": "loss",
    "direction": "minimize",
    "space": {"x": {"low": 0.0, "high": 1.0}},
    "sampler": {"name": "tpe"},
}


def objective(params: dict[str, float], seed: int) -> float:
    return params["x"] ** 2


def hpo_side(trials: int, folder: Path, tracking: bool) -> float:
    from hpo.execution import Job
    from hpo.execution.ray.pool import RayExecutor
    from hpo.ledger.address import parse as parse_address
    from hpo.ledger.ledger import Ledger
    from hpo.search.loop import Search
    from hpo.study import parse
    from hpo.tracking import NoTracker, Tracker
    from hpo.tracking.mirror import Mirror
    from hpo.tracking.mlflow import MlflowStore
    from hpo.trial import StudyState

    study = parse(STUDY | {"budget": {"trials": trials}}, file="overhead")
    executor = RayExecutor(
        Job(str(study.objective), study.metric, study.fixed, (str(Path.cwd()),)), WORKERS, study.workers
    )
    while executor.free < WORKERS:
        executor.poll(0.1)
    ledger = Ledger.open(parse_address(str(folder / "hpo.journal")), study)
    search = Search(study, ledger)
    tracker: Tracker = NoTracker()
    if tracking:
        store = MlflowStore(f"sqlite:///{folder / 'mlflow.db'}", study, ledger.uid, ledger.created)
        store.open([])  # not counted: the database's tables are made once
        tracker = Mirror(lambda: store, [], print)
    start = time.perf_counter()
    search.run(executor, [tracker])
    if missing := tracker.close(StudyState.COMPLETE, 600):
        raise RuntimeError(f"{missing} trials are not in MLflow")
    seconds = time.perf_counter() - start
    executor.close()
    ledger.close()
    return seconds / trials


def optuna_side(trials: int, folder: Path) -> float:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.TPESampler(seed=0))
    start = time.perf_counter()
    study.optimize(lambda trial: objective({"x": trial.suggest_float("x", 0, 1)}, 0), trials, n_jobs=WORKERS)
    return (time.perf_counter() - start) / trials


def tune_side(trials: int, folder: Path) -> float:
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def trainable(config: dict[str, float]) -> None:
        tune.report({"loss": objective(config, 0)})

    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", num_samples=trials, search_alg=OptunaSearch(), max_concurrent_trials=WORKERS
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    start = time.perf_counter()
    tuner.fit()
    return (time.perf_counter() - start) / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--tune-trials", type=int, default=20, help="0 leaves Ray Tune out")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    from hpo.execution.ray import cluster as ray
    from hpo.study.workers import Resources

    ray.start("local", WORKERS, Resources(1, 0, 0))
    sides: dict[str, Callable[[Path], float]] = {
        "hpo, tracking off": lambda folder: hpo_side(options.trials, folder, tracking=False),
        "hpo, tracking on": lambda folder: hpo_side(options.trials, folder, tracking=True),
        "Optuna, n_jobs=2, journal": lambda folder: optuna_side(options.trials, folder),
    }
    if options.tune_trials:
        sides["Ray Tune + OptunaSearch"] = lambda folder: tune_side(options.tune_trials, folder)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                times[name].append(side(Path(folder)))
    ray.shutdown()
    base = statistics.median(times["hpo, tracking off"])
    print(f"{'per trial':28}{'median':>12}{'all rounds':>36}{'ratio':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        rounds = " ".join(f"{1000 * value:.1f}" for value in values)
        print(f"{name:28}{1000 * median:9.1f} ms{rounds:>36}{median / base:8.1f}")


if __name__ == "__main__":
    main()
