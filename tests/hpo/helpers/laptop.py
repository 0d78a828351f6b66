"""A working folder outside a cluster, with code and secrets of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from command_line import Outcome
from ray_cluster import RayCluster

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.trial import Trial

SECRET = "s3cret" + uuid.uuid4().hex

OBJECTIVE = """
import os, subprocess, time
from pathlib import Path

LIMIT = float(Path("limit.txt").read_text())  # data beside the code

def objective(params, seed):
    environment = {**os.environ, "child": subprocess.check_output(["env"], text=True)}
    yield {
        "loss": params["x"] * LIMIT,
        "secrets": sum("%s" in name + text for name, text in environment.items()),
        "dotenv": int(Path(".env").exists()),
    }

def patient(params, seed):
    with open(params["folder"] + "/starts", "a") as starts:
        starts.write(f"{seed} {os.environ['HPO_TEST_NODE']}\\n")
    yield {"loss": params["x"] + 1}
    while not Path(params["folder"], "go").exists():
        time.sleep(0.05)
    yield {"loss": params["x"]}
"""
STUDY = """
name = "quadratic"
objective = "secretive:objective"
metric = "loss"
direction = "minimize"

[space]
x = { low = 1e-4, high = 1.0, log = true }

[budget]
trials = 6
"""


class Laptop:
    """A working folder outside the cluster, and ``hpo`` called in it."""

    def __init__(self, folder: Path, cluster: RayCluster, storage: str) -> None:
        self.folder, self.storage = folder, storage
        kept = {key: text for key, text in os.environ.items() if not key.startswith(("HPO_", "RAY_", "MLFLOW_", "PG"))}
        self.environment = kept | cluster.credentials | {"RAY_API_SERVER_ADDRESS": cluster.url}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
        (folder / "secretive.py").write_text(OBJECTIVE % SECRET)
        (folder / "limit.txt").write_text("2.0")
        (folder / ".env").write_text(f"PGPASSWORD={SECRET}")
        (folder / "study.toml").write_text(STUDY)

    def __call__(self, *words: str, code: int = 0, **environment: str) -> Outcome:
        ended = subprocess.run(
            [sys.executable, "-m", "hpo", *words],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        outcome = Outcome(ended.returncode, ended.stdout, ended.stderr)
        assert outcome.code == code, outcome
        return outcome

    @contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "hpo", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def submit(self, name: str, *words: str, code: int = 0) -> Outcome:
        return self("submit", "study.toml", "--set", f"name={name}", *words, code=code)

    def job(self, name: str) -> dict[str, Any]:
        """The latest job of a study."""
        found: dict[str, Any] = [job for job in self("jobs", "--json").json if job["study"] == name][-1]
        return found

    def trials(self, name: str) -> list[Trial]:
        return books.read(parse(self.storage), name).trials

    @property
    def starts(self) -> list[tuple[int, str]]:
        """Seed and node of every start of a patient trial."""
        path = self.folder / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(line.split()[0]), line.split()[1]) for line in lines]

    def patient(self) -> list[str]:
        return ["--set", "objective=secretive:patient", "--set", f"fixed.folder={self.folder}"]
