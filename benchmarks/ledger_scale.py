"""How long the commands take on large ledgers: whole processes, this version against another one.

    python benchmarks/ledger_scale.py [--against REV] [--rounds 5] [--only 10000 ...] [--at-most 120]

Each version makes a journal of its own for each case, the same but for times and identities, and they take turns. The
one to compare with is checked out into a worktree of its own, and runs with this environment's packages. Before the
rounds, each side has run `hpo --help`, and this version `hpo list`, which leaves its summary behind. A command that
takes longer than --at-most is not repeated. The seconds are medians: of the clock, and of processors (the command and
what it started), which hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[1]
# Settings that slow down imports; some test machines have them, users do not.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
OBJECTIVE = """
def objective(params, seed):
    for epoch in range(3):
        yield params["lr"] / (epoch + 1) + params["wd"]

def batches(params, seed):
    loss = 1.0
    for _ in range(40_000):
        loss -= loss * params["lr"] / 10_000
        yield loss
"""
STUDY: dict[str, Any] = {
    "name": "large",
    "objective": "train:objective",
    "metric": "loss",
    "direction": "minimize",
    "space": {"lr": {"low": 0.01, "high": 1.0, "log": True}, "wd": {"low": 0.0, "high": 0.1}},
}


def write_journal(path: Path, trials: int, studies: int = 1, reports: int = 3) -> None:
    """A journal as hpo writes it, with complete trials; it takes a fraction of the time of a search."""
    from optuna.distributions import distribution_to_json

    from hpo.ledger.record import attributes
    from hpo.study import parse
    from hpo.trial import Report, Trial

    try:
        from hpo.ledger.lines import encode
    except ImportError:  # a version whose lines have no checksums, and whose trials have one value

        def encode(record: dict[str, Any], seq: int) -> bytes:
            return json.dumps(record, separators=(",", ":")).encode() + b"\n"

    several = "values" in Trial.__dataclass_fields__
    worker, written, numbers = f"{uuid.uuid4()}-1", 0, np.random.default_rng(0)
    with path.open("wb") as file:

        def write(op_code: int, **fields: Any) -> None:
            nonlocal written
            written += 1
            file.write(encode({"op_code": op_code, "worker_id": worker, **fields}, written))

        for study_id in range(studies):
            name = STUDY["name"] if studies == 1 else f"study-{study_id:03d}"
            study = parse(STUDY | {"name": name, "budget": {"trials": trials}}, file="study.toml")
            write(0, study_name=name, directions=[1])
            for key, value in (("uid", uuid.uuid4().hex), ("created", time.time()), ("study", dict(study.resolved))):
                write(2, study_id=study_id, user_attr={f"hpo:{key}": value})
            ranges = {name: distribution_to_json(d) for name, d in study.space.distributions().items()}
            for number in range(trials):
                trial_id = study_id * trials + number
                params = {"lr": float(10 ** numbers.uniform(-2, 0)), "wd": float(numbers.uniform(0, 0.1))}
                values = [params["lr"] / (step + 1) + params["wd"] for step in range(reports)]
                begun = Trial(number, params, int(numbers.integers(2**32)))
                at = 1_700_000_000.0 + 10 * number
                moment = f"2023-11-14T22:13:20.{trial_id % 1_000_000:06d}+00:00"
                write(
                    4,
                    study_id=study_id,
                    datetime_start=moment,
                    state=0,
                    value=None,
                    values=None,
                    distributions=ranges,
                    params=params,
                    user_attrs=attributes(begun),
                    system_attrs={},
                    intermediate_values={},
                )
                result: dict[str, Any] = {"values": (values[-1],)} if several else {"value": values[-1]}
                ended = replace(
                    begun,
                    **result,
                    started=at,
                    ended=at + 9.5,
                    worker="host/1",
                    reports=tuple(Report(step, at + step, {"loss": v}) for step, v in enumerate(values, start=1)),
                )
                for step, v in enumerate(values, start=1):
                    write(7, trial_id=trial_id, step=step, intermediate_value=v)
                for key, value in attributes(ended).items():
                    write(8, trial_id=trial_id, user_attr={key: value})
                write(6, trial_id=trial_id, state=1, values=[values[-1]], datetime_complete=moment)


STUDY_FILE = """
name = "large"
objective = "train:{objective}"
metric = "loss"
direction = "minimize"
space.lr = {lr}
space.wd = {{ low = 0.0, high = 0.1 }}
budget.trials = {trials}
"""


@dataclass(frozen=True)
class Case:
    """A ledger, and what is done with it.

    Attributes:
        trials: How many it has, in each study.
        studies: How many studies.
        reports: Of each trial.
        choices: How many values the learning rate is chosen from; 0 for a range.
        commands: What is measured; ``{n}`` and ``{more}`` are the trials, and two more.
    """

    trials: int
    studies: int = 1
    reports: int = 3
    choices: int = 0
    commands: tuple[str, ...] = ("list", "best large", "show large", "report large")


RUN = "run study.toml --tracking none --quiet --workers 0 --set budget.trials="
CASES = {
    "10000": Case(10_000, commands=(*Case.commands, RUN + "{n}", RUN + "{more}")),
    "100000": Case(100_000),
    "200 studies": Case(20, 200, 10, ("list", "best study-007", "show study-007")),
    "40000 reports": Case(0, reports=40_000, commands=(RUN + "3", "show large")),
    "3000 choices": Case(0, choices=3000, commands=(RUN + "1000", "report large")),
}


def measure(side: Path, command: str, folder: Path, at_most: float) -> tuple[float, float, float]:
    """Seconds by the clock and of processors, and megabytes at most, of one command; infinity where it is cut off."""
    program = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from hpo.cli import main; main()",
    ]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*program, str(side), *command.split()],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    timer = threading.Timer(at_most, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    timer.cancel()
    if process.returncode == -signal.SIGKILL:
        return math.inf, math.inf, usage.ru_maxrss / 1000
    assert process.returncode == 0, errors
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """Another version of hpo, in a folder of its own."""
    where = folder / "against"
    git = ["git", "-C", str(HERE), "worktree"]
    subprocess.run([*git, "add", "--detach", "--quiet", str(where), revision], check=True)
    try:
        yield where
    finally:
        subprocess.run([*git, "remove", "--force", str(where)], check=True)


def run(name: str, sides: dict[str, Path], folder: Path, rounds: int, at_most: float) -> None:
    """Measures one case, and prints its rows of the table."""
    case = CASES[name]
    homes = {}
    for side, code in sides.items():
        homes[side] = folder / f"{name}-{side}".replace(" ", "-")
        homes[side].mkdir()
        if case.trials:
            sizes = map(str, (case.trials, case.studies, case.reports))
            subprocess.run([sys.executable, __file__, "--write", code, homes[side] / "whole", *sizes], check=True)
        (homes[side] / "train.py").write_text(OBJECTIVE)
        objective = "batches" if case.reports == 40_000 else "objective"
        values = [f"{(n + 1) / case.choices:.6f}" for n in range(case.choices)]
        lr = f"{{ choice = [{', '.join(values)}] }}" if values else "{ low = 0.01, high = 1.0, log = true }"
        text = STUDY_FILE.format(objective=objective, trials=max(case.trials, 3), lr=lr)
        (homes[side] / "study.toml").write_text(text)
    for command in case.commands:
        found: dict[str, list[tuple[float, float, float]]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, code in sides.items():
                ledger = homes[side] / "hpo.journal"
                changes = command.startswith(RUN) and "{n}" not in command
                if case.trials and (changes or not ledger.exists()):
                    shutil.copy(homes[side] / "whole", ledger)
                    measure(code, "list" if code == HERE else "--help", homes[side], at_most)
                elif changes:
                    ledger.unlink(missing_ok=True)
                if not (changes or ledger.exists()):  # the search that makes it was cut off
                    found[side].append((math.inf, math.inf, 0.0))
                elif not found[side] or found[side][0][0] < at_most:
                    filled = command.format(n=case.trials, more=case.trials + 2)
                    found[side].append(measure(code, filled, homes[side], at_most))
        shown = command.replace(" --tracking none --quiet --workers 0 --set budget.trials=", ", budget ")
        cells = [f"{name:14}", f"{shown:36}"]
        for runs in found.values():
            clock, processors, memory = (statistics.median(column) for column in zip(*runs, strict=True))
            cells.append(f"{clock:8.2f} {processors:8.2f} {memory:7.0f} MB")
        if len(found) > 1:
            before, now = (statistics.median(seconds for seconds, *_ in runs) for runs in found.values())
            cells.append(f"{now / before:6.3f}")  # 0 where the version before was cut off
        print(" | ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="REV", help="also measure this commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--at-most", type=float, default=120.0, metavar="SECONDS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, sides = Path(name), {"now": HERE}
        if options.against:
            sides = {"before": stack.enter_context(checked_out(options.against, folder)), **sides}
        print(f"medians of {options.rounds}: seconds of the clock, of processors, and memory; load {os.getloadavg()}")
        print(" | ".join([f"{'ledger':14}", f"{'hpo':36}", *(f"{side:28}" for side in sides), "now / before"]))
        for case in options.only:
            run(case, sides, folder, options.rounds, options.at_most)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:  # with the code of the side that will read it
        sys.path.insert(0, sys.argv[2])
        write_journal(Path(sys.argv[3]), *map(int, sys.argv[4:]))
    else:
        main()
