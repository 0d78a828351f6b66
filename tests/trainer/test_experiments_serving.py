"""A classifier trained again by its setting: the one that the trial had."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.experiments import classify, model
from trainer.experiments.reading import read
from trainer.experiments.serving import EXAMPLES, _load_pyfunc
from trainer.experiments.settings import Setting

DIGITS = {"dataset": "digits", "hidden": [20], "lr": 0.1, "epochs": 3, "batch_size": 32}


@pytest.mark.parametrize("more", [{}, {"dropout": 0.3, "batch_norm": True}], ids=["plain", "dropout and batch norm"])
def test_it_scores_exactly_what_its_trial_reported(tmp_path: Path, more: Any) -> None:
    made = model(DIGITS | more, 5, tmp_path)
    served = _load_pyfunc(made["data_path"])
    validation = read(Setting, DIGITS | more).load()[1]
    assert validation is not None
    x, t = validation

    assert np.mean(served.predict(x) == t) == list(classify(DIGITS | more, 5))[-1]["val_accuracy"]


def test_it_says_what_a_server_needs(tmp_path: Path) -> None:
    made = model(DIGITS, 5, tmp_path)

    assert made["loader_module"] == "trainer.experiments.serving"
    assert Path(made["data_path"]).parent == tmp_path
    assert made["input_example"].shape == (EXAMPLES, 64)
    assert made["pip_requirements"] == [f"numpy=={np.__version__}"]


def test_rows_come_as_lists_too_and_rows_of_another_length_are_refused(tmp_path: Path) -> None:
    made = model(DIGITS | {"validation_rate": 0.0}, 5, tmp_path)
    served = _load_pyfunc(made["data_path"])

    answer = served.predict(made["input_example"].tolist())
    assert answer.dtype == np.int64
    np.testing.assert_array_equal(answer, served.predict(made["input_example"]))
    with pytest.raises(ValueError, match=r"x\.shape == \(n, 64\)"):
        served.predict([[0.0] * 63])


def test_the_data_of_a_setting_is_what_it_trains_on() -> None:
    train, validation = classify.data(DIGITS)
    other, _ = classify.data(DIGITS | {"split_seed": 1})
    same, _ = classify.data(DIGITS | {"lr": 0.5})

    assert (train["name"], train["split"], train["rows"]) == ("digits", "train", 1150)
    assert (validation["split"], validation["rows"]) == ("validation", 287)
    assert train["digest"] == same["digest"]
    assert len({train["digest"], validation["digest"], other["digest"]}) == 3
    assert [part["split"] for part in classify.data(DIGITS | {"validation_rate": 0.0})] == ["train"]
