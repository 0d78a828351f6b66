"""What a report costs the objective, and what reports cost a whole trial: in a worker on Ray, and alone.

    python benchmarks/reports.py [--rounds 5] [--side NAME=FOLDER ...]

The first number is the processor time of a ``yield`` in the objective's thread, where it does nothing else. Then a
trial of Fig 6-24's study alone in this process, and beside another one in two workers, with one report and with fifty.
A side is another checkout of hpo, to compare with; the sides take turns, each in a process of its own; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
# Settings that slow down imports or matrix products; some test machines have them, users do not.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "OPENBLAS_CORETYPE")}
REPORTS, TRIALS = 2000, 8
TRAINED = {"lr": 0.005, "weight_decay": 1e-6}


def idle(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Reports, as its last one, what a report took of this thread's processor time, in microseconds."""
    yield {"loss": 0.0}
    began = time.thread_time()
    for _ in range(REPORTS):
        yield {"loss": 0.0, "accuracy": 1.0}
    yield {"loss": (time.thread_time() - began) / REPORTS * 1e6}


def epochs(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Reports every epoch of one trial."""
    from trainer.experiments import classify

    yield from classify(_fig_6_24(params), seed)


def once(params: Mapping[str, Any], seed: int) -> dict[str, float]:
    """Reports the last epoch of one trial only."""
    *_, last = epochs(params, seed)
    return last


def _fig_6_24(params: Mapping[str, Any]) -> dict[str, Any]:
    from hpo.study import load

    return {**load(HERE / "studies/fig_6_24.toml", ()).fixed, **params}


def measure() -> dict[str, float]:
    """One side, in its own process: seconds per trial, and microseconds per report."""
    from hpo.execution import Ended, Job, Reported, Task
    from hpo.execution.ray import cluster
    from hpo.execution.ray.pool import RayExecutor
    from hpo.study.workers import Resources

    found: dict[str, float] = {}
    resources = Resources(1, 0, 0)
    cluster.start("local", 2, resources)
    for name in ("idle", "once", "epochs"):
        job = Job(f"benchmarks.reports:{name}", "loss", {}, (str(HERE),))
        executor = RayExecutor(job, 1 if name == "idle" else 2, resources)
        took: dict[int, float] = {}
        began: dict[int, float] = {}
        last, params = 0.0, {} if name == "idle" else TRAINED
        waiting = [Task(number, 1, params, 0) for number in range(TRIALS)]
        while waiting or began:
            while waiting and executor.free:
                began[waiting[0].number] = time.perf_counter()
                executor.submit(waiting.pop(0))
            for event in executor.poll(0.5):
                if isinstance(event, Reported):
                    last = event.reports[-1].metrics.get("loss", 0.0)
                if isinstance(event, Ended):
                    assert event.how == "finished", event.error
                    took[event.number] = time.perf_counter() - began.pop(event.number)
                    if name == "idle":
                        found[name] = min(found.get(name, last), last)
        executor.close()
        if name != "idle":
            found[name] = statistics.median(list(took.values())[2:])
    cluster.shutdown()
    os.environ |= {"OMP_NUM_THREADS": "1"}
    return found


def alone() -> float:
    """The same trial in a plain process with one thread."""
    from threadpoolctl import threadpool_limits

    times = []
    with threadpool_limits(1):
        for _ in range(5):
            began = time.perf_counter()
            list(epochs(TRAINED, 0))
            times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", action="append", default=[], metavar="NAME=FOLDER")
    options = parser.parse_args()
    sides = {"here": str(HERE)} | dict(side.split("=", 1) for side in options.side)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, folder in sides.items():
            environment = ENVIRONMENT | {"PYTHONPATH": folder}
            found: dict[str, float] = {}
            for part in ("--measure", "--alone"):
                ended = subprocess.run(
                    [sys.executable, __file__, part], env=environment, cwd=folder, capture_output=True, text=True
                )
                assert ended.returncode == 0, ended.stderr
                found |= json.loads(ended.stdout.splitlines()[-1])
            rows[name].append(found)
    print(f"{'':12}{'a report':>12}{'alone':>10}{'1 report':>10}{'50 reports':>12}{'50 / alone':>12}")
    for name, values in rows.items():
        idle, solo, one, fifty = (
            statistics.median(v[key] for v in values) for key in ("idle", "alone", "once", "epochs")
        )
        print(f"{name:12}{idle:9.1f} us{solo:8.3f} s{one:8.3f} s{fifty:10.3f} s{fifty / solo:12.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure()))
    elif sys.argv[1:2] == ["--alone"]:
        print(json.dumps({"alone": alone()}))
    else:
        main()
