"""The study on all of MNIST, two trials on a small part of it; docs/mnist-full.md has the real one."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from working_folder import WorkingFolder

from trainer.data import mnist

STUDY = Path(__file__).parents[2] / "studies" / "mnist_full.toml"
SMALL = {
    "fixed.train_size": 500,
    "fixed.epochs": 2,
    "pruner.max_resource": 2,
    "budget.trials": 2,
    "space.width": "{ low = 16, high = 32, step = 16 }",
}


@pytest.mark.mnist
def test_the_study_searches_by_its_conditions_and_its_best_trial_is_scored(tmp_path: Path) -> None:
    space = tomllib.loads(STUDY.read_text())["space"]
    conditions = {name: ranges["when"] for name, ranges in space.items() if "when" in ranges}
    assert set(conditions) == {"momentum", "beta1", "lr_decay"}
    run = WorkingFolder(tmp_path / "work", trials=1, pause=0.0)
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]

    def hpo(*words: str) -> str:
        process = run.start(*words, "--json", data=mnist.folder().parent)
        out, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
        return out

    hpo("run", str(STUDY), "--workers", "0", "--tracking", "none", *settings)
    shown = json.loads(hpo("show", "mnist-full"))
    assert shown["trials"]["complete"] + shown["trials"]["pruned"] == 2
    assert shown["best"]
    for trial in shown["best"]:
        for name, when in conditions.items():
            ((other, wanted),) = when.items()
            holds = trial["params"][other] in ([wanted] if isinstance(wanted, str) else wanted)
            assert (name in trial["params"]) == holds
    scored = json.loads(hpo("evaluate", "mnist-full", "--tracking", "none"))
    assert 0 < scored["metrics"]["test_accuracy"] < 1
