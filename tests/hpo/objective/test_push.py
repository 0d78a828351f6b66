"""Objectives that push their reports instead of yielding them."""

from __future__ import annotations

import decimal
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import hpo
from hpo.objective.contract import reports

Push = Callable[[Any], None]
MAIN = threading.main_thread()


def started(
    objective: Callable[..., Any], params: Mapping[str, Any] | None = None
) -> Generator[dict[str, float], None, None]:
    return reports(objective, params or {}, 7, "loss")


def test_what_is_pushed_is_reported_one_by_one_in_the_same_thread() -> None:
    done: list[str] = []

    def objective(params: Mapping[str, Any], seed: int, report: Push) -> None:
        assert threading.current_thread() is MAIN
        for step in range(3):
            report({"loss": params["x"] + step})
            done.append(f"after {step}")

    running = started(objective, {"x": 1})
    assert next(running) == {"loss": 1.0}
    assert done == []
    assert list(running) == [{"loss": 2.0}, {"loss": 3.0}]
    assert done == ["after 0", "after 1", "after 2"]


def test_a_pushing_objective_runs_in_the_context_of_its_thread() -> None:
    """As a generator does: what a module has set holds, and what a trial sets stays."""
    seen: list[tuple[int, str]] = []

    def objective(params: Mapping[str, Any], seed: int, report: Push) -> None:
        seen.append((decimal.getcontext().prec, np.geterr()["over"]))
        report(1.0)
        seen.append((decimal.getcontext().prec, np.geterr()["over"]))
        decimal.getcontext().prec += 1

    with decimal.localcontext(prec=50), np.errstate(over="raise"):
        assert [list(started(objective)) for _ in range(2)] == [[{"loss": 1.0}]] * 2

    assert seen == [(50, "raise")] * 2 + [(51, "raise")] * 2


def test_what_the_function_returns_is_the_last_report() -> None:
    def objective(params: Mapping[str, Any], seed: int, report: Push) -> float:
        report(0.5)
        return 0.25

    assert list(started(objective)) == [{"loss": 0.5}, {"loss": 0.25}]


def test_a_stopped_trial_raises_in_the_report_and_may_clean_up() -> None:
    seen: list[str] = []

    def objective(params: Mapping[str, Any], seed: int, report: Push) -> None:
        try:
            report(1.0)
            report(2.0)
            seen.append("went on")
        except hpo.Stopped:
            seen.append("stopped")
            raise
        finally:
            seen.append("cleaned up")

    running = started(objective)
    next(running)
    next(running)
    running.close()
    assert seen == ["stopped", "cleaned up"]


def test_an_objective_that_does_not_let_itself_be_stopped_runs_to_its_end_and_reports_nothing_more() -> None:
    seen: list[int] = []

    def objective(params: Mapping[str, Any], seed: int, report: Push) -> None:
        for step in range(4):
            with suppress(Exception):
                report(float(step))
                seen.append(step)

    running = started(objective)
    next(running)
    running.close()
    assert seen == []


@pytest.mark.parametrize("wrong", ["text", {"loss": "x"}, {}, None, [1.0]])
def test_a_wrong_report_raises_where_it_is_made(wrong: Any) -> None:
    def objective(params: Mapping[str, Any], seed: int, report: Push) -> None:
        report(wrong)

    with pytest.raises(TypeError, match="a report must be a mapping") as raised:
        list(started(objective))
    assert "report(wrong)" in {str(entry.statement).strip() for entry in raised.traceback}


def test_an_error_of_the_objective_is_its_own() -> None:
    def objective(params: Mapping[str, Any], seed: int, report: Push) -> None:
        report(1.0)
        raise KeyError("mine")

    running = started(objective)
    next(running)
    with pytest.raises(KeyError, match="mine"):
        next(running)


def test_another_thread_cannot_report() -> None:
    errors: list[str] = []

    def objective(params: Mapping[str, Any], seed: int, report: Push) -> float:
        def other() -> None:
            try:
                report(1.0)
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return 2.0

    assert list(started(objective)) == [{"loss": 2.0}]
    assert errors == ["report() must be called by the thread that runs the objective"]


def test_two_trials_in_turn_do_not_mix() -> None:
    def objective(params: Mapping[str, Any], seed: int, report: Push) -> None:
        for step in range(3):
            report(float(params["x"] + step))

    one, other = started(objective, {"x": 0}), started(objective, {"x": 10})
    pairs = list(zip(one, other, strict=True))
    assert pairs == [({"loss": x}, {"loss": 10 + x}) for x in (0.0, 1.0, 2.0)]
