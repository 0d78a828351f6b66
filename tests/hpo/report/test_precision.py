import math
from typing import Any

import made
import pytest

from hpo.report.insight import study_insight
from hpo.report.precision import binomial_error, precision
from hpo.trial import COMPLETE, Trial

SETTINGS = {"train_size": 500, "validation_rate": 0.2}


def trials(*values: float) -> list[Trial]:
    return [Trial(i, {"lr": 1e-3, "weight_decay": 1e-6}, i, COMPLETE, v) for i, v in enumerate(values)]


def test_a_hundred_images_mean_an_error_of_four_percent_and_the_best_five_are_a_tie() -> None:
    study = made.study(fixed=SETTINGS)
    found = precision(study, trials(0.75, 0.75, 0.73, 0.72, 0.71, 0.52, 0.1))
    assert found is not None
    assert found.examples == 100
    assert found.error == pytest.approx(math.sqrt(0.75 * 0.25 / 100), rel=0.02)
    assert found.tied == (0, 1, 2, 3, 4)
    said = study_insight(study, trials(0.75, 0.75, 0.73, 0.72, 0.71, 0.52, 0.1)).tie("val_accuracy")
    assert said == "val_accuracy on 100 examples has a standard error of 0.044: the best 5 trials are a tie."


def test_the_best_trial_stands_out_when_the_next_is_far() -> None:
    study = made.study(fixed=SETTINGS)
    assert precision(study, trials(0.3, 0.9)).tied == (1,)  # type: ignore[union-attr]
    assert "stands out" in (study_insight(study, trials(0.3, 0.9)).tie("val_accuracy") or "")


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        (SETTINGS, 100),
        ({"validation_size": 50}, 50),
        ({"train_size": 500, "validation_rate": 0.0}, None),
        ({"train_size": 500}, None),
        ({"train_size": 35, "validation_rate": 0.2}, None),  # sevenths: the scores say otherwise
        ({}, None),
    ],
)
def test_the_number_of_examples_comes_from_settings_that_agree_with_the_scores(
    fixed: dict[str, Any], expected: int | None
) -> None:
    found = precision(made.study(fixed=fixed), trials(0.1, 0.5, 0.9))
    assert (found and found.examples) == expected


def test_the_number_of_examples_shows_in_the_scores_unless_they_may_be_rounded() -> None:
    study = made.study(fixed={"dataset": "digits"})
    assert precision(study, trials(*(k / 287 for k in (284, 283, 280, 250, 11)))).examples == 287  # type: ignore[union-attr]
    assert precision(study, trials(0.99, 0.98, 0.97, 0.75, 0.13)) is None
    assert precision(study, trials(*(k / 287 for k in (284, 283, 280)))) is None
    assert precision(study, trials(0.1 * math.pi, 0.1 * math.e, 0.6180339887, 0.2, 0.37)) is None


def test_a_loss_has_no_binomial_error() -> None:
    study = made.study(metric="loss", direction="minimize", fixed=SETTINGS)
    assert precision(study, trials(0.31, 1.7, 2.3)) is None
    assert precision(study, trials(0.313, 0.2999)) is None


def test_no_trials_no_error() -> None:
    assert precision(made.study(fixed=SETTINGS), []) is None


def test_a_share_of_wrong_answers_ties_as_well() -> None:
    study = made.study(metric="val_error", direction="minimize", fixed=SETTINGS)
    assert precision(study, trials(0.25, 0.27, 0.9)).tied == (0, 1)  # type: ignore[union-attr]


def test_a_perfect_score_has_an_error() -> None:
    assert 0 < binomial_error(1.0, 100) < 0.02
