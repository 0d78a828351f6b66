"""How long it takes until a trial runs: for `--help` and errors, for Ray, and for `hpo run`.

    python benchmarks/startup.py [--runs 5] [--commands] [--side NAME=FOLDER ...]

Medians and spreads of new processes; the cases take turns. With --commands the table of Ray is left out. A side is
another checkout of hpo, whose commands take turns with those of this one. The table of Ray leaves out one part of a
local Ray after the other, from Ray's defaults to Ray as hpo starts it, and then tries what hpo does not do. Its
columns: `ray.init`, two actors that are ready, `ray.shutdown`, and the processor time of all processes together.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BAD_STUDY = 'name = "a"\nobjective = "a:b"\nmetric = "m"\ndirection = "up"\nspace.x.low = 0\nbudget.trials = 1\n'
STUDY = """
name = "startup"
objective = "objective:objective"
metric = "loss"
direction = "minimize"
space.x = { low = 0.0, high = 1.0 }
budget.trials = 2
"""
OBJECTIVE = "def objective(params, seed):\n    return params['x']\n"
# Settings that slow down imports or matrix products; some test machines have them, users do not.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "OPENBLAS_CORETYPE")}

# What is left out of a local Ray, one part after the other.
PARTS = ["dashboard", "logs on the terminal", "metrics collection", "API server", "autoscaler", "log monitor", "agents"]
RAY: dict[str, dict[str, Any]] = {"Ray as it comes": {"without": []}}
RAY |= {f"... without {part}": {"without": PARTS[: index + 1]} for index, part in enumerate(PARTS)}
RAY |= {
    "the same, object store of 100 MB": {"without": PARTS, "init": {"object_store_memory": 100_000_000}},
    "the same, no worker beforehand": {"without": PARTS, "environment": {"RAY_enable_worker_prestart": "0"}},
    "as hpo starts and ends it": {"hpo": True},
}


def start_ray(
    without: Sequence[str] = (), init: dict[str, Any] | None = None, hpo: bool = False, **_: Any
) -> list[float]:
    """In a process of its own: seconds until Ray runs, until two actors are ready, for its end, and of processors."""
    import psutil
    import ray
    from ray._private.node import Node

    options: dict[str, Any] = dict(init or {})
    if "dashboard" in without:
        options["include_dashboard"] = False
    if "logs on the terminal" in without:
        options |= {"log_to_driver": False, "logging_level": "ERROR"}
    for part, method in (("API server", "start_api_server"), ("autoscaler", "start_monitor")):
        if part in without:
            setattr(Node, method, lambda self, **_: setattr(self, "_webui_url", ""))
    if "log monitor" in without:
        setattr(Node, "start_log_monitor", lambda self: None)  # noqa: B010
    if "agents" in without:  # half of what they import
        sys.modules["ray.dashboard.optional_deps"] = None  # type: ignore[assignment]
    marks = [time.perf_counter()]
    if hpo:
        from hpo.execution.ray import cluster as ours
        from hpo.study.workers import Resources

        ours.start("local", 2, Resources(cpus=1.0, gpus=0.0, memory=0.0))
    else:
        ray.init(address="local", num_cpus=2, **options)
    marks.append(time.perf_counter())

    @ray.remote(num_cpus=1)
    class Actor:
        def ready(self) -> None: ...

    actors = [Actor.remote() for _ in range(2)]
    ray.get([actor.ready.remote() for actor in actors])
    marks.append(time.perf_counter())
    times = [process.cpu_times() for process in [psutil.Process(), *psutil.Process().children(recursive=True)]]
    processors = sum(t.user + t.system for t in times)
    marks.append(time.perf_counter())
    ours.shutdown() if hpo else ray.shutdown()
    marks.append(time.perf_counter())
    return [marks[1] - marks[0], marks[2] - marks[1], marks[4] - marks[3], processors]


def run(command: list[str], folder: str, code: int = 0, **environment: str) -> tuple[float, str]:
    """A command's wall time and what it printed."""
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *command], cwd=folder, env=ENVIRONMENT | environment, capture_output=True, text=True
    )
    took = time.perf_counter() - began
    assert ended.returncode == code, ended.stderr
    return took, ended.stdout


def measure_ray(name: str, folder: str) -> list[float]:
    spec = RAY[name]
    environment = dict(spec.get("environment", {}), RAY_USAGE_STATS_ENABLED="0")
    if "metrics collection" in spec.get("without", ()):
        environment["RAY_enable_metrics_collection"] = "0"
    _, printed = run([__file__, json.dumps(spec)], folder, **environment)
    return json.loads(printed.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--commands", action="store_true", help="leave out the table of Ray")
    parser.add_argument("--side", action="append", default=[], metavar="NAME=FOLDER")
    options = parser.parse_args()
    runs, ray_parts = options.runs, {} if options.commands else RAY
    sides = {"": str(Path(__file__).resolve().parents[1])} | dict(side.split("=", 1) for side in options.side)
    cases = {
        "python -c pass": (["-c", "pass"], 0),
        "hpo --help": (["-m", "hpo", "--help"], 0),
        "hpo run BAD.toml": (["-m", "hpo", "run", "bad.toml"], 2),
        "hpo run, no Ray, no MLflow": (["-m", "hpo", "run", "study.toml", "--workers=0", "--tracking=none"], 0),
        "hpo run, 2 workers, no MLflow": (["-m", "hpo", "run", "study.toml", "--workers=2", "--tracking=none"], 0),
        "hpo run, 2 workers, MLflow": (["-m", "hpo", "run", "study.toml", "--workers=2"], 0),
    }
    commands = {f"{name} {side}".strip(): (*case, at) for name, case in cases.items() for side, at in sides.items()}
    took: dict[str, list[float]] = {name: [] for name in commands}
    parts: dict[str, list[list[float]]] = {name: [] for name in ray_parts}
    for turn in range(-1, runs):  # one that does not count: it writes byte code and fills the file cache
        for name in parts:
            with tempfile.TemporaryDirectory() as folder:
                parts[name].append(measure_ray(name, folder)) if turn >= 0 else measure_ray(name, folder)
        for name, (command, code, side) in commands.items():
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                for file, text in (("bad.toml", BAD_STUDY), ("study.toml", STUDY), ("objective.py", OBJECTIVE)):
                    Path(folder, file).write_text(text)
                seconds, _ = run(command, folder, code, PYTHONPATH=side)
                while list(Path(folder, ".hpo").glob("pages/*.log")):  # the report, which nobody waits for
                    time.sleep(0.1)
                took[name] += [seconds] if turn >= 0 else []
    if parts:
        print(f"{'':36}{'init':>7}{'actors':>8}{'end':>7}{'sum':>8}{'all sums':>14}{'processors':>12}")
    for name, rows in parts.items():
        init, actors, end, processors = (statistics.median(column) for column in zip(*rows, strict=True))
        sums = [sum(row[:3]) for row in rows]
        spread = f"{min(sums):.1f} - {max(sums):.1f}"
        print(
            f"{name:36}{init:7.2f}{actors:8.2f}{end:7.2f}{statistics.median(sums):8.2f}{spread:>14}{processors:12.1f}"
        )
    for name, side in itertools.product(cases, sides):
        values, here = took[f"{name} {side}".strip()], statistics.median(took[name])
        median, spread = statistics.median(values), f"(from {min(values):.2f} to {max(values):.2f})"
        print(f"{name:32}{side:8} median {median:.2f} s {spread}, {median / here:.2f} of here")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        print(json.dumps(start_ray(**json.loads(sys.argv[1]))))
    else:
        main()
