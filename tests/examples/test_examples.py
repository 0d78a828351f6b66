"""Every example runs as it stands, from a copy of its folder, with a small budget."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("HPO_", "MLFLOW_", "RAY_"))}


def run(example: str, folder: Path, *words: str) -> dict[str, Any]:
    """Runs an example's study in a copy of its folder."""
    copy = folder / example
    shutil.copytree(EXAMPLES / example, copy)
    command = [sys.executable, "-m", "hpo", "run", "study.toml", "--workers", "0", "--tracking", "none", "--json", "-q"]
    ended = subprocess.run(
        [*command, *words], cwd=copy, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=200
    )
    assert ended.returncode == 0, ended.stderr
    head: dict[str, Any] = json.loads(ended.stdout)
    return head


@pytest.mark.processes
@pytest.mark.parametrize(
    ("example", "words"),
    [
        ("scikit-learn", ["--set", "space.trees.high=20"]),
        ("awk", []),
        pytest.param("pytorch", ["--set", "fixed.epochs=3"], marks=pytest.mark.torch),
        pytest.param("xgboost", ["--set", "fixed.rounds=3"], marks=pytest.mark.torch),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_example_runs(example: str, words: list[str], tmp_path: Path) -> None:
    if example == "xgboost":
        pytest.importorskip("xgboost")
    study = tomllib.loads((EXAMPLES / example / "study.toml").read_text())
    head = run(example, tmp_path, "--trials", "4", *words)
    assert head["trials"]["failed"] == head["trials"]["running"] == 0
    assert head["trials"]["complete"] >= 1
    assert head["metric"] == study["metric"]
    assert set(head["best"][0]["params"]) == set(study["space"])


@pytest.mark.torch
def test_the_network_resumes_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "pytorch"))
    sys.modules.pop("train", None)
    objective = importlib.import_module("train").objective

    params = {"lr": 0.01, "weight_decay": 1e-4, "hidden": 16, "epochs": 4}
    folders = [tmp_path / name for name in ("whole", "cut")]
    for folder in folders:
        folder.mkdir()
    whole = list(objective(params, 1, str(folders[0])))
    cut = objective(params, 1, str(folders[1]))
    assert [next(cut), next(cut)] == whole[:2]
    cut.close()
    assert list(objective(params, 1, str(folders[1]))) == whole
    sys.modules.pop("train", None)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook: Any = nbformat.read(EXAMPLES / "notebook" / "search.ipynb", as_version=4)
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (_, ran, best, lines, figure) = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert any("<table>" in output.get("data", {}).get("text/html", "") for output in ran)
    assert "alpha" in best[0]["data"]["text/plain"]
    assert "alpha: " in lines[0]["text"]
    assert "image/png" in figure[-1]["data"]


def test_the_index_names_every_example() -> None:
    named = set(re.findall(r"^\| \[[^]]*\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "callbacks"} == named
