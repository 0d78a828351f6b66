"""Trials from elsewhere become trials of a study: as if it had run them, with a note of where they come from."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from hpo.study import Study
from hpo.study.constraints import judged_again
from hpo.study.fields import show
from hpo.study.from_table import fitted
from hpo.study.values import same
from hpo.trial import COUNTED, FROM, State, Trial

_WITH_COMMA, _DECIMALS = (
    re.compile(r'must be a[^"]*number.*, got "\s*[+-]?\d+,\d+\s*"$'),
    "; write decimals with a point",
)


@dataclass(frozen=True)
class Import:
    """What an import does, or would do.

    Attributes:
        trials: What is new, numbered from 0.
        refused: Which row of the source is refused, and why.
        known: How many rows were imported before.
        ignored: Names in the source that the study does not have.
    """

    trials: list[Trial]
    refused: list[tuple[str, str]]
    known: int
    ignored: list[str]


def prepare(
    study: Study,
    found: Sequence[Trial],
    there: Sequence[Trial],
    names: Mapping[str, str],
    *,
    word: str,
    strict: bool = False,
) -> Import:
    """Chooses the rows of a source that a study can take.

    Args:
        study: The study.
        found: The source's rows; parameters may be text.
        there: The study's trials.
        names: The source's names by the study's, where they differ.
        word: What a row of the source is called.
        strict: A parameter that the study does not have makes a row invalid; otherwise it is ignored.
    """
    seen = {trial.origin.uid for trial in there if trial.origin}
    ran = {_what(trial) for trial in there}
    study_name = {theirs: mine for mine, theirs in names.items()}
    mine = {*study.space.names, *study.fixed}
    trials: list[Trial] = []
    refused: list[tuple[str, str]] = []
    ignored: dict[str, None] = {}
    known = 0
    for row in found:
        given = {study_name.get(name, name): value for name, value in row.params.items()}
        others = [] if strict else [name for name in given if name not in mine]
        ignored.update(dict.fromkeys(others))
        assert row.origin is not None
        if row.origin.uid in seen:
            known += 1
            continue
        try:
            trial = _valued(study, _renamed(study, row, names), word)
            meant = {name: _meant(study, name, value) for name, value in given.items() if name not in others}
            trial = replace(trial, params=fitted(study, meant), number=len(trials))
            judgement = judged_again(study.bounds, trial, study.objectives)
        except ValueError as reason:
            place = f"{word} {row.number}" + (f" ({row.origin.uid})" if word == "run" else "")  # as MLflow finds it
            refused.append((place, f"{reason}{_DECIMALS if _WITH_COMMA.search(str(reason)) else ''}"))
            continue
        if row.seed and _what(trial) in ran:  # one of the study's own, or one that it took over otherwise
            known += 1
            continue
        more = {COUNTED: True} if study.inherits.count else {}
        trials.append(replace(trial, notes={FROM: row.notes[FROM], **more, **judgement}))
    return Import(trials, refused, known, list(ignored))


def _what(trial: Trial) -> str:
    """What a trial was: no two that ran have the same, because each has a seed of its own."""
    return json.dumps([trial.params, trial.seed, trial.values, trial.state], sort_keys=True)


def _renamed(study: Study, row: Trial, names: Mapping[str, str]) -> Trial:
    """The row with the study's names for its objectives, and for metrics with bounds."""
    mine = {names[name]: name for name in (*study.objectives, *study.bounds) if name in names}
    if not mine:
        return row
    reports = tuple(
        report._replace(metrics={mine.get(key, key): value for key, value in report.metrics.items()})
        for report in row.reports
    )
    return replace(row, reports=reports)


def _valued(study: Study, row: Trial, word: str) -> Trial:
    """The row with its value: that of the source, or what was reported last.

    Raises:
        ValueError: When it has not finished, failed, or has no value.
    """
    unfit = {
        State.RUNNING: "it has not finished",
        State.FAILED: "it failed",
        State.DISCARDED: "somebody has discarded it",
    }
    if row.state in unfit:
        raise ValueError(row.error or f"state: must be complete or pruned, but {unfit[row.state]}")
    if row.state is State.INFEASIBLE:
        return replace(row, values=())
    given = zip(study.objectives, row.values, strict=True) if row.values else None
    last = dict(given or ((name, row.last(name)) for name in study.objectives))
    if row.state is State.PRUNED and not row.reports:
        how = "; give those of --csv with --reports FILE" if word == "row" else ""
        raise ValueError(f"state: must be complete, because the pruned trial has no reports{how}")
    for name, value in last.items():
        if value is None or not math.isfinite(value):
            if row.state is State.COMPLETE:
                raise ValueError(f"{name}: must be a finite number, got {'nothing' if value is None else value}")
            return replace(row, values=())
    return replace(row, values=tuple(value for value in last.values() if value is not None))


def _meant(study: Study, name: str, value: Any) -> Any:
    """The value that a text stands for: of all that it may mean, the first that the study accepts.

    Raises:
        ValueError: When the study accepts several.
    """
    if not isinstance(value, str):
        return value
    fits: Callable[[Any], bool]
    if name in study.fixed:
        fits = lambda other: same(other, study.fixed[name])  # noqa: E731
    elif name in study.space.names:
        fits = study.space[name].contains
    else:
        return value
    readings = list(_readings(value))
    fitting = [reading for reading in readings if fits(reading)]
    if any(not same(fitting[0], other) for other in fitting):
        raise ValueError(f"{name}: may be {show(fitting[0])} or {show(fitting[1])}, which a text cannot tell apart")
    numbers = (reading for reading in readings if not isinstance(reading, str))
    return fitting[0] if fitting else next(numbers, value)


def _readings(text: str) -> Iterator[Any]:
    """The text; what JSON and Python read in it; true and false as spreadsheets write them."""
    yield text
    if (stripped := text.strip()) != text:
        yield stripped
    for read in (json.loads, ast.literal_eval, float, _truth):
        with suppress(ValueError, LookupError, SyntaxError, RecursionError, MemoryError, TypeError):
            if isinstance(found := read(stripped), str | bool | int | float | list | dict):
                yield found


def _truth(text: str) -> bool:
    return {"TRUE": True, "FALSE": False}[text]
