"""What it costs to show a trial of 50 epochs in MLflow: hpo's mirror, and MLflow's fluent API called per epoch.

Both log two metrics per epoch, two parameters and the trial's state, into a local database and to servers with one and
with four workers on this machine. "search" is the time of the search's own thread per trial while the mirror works (52
updates: start, epochs, end). "finished" is the mirror's time for a trial that it first sees when it has ended, "live"
for one that it sees four times, as it sees those that run beside it. Fluent calls run in the trial itself. The programs
take turns; the medians count.

    python benchmarks/tracking.py [--trials 100] [--fluent-trials 4] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from hpo.study import parse
from hpo.tracking.mirror import Mirror
from hpo.tracking.mlflow import MlflowStore
from hpo.trial import Report, Reports, State, StudyState, Trial

EPOCHS = 50
STUDY = {
    "name": "tracking",
    "objective": "benchmarks.tracking:nothing",
    "metric": "loss",
    "direction": "minimize",
    "space": {"lr": {"low": 0.1, "high": 1.0}, "weight_decay": {"low": 0.1, "high": 1.0}},
    "budget": {"trials": 1},
}


def open_store(uri: str) -> MlflowStore:
    """A store of a new study; what is made once per study, not per trial, is made."""
    name = f"t{time.time_ns()}"
    store = MlflowStore(uri, parse(STUDY | {"name": name}, file="tracking"), name, time.time())
    store.open([])
    return store


def updates(number: int) -> Iterator[Trial]:
    """A trial at its start, after every epoch, and at its end."""
    trial = Trial(number, {"lr": 0.5, "weight_decay": 0.5}, seed=number, started=time.time(), worker="here/1")
    yield trial
    began, reports = time.time(), []
    for epoch in range(1, EPOCHS + 1):
        reports.append(Report(epoch, began + epoch, {"loss": 1 / epoch, "accuracy": 1 - 1 / epoch}))
        trial = replace(trial, reports=Reports(reports))
        yield trial
    yield replace(trial, ended=began + EPOCHS, values=(1 / EPOCHS,), state=State.COMPLETE)


def search_side(uri: str, trials: int) -> float:
    store = open_store(uri)
    mirror = Mirror(lambda: store, [], print)
    began = time.perf_counter()
    for number in range(trials):
        for trial in updates(number):
            mirror.update(trial)
    seconds = time.perf_counter() - began
    if missing := mirror.close(StudyState.COMPLETE, 600):
        raise RuntimeError(f"{missing} trials are not in MLflow")
    return seconds / trials


def finished_side(uri: str, trials: int) -> float:
    store = open_store(uri)
    records = [list(updates(number))[-1] for number in range(trials)]
    began = time.perf_counter()
    for start in range(0, trials, store.batch):
        store.write(records[start : start + store.batch])
    store.progress(records)
    return (time.perf_counter() - began) / trials


def live_side(uri: str, trials: int) -> float:
    store = open_store(uri)
    seconds = 0.0
    for step, together in enumerate(zip(*map(updates, range(trials)), strict=True)):
        if step in (1, 17, 34, EPOCHS + 1):
            began = time.perf_counter()
            for start in range(0, trials, store.batch):
                store.write(together[start : start + store.batch])
            if step == EPOCHS + 1:
                store.progress(list(together))
            seconds += time.perf_counter() - began
    return seconds / trials


def fluent_side(uri: str, trials: int) -> float:
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(f"f{time.time_ns()}")
    with mlflow.start_run():
        began = time.perf_counter()
        for number in range(trials):
            with mlflow.start_run(nested=True, run_name=f"trial {number}"):
                mlflow.log_params({"lr": 0.5, "weight_decay": 0.5})
                for epoch in range(1, EPOCHS + 1):
                    mlflow.log_metrics({"loss": 1 / epoch, "accuracy": 1 - 1 / epoch}, step=epoch)
                mlflow.set_tag("state", "complete")
        return (time.perf_counter() - began) / trials


@contextlib.contextmanager
def server(folder: Path, workers: int) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    name = f"server-{workers}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", str(workers), "--backend-store-uri", f"sqlite:///{folder}/{name}.db"]
    command += ["--artifacts-destination", f"{folder}/artifacts"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / name).open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        while not _answers(address):
            if process.poll() is not None:
                raise RuntimeError((folder / name).read_text())
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--fluent-trials", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sides: dict[str, Callable[[str], float]] = {
        "search": lambda uri: search_side(uri, options.trials),
        "finished": lambda uri: finished_side(uri, options.trials),
        "live": lambda uri: live_side(uri, options.trials // 4),
        "fluent": lambda uri: fluent_side(uri, options.fluent_trials),
    }
    rows: dict[str, dict[str, list[float]]] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        server(Path(name), workers=1) as one,
        server(Path(name), workers=4) as four,
    ):
        os.chdir(name)  # a local database keeps its artifacts in the working folder
        places = {"database": f"sqlite:///{name}/mlflow.db", "server of 1": one, "server of 4": four}
        for place, uri in places.items():
            finished_side(uri, 1)  # makes the database
            rows[place] = {side: [] for side in sides}
            for _ in range(options.rounds):
                for side, run in sides.items():
                    rows[place][side].append(run(uri))
    print(f"{'per trial of 50 epochs':24}{'median':>12}{'all rounds':>32}{'fluent / this':>16}")
    for place, times in rows.items():
        fluent = statistics.median(times["fluent"])
        for side, values in times.items():
            median = statistics.median(values)
            every = " ".join(f"{1000 * value:.2f}" for value in values)
            print(f"{place + ', ' + side:24}{1000 * median:9.2f} ms{every:>32}{fluent / median:16.1f}")


if __name__ == "__main__":
    main()
