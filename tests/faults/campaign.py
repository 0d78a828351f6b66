"""Kills parts of a running search at instants from a seeded schedule, and counts what was lost.

A campaign runs one study by the real command line, with a real ledger and a real MLflow database, and kills workers,
drivers, raylets and (where there is one) the PostgreSQL server. When the driver has died, `hpo run` is started again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hpo.ledger import books
from hpo.ledger.address import parse
from hpo.trial import RUNNING, Trial

OBJECTIVE = """
import os, time

def objective(params, seed):
    with open(os.environ["CHAOS_LOG"], "a") as log:
        log.write(f"{time.time()} {seed}\\n")
    for epoch in range(5):
        time.sleep(0.03)
        yield {"loss": (params["x"] - 0.3) ** 2 + 1 / (epoch + 1), "epoch": epoch}
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
trials = 40
"""
# A driver that is not back at work after this many seconds is stuck.
STUCK = 120.0


@dataclass
class Campaign:
    """One study under fire.

    Args:
        folder: A working folder of its own.
        storage: The ledger's address.
        kills: How many.
        weights: How often each kind of victim is chosen, relative to the others.
        restart_database: Kills the PostgreSQL server and starts it again.
        seed: Decides victims and instants.
    """

    folder: Path
    storage: str
    kills: int
    weights: dict[str, int]
    seed: int
    restart_database: Callable[[], None] | None = None
    killed: Counter[str] = field(default_factory=Counter)
    finished: dict[int, Trial] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    budget: int = 40

    def run(self) -> None:
        """Kills until the schedule is done, and then lets the study end in peace."""
        (self.folder / "chaos_objective.py").write_text(OBJECTIVE)
        (self.folder / "chaos.toml").write_text(STUDY)
        dice = random.Random(self.seed)
        driver = None
        while sum(self.killed.values()) < self.kills:
            if driver is None or driver.poll() is not None:
                driver = self._start_driver()
            time.sleep(dice.uniform(0.1, 1.2))
            victim = dice.choices(list(self.weights), list(self.weights.values()))[0]
            if driver.poll() is None and self._kill(victim, driver):
                self.killed[victim] += 1
            self._look()
            if len(self.finished) > self.budget - 20:
                self.budget += 40
        driver.wait(STUCK) if driver is not None else None
        while (code := self._start_driver(wait_for_work=False).wait(STUCK)) != 0:
            raise AssertionError(f"the last run ended with exit code {code}:\n{self._log()}")
        self._look()

    # Drivers -------------------------------------------------------------------------------------------------------

    def _start_driver(self, *, wait_for_work: bool = True) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hpo", "run", "chaos.toml", "--set", f"budget.trials={self.budget}", "-q"]
        with (self.folder / "drivers.log").open("ab") as log:
            driver = subprocess.Popen(
                [*command, "--workers", "2", "--storage", self.storage, "--tracking", self.tracking],
                cwd=self.folder,
                env=os.environ | {"CHAOS_LOG": str(self.folder / "starts.log"), "RAY_ADDRESS": "local"},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + STUCK
        starts = self._starts()
        while wait_for_work and driver.poll() is None and self._starts() == starts:
            if time.monotonic() > deadline:
                driver.kill()
                raise AssertionError(f"the driver does not get to work:\n{self._log()}")
            time.sleep(0.05)
        return driver

    @property
    def tracking(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def _starts(self) -> int:
        log = self.folder / "starts.log"
        return log.stat().st_size if log.exists() else 0

    def _log(self) -> str:
        return (self.folder / "drivers.log").read_text(errors="replace")[-3000:]

    # Victims -------------------------------------------------------------------------------------------------------

    def _kill(self, victim: str, driver: subprocess.Popen[bytes]) -> bool:
        if victim == "driver":
            driver.kill()
            driver.wait()
            return True
        if victim == "database":
            assert self.restart_database is not None
            self.restart_database()
            return True
        names = {"worker": b"ray::_Actor", "raylet": b"raylet"}
        pids = [pid for pid, command in self.processes().items() if names[victim] in command.split(b"\0")[0]]
        if not pids:
            return False
        os.kill(random.Random(len(pids)).choice(pids), signal.SIGKILL)
        return True

    def processes(self) -> dict[int, bytes]:
        """Everything alive that a driver of this campaign has started, by its environment: pid to command line."""
        mark = f"CHAOS_LOG={self.folder / 'starts.log'}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found[int(entry.name)] = (entry / "cmdline").read_bytes()
                except OSError:  # ended meanwhile, or somebody else's
                    continue
        return found

    # What was lost -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Whatever was finished at the last look must be finished, and the same, at this one."""
        trials = {trial.number: trial for trial in self.trials()}
        for number, before in self.finished.items():
            now = trials.get(number)
            if now is None or (now.state, now.value, now.params) != (before.state, before.value, before.params):
                self.lost.append(f"trial {number}: was {before}, is {now}")
        self.finished = {number: trial for number, trial in trials.items() if trial.state != RUNNING}

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
