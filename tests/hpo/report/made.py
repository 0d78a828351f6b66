"""Studies and trials made by hand, for tests of the report."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hpo.study import Study, parse
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING, Report, Trial

LOG_SPACE = {
    "lr": {"low": 1e-6, "high": 1e-2, "log": True},
    "weight_decay": {"low": 1e-8, "high": 1e-4, "log": True},
}
MIXED_SPACE = {
    "opt": {"choice": ["sgd", "adam", "<b>$x$</b>"]},
    "momentum": {"low": 0.0, "high": 1.0, "when": {"opt": "sgd"}},
    "layers": {"low": 1, "high": 4},
    "hidden": {"choice": [[100, 100], [50]]},
    "学习率": {"low": 1e-4, "high": 1.0, "log": True},
}


def study(**changes: Any) -> Study:
    """A study of two logarithmic parameters, maximizing ``val_accuracy``; ``changes`` replace whole keys."""
    raw = {
        "name": "made",
        "objective": "made.by:hand",
        "metric": "val_accuracy",
        "direction": "maximize",
        "space": LOG_SPACE,
        "budget": {"trials": 100},
    }
    return parse(raw | changes, file="made.toml")


def draws(study: Study, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Parameters of ``count`` trials, uniform over the space."""
    rng = np.random.default_rng(seed)

    class Asked:
        def suggest_float(self, name: str, low: float, high: float, *, log: bool, step: float | None) -> float:
            return float(math.exp(rng.uniform(math.log(low), math.log(high))) if log else rng.uniform(low, high))

        def suggest_int(self, name: str, low: int, high: int, *, log: bool, step: int) -> int:
            return int(rng.integers(low, high + 1))

        def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
            return choices[rng.integers(len(choices))]

    return [study.space.suggest(Asked()) for _ in range(count)]  # type: ignore[arg-type]


def trials(
    study: Study,
    count: int,
    value: Callable[[Mapping[str, Any], np.random.Generator], float],
    *,
    seed: int = 0,
    steps: int = 3,
    workers: int = 2,
) -> list[Trial]:
    """Complete trials with rising curves; trial k runs on worker ``k % workers`` in second ``k // workers``."""
    rng = np.random.default_rng(seed)
    made = []
    for number, params in enumerate(draws(study, count, seed)):
        final = value(params, rng)
        start = 1_700_000_000.0 + number // workers
        reports = [
            Report(
                step,
                start + 0.9 * step / steps,
                {study.metric: final * step / steps, study.metric.replace("val", "train"): final * step / steps + 0.1},
            )
            for step in range(1, steps + 1)
        ]
        made.append(
            Trial(number, params, number, COMPLETE, final, start, start + 0.9, f"host/{number % workers}", 1, reports)
        )
    return made


def mixed_states(made: list[Trial]) -> list[Trial]:
    """Turns every fourth trial into a pruned, a failed or a running one, in turn."""
    for index, trial in enumerate(made[::4]):
        trial.state = (PRUNED, FAILED, RUNNING)[index % 3]
        trial.reports = trial.reports[:1] if index % 2 else []
        if trial.state == PRUNED:
            trial.value = 0.01
        else:
            trial.value = None
        if trial.state == FAILED:
            trial.error = "Traceback\nValueError: <script>alert('x')</script> & more"
        if trial.state == RUNNING:
            trial.ended = None
    return made
