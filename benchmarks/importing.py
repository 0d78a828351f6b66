"""How long `hpo import`, `export` and `copy` take on studies of thousands of trials: whole processes.

    python benchmarks/importing.py [--trials 1000 10000]

Plain Optuna's study has two parameters and three intermediate values per trial. The seconds are of the clock, and of
processors, which hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution

from hpo.ledger.address import parse
from hpo.ledger.ledger import connect

STUDY = """
objective = "nobody:runs"
metric = "loss"
direction = "minimize"
space.lr = { low = 0.01, high = 1.0 }
space.optimizer = { choice = ["sgd", "adam"] }
budget.trials = 10
"""
COMMANDS = (
    ("import", "a.toml", "--optuna", "sqlite:///theirs.db", "theirs"),
    ("import", "a.toml", "--optuna", "sqlite:///theirs.db", "theirs"),
    ("export", "a", "--out", "trials.csv"),
    ("export", "a", "--reports", "--out", "curves.csv"),
    ("import", "b.toml", "--csv", "trials.csv", "--reports", "curves.csv"),
    ("copy", "a", "--to", "sqlite:///copy.db"),
)


def fill(folder: Path, count: int) -> None:
    """Makes Optuna's study, and two study files."""
    store = connect(parse(f"sqlite:///{folder}/theirs.db"))
    study_id = store.create_new_study([optuna.study.StudyDirection.MINIMIZE], "theirs")
    rng, trials = np.random.default_rng(0), []
    for number in range(count):
        lr, optimizer = float(rng.uniform(0.01, 1.0)), str(rng.choice(["sgd", "adam"]))
        trial = optuna.trial.create_trial(
            params={"lr": lr, "optimizer": optimizer},
            distributions={"lr": FloatDistribution(0.01, 1.0), "optimizer": CategoricalDistribution(["sgd", "adam"])},
            value=lr,
            intermediate_values={0: lr + 1, 1: lr + 0.5, 2: lr},
        )
        trial.number = number
        trials.append(trial)
    store.create_trials(study_id, trials)
    store.close()
    for name in "ab":
        (folder / f"{name}.toml").write_text(f'name = "{name}"{STUDY}')


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10_000])
    print("| trials | command | clock | processors |\n|---|---|---|---|")
    for count in parser.parse_args().trials:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), count)
            for words in COMMANDS:
                before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                environment = os.environ | {"OMP_NUM_THREADS": "1"}
                subprocess.run(
                    [sys.executable, "-m", "hpo", *words], cwd=folder, env=environment, check=True, capture_output=True
                )
                clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
                used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                print(f"| {count:,} | `hpo {' '.join(words)}` | {clock:.1f} s | {used:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
