"""A person's working folder: a study, an objective, and ``hpo`` as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

OBJECTIVES = Path(__file__).parents[1] / "hpo" / "helpers" / "simple_objectives.py"

STUDY = """
name      = "small"
objective = "simple_objectives:slow_curve"
metric    = "score"
direction = "maximize"

[fixed]
marks = "{marks}"
pause = {pause}

[space]
lr     = {{ low = 1e-6, high = 1e-1, log = true }}
hidden = {{ choice = [[50], [100, 100], []] }}

[sampler]
seed = 11

[budget]
trials = {trials}
"""


class WorkingFolder:
    """A folder in which a small study is run.

    Args:
        path: An empty folder.
        trials: The study's budget.
        pause: Seconds per report, of which a trial makes three.
        database: An empty tracking database to begin with; without one MLflow makes it, which takes seconds.
    """

    def __init__(self, path: Path, trials: int, pause: float, database: Path | None = None) -> None:
        self.path = path
        self.marks = path / "marks"
        self.marks.mkdir(parents=True)
        shutil.copy(OBJECTIVES, path)
        if database is not None:
            shutil.copy(database, path / "mlflow.db")
        (path / "study.toml").write_text(STUDY.format(marks=self.marks, trials=trials, pause=pause))

    def start(self, *words: str, data: Path | None = None) -> subprocess.Popen[str]:
        environment = {key: text for key, text in os.environ.items() if not key.startswith(("HPO_", "RAY_", "MLFLOW_"))}
        if data is not None:
            environment["HPO_DATA_DIR"] = str(data)
        return subprocess.Popen(
            [sys.executable, "-m", "hpo", *words],
            cwd=self.path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hpo(self, *words: str) -> str:
        """Runs a command to its end; returns what it printed."""
        process = self.start(*words)
        out, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
        return out

    def show(self) -> dict[str, Any]:
        return json.loads(self.hpo("show", "small", "--json", "--top", "1000"))

    def values(self) -> list[tuple[int, float, dict[str, Any]]]:
        """Number, value and parameters of every complete trial."""
        return sorted((trial["number"], trial["value"], trial["params"]) for trial in self.show()["best"])

    def runs(self, role: str) -> list[Run]:
        return mlflow_runs(self.path, "small", role)


def mlflow_runs(folder: Path, name: str, role: str) -> list[Run]:
    """The runs of a study in the folder's own MLflow database, children in the order of their trials."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`hpo.role` = '{role}'", max_results=5000)
    return sorted(found, key=lambda run: int(run.data.tags.get("hpo.trial", -1)))
