"""What holds for pruners."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from hpo.ledger.address import parse as parse_address
from hpo.ledger.ledger import Ledger
from hpo.search.advisor import Advisor
from hpo.search.loop import Search
from hpo.study import Study, parse
from hpo.testing.fakes import SimulatedExecutor, outcome, search, small_study
from hpo.trial import State

STEPS = 9


def curve(params: Mapping[str, Any], seed: int) -> list[float]:
    """Nine rising reports up to about ``4 * x - 2``, fewer rises when ``x`` is low; two curves rarely cross."""
    noise = np.random.default_rng(seed).normal(0, 0.01, STEPS)
    rise = [min(step, 3 + 10 * params["x"]) / STEPS for step in range(1, STEPS + 1)]
    return [4 * params["x"] - 3 + share + float(noise[i]) * (i < 2) for i, share in enumerate(rise)]


class PrunerContract:
    """Any pruner: it decides by the reports alone, so that an interruption or a lost worker changes nothing.

    A fixture ``pruner`` gives the ``[pruner]`` table: ``{"name": "package.module:Class", ...}``, with options that end
    some of 40 trials whose reports :func:`curve` makes.

    Attributes:
        prunes: Whether it ends any trial.
        keeps_the_best: Whether it never ends the best trial.
    """

    prunes: ClassVar[bool] = True
    keeps_the_best: ClassVar[bool] = True

    def study(self, pruner: Mapping[str, Any], direction: str = "maximize") -> Study:
        """The study to search."""
        return small_study(
            direction=direction,
            space={"x": {"low": 0.0, "high": 1.0}},
            pruner=pruner,
            budget={"trials": 40},
            trial={"retries": 99},
        )

    def mirrored(self, pruner: Mapping[str, Any]) -> Study:
        """The study that minimizes the negative; override it where the pruner's options must change with it."""
        return self.study(pruner, "minimize")

    def test_every_option_is_recorded_and_read_back(self, pruner: Mapping[str, Any]) -> None:
        study = self.study(pruner)

        assert parse(study.resolved, file="ledger").pruner == study.pruner

    @pytest.mark.parametrize("workers", [1, 4])
    def test_it_saves_reports_and_keeps_the_best_trial(
        self, pruner: Mapping[str, Any], workers: int, tmp_path: Path
    ) -> None:
        study = self.study(pruner)
        ledger = Ledger.open(parse_address(str(tmp_path / "a.journal")), study)
        executor, run = SimulatedExecutor(curve, workers, np.random.default_rng(0)), Search(study, ledger)

        run.run(executor)

        ledger.close()
        assert len(run.trials) == 40
        assert (executor.reports < 40 * STEPS) == self.prunes
        ends = {State.COMPLETE, State.PRUNED} if self.prunes else {State.COMPLETE}
        assert {trial.state for trial in run.trials} == ends
        for trial in run.trials:
            if trial.state == State.PRUNED:
                assert trial.value == trial.reports[-1].metrics["score"]
        if self.keeps_the_best:
            assert max(run.trials, key=lambda trial: trial.params["x"]).state == State.COMPLETE

    def test_stopping_takes_effect_within_one_report(self, pruner: Mapping[str, Any], tmp_path: Path) -> None:
        """The trial's last counted report is the one that decided."""
        study = self.study(pruner)

        trials = search(study, curve, tmp_path / "a.journal")

        advisor = Advisor(study)
        for trial in trials:
            asked = advisor.ask()
            assert asked.number == trial.number
            decisions = []
            for report in trial.reports:
                advisor.report(trial.number, report.step, [report.metrics["score"]])
                decisions.append(advisor.should_prune(trial.number))
            assert not any(decisions[:-1])
            assert decisions[-1] == (trial.state == State.PRUNED)
            advisor.tell(trial)

    def test_minimizing_the_negative_decides_the_same(self, pruner: Mapping[str, Any], tmp_path: Path) -> None:
        up = search(self.study(pruner), curve, tmp_path / "up.journal")
        down = search(
            self.mirrored(pruner), lambda params, seed: [-v for v in curve(params, seed)], tmp_path / "down.journal"
        )

        assert [trial.state for trial in up] == [trial.state for trial in down]

    def test_a_resumed_search_decides_as_if_it_had_not_stopped(self, pruner: Mapping[str, Any], tmp_path: Path) -> None:
        whole = search(self.study(pruner), curve, tmp_path / "whole.journal")

        killed = search(self.study(pruner), curve, tmp_path / "killed.journal", die_after=23)

        assert outcome(killed) == outcome(whole)

    def test_with_one_worker_a_lost_worker_changes_no_decision(self, pruner: Mapping[str, Any], tmp_path: Path) -> None:
        whole = search(self.study(pruner), curve, tmp_path / "whole.journal")

        lossy = search(self.study(pruner), curve, tmp_path / "lossy.journal", lose=0.3)

        assert outcome(lossy) == outcome(whole)

    def test_a_trial_that_reports_nan_is_not_worth_finishing(self, pruner: Mapping[str, Any]) -> None:
        advisor = Advisor(self.study(pruner))
        for _ in range(4):
            trial = advisor.ask()
            for step in range(1, STEPS + 1):
                advisor.report(trial.number, step, [1.0])
            advisor.tell(replace(trial, state=State.COMPLETE, values=(1.0,)))
        number = advisor.ask().number

        decisions = []
        for step in range(1, 4):
            advisor.report(number, step, [math.nan])
            decisions.append(advisor.should_prune(number))

        assert any(decisions) == self.prunes
