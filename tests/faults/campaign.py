"""Kills parts of a running search at instants from a seeded schedule, and counts what was lost.

A campaign runs one study by the real command line, with a real ledger and a real MLflow database, and kills workers,
drivers, Ray's own servers and (where there is one) the PostgreSQL server, all with SIGKILL. When the driver has died,
`hpo run` is started again; some drivers die before they are at work, some just when the budget is spent.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hpo.errors import StorageUnusable, StudyNotFound
from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.trial import State, Trial

OBJECTIVE = """
import os, time

def objective(params, seed):
    with open(os.environ["CHAOS_LOG"], "a") as log:
        log.write(f"{time.time()} {seed}\\n")
    for epoch in range(5):
        time.sleep(0.04)
        loss = (params["x"] - 0.3) ** 2 + 1 / (epoch + 1)
        yield {"loss": loss, "epoch": epoch, "size": params["x"], "memory": 100 * params["x"]}
"""
STUDY = """
name = "chaos"
objective = "chaos_objective:objective"
metric = "loss"
direction = "minimize"

[space]
x = { low = 1e-6, high = 1.0, log = true }

[trial]
retries = 1000

[budget]
trials = 1
"""
# The same with two objectives, and constraints on parameters and on a metric.
SEVERAL = STUDY.replace(
    """metric = "loss"
direction = "minimize"
""",
    """
[objectives]
loss = "minimize"
size = "minimize"

[constraints]
parameters = ["x + y <= 0.9"]
metrics = { memory = { max = 10 } }
""",
).replace("[trial]", "y = { low = 0.0, high = 1.0 }\n\n[trial]")
# A driver that is not back at work after this many seconds is stuck.
STUCK = 180.0
# Seconds from one kill to the next: up to this.
PAUSE = 1.0
# What is killed. A driver at work; one that is on its way to its work; one whose budget is nearly spent.
WORKER, DRIVER, STARTING, ENDING, RAYLET, GCS, DATABASE = KINDS = (
    "worker",
    "driver",
    "driver, starting",
    "driver, ending",
    "raylet",
    "Ray's global control server",
    "database",
)
PROGRAMS = {WORKER: b"ray::_Actor", RAYLET: b"raylet", GCS: b"gcs_server"}


@dataclass
class Campaign:
    """One study under fire.

    Args:
        folder: A working folder of its own.
        storage: The ledger's address.
        kills: How many.
        weights: How often each kind of victim is chosen, relative to the others.
        seed: Decides victims and instants.
        study: The study file.
        restart_database: Kills the PostgreSQL server, waits as many seconds as it is told, and starts it again.

    Attributes:
        killed: How many of each kind were killed.
        budget: What the last driver was told.
        finished: The trials that were finished at the last look.
        lost: What of them was gone, or different, at the next.
        gave_up: The exit codes of drivers that ended with an error of their own.
    """

    folder: Path
    storage: str
    kills: int
    weights: dict[str, int]
    seed: int
    study: str = STUDY
    restart_database: Callable[[float], None] | None = None
    killed: Counter[str] = field(default_factory=Counter)
    budget: int = 0
    finished: dict[int, Trial] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    drivers: set[int] = field(default_factory=set)
    gave_up: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Kills until the schedule is done, and then lets the study end in peace."""
        self.prepare()
        dice = random.Random(self.seed)
        driver: subprocess.Popen[bytes] | None = None
        while self.killed.total() < self.kills:
            (victim,) = dice.choices(list(self.weights), list(self.weights.values()))
            if victim in (STARTING, ENDING):
                if driver is not None:
                    self._end(driver)
                driver = None
                self._kill_at_either_end(victim, dice)
            else:
                if driver is None or driver.poll() is not None:
                    driver = self.start_driver(budget=len(self.finished) + 200)
                    self._wait_for_starts(driver)
                time.sleep(dice.uniform(0, PAUSE))
                self._kill(victim, driver, dice)
        if driver is not None:
            self._end(driver)
        self.finish()

    def prepare(self) -> None:
        """Writes the study."""
        (self.folder / "chaos_objective.py").write_text(OBJECTIVE)
        (self.folder / "chaos.toml").write_text(self.study)

    # Drivers -------------------------------------------------------------------------------------------------------

    def start_driver(self, budget: int) -> subprocess.Popen[bytes]:
        self.budget = budget
        command = [sys.executable, "-m", "hpo", "run", "chaos.toml", "--set", f"budget.trials={budget}", "-q"]
        with (self.folder / "drivers.log").open("ab") as log:
            driver = subprocess.Popen(
                [*command, "--workers", "2", "--storage", self.storage, "--tracking", self.tracking],
                cwd=self.folder,
                env=os.environ | {"CHAOS_LOG": str(self.folder / "starts.log"), "RAY_ADDRESS": "local"},
                stdout=log,
                stderr=log,
            )
        self.drivers.add(driver.pid)
        return driver

    def _wait_for_starts(self, driver: subprocess.Popen[bytes], count: int = 1) -> None:
        """Until so many more trials have started, or the driver has ended."""
        deadline = time.monotonic() + STUCK
        before = self.starts
        while driver.poll() is None and self.starts < before + count:
            if time.monotonic() > deadline:
                driver.kill()
                raise AssertionError(f"the driver does not get to work:\n{self._log()}")
            time.sleep(0.02)

    def _kill_at_either_end(self, victim: str, dice: random.Random) -> None:
        """A driver that dies on its way to its work, or when there is hardly any left."""
        driver = self.start_driver(budget=len(self.finished) + 4)
        if victim == ENDING:
            self._wait_for_starts(driver, 4)
        time.sleep(dice.uniform(0, PAUSE * (5 if victim == STARTING else 1.5)))
        self._kill(DRIVER, driver, dice, name=victim)

    def _end(self, driver: subprocess.Popen[bytes]) -> None:
        """An end that is none of the kills."""
        if driver.poll() is None:
            driver.send_signal(signal.SIGTERM)
        driver.wait(STUCK)
        self._note_end(driver)

    def _note_end(self, driver: subprocess.Popen[bytes]) -> None:
        if driver.returncode not in (0, 130, -signal.SIGKILL):
            self.gave_up.append(driver.returncode)
        self._look()

    def finish(self) -> None:
        """The last run, which nobody disturbs, with some more trials."""
        budget = len(self.trials()) + 20
        if code := self.start_driver(budget).wait(3 * STUCK):
            raise AssertionError(f"the last run ended with exit code {code}:\n{self._log()}")
        self._look()

    @property
    def tracking(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def starts(self) -> int:
        """How many attempts have begun."""
        log = self.folder / "starts.log"
        return log.read_bytes().count(b"\n") if log.exists() else 0

    def _log(self) -> str:
        return (self.folder / "drivers.log").read_text(errors="replace")[-3000:]

    # Victims -------------------------------------------------------------------------------------------------------

    def _kill(self, victim: str, driver: subprocess.Popen[bytes], dice: random.Random, name: str = "") -> None:
        """Kills one, and counts it when it was alive to be killed."""
        if driver.poll() is not None:
            self._note_end(driver)
            return
        if victim == DATABASE:
            assert self.restart_database is not None
            self.restart_database(dice.uniform(0, 2 * PAUSE))
        elif victim == DRIVER:
            driver.kill()
            if driver.wait() != -signal.SIGKILL:
                return
        else:
            program = PROGRAMS[victim]
            pids = [pid for pid, command in self.processes().items() if program in command.split(b"\0")[0]]
            if not pids:
                return
            try:
                os.kill(dice.choice(sorted(pids)), signal.SIGKILL)
            except ProcessLookupError:
                return
        self.killed[name or victim] += 1
        if victim != WORKER:
            self._look()

    def processes(self) -> dict[int, bytes]:
        """Everything alive that drivers of this campaign have started: pid to command line.

        Known by the environment it inherited, or, as Ray's helpers write their titles over theirs, by its logs.
        """
        mark = f"CHAOS_LOG={self.folder / 'starts.log'}".encode()
        logs = re.compile(rf"/session_[^/]*_({'|'.join(map(str, self.drivers)) or 'none'})/logs/")
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0") or any(
                        logs.search(str(file.readlink())) for file in (entry / "fd").iterdir()
                    ):
                        found[int(entry.name)] = (entry / "cmdline").read_bytes()
                except OSError:  # ended meanwhile, or somebody else's
                    continue
        return found

    # What was lost -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Whatever was finished at the last look must be finished, and the same in every field, at this one."""
        deadline = time.monotonic() + STUCK
        while True:
            try:
                trials = {trial.number: trial for trial in self.trials()}
                break
            except (StudyNotFound, StorageUnusable) as error:
                # There is no study yet, or no ledger: the driver died before it had made one.
                if isinstance(error, StudyNotFound) or not self.finished:
                    trials = {}
                    break
                if time.monotonic() > deadline:  # a server that was killed is still on its way back
                    raise
                time.sleep(0.1)
        for number, before in self.finished.items():
            if trials.get(number) != before:
                self.lost.append(f"trial {number}: was {before}, is {trials.get(number)}")
        self.finished = {number: trial for number, trial in trials.items() if trial.state != State.RUNNING}

    def trials(self) -> list[Trial]:
        return books.read(parse(self.storage), "chaos").trials

    def started_after_finishing(self) -> list[int]:
        """The trials of which an attempt began after the ledger had them as finished."""
        by_seed = {trial.seed: trial for trial in self.finished.values()}
        again = []
        for line in (self.folder / "starts.log").read_text().splitlines():
            when, seed = line.split()
            trial = by_seed[int(seed)]
            if trial.ended is not None and float(when) > trial.ended:
                again.append(trial.number)
        return again
