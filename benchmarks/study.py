"""Fig 6-24's study from the command to the prompt, cold, with Ray and MLflow; and what one would write without hpo.

    python benchmarks/study.py [--rounds 5] [--side NAME=FOLDER ...] [--torch FOLDER]
    python benchmarks/study.py --profile

A round runs each once, in new processes and folders: the study by `hpo run`; the same search as a plain script of
Optuna and PyTorch in two threads, without Ray, MLflow or a ledger; and a trial alone in a process with one thread. The
search is the time from the first trial's start to the last one's end, as a share of 100 trials alone on two workers.
"The end" is from the results on standard output to the end of the process. "Drawn" is when the report is there, which
nobody waits for. "Products" is the time of 100 trials' matrix products on two workers, with nothing around them, as a
share of the plain script: no search with NumPy can take less. A side is another checkout of hpo, with its own file of
the study. Medians, of ratios within a round; needs MNIST (`HPO_DATA_DIR`) and `pip install torch==2.13.0` (or, with
--torch, in a folder).

With --profile the study runs once, and the seconds of processors that each kind of process took are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
STUDY = "studies/fig_6_24.toml"
# Settings that slow down imports or matrix products; some test machines have them, users do not.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "OPENBLAS_CORETYPE")}
TRIALS, WORKERS, EPOCHS = 100, 2, 50
# What is in the commands of a search's processes, and what they are; others are shown as they are.
KINDS = {
    "hpo.execution.child": "objective",
    "raylet/raylet": "raylet",
    "gcs_server": "gcs_server",
    "Agent": "Ray's agent",
    "ray/dashboard/agent.py": "Ray's agent",
    "runtime_env/agent/main.py": "Ray's agent",
    "ray::": "Ray's worker",
    "default_worker.py": "Ray's worker",
}

# What a user would write: prints the best values.
PLAIN = """
import numpy as np, optuna, torch
from trainer import data
from trainer.experiments.settings import _split
torch.set_num_threads(1)
(x, t), (vx, vt) = [[torch.from_numpy(np.array(a)) for a in part] for part in _split("mnist", 500, .2, 0)]
x, vx = x.float(), vx.float()
t, vt = t.long(), vt.long()

def objective(trial):
    lr, decay = trial.suggest_float("lr", 1e-6, 1e-2, log=True), trial.suggest_float("decay", 1e-8, 1e-4, log=True)
    layers, n = [], 784
    for _ in range(6):
        layers += [torch.nn.Linear(n, 100), torch.nn.ReLU()]
        torch.nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
        torch.nn.init.zeros_(layers[-2].bias)
        n = 100
    model = torch.nn.Sequential(*layers, torch.nn.Linear(n, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=decay)
    for epoch in range(50):
        for rows in torch.randint(len(t), (4, 100)):
            loss = torch.nn.functional.cross_entropy(model(x[rows]), t[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            scores = [float((model(a).argmax(1) == b).float().mean()) for a, b in ((x, t), (vx, vt))]
        trial.report(scores[1], epoch)
    return scores[1]

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
study.optimize(objective, 100, n_jobs=2)
print(study.best_value)
"""
ALONE = f"""
import time
from threadpoolctl import threadpool_limits
from hpo.study import load
from trainer.experiments import classify
fixed = load({str(HERE / STUDY)!r}, ()).fixed
times = []
with threadpool_limits(1):
    for number in range(8):
        began = time.perf_counter()
        list(classify({{**fixed, "lr": 10.0 ** -(2 + number / 2), "weight_decay": 1e-6}}, number))
        times.append(time.perf_counter() - began)
print(sum(times[1:]) / len(times[1:]))
"""
PRODUCTS = """
import time
import numpy as np
from threadpoolctl import threadpool_limits
sizes = [784, *[100] * 6, 10]
rows = {n: [np.ones((n, size), np.float32) for size in sizes] for n in (400, 100)}
weights = [np.ones(pair, np.float32) for pair in zip(sizes, sizes[1:])]

def forward(n):
    for inputs, outputs, weight in zip(rows[n], rows[n][1:], weights):
        np.dot(inputs, weight, out=outputs)

def trial():
    for epoch in range(50):
        for step in range(4):
            forward(100)
            for number in range(6, -1, -1):
                rows[100][number].T @ rows[100][number + 1]
                if number:
                    rows[100][number + 1] @ weights[number].T
        for n in (400, 100):
            forward(n)

times = []
with threadpool_limits(1):
    for number in range(8):
        began = time.perf_counter()
        trial()
        times.append(time.perf_counter() - began)
print(sum(times[1:]) / len(times[1:]))
"""
SEARCH = """
import hpo
trials = hpo.read("fig-6-24").trials
print(max(trial.ended for trial in trials) - min(trial.started for trial in trials), len(trials))
"""


def python(code: str, folder: str, side: Path, *more: str) -> float:
    """What a piece of code prints first, as a number."""
    environment = ENVIRONMENT | {"PYTHONPATH": ":".join([str(side), *more])}
    ended = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout.split()[0])


def hpo(side: Path) -> dict[str, float]:
    """One run of the study, in seconds: all of it, the search, the end, and until the report is drawn."""
    with tempfile.TemporaryDirectory() as folder:
        began, results = time.perf_counter(), 0.0
        environment = ENVIRONMENT | {"PYTHONPATH": str(side), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "hpo", "run", str(side / STUDY), "--workers", str(WORKERS), "--quiet"]
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("Best-1 "):
                    results = time.perf_counter()
        ended = time.perf_counter()
        assert process.returncode == 0
        assert results
        while list(Path(folder, ".hpo").glob("pages/*.log")):
            time.sleep(0.1)
        drawn = time.perf_counter()
        search = python(SEARCH, folder, side)
    return {"all": ended - began, "search": search, "end": ended - results, "drawn": drawn - results}


def profile() -> None:
    """Runs the study once, and prints the seconds of processors that each kind of process took until the prompt."""
    import psutil

    took: dict[int, tuple[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hpo", "run", str(HERE / STUDY), "--workers", str(WORKERS), "--quiet"]
        environment = ENVIRONMENT | {"PYTHONPATH": str(HERE)}
        began = time.perf_counter()
        driver = psutil.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        while driver.poll() is None:
            time.sleep(0.05)
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in [driver, *driver.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        times = process.cpu_times()
                        words = " ".join(process.cmdline())  # none when it has ended
                        kind = "driver" if process == driver else _kind(words) if words else took[process.pid][0]
                        took[process.pid] = kind, times.user + times.system
        print(f"{time.perf_counter() - began:6.1f} s by the clock")
    kinds: dict[str, list[float]] = {}
    for kind, seconds in took.values():
        kinds.setdefault(kind, []).append(seconds)
    for kind, values in sorted(kinds.items(), key=lambda item: -sum(item[1])):
        print(f"{sum(values):6.1f} s of processors, {len(values)} x {kind}")


def _kind(command: str) -> str:
    """What a process of a search is, by its command."""
    return next((kind for part, kind in KINDS.items() if part in command), command[:60])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--torch", default="", metavar="FOLDER", help="where PyTorch is, if not installed")
    options = parser.parse_args()
    if options.profile:
        profile()
        return
    sides = {"here": HERE} | {name: Path(folder) for name, folder in (side.split("=", 1) for side in options.side)}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for turn in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            python(PLAIN, folder, HERE, options.torch)
            plain = time.perf_counter() - began
            alone, products = python(ALONE, folder, HERE), python(PRODUCTS, folder, HERE)
        for name, side in sides.items():
            found = hpo(side)
            ideal = TRIALS * alone / WORKERS
            found |= {"plain": plain, "against plain": found["all"] / plain, "against alone": found["search"] / ideal}
            found |= {"products": TRIALS * products / WORKERS / plain}
            rows[name].append(found)
            print(json.dumps({"round": turn, "side": name, "load": os.getloadavg()[0], **found}), flush=True)
    keys = ("all", "plain", "against plain", "search", "against alone", "end", "drawn", "products")
    print(f"{'':10}" + "".join(f"{key:>15}" for key in keys))
    for name, values in rows.items():
        print(f"{name:10}" + "".join(f"{statistics.median(found[key] for found in values):15.2f}" for key in keys))


if __name__ == "__main__":
    main()
