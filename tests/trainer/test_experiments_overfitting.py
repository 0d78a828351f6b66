"""The objectives that look at the test images, and the surface of eq. 6.2."""

from typing import Any

import numpy as np
import pytest

from trainer import data
from trainer.experiments import classify, ensemble, landscape, overfit, spread

DIGITS = {"dataset": "digits", "hidden": [20], "train_size": 100, "batch_size": 10, "epochs": 4, "lr": 0.1}


def test_overfit_trains_as_classify_does_and_measures_on_the_test_images() -> None:
    reports = list(overfit(DIGITS, 3))
    same = list(classify(DIGITS | {"validation_rate": 0.0}, 3))
    assert [r["train_accuracy"] for r in reports] == [r["train_accuracy"] for r in same]
    assert [r["loss"] for r in reports] == [r["loss"] for r in same]
    tests = len(data.load_test("digits")[1])
    for report in reports:
        assert report["gap"] == report["train_accuracy"] - report["test_accuracy"]
        assert report["test_accuracy"] * tests == pytest.approx(round(report["test_accuracy"] * tests), abs=1e-9)
        assert report["weight_norm"] > 0


def test_classify_cannot_open_the_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load_test", None)
    assert len(list(classify(DIGITS, 0))) == 4
    with pytest.raises(TypeError):
        next(overfit(DIGITS, 0))


def test_weight_decay_keeps_the_weights_smaller() -> None:
    norms = [list(overfit(DIGITS | {"weight_decay": decay}, 0))[-1]["weight_norm"] for decay in (0.0, 0.5)]
    assert norms[1] < norms[0]


def test_an_ensemble_reports_each_network_and_all_so_far() -> None:
    reports = list(ensemble(DIGITS | {"members": 3}, 0))
    assert [r["members"] for r in reports] == [1, 2, 3]
    assert reports[0]["test_accuracy"] == reports[0]["single"] == reports[0]["mean_single"]
    assert len({r["single"] for r in reports}) > 1
    singles = [r["single"] for r in reports]
    assert reports[-1]["mean_single"] == pytest.approx(np.mean(singles), abs=1e-12)
    assert reports[-1]["gain"] == pytest.approx(reports[-1]["test_accuracy"] - np.mean(singles), abs=1e-12)


@pytest.mark.parametrize("members", [0, True, 2.0, "3"])
def test_members_are_counted(members: Any) -> None:
    with pytest.raises(ValueError, match="`members` must be an integer >= 1, but got"):
        ensemble.check(DIGITS | {"members": members})


@pytest.mark.parametrize("objective", [overfit, ensemble])
def test_bad_settings_are_refused_as_classify_refuses_them(objective: Any) -> None:
    with pytest.raises(ValueError, match="`0 <= dropout < 1`"):
        objective.check(DIGITS | {"dropout": 1.0})


def test_u3_u4_the_landscape_is_that_of_eq_6_2() -> None:
    (report,) = landscape({"x": -7.0, "y": 2.0}, 0)
    assert report["height"] == pytest.approx(6.45, abs=1e-12)
    assert (report["slope_x"], report["slope_y"]) == pytest.approx((-0.7, 4.0), abs=1e-12)
    assert report["angle_off"] == pytest.approx(64.1, abs=0.1)
    (lowest,) = landscape({"x": 0, "y": 0.0}, 0)
    assert lowest == {"height": 0.0, "slope_x": 0.0, "slope_y": 0.0}
    with pytest.raises(ValueError, match=r"\['y'\] must be given"):
        landscape.check({"x": 1.0})


def test_without_evaluated_examples_there_is_the_loss_alone() -> None:
    assert [sorted(report) for report in classify(DIGITS | {"evaluated": 0, "epochs": 2}, 0)] == [["loss"]] * 2


@pytest.mark.parametrize(("activation", "inside"), [("sigmoid", 1.0), ("tanh", 1.0), ("relu", 0.5)])
def test_the_histogram_of_a_layer_counts_every_activation_in_its_range(activation: str, inside: Any) -> None:
    params = {"activation": activation, "initializer": 1.0, "layers": 2, "units": 20, "examples": 50}
    for report in spread(params, 0):
        counts = np.array([report[f"count_{index:02}"] for index in range(30)])
        assert counts.sum() / 1000 == pytest.approx(inside, abs=0.2 if inside < 1 else 0)
        assert report["edges"] == (counts[0] + counts[-1]) / 1000
