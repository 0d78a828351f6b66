"""Finished trials in a ledger, without running them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger
from hpo.search.advisor import Advisor
from hpo.study import Study, parse
from hpo.trial import Report, State, Trial


def study_of(name: str, **keys: Any) -> Study:
    """A study of one parameter that nobody runs."""
    raw = {"name": name, "objective": "a:b", "metric": "loss", "direction": "minimize", "budget": {"trials": 50}}
    return parse({**raw, "space": {"lr": {"low": 0.1, "high": 0.9}}, **keys}, file=f"{name}.toml")


def finished(number: int, params: Mapping[str, Any], value: float, *, pruned: bool = False) -> Trial:
    """A trial that reported twice, at moments that follow from its number."""
    began = 1_700_000_000.0 + 10 * number
    reports = (Report(1, began + 1, {"loss": value + 1, "acc": 0.5}), Report(2, began + 2, {"loss": value}))
    state = State.PRUNED if pruned else State.COMPLETE
    return Trial(number, params, 1000 + number, state, (value,), began, began + 3, "node/1", reports=reports)


def drawn(study: Study, count: int, value: Callable[[Mapping[str, Any]], float], *, pruned: int = 5) -> list[Trial]:
    """Trials over the whole space, with every ``pruned``-th pruned."""
    rng, trials = np.random.default_rng(1), []
    for number in range(count):
        params: dict[str, Any] = {}
        for parameter in study.space.parameters:
            if study.space.active(parameter, params):
                params[parameter.name] = parameter.from_unit(float(rng.uniform()))
        trials.append(finished(number, params, value(params), pruned=number % pruned == pruned - 1))
    return trials


def record(where: Address, study: Study, trials: Sequence[Trial]) -> None:
    """Writes a study with these trials, as if it had run them."""
    with closing(Ledger.open(where, study)) as ledger:
        for trial in trials:
            ledger.begin(trial)


def suggestions(study: Study, trials: Sequence[Trial], count: int = 20) -> list[dict[str, Any]]:
    """What the study's sampler asks for next, each trial with a value before the next one is asked for."""
    advisor, found = Advisor(study, trials), []
    for index in range(count):
        asked = advisor.ask()
        found.append(dict(asked.params))
        done = finished(asked.number, asked.params, 1.0 / (index + 1))
        advisor.tell(Trial(**{**vars(done), "seed": asked.seed, "notes": asked.notes}))
    return found
