"""The variables of ``[trial] env``, and those that Ray sets, reach functions and programs."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from player import HALF

from hpo.execution import Event, Executor, Job, Reported, Task
from hpo.execution.guest import job
from hpo.execution.process import Child
from hpo.execution.single import SingleExecutor
from hpo.study import parse

FUNCTION = """
import os

def objective(params, seed):
    return {"loss": float(os.environ["OF_THE_STUDY"])}
"""
PROGRAM = [sys.executable, "-c", "import os; print('{{\"loss\": ' + os.environ['OF_THE_STUDY'] + '}}')"]
# Ray only counts the GPUs that it is told of; nothing looks for them.
GPUS = """
import sys, ray
from hpo.execution import Ended, Job, Reported, Task
from hpo.execution.ray.pool import RayExecutor
from hpo.study.command import Command
from hpo.study.workers import Resources

ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
words = (sys.executable, "-c", "import os; print('{{\\"loss\\": ' + os.environ['CUDA_VISIBLE_DEVICES'] + '}}')")
pool = RayExecutor(Job(Command(words, metrics=("loss",)), "loss"), 2, Resources(cpus=0.5, gpus=1.0, memory=0.0))
waiting, found = [Task(number, 1, {}, 0) for number in range(6)], []
while sum(isinstance(event, Ended) for event in found) < 6:
    while waiting and pool.free:
        pool.submit(waiting.pop())
    found += pool.poll(0.5)
pool.close()
print(sorted({event.reports[0].metrics["loss"] for event in found if isinstance(event, Reported)}))
"""


@pytest.fixture(params=["without Ray", pytest.param("Ray", marks=pytest.mark.servers)])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "Ray":
        request.getfixturevalue("ray_here")
    return str(request.param)


def executor(kind: str, of: Job) -> Executor:
    if kind == "without Ray":
        return SingleExecutor(Child(of))
    from hpo.execution.ray.pool import RayExecutor

    return RayExecutor(of, 1, HALF)


@pytest.mark.processes
@pytest.mark.parametrize("objective", ["with_variables:objective", PROGRAM])
def test_variables_of_the_study_reach_its_trials(
    kind: str, objective: str | list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "with_variables.py").write_text(FUNCTION)
    study = parse(
        {
            "name": "s",
            "objective": objective,
            "metric": "loss",
            "direction": "minimize",
            "space": {"x": {"low": 0.0, "high": 1.0}},
            "budget": {"trials": 1},
            "trial": {"env": {"OF_THE_STUDY": "7"}},
        },
        file="s.toml",
    )
    found: list[Event] = []
    with closing(executor(kind, job(study))) as workers:
        while not workers.free:
            found += workers.poll(0.5)
        workers.submit(Task(0, 1, {"x": 0.5}, 0))
        while not workers.free:
            found += workers.poll(0.5)
    assert [report.metrics for e in found if isinstance(e, Reported) for report in e.reports] == [{"loss": 7.0}]


@pytest.mark.slow
@pytest.mark.servers
def test_the_gpus_that_ray_gives_a_worker_are_what_its_program_sees() -> None:
    ended = subprocess.run([sys.executable, "-c", GPUS], capture_output=True, text=True, timeout=200, check=False)
    assert ended.stdout.splitlines()[-1:] == ["[0.0, 1.0]"], ended.stderr[-3000:]
