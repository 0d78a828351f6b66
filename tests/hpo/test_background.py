"""The report that is drawn when the search has ended and its process is gone."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpo import background, diagnosis, service
from hpo.ledger.address import Address, parse
from hpo.study import Study
from hpo.study import parse as parse_study

STUDY = parse_study(
    {
        "name": "drawn",
        "objective": "drawn_objective:objective",
        "metric": "loss",
        "direction": "minimize",
        "space": {"lr": {"low": 0.1, "high": 1.0}},
        "budget": {"trials": 2},
    },
    file="study.toml",
)


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Address:
    (tmp_path / "drawn_objective.py").write_text("def objective(params, seed):\n    return params['lr']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("CI", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getppid", lambda: 2)  # a test may run right below a container's first process
    return parse("hpo.journal")


def run(where: Address, tracking: str, said: list[str]) -> None:
    with closing(service.Executors(STUDY.workers, 0)) as executors:
        service.run(
            STUDY, where, executors, tracking=tracking, quiet=True, publish=True, wait=False, notify=said.append
        )


def report(study: Study, tracking: str) -> list[str]:
    client = MlflowClient(tracking)
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`hpo.role` = 'study'")
    return [file.path for file in client.list_artifacts(parent.info.run_id, "report")]


def warnings(where: Address) -> list[str]:
    return [text for text in diagnosis.facts(where.url, "none")["warnings"] if "is not in MLflow" in text]


def test_the_report_is_drawn_when_the_search_has_returned(where: Address, tmp_path: Path) -> None:
    tracking, said = f"sqlite:///{tmp_path}/mlflow.db", list[str]()
    run(where, tracking, said)
    assert said[-1] == "drawing the report for MLflow in the background; to wait for it: hpo sync drawn"

    _until(lambda: not list((where.folder / "pages").glob("*.log")))
    assert "report/report.html" in report(STUDY, tracking)
    assert warnings(where) == []


@pytest.mark.slow
def test_a_report_that_fails_behind_is_named_by_the_doctor_until_it_is_there(where: Address, tmp_path: Path) -> None:
    tracking, said = f"sqlite:///{tmp_path}/mlflow.db", list[str]()
    run(where, "none", said)
    assert said == []
    (log,) = _started(where, tracking)  # the study is not in MLflow

    _until(lambda: warnings(where) and "MLflow does not know drawn" in log.read_text())
    (warning,) = warnings(where)
    assert warning.startswith("the report of drawn is not in MLflow: ")
    assert warning.endswith("; to retry: hpo sync drawn")

    assert background.sync(where, "drawn", tracking).failed == []
    assert warnings(where) == []


def test_a_process_that_is_killed_leaves_a_trace(where: Address, tmp_path: Path) -> None:
    run(where, "none", [])
    (log,) = _started(where, f"sqlite:///{tmp_path}/mlflow.db")
    for pid in _writing(log):
        os.kill(pid, signal.SIGKILL)
    _until(lambda: not _writing(log))

    assert warnings(where) == [
        "the report of drawn is not in MLflow: the background process did not finish; to retry: hpo sync drawn"
    ]


@pytest.mark.parametrize("variable", ["CI", "SLURM_JOB_ID", "RAY_JOB_CONFIG_JSON_ENV_VAR"])
def test_what_ends_with_its_job_is_not_left_behind(
    where: Address, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    assert background.outlives()
    monkeypatch.setenv(variable, "1")
    assert not background.outlives()


def test_the_first_process_of_a_container_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert not background.outlives()


def _started(where: Address, tracking: str) -> list[Path]:
    from hpo.ledger import snapshots

    background.start(where, STUDY, snapshots.uid(where, "drawn"), tracking, notify=lambda text: None)
    return list((where.folder / "pages").glob("*.log"))


def _writing(log: Path) -> list[int]:
    """The processes whose standard output is the log."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd/1").samefile(log) and (process / "cmdline").read_bytes():  # a dead one has neither
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _until(done: object) -> None:
    assert callable(done)
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
