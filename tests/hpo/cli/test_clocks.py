"""A clock that is set, or a machine that sleeps, while a search runs: no trial and no budget becomes longer for it."""

from __future__ import annotations

import pytest
from command_line import QUICK, CommandLine

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.trial import State, Trial

# In every process of the search: what `date --set` does to all of them, and a suspended night to all that wake up.
CLOCK = """
import time

_real = time.time


def _shifted():
    try:
        with open("SHIFT") as file:
            return _real() + float(file.read() or 0)
    except FileNotFoundError:
        return _real()


time.time = _shifted
"""
OBJECTIVE = """
import os
import time


def objective(params, seed, trial):
    time.sleep(0.2)
    yield {"loss": params["lr"]}
    if not os.path.exists("SHIFT"):
        with open("SHIFT", "w") as file:
            file.write(str(params["hours"] * 3600))
    if trial in (1, 2):  # its process dies, and the one that follows begins with the new clock
        time.sleep(1.5)
        os._exit(3)
    if trial == 3:
        time.sleep(20)
    yield {"loss": params["lr"]}
"""


@pytest.fixture
def clock(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    folder = hpo.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK.replace("SHIFT", str(hpo.folder / "shift")))
    (hpo.folder / "clocked.py").write_text(OBJECTIVE.replace("SHIFT", str(hpo.folder / "shift")))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return hpo


def search(hpo: CommandLine, hours: int, **changes: object) -> list[Trial]:
    changes = {"objective": "clocked:objective", "fixed.hours": hours, "trial.retries": 0, **changes}
    process = hpo.start("run", "s.toml", *QUICK, *(f for k, v in changes.items() for f in ("--set", f"{k}={v}")))
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    return list(snapshots.read(parse(str(hpo.folder / "hpo.journal")), "small").trials)


@pytest.mark.slow
@pytest.mark.parametrize("hours", [24, -24])
def test_a_clock_that_is_set_or_a_suspended_night_makes_no_trial_longer(clock: CommandLine, hours: int) -> None:
    limits = {"trial.timeout": "4s", "budget.trials": 6, "budget.time": "10m", "budget.worker_time": "10m"}
    trials = search(clock, hours, **limits)

    failed = {1: "exit code 3", 2: "exit code 3", 3: "ran longer than 4 s"}
    assert {t.number for t in trials if t.state is State.COMPLETE} == {0, 4, 5}
    for trial in trials:
        assert failed.get(trial.number, "") in (trial.error or "")
        assert trial.seconds is not None
        assert 0.2 <= trial.seconds < 20  # also of those whose process could not say when it ended


@pytest.mark.slow
@pytest.mark.parametrize("hours", [24, pytest.param(-24, marks=pytest.mark.slow)])
def test_a_budget_of_time_is_spent_when_its_seconds_have_passed(clock: CommandLine, hours: int) -> None:
    limits = {"objective": "clocked:objective", "trial.timeout": "1s", "budget.trials": 200, "budget.time": "5s"}
    trials = search(clock, hours, **limits)

    assert 5 < len(trials) < 40
    assert 5 <= sum(t.seconds or 0.0 for t in trials) < 20
