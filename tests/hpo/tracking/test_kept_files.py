"""What trials write and print: kept, published and removed with their study."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

MODULE = """
import pathlib

import numpy

def objective(params, seed, folder):
    print("trial with", params["x"])
    pathlib.Path(folder, "weights.txt").write_text(str(params["x"]))
    if params["x"] == 3:
        raise ValueError("three")
    yield {"loss": float(params["x"])}

def model(params, seed, folder, files=None):
    return {
        "loader_module": "writing", "data_path": files, "input_example": numpy.ones((1, 1)), "pip_requirements": [],
    }

class Constant:
    def __init__(self, value):
        self.value = value

    def predict(self, model_input, params=None):
        return [self.value] * len(model_input)

def _load_pyfunc(path):
    return Constant(float(pathlib.Path(path, "weights.txt").read_text()))
"""
STUDY = """
name = "kept"
objective = "writing:objective"
model = "writing:model"
metric = "loss"
direction = "minimize"
space.x = { choice = [4, 3, 2, 1, 5] }
sampler.name = "grid"
budget.trials = 5
trial.keep = "best 2"
"""


def hpo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CI": "1", "PYTHONPATH": str(folder)}  # in front: nothing goes on behind the prompt
    for name in ("HPO_STORAGE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        environment.pop(name, None)
    ended = subprocess.run(
        [sys.executable, "-m", "hpo", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.mark.processes
@pytest.mark.filterwarnings("ignore")  # MLflow remarks on its own type hints
@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_what_is_kept_is_published_and_goes_with_its_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "writing.py").write_text(MODULE)
    (tmp_path / "s.toml").write_text(STUDY)
    ended = hpo(tmp_path, "run", "s.toml", "--workers", "1")
    assert "is not in MLflow" not in ended.stderr
    own = tmp_path / ".hpo" / "trials" / "kept"
    assert sorted(path.read_text() for path in own.glob("*/files/*")) == ["1", "2"]
    assert len(list(own.glob("*/output.log"))) == 5

    from mlflow import MlflowClient
    from mlflow.pyfunc import load_model

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("kept")
    assert experiment is not None
    published = {}
    for run in client.search_runs([experiment.experiment_id], "tags.`hpo.trial` != ''"):
        paths = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        published[run.data.params["x"]] = paths & {"output.log", "files"}
    assert published == {
        "1": {"output.log", "files"},
        "2": {"output.log", "files"},
        "3": {"output.log"},
        "4": set(),
        "5": set(),
    }
    version = client.get_model_version_by_alias("kept", "champion")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_model(version.source).predict(np.zeros((2, 1))) == [1.0, 1.0]

    hpo(tmp_path, "delete", "kept", "--yes")
    assert not own.exists()
