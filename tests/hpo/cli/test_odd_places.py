"""Folders and files whose names mean something else in an address, a template or a shell."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from command_line import QUICK, CommandLine

from hpo.machine import sqlite_uri

# As Python has them also where the locale is plain ASCII.
UMLAUTS, ALL = (os.fsdecode(name.encode()) for name in ("ünï", "all %25?{}#ü"))
LESSER = ("100%25", "a%41", "{x}", "#1", "two words", "'\"", "-dash", "c:olon")
ODD = pytest.mark.parametrize(
    "name", ["what?", "new\nline", UMLAUTS, ALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LESSER)]
)


def here(hpo: CommandLine, name: str) -> Path:
    """A folder with the study, of which hpo is to write into nothing else."""
    folder = hpo.folder / "above" / name
    folder.mkdir(parents=True)
    for file in ("s.toml", "small_objectives.py"):
        shutil.move(hpo.folder / file, folder / file)
    return folder


@ODD
@pytest.mark.parametrize("storage", ["hpo.journal", "sqlite:///hpo.db"])
def test_a_ledger_lies_where_it_should_in_a_folder_of_any_name(
    hpo: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str, storage: str
) -> None:
    folder = here(hpo, name)
    monkeypatch.chdir(folder)

    hpo("run", "s.toml", *QUICK, "--storage", storage)

    assert (folder / storage.removeprefix("sqlite:///")).stat().st_size > 0
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert hpo("best", "small", "--json", "--storage", storage).json["number"] >= 0
    taken = hpo("import", "s.toml", "--optuna", storage, "small", "--storage", "b.journal")
    assert "5 trials" in taken.out + taken.err


# MLflow's own addresses are UTF-8: it cannot name such a folder where the locale is plain ASCII.
FOR_MLFLOW = ALL if sys.getfilesystemencoding() == "utf-8" else "all %25?{}#"


@pytest.mark.usefixtures("quick_report")
@pytest.mark.parametrize("name", ["what?", "a%41", FOR_MLFLOW])
def test_runs_and_their_files_lie_where_they_should_in_a_folder_of_any_name(
    hpo: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from mlflow import MlflowClient

    folder = here(hpo, name)
    monkeypatch.chdir(folder)

    hpo("run", "s.toml", "--workers", "0", "--wait")

    client = MlflowClient(sqlite_uri(folder / "mlflow.db"))
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`hpo.role` = 'study'")
    assert "report" in [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert list(folder.glob("mlruns/**/report.html"))
    assert not [path for path in folder.parent.rglob("*") if path.is_file() and folder not in path.parents]
    assert hpo("sync", "small").code == 0
    hpo("delete", "small", "--yes")


@pytest.mark.slow
def test_warnings_as_errors_are_for_the_objective_and_not_for_mlflow(
    hpo: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    objective = "import warnings\ndef warned(params, seed):\n    warnings.warn('mind')\n    return 1.0\n"
    (hpo.folder / "warning.py").write_text(objective)

    good = hpo.start("run", "s.toml", "--workers", "0", "--wait")
    _, err = good.communicate(timeout=200)
    assert good.returncode == 0, err
    assert "not in MLflow" not in err
    bad = hpo.start("run", "s.toml", *QUICK, "--set", "name=other", "--set", "objective=warning:warned")
    _, err = bad.communicate(timeout=200)
    assert bad.returncode == 1
    assert "UserWarning: mind" in err


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.xdist_group("ray")
def test_warnings_as_errors_are_for_the_objective_and_not_for_ray(
    hpo: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (hpo.folder / "warning.py").write_text(
        "import warnings\ndef warned(params, seed):\n    warnings.warn('mind')\n    return 1.0\n"
    )
    ended = hpo.start(
        "run", "s.toml", "--workers", "1", "--tracking", "none", "--set", "objective=warning:warned", "--trials", "2"
    )
    _, err = ended.communicate(timeout=200)
    assert ended.returncode == 1
    assert "2 of 2" in err
    assert "UserWarning: mind" in err
