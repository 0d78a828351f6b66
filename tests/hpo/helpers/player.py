"""What tests of Ray's workers use beside hpo.testing: a job that may harm its worker, and a look at processes."""

from __future__ import annotations

from pathlib import Path

from hpo.execution import Executor, Job, Outcome
from hpo.study.workers import Resources
from hpo.testing.executors import end, run, task

JOB = Job("worker_objectives:play", "score", path=(str(Path(__file__).parent),))
HALF = Resources(cpus=0.5, gpus=0.0, memory=0.0)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def still_well(pool: Executor) -> None:
    """Both places of the pool work."""
    assert all(
        end(events).how == Outcome.FINISHED for events in run(pool, *(task("number") for _ in range(6))).values()
    )
