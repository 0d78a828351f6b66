"""The chosen trial's model: made once for each choice, registered, and good to predict with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from mirrored import children, exactly_once, parent
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.publish import make_model
from hpo.study import load

ROOT = Path(__file__).parents[3]
MODULE = """
import numpy as np
import time
from pathlib import Path

def objective(params, seed):
    return {"score": params["x"]}

def model(params, seed, folder):
    with open("made", "a") as made:
        made.write(f"{params['x']} ")
    np.save(f"{folder}/slope.npy", np.array(params["x"]))
    return {
        "loader_module": "sloped",
        "data_path": f"{folder}/slope.npy",
        "input_example": np.array([[1.0], [2.0]]),
        "pip_requirements": ["numpy"],
    }

def endless(params, seed, folder):
    Path("making").touch()
    time.sleep(60)

def greedy(params, seed, folder):
    with open("seen", "a") as seen:
        seen.write(f"{params}\\n")
    params["layers"].append(1)
    params["nested"]["inner"].append(1)
    params["hidden"].append(1)
    params.clear()
    np.save(f"{folder}/slope.npy", np.array(1.0))
    example = np.array([[1.0]])
    files = {"loader_module": "sloped", "data_path": f"{folder}/slope.npy"}
    return files | {"input_example": example, "pip_requirements": ["numpy"]}

def broken(params, seed, folder):
    raise RuntimeError("no room for http://me:secret@example.org/")

def vague(params, seed, folder):
    return {"data_path": folder}

class Line:
    def __init__(self, slope):
        self.slope = slope

    def predict(self, model_input, params=None):
        return self.slope * np.asarray(model_input)[:, 0]

def _load_pyfunc(path):
    return Line(np.load(path))
"""
STUDY = """
name = "sloped"
objective = "sloped:objective"
metric = "score"
direction = "maximize"
model = "sloped:model"
enqueue = [{x = 0.25}, {x = 0.5}, {x = 0.125}]
[space]
x = { low = 0.0, high = 1.0 }
[budget]
trials = 1
"""


@pytest.fixture
def sloped(hpo: CommandLine, quick_report: None) -> CommandLine:
    (hpo.folder / "sloped.py").write_text(MODULE)
    (hpo.folder / "sloped.toml").write_text(STUDY)
    return hpo


def run(hpo: CommandLine, uri: str, trials: int, *words: str) -> str:
    budget = ("--set", f"budget.trials={trials}")
    return hpo("run", "sloped.toml", "--workers", "0", "--tracking", uri, "-q", *budget, *words).err


def champion(uri: str, name: str) -> ModelVersion:
    return MlflowClient(uri, uri).get_model_version_by_alias(name, "champion")


def made(hpo: CommandLine) -> list[float]:
    return [float(x) for x in (hpo.folder / "made").read_text().split()]


def test_what_a_model_does_to_its_parameters_stays_with_it(
    sloped: CommandLine, mlflow_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["model=sloped:greedy", "fixed={layers=[16], nested={inner=[2]}}"]
    changes += ["space.hidden={choice=[[8]]}", "enqueue=[{x = 0.5, hidden = [8]}]"]
    run(sloped, mlflow_database, 1, *(word for change in changes for word in ("--set", change)))

    (trial,) = books.read(parse(str(sloped.folder / "hpo.journal")), "sloped").trials
    assert trial.params == {"x": 0.5, "hidden": [8]}
    study = load("sloped.toml", changes)
    monkeypatch.syspath_prepend(sloped.folder)
    for name in ("one", "two"):
        (sloped.folder / name).mkdir()
        make_model(study, trial, str(sloped.folder / name), None)
    (first, *others) = (sloped.folder / "seen").read_text().splitlines()
    assert others == [first, first]
    assert study.fixed == {"layers": [16], "nested": {"inner": [2]}}
    assert trial.params == {"x": 0.5, "hidden": [8]}


def test_a_model_that_hpo_did_not_create_is_never_changed(sloped: CommandLine, mlflow_database: str) -> None:
    client = MlflowClient(mlflow_database, mlflow_database)
    client.create_registered_model("sloped", {"team": "risk"})
    client.create_model_version("sloped", str(sloped.folder))
    client.set_registered_model_alias("sloped", "champion", "1")

    told = run(sloped, mlflow_database, 1)

    assert "the registry has a model 'sloped' that hpo did not create, and hpo does not change it" in told
    assert champion(mlflow_database, "sloped").source == str(sloped.folder)
    assert len(client.search_model_versions("name = 'sloped'")) == 1
    assert client.get_registered_model("sloped").tags == {"team": "risk"}
    assert not (sloped.folder / "made").exists()  # no training in vain


@pytest.mark.slow
def test_a_model_beside_a_study_file_in_another_folder_is_made(sloped: CommandLine, mlflow_database: str) -> None:
    (sloped.folder / "studies").mkdir()
    for name in ("sloped.py", "sloped.toml"):
        (sloped.folder / name).rename(sloped.folder / "studies" / name)

    ended = sloped.start("run", "studies/sloped.toml", "--workers", "0", "--tracking", mlflow_database, "-q", "--wait")

    usual = ("hpo: writing the remaining trials to MLflow, ", "hpo: making a model of trial 0 for MLflow; ")
    assert all(line.startswith(usual) for line in ended.communicate(timeout=200)[1].splitlines())
    assert ended.returncode == 0
    assert champion(mlflow_database, "sloped").tags["hpo.trial"] == "0"
    assert made(sloped) == [0.25]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["mlflow_database", "mlflow_server"])
def test_the_alias_follows_the_choice_and_a_version_is_made_only_for_another_one(
    sloped: CommandLine, where: str, request: pytest.FixtureRequest
) -> None:
    uri = request.getfixturevalue(where)
    run(sloped, uri, 1)
    first = champion(uri, "sloped")
    assert (int(first.version), first.tags["hpo.trial"]) == (1, "0")
    assert first.run_id == children(uri, "sloped")[0].info.run_id

    run(sloped, uri, 1)  # nothing new
    run(sloped, uri, 2)  # a better one
    run(sloped, uri, 3)  # a worse one
    sloped("sync", "sloped", "--tracking", uri)

    second = champion(uri, "sloped")
    assert (int(second.version), second.tags["hpo.trial"]) == (2, "1")
    assert made(sloped) == [0.25, 0.5]
    exactly_once(uri, books.read(parse(str(sloped.folder / "hpo.journal")), "sloped"))


def test_it_predicts_has_a_signature_and_an_example_and_no_pickle(sloped: CommandLine, mlflow_database: str) -> None:
    run(sloped, mlflow_database, 2)
    (folder,) = (path.parent for path in (sloped.folder / "mlruns").rglob("MLmodel"))
    description = (folder / "MLmodel").read_text()

    with warnings.catch_warnings():  # MLflow remarks on its own type hints
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

    served = mlflow.pyfunc.load_model(str(folder))

    assert list(served.predict(np.array([[1.0], [4.0]]))) == [0.5, 2.0]
    assert served.metadata.signature.inputs.to_dict() == [
        {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": (-1, 1)}}
    ]
    assert json.loads((folder / "input_example.json").read_text()) == [[1.0], [2.0]]
    assert "loader_module: sloped" in description
    assert not [path.name for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".cloudpickle")]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        pytest.param("broken", "RuntimeError: no room for http://me:***@example.org/", marks=pytest.mark.slow),
        pytest.param(
            "vague",
            "TypeError: sloped:vague must return a mapping of loader_module, data_path, input_example",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_model_that_cannot_be_made_costs_a_warning(
    sloped: CommandLine, mlflow_database: str, function: str, reason: str
) -> None:
    said = run(sloped, mlflow_database, 2, "--set", f"model=sloped:{function}")

    assert "hpo: the model of sloped is not in MLflow: the study's own code failed at " in said
    assert reason in said
    assert "Traceback" not in said
    exactly_once(mlflow_database, books.read(parse(str(sloped.folder / "hpo.journal")), "sloped"))
    failed = sloped("sync", "sloped", "--tracking", mlflow_database, code=1)
    assert failed.err.endswith("hpo: not in MLflow: model; see the messages above\n")


@pytest.mark.slow
def test_a_scheduler_may_end_the_making_of_a_model_as_ctrl_c_does(sloped: CommandLine, mlflow_database: str) -> None:
    typed = f"run sloped.toml --workers 0 --tracking {mlflow_database} -q --set model=sloped:endless"
    process = sloped.start(*typed.split())
    try:
        deadline = time.monotonic() + 120
        while not (sloped.folder / "making").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == 130
    assert out.startswith("sloped: 1 complete in hpo.journal\n")
    assert err.splitlines()[-1] == "hpo: interrupted; run the same command to resume: hpo " + typed
    run(sloped, mlflow_database, 1)
    assert (int(champion(mlflow_database, "sloped").version), made(sloped)) == (1, [0.25])


def test_a_model_that_is_not_there_is_refused_before_any_work(sloped: CommandLine) -> None:
    refused = sloped("run", "sloped.toml", "--set", "model=sloped:modell", "--tracking", "none", code=2)

    assert "there is no 'modell' in sloped; did you mean 'model'?" in refused.err
    assert not (sloped.folder / "hpo.journal").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_about_mlflow_can_be_typed_after_a_search(tmp_path: Path) -> None:
    """The trainer's own model, served by `mlflow models predict` in a process of its own."""
    text = (ROOT / "studies" / "digits.toml").read_text(encoding="utf-8")
    line = next(b for b in re.findall(r"^```toml\n(.*?)^```$", _page(), re.MULTILINE | re.DOTALL))
    text = re.sub(r"^model .*\n", "", text, flags=re.MULTILINE).replace("[fixed]", line + "\n[fixed]")
    (tmp_path / "digits.toml").write_text(text)
    _bash("hpo run digits.toml --workers 0 -q --set budget.trials=3 --set fixed.epochs=3", tmp_path)
    syncs, predicts = (
        b for b in re.findall(r"^```sh\n(.*?)^```$", _page(), re.MULTILINE | re.DOTALL) if "server" not in b
    )

    assert "3 trials in MLflow" in _bash(syncs, tmp_path)
    (answer,) = re.findall(r'^\{"predictions": \[\d\]\}', _bash(predicts, tmp_path), re.MULTILINE)

    assert json.loads(answer)
    report = parent(f"sqlite:///{tmp_path}/again.db", "digits")
    names = [
        file.path
        for file in MlflowClient(f"sqlite:///{tmp_path}/again.db").list_artifacts(report.info.run_id, "report")
    ]
    assert "report/report.html" in names
    assert "report/best_so_far.png" in names
    assert {
        (i.dataset.name, i.tags[0].value, json.loads(i.dataset.profile)["num_rows"])
        for i in report.inputs.dataset_inputs
    } == {
        ("digits", "train", 1150),
        ("digits", "validation", 287),
    }
    note = report.data.tags["mlflow.note.content"]
    assert "| lr | 0.0001 to 1, logarithmic |" in note
    assert "weight_decay: too few trials to say" in note


def _page() -> str:
    return (ROOT / "docs" / "mlflow.md").read_text(encoding="utf-8")


def _bash(text: str, folder: Path) -> str:
    environment = {
        k: v for k, v in os.environ.items() if k not in ("HPO_STORAGE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    }
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{text}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout
