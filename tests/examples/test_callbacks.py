"""The examples of callbacks, each with its real library: every epoch is a report, and a stop ends the training."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpo.objective.contract import check, reports, resolve

FOLDER = Path(__file__).parents[2] / "examples" / "callbacks"
NETWORK = {"epochs": 3, "lr": 0.01, "width": 16}
BOOSTING = {"rounds": 4, "lr": 0.1, "depth": 3}
LIBRARIES = {
    "lightning": (NETWORK, "val_loss"),
    "transformers": (NETWORK, "eval_loss"),
    "keras": (NETWORK, "val_loss"),
    "xgboost": (BOOSTING, "validation-mlogloss"),
    "lightgbm": (BOOSTING, "valid_0-multi_logloss"),
}


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # of libraries about each other
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_epoch_is_a_report_and_a_stop_ends_the_training(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip(library)
    monkeypatch.syspath_prepend(FOLDER)
    params, metric = LIBRARIES[library]
    objective = importlib.import_module(f"with_{library}").objective
    whole = [report[metric] for report in reports(objective, params, 7, metric)]
    assert len(whole) == params.get("epochs", params.get("rounds"))
    assert whole[-1] < whole[0]
    running = reports(objective, params, 7, metric)
    assert next(running)[metric] == pytest.approx(whole[0], rel=1e-3)
    running.close()


def test_an_estimator_is_cross_validated_fold_by_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    fixed = {"estimator": "with_sklearn:pipeline", "data": "with_sklearn:data", "folds": 4}
    params = {**fixed, "svc__C": 1.0, "svc__gamma": 0.01}
    objective = resolve("hpo.sklearn:cross_validate")
    check(objective, [params])
    found = list(reports(objective, params, 0, "score"))
    assert found[-1]["score"] == pytest.approx(_by_sklearn(params), abs=1e-12)
    assert len(found) == 4


def _by_sklearn(params: dict[str, Any]) -> float:
    from sklearn.model_selection import cross_val_score

    made = importlib.import_module("with_sklearn")
    pipeline = made.pipeline().set_params(svc__C=params["svc__C"], svc__gamma=params["svc__gamma"])
    return float(cross_val_score(pipeline, *made.data(), cv=4).mean())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"svc__c": 1.0}, "Invalid parameter 'c'"),
        ({"estimator": "with_sklearn:pipelin"}, "did you mean 'pipeline'"),
        ({"scoring": "acuracy"}, "acuracy"),
        ({"folds": 1}, "k-fold cross-validation requires at least one"),
    ],
)
def test_what_the_estimator_does_not_have_is_refused(
    changed: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    params = {"estimator": "with_sklearn:pipeline", "data": "with_sklearn:data"} | changed
    with pytest.raises(ValueError, match=message):
        resolve("hpo.sklearn:cross_validate").check(params)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("study", ["study.toml", "boosting.toml", "cross_validation.toml"])
def test_the_studies_run(study: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hpo", "run", str(FOLDER / study), "--workers", "0", "--tracking", "none"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stderr
    assert " complete" in ended.stdout
