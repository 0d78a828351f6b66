"""The service layer without the command line: what it returns, and that its remarks go where they are sent."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hpo import evaluation, service
from hpo.errors import InputError, MissingExtra, ObjectiveError, StudyNotFound
from hpo.execution import Job
from hpo.executors import Executors
from hpo.ledger.address import Address, parse
from hpo.study import Study
from hpo.study import parse as parse_study
from hpo.trial import State

STUDY = {
    "name": "small",
    "objective": "service_objective:objective",
    "evaluate": "service_objective:evaluate",
    "metric": "loss",
    "direction": "minimize",
    "space": {"lr": {"low": 0.1, "high": 1.0}},
    "budget": {"trials": 3},
}
OBJECTIVE = """
def objective(params, seed):
    yield {"loss": params["lr"]}

def evaluate(params, seed):
    yield {"test_loss": params["lr"]}
"""


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Address:
    (tmp_path / "service_objective.py").write_text(OBJECTIVE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return parse("hpo.journal")


def study(**changes: object) -> Study:
    return parse_study(STUDY | changes, file="study.toml")


def run(where: Address, **changes: object) -> service.SearchResult:
    checked = study(**changes)
    service.check(checked, where)
    with closing(Executors(checked.workers, 0)) as executors:
        return service.run(checked, where, executors, tracking="none", quiet=True)


def test_a_study_is_checked_run_and_resumed_without_a_word(where: Address, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(where)
    assert [trial.state for trial in first.trials] == [State.COMPLETE] * 3
    assert (first.interrupted, first.unwritten) == (False, 0)
    more = run(where, budget={"trials": 5})
    assert [trial.params for trial in more.trials[:3]] == [trial.params for trial in first.trials]
    assert capsys.readouterr() == ("", "")


def test_a_wrong_objective_names_file_and_key(where: Address) -> None:
    with pytest.raises(ObjectiveError) as caught:
        service.check(study(objective="absent:objective"), where)
    assert (caught.value.file, caught.value.key) == ("study.toml", "objective")
    assert str(caught.value).startswith("study.toml: objective: cannot import 'absent:objective': ")


def test_a_missing_extra_names_its_file_too(where: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.samplers.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"^study.toml: sampler.name: gp needs torch, .*'hpo-service\[gp\]'$"):
        service.check(study(sampler={"name": "gp"}), where)


def test_an_evaluation_is_done_once_and_returned(where: Address) -> None:
    run(where)
    entry = evaluation.evaluate(where, "small")
    assert entry["metrics"].keys() == {"test_loss"}
    with pytest.raises(InputError, match="--again"):
        evaluation.evaluate(where, "small")


def test_a_study_is_deleted(where: Address) -> None:
    run(where)
    assert service.delete(where, "small", "none") == (3, False)
    with pytest.raises(StudyNotFound, match="there is no study 'small'"):
        service.delete(where, "small", "none")


def test_what_mlflow_cannot_do_is_sent_to_notify(where: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo import background
    from hpo.report import files

    def broken(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(files, "write", broken)
    uri, heard = f"sqlite:///{Path.cwd()}/mlflow.db", list[str]()
    run(where)
    assert background.sync(where, "small", uri, heard.append).failed == ["report"]
    assert heard == [
        "the report of small is not in MLflow: OSError: no space left; to retry: hpo sync small",
    ]


def test_neither_the_api_nor_the_chapter_needs_the_command_line() -> None:
    code = "import sys, hpo.api, hpo.service, hpo.publish, hpo.evaluation, hpo.compare.entries\n"
    code += "print('hpo.cli' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "False\n"


def test_a_wrong_study_file_is_refused_before_anything_large_is_imported(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('name = "bad"\ndirection = "up"\n')
    code = """
import runpy, sys
sys.argv = ["hpo", "run", "bad.toml"]
try:
    runpy.run_module("hpo", run_name="__main__")
except SystemExit as end:
    large = {"matplotlib", "mlflow", "numpy", "optuna", "ray", "scipy"}
    print(end.code, large & set(sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.stderr.splitlines()[-1:] == ["2 set()"], ended.stderr  # where the command has sent the output since


def test_code_beside_the_study_file_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "beside_the_study.py").write_text(
        OBJECTIVE
        + """
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler

class Sampler(RandomSampler): pass
class Pruner(NopPruner): pass
"""
    )
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", list(sys.path))
    named = {key: {"name": f"beside_the_study:{key.title()}"} for key in ("sampler", "pruner")}
    names = {key: f"beside_the_study:{name}" for key, name in (("objective", "objective"), ("evaluate", "evaluate"))}
    found = parse_study({**STUDY, **names, **named}, file=str(tmp_path / "studies" / "s.toml with --set"))

    where = parse("hpo.journal")
    with closing(Executors(found.workers, 0)) as executors:
        service.check(found, where, executors)
        result = service.run(found, where, executors, tracking="none", quiet=True)

    assert [trial.state for trial in result.trials] == [State.COMPLETE] * 3
    assert sys.path.index(str(tmp_path / "here")) < sys.path.index(str(tmp_path / "studies"))
    sys.modules.pop("beside_the_study")


def test_a_working_folder_that_is_made_anew_while_ray_starts_is_the_workers_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray does to a submitted job: another node on the same machine unpacks its folder again."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def starts(executors: Executors) -> None:
        work.rmdir()
        work.mkdir()

    class Pool:
        def __init__(self, job: Job, *words: object, **options: object) -> None:
            self.path = job.path

        def close(self) -> None:
            pass

    monkeypatch.setattr(Executors, "_start", starts)
    monkeypatch.setattr("hpo.execution.ray.pool.RayExecutor", Pool)
    study = parse_study(STUDY, file=str(work / "s.toml"))
    with closing(Executors(study.workers, 2)) as executors, executors.open(study) as executor:
        assert isinstance(executor, Pool)
        assert executor.path[0] == str(work)
    os.chdir(work)
