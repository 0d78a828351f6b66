"""Studies and trials made by hand, for tests of the report."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hpo.study import Study, parse
from hpo.study.parameters import Parameter
from hpo.trial import Report, State, Trial

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

    def draw(parameter: Parameter) -> Any:
        low, high = parameter.ends
        if not parameter.ordered:
            choices = parameter.values() or []
            return choices[rng.integers(len(choices))]
        if parameter.whole:
            return int(rng.integers(low, high + 1))
        return float(math.exp(rng.uniform(math.log(low), math.log(high))) if parameter.log else rng.uniform(low, high))

    drawn = []
    for _ in range(count):
        params: dict[str, Any] = {}
        for parameter in study.space.parameters:
            if study.space.active(parameter, params):
                params[parameter.name] = draw(parameter)
        drawn.append(params)
    return drawn


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
            Trial(
                number,
                params,
                number,
                State.COMPLETE,
                (final,),
                start,
                start + 0.9,
                f"host/{number % workers}",
                1,
                tuple(reports),
            )
        )
    return made


def mixed_states(made: list[Trial]) -> list[Trial]:
    """Turns every fourth trial into a pruned, a failed or a running one, in turn."""
    return [_other_state(trial, index // 4) if index % 4 == 0 else trial for index, trial in enumerate(made)]


def _other_state(trial: Trial, turn: int) -> Trial:
    state = (State.PRUNED, State.FAILED, State.RUNNING)[turn % 3]
    return replace(
        trial,
        state=state,
        reports=trial.reports[:1] if turn % 2 else (),
        values=(0.01,) * len(trial.values) if state is State.PRUNED else (),
        error="Traceback\nValueError: <script>alert('x')</script> & more" if state is State.FAILED else None,
        ended=None if state is State.RUNNING else trial.ended,
    )


def fronted(count: int, *, objectives: int = 2, seed: int = 0, **changes: Any) -> tuple[Study, list[Trial]]:
    """A study with several objectives that pull against each other, and ``count`` complete trials.

    Args:
        count: How many trials.
        objectives: 2 for ``val_accuracy`` (multiples of 1/500) and ``size``; more for ``cost2`` and so on beside them.
        seed: Of the draws.
        **changes: Replace whole keys of the study.
    """
    more = {f"cost{index}": "minimize" for index in range(2, objectives)}
    raw = {
        "name": "made",
        "objective": "made.by:hand",
        "objectives": {"val_accuracy": "maximize", "size": "minimize"} | more,
        "space": LOG_SPACE,
        "budget": {"trials": 100},
    }
    several = parse(raw | changes, file="made.toml")
    rng = np.random.default_rng(seed)
    found = []
    for number, params in enumerate(draws(several, count, seed)):
        size = float(rng.uniform(10, 1000))
        accuracy = round(500 * (0.95 - 20 / size) * float(rng.uniform(0.9, 1.0))) / 500
        values = (max(0.0, accuracy), size, *rng.uniform(0, 1, objectives - 2).tolist())
        start = 1_700_000_000.0 + number
        reports = tuple(
            Report(step, start + 0.3 * step, dict(zip(several.objectives, values, strict=True))) for step in (1, 2, 3)
        )
        found.append(
            Trial(number, params, number, State.COMPLETE, values, start, start + 0.9, f"host/{number % 2}", 1, reports)
        )
    return several, found
