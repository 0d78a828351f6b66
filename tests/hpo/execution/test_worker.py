"""What an objective gets from its worker."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hpo.execution import Ended, Job, Outcome, Reported, Started, Task
from hpo.execution.worker import MAX_ERROR_CHARACTERS, Worker, error_text
from hpo.study.command import Command


def grow(params: Mapping[str, Any], seed: int) -> float:
    """Appends to every list that it is given, at any depth, and reports how long they have become."""
    params["layers"].append(1)
    params["table"]["inner"].append(1)
    params["hidden"].append(1)
    return float(len(params["layers"]) + len(params["table"]["inner"]) + len(params["hidden"]))


def wander(params: Mapping[str, Any], seed: int) -> float:
    """Reports whether it begins at home, and goes to a folder that is then removed."""
    found = float(Path.cwd() == Path(params["home"]))
    with TemporaryDirectory() as folder:
        os.chdir(folder)
    return found


class Diverged(ArithmeticError):
    class Slowly(Exception):
        pass


class Worse(Diverged):
    pass


ENDINGS = {
    "diverged": Diverged("at 3"),
    "worse": Worse("at 4"),
    "slowly": Diverged.Slowly(),
    "memory": MemoryError(),
    "value": ValueError("no"),
    "exit": SystemExit(3),
}


def end(params: Mapping[str, Any], seed: int, report: Any = None) -> None:
    """Pushes a report, and ends as it is told."""
    report(1.0)
    raise ENDINGS[params["how"]]


def ended(how: str, *infeasible: str, objective: str = "growing:end") -> Ended:
    *_, last = Worker(Job(objective, "score", infeasible=infeasible)).steps(Task(0, 1, {"how": how}, 7))
    assert isinstance(last, Ended)
    return last


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setitem(sys.modules, "growing", sys.modules[__name__])
    return Worker(Job("growing:grow", "score", {"layers": [16], "table": {"inner": []}}))


def test_an_objective_gets_fixed_and_searched_parameters(worker: Worker) -> None:
    *_, reported, ended = worker.steps(Task(0, 1, {"hidden": [50, 50]}, 7))

    assert isinstance(reported, Reported)
    assert reported.reports[0].metrics == {"score": 2.0 + 1.0 + 3.0}
    assert isinstance(ended, Ended)
    assert ended.how is Outcome.FINISHED


def test_what_an_objective_does_to_its_parameters_stays_with_its_trial(worker: Worker) -> None:
    choice = [50]
    scores = []
    for number in range(3):
        *_, reported, _ = worker.steps(Task(number, 1, {"hidden": choice}, 7))
        assert isinstance(reported, Reported)
        scores.append(reported.reports[0].metrics["score"])

    assert scores == [5.0, 5.0, 5.0]
    assert choice == [50]


def test_every_trial_begins_in_the_folder_of_the_search(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanderer = Worker(Job("growing:wander", "score"))
    for number in range(3):
        _, reported, _ = wanderer.steps(Task(number, 1, {"home": str(tmp_path)}, 7))
        assert isinstance(reported, Reported)
        assert reported.reports[0].metrics == {"score": 1.0}


def test_a_huge_error_keeps_its_beginning_and_its_end() -> None:
    text = error_text(ValueError("first " + "x" * 10_000_000 + " last"))

    assert text.startswith("ValueError: first xxx")
    assert text.endswith("xxx last")
    assert MAX_ERROR_CHARACTERS - 100 < len(text) <= MAX_ERROR_CHARACTERS
    assert error_text(ValueError("short")) == "ValueError: short"


@pytest.mark.parametrize("hours", [24, -24])
def test_the_length_of_a_trial_does_not_follow_a_clock_that_is_set(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """A machine that was suspended wakes up with a clock that was set forward."""
    steps = worker.steps(Task(0, 1, {"hidden": []}, 7))
    started = next(steps)
    monkeypatch.setattr("hpo.execution.worker.time", lambda: time.time() + hours * 3600)
    *_, ended = steps

    assert isinstance(started, Started)
    assert isinstance(ended, Ended)
    assert ended.time is not None
    assert 0 <= ended.time - started.time < 60


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("diverged", f"{__name__}.Diverged"),
        ("diverged", "growing.Diverged"),  # another name of the same class
        ("worse", "growing.Diverged"),
        ("worse", "ArithmeticError"),
        ("slowly", f"{__name__}.Diverged.Slowly"),
        ("memory", "MemoryError"),
        ("exit", "exit 3"),
    ],
)
def test_what_the_study_names_is_infeasible(worker: Worker, how: str, name: str) -> None:
    end = ended(how, "never.imported.Error", name)

    assert end.how is Outcome.INFEASIBLE
    assert "Traceback" in (end.error or "")


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("diverged", "growing.Worse"),
        ("diverged", "other.Diverged"),
        ("value", "growing.Diverged"),
        ("value", "exit 3"),
        ("exit", "exit 4"),
        ("memory", "growing.MemoryError"),
    ],
)
def test_anything_else_is_a_failure(worker: Worker, how: str, name: str) -> None:
    assert ended(how, name).how is Outcome.RAISED


@pytest.mark.parametrize(("code", "how"), [(3, Outcome.INFEASIBLE), (4, Outcome.RAISED)])
def test_a_command_says_it_with_its_exit_code(code: int, how: Outcome) -> None:
    script = f"import sys; print('{{{{\"score\": 1}}}}', flush=True); sys.exit({code})"
    command = Command((sys.executable, "-c", script), metrics=("score",))

    assert ended("", "exit 3", objective=command).how is how  # type: ignore[arg-type]
