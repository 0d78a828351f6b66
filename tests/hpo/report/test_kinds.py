"""Figures by a function of the user's own: how it is called, what keys it declares, and what happens when it fails."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import made
import pytest
from matplotlib.figure import Figure

from hpo.errors import InputError
from hpo.report import kinds
from hpo.report.figures import FIGURES
from hpo.report.files import write
from hpo.report.lines import chosen, split
from hpo.study import Study, parse
from hpo.study.fields import Field, integer
from hpo.trial import Trial

ME = __name__
called: list[tuple[Study, Sequence[Trial], Mapping[str, Any]]] = []


def bars(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    called.append((study, trials, options))
    figure = Figure()
    figure.subplots().bar([0, 1], [1, 2])
    return figure


bars.keys = {"width": 0.5, "count": Field(integer(1), 3), "flag": False, "of": None}  # type: ignore[attr-defined]
bars.parameters = ("of",)  # type: ignore[attr-defined]


def anything(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    return bars(study, trials, options)


def failing(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    raise KeyError("no such column")


def leaving(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    sys.exit(3)


def nothing(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> None:
    pass


def odd(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> None:
    pass


odd.keys = ["width"]  # type: ignore[attr-defined]


def study(kind: str, **keys: Any) -> Study:
    return made.study(figure=[{"kind": kind if ":" in kind else f"{ME}:{kind}", **keys}])


def trials(of: Study, count: int = 6) -> list[Trial]:
    return made.trials(of, count, lambda p, rng: float(rng.uniform(0, 1)))


def test_a_function_gets_the_chosen_trials_and_every_key_with_its_default() -> None:
    one = study("bars", title="T", count=7, when={"lr": 1e-3})
    run = trials(one)
    run[2] = replace(run[2], params={**run[2].params, "lr": 1e-3})
    called.clear()

    drawn = kinds.draw(one, run, one.figures[0])

    assert len(drawn.axes[0].patches) == 2
    ((got, shown, options),) = called
    assert (got, [trial.number for trial in shown]) == (one, [2])
    own = {"width": 0.5, "count": 7, "flag": False, "of": None}
    assert options.items() >= (own | {"title": "T", "names": {}, "size": None, "name": "made"}).items()


def test_the_keys_of_a_function_that_declares_none_are_taken_as_they_are() -> None:
    one = study("anything", wide=[1, "a"])
    kinds.check(one)
    called.clear()
    kinds.draw(one, trials(one), one.figures[0])
    assert called[0][2]["wide"] == [1, "a"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"widht": 1}, "widht: unknown key; did you mean 'width'"),
        ({"titel": "T"}, "titel: unknown key; did you mean 'title'"),
        ({"width": "wide"}, 'width: must be a number, got "wide"'),
        ({"count": 0}, "count: must be at least 1, got 0"),
        ({"flag": 1}, "flag: must be true or false, got 1"),
        ({"of": "weight"}, "of: must be a parameter of the space, got \"weight\"; did you mean 'weight_decay'"),
    ],
)
def test_a_wrong_key_is_refused_before_anything_runs(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^made.toml: figure\[0\].{message}"):
        kinds.check(study("bars", **keys))


def test_keys_that_are_no_mapping_are_the_functions_mistake() -> None:
    with pytest.raises(InputError, match=r"figure\[0\].kind: .*:odd.keys must be a mapping"):
        kinds.check(study("odd"))


def test_reading_a_study_imports_no_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud_kind.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)

    one = study("loud_kind:draw", anything=1)

    assert parse(one.resolved, file="ledger").figures == one.figures
    with pytest.raises(InputError, match=r"figure\[0\].kind: loud_kind was found, but importing it failed"):
        kinds.check(one)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("failing", r"failed at .*test_kinds.py, line \d+: KeyError: 'no such column'"),
        ("leaving", r"failed at .*test_kinds.py, line \d+: SystemExit: 3"),
        ("nothing", "must return a matplotlib Figure, got None"),
        ("absent.figures:draw", "cannot import 'absent.figures:draw'"),
        ("paths", '"paths" is no longer built in'),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_left_out_with_a_remark(
    kind: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.report.files.FIGURES", {"best_so_far": FIGURES["best_so_far"]})  # the others take seconds
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the process that draws finds this module
    tables = [{"kind": kind if ":" in kind or kind == "paths" else f"{ME}:{kind}", "name": "first"}]
    one = made.study(figure=[*tables, {"kind": f"{ME}:bars", "name": "second"}])
    remarks: list[str] = []

    written = write(one, trials(one), tmp_path, remark=remarks.append)

    assert [path.name for path in written[:3]] == ["report.html", "second.png", "second.svg"]
    assert "best_so_far.png" in {path.name for path in written}
    (remark,) = remarks
    assert remark.startswith("figure first is left out: ")
    assert re.search(reason, remark), remark


def test_true_and_1_are_two_lines_of_a_figure() -> None:
    """In Python they are equal."""
    study = made.study(space={"x": {"choice": [1, True]}})
    trials = [Trial(0, {"x": 1}, 0), Trial(1, {"x": True}, 0)]

    assert [[trial.number for trial in part] for _, part in split(study, trials, "x")] == [[0], [1]]
    assert [trial.number for trial in chosen(trials, {"x": True})] == [1]
