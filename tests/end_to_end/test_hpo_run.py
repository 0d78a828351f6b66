"""The whole service on a small study: Ray, ledger and MLflow, and a driver that is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from working_folder import WorkingFolder

pytestmark = pytest.mark.xdist_group("ray")

TRIALS = 8


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> WorkingFolder:
    """The study as one driver runs it on two Ray workers."""
    folder = WorkingFolder(tmp_path_factory.mktemp("undisturbed") / "work", TRIALS, pause=0.05)
    printed = folder.hpo("run", "study.toml", "--workers", "2")
    assert "8 complete" in printed
    assert "Browse the runs" in printed
    return folder


def runs_are_whole(folder: WorkingFolder) -> None:
    """One finished parent, and one finished child per trial, as the ledger has it."""
    (parent,) = folder.runs("study")
    children = folder.runs("trial")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["trials_finished"] == TRIALS
    assert [int(run.data.tags["hpo.trial"]) for run in children] == list(range(TRIALS))
    for run, (number, value, params) in zip(children, folder.values(), strict=True):
        assert (run.info.status, run.data.tags["hpo.state"]) == ("FINISHED", "complete")
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["hpo.trial"] == str(number)
        assert run.data.metrics["objective"] == value
        assert run.data.params.items() >= {name: str(item) for name, item in params.items()}.items()
        fixed = {f"fixed.{name}" for name in run.data.params.keys() - params.keys()}
        assert fixed == parent.data.params.keys()


def test_a_study_on_ray_is_whole_in_ledger_and_mlflow(undisturbed: WorkingFolder) -> None:
    shown = undisturbed.show()

    assert shown["state"] == "complete"
    assert shown["trials"] == {"complete": TRIALS, "pruned": 0, "failed": 0, "running": 0}
    runs_are_whole(undisturbed)


def test_running_a_finished_study_again_changes_nothing(undisturbed: WorkingFolder) -> None:
    values, runs = undisturbed.values(), [run.info.run_id for run in undisturbed.runs("trial")]

    undisturbed.hpo("run", "study.toml", "--workers", "2")

    assert undisturbed.values() == values
    assert [run.info.run_id for run in undisturbed.runs("trial")] == runs
    runs_are_whole(undisturbed)


def test_workers_and_tracking_change_no_value(undisturbed: WorkingFolder, tmp_path: Path) -> None:
    inline = WorkingFolder(tmp_path / "work", TRIALS, pause=0.0)
    inline.hpo("run", "study.toml", "--workers", "0", "--tracking", "none")

    assert inline.values() == undisturbed.values()
    assert not (inline.path / "mlflow.db").exists()


@pytest.mark.parametrize("after", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_a_killed_driver_costs_nothing_but_time(
    undisturbed: WorkingFolder, empty_mlflow_database: Path, tmp_path: Path, after: int
) -> None:
    folder = WorkingFolder(tmp_path / "work", TRIALS, 0.3, empty_mlflow_database)
    driver = folder.start("run", "study.toml", "--workers", "2")
    wait_for_trials(folder, after, driver.poll)
    left_behind = psutil.Process(driver.pid).children(recursive=True)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()

    shown = folder.show()
    assert shown["state"] == "stopped"
    assert shown["trials"]["running"] >= 1
    finished = {trial["number"]: trial["value"] for trial in shown["best"]}

    folder.hpo("run", "study.toml", "--workers", "2")  # at once: what the dead driver left has not ended yet

    wait_for_the_end_of(left_behind)
    assert folder.values() == undisturbed.values()
    assert folder.show()["trials"] == {"complete": TRIALS, "pruned": 0, "failed": 0, "running": 0}
    runs_are_whole(folder)
    ended = {int(mark.stem): mark.stat().st_size for mark in folder.marks.glob("*.ended")}
    assert len(ended) == TRIALS
    assert sum(ended.values()) <= TRIALS + 2  # at most the two that ran could end a second time
    assert all(finished[number] == value for number, value, _ in folder.values() if number in finished)


def wait_for_trials(folder: WorkingFolder, ended: int, over: object) -> None:
    """Until so many trials have ended, and another one runs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert not callable(over) or over() is None, "the driver ended too early"
        done = {mark.stem for mark in folder.marks.glob("*.ended")}
        if len(done) >= ended and {mark.stem for mark in folder.marks.glob("*.started")} - done:
            return
        time.sleep(0.01)
    raise AssertionError("no trial runs")


def wait_for_the_end_of(processes: list[psutil.Process]) -> None:
    """A dead driver's processes end by themselves; what is still there after a while is ended here, and said."""
    deadline = time.monotonic() + 60
    while (left := [process for process in processes if is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    said = [str(process) for process in left]
    for process in left:
        process.kill()
    assert not said


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_study_can_be_run_from_any_thread(tmp_path: Path) -> None:
    """Signals are the main thread's alone; a notebook's server, say, runs studies in others."""
    folder = WorkingFolder(tmp_path / "work", 2, pause=0.0)
    script = (
        "import threading, hpo\n"
        "run = lambda: print(hpo.run('study.toml', workers=2, tracking='none', quiet=True))\n"
        "thread = threading.Thread(target=run)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder.path, capture_output=True, text=True, timeout=120, check=False
    )

    assert "complete, 2 complete, best " in done.stdout, done.stderr


@pytest.mark.slow
def test_an_objective_may_start_tasks_on_the_ray_that_it_runs_on(tmp_path: Path) -> None:
    folder = WorkingFolder(tmp_path / "work", 3, pause=0.0)
    (folder.path / "folds.py").write_text(
        "import ray\n"
        "fold = ray.remote(lambda lr, index: lr + index / 10)\n"
        "def objective(params, seed):\n"
        "    return sum(ray.get([fold.remote(params['lr'], index) for index in range(4)])) / 4\n"
    )

    folder.hpo("run", "study.toml", "--workers", "1", "--tracking", "none", "--set", "objective=folds:objective")

    assert [value for _, value, _ in folder.values()] == [
        sum(params["lr"] + index / 10 for index in range(4)) / 4 for _, _, params in folder.values()
    ]
