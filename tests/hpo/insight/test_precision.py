import math
from dataclasses import replace
from typing import Any

import made
import pytest

from hpo.errors import InputError
from hpo.execution.guest import Guest
from hpo.insight.front import front_insight
from hpo.insight.parameters import study_insight
from hpo.insight.precision import counted, precision
from hpo.objective.contract import Data
from hpo.publish import examples
from hpo.statistics import binomial_error
from hpo.study import Study, parse
from hpo.trial import State, Trial

TIE = (0.75, 0.75, 0.73, 0.72, 0.71, 0.52, 0.1)


def trials(*values: float) -> list[Trial]:
    return [Trial(i, {"lr": 1e-3, "weight_decay": 1e-6}, i, State.COMPLETE, (v,)) for i, v in enumerate(values)]


def part(split: str, rows: int) -> Data:
    return Data("made", "0" * 32, split, rows)


def test_a_hundred_images_mean_an_error_of_four_percent_and_the_best_five_are_a_tie() -> None:
    study = made.study(examples=100)
    found = precision(study, trials(*TIE))
    assert found is not None
    assert found.examples == 100
    assert found.error == pytest.approx(math.sqrt(0.75 * 0.25 / 100), rel=0.02)
    assert found.tied == (0, 1, 2, 3, 4)
    sentence = study_insight(study, trials(*TIE)).tie("val_accuracy")
    assert sentence == "val_accuracy on 100 examples has a standard error of 0.044: the best 5 trials are a tie."


def test_the_best_trial_stands_out_when_the_next_is_far() -> None:
    study = made.study(examples=100)
    assert precision(study, trials(0.3, 0.9)).tied == (1,)  # type: ignore[union-attr]
    assert "stands out" in (study_insight(study, trials(0.3, 0.9)).tie("val_accuracy") or "")


@pytest.mark.parametrize(
    "fixed", [{}, {"train_size": 500, "validation_rate": 0.2}, {"validation_size": 50}, {"dataset": "digits"}]
)
def test_nothing_is_claimed_where_nobody_says_how_many_examples_there_are(fixed: dict[str, Any]) -> None:
    study = made.study(fixed=fixed)
    exact = trials(*(k / 287 for k in (284, 283, 280, 250, 11)))
    assert precision(study, exact) is None
    assert study_insight(study, exact).tie("val_accuracy") is None
    # The mean over five folds of 569 rows once passed for an accuracy on 64410 examples.
    folds = trials(*(sum(k / n for k, n in zip(hits, (114, 114, 114, 114, 113), strict=True)) / 5 for hits in FOLDS))
    assert precision(study, folds) is None


FOLDS = (
    (104, 105, 106, 107, 108),
    (98, 99, 100, 101, 102),
    (90, 91, 92, 93, 94),
    (80, 80, 80, 80, 80),
    (1, 2, 3, 4, 5),
)


def test_what_is_passed_comes_before_the_study_file() -> None:
    study = made.study(examples=100)
    assert precision(study, trials(*TIE), 400).examples == 400  # type: ignore[union-attr]
    assert study_insight(study, trials(*TIE), examples=400).precision.examples == 400  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("parts", "values", "size"),
    [
        ([part("train", 400), part("validation", 100)], TIE, 100),
        ([part("train", 400)], TIE, None),
        ([], TIE, None),
        ([part("validation", 50), part("validation", 50)], TIE, None),
        ([part("validation", 100)], (0.313, 0.2999), None),  # no share of a hundred: a loss, say
        ([part("validation", 35)], (0.1, 0.5, 0.9), None),
    ],
)
def test_an_objectives_data_says_the_size_where_the_metric_is_a_share_of_it(
    parts: list[Data], values: tuple[float, ...], size: int | None
) -> None:
    assert counted(made.study(), trials(*values), parts) == size


def test_a_loss_has_no_binomial_error() -> None:
    study = made.study(metric="loss", direction="minimize", examples=100)
    assert precision(study, trials(0.31, 1.7, 2.3)) is None
    assert precision(study, trials(-0.2, 0.3)) is None


def test_no_trials_no_error() -> None:
    assert precision(made.study(examples=100), []) is None


def test_a_share_of_wrong_answers_ties_as_well() -> None:
    study = made.study(metric="val_error", direction="minimize", examples=100)
    assert precision(study, trials(0.25, 0.27, 0.9)).tied == (0, 1)  # type: ignore[union-attr]


def test_a_perfect_score_has_an_error() -> None:
    assert 0 < binomial_error(1.0, 100) < 0.02


# The study file and the study's own code ---------------------------------------------------------------------------


def objective(params: dict[str, Any], seed: int) -> float:
    return 0.5


def data(params: dict[str, Any]) -> list[dict[str, Any]]:
    return [part(split, rows)._asdict() for split, rows in (("train", 400), ("validation", params["held_out"]))]


objective.data = data  # type: ignore[attr-defined]


def of_mine(**changes: Any) -> Study:
    return made.study(**{"objective": f"{__name__}:objective", "fixed": {"held_out": 100}} | changes)


def test_the_key_of_the_study_file_is_kept_read_back_and_no_part_of_what_makes_trials_comparable() -> None:
    study = made.study(examples=569)
    assert study.examples == parse(study.resolved, file="ledger").examples == 569
    assert study.identity() == made.study().identity()
    assert made.study().examples is None
    assert "examples" not in made.study().resolved
    for wrong in (0, -1, 2.5, True, "many"):
        with pytest.raises(InputError, match=r"made\.toml: examples: must be"):
            made.study(examples=wrong)


def test_the_report_takes_the_study_files_number_or_the_datas() -> None:
    study = of_mine()
    assert examples(study, trials(*TIE), Guest(study, here=True)) == 100  # this module is no other process's
    assert examples(of_mine(examples=25), trials(*TIE)) == 25
    assert examples(of_mine(), trials(0.313, 0.2999)) is None


def test_any_of_several_objectives_may_be_the_share() -> None:
    """The first one lies between 0 and 1 too, but it is a loss: no multiple of 1/100."""
    two, by_hand = made.fronted(8)
    keys = {"objective": f"{__name__}:objective", "fixed": {"held_out": 100}}
    objectives = {"loss": "minimize", "size": "minimize", "accuracy": "maximize"}
    study = parse({**two.resolved, **keys, "objectives": objectives}, file="made.toml")
    values = [(0.1 + t.number / 97, t.values[1], round(t.values[0], 2)) for t in by_hand]
    found = [replace(t, values=value, reports=()) for t, value in zip(by_hand, values, strict=True)]

    assert examples(study, found, Guest(study, here=True)) == 100
    assert precision(study, found, 100) is None  # of the first objective
    worth = front_insight(study, found, 100)
    assert worth is not None
    assert worth.errors.keys() == {"accuracy"}


@pytest.mark.parametrize(
    "changes", [{"objective": "absent.module:f"}, {"fixed": {}}, {"objective": ["absent-program"]}]
)
def test_code_that_is_not_here_or_fails_makes_no_claim_and_no_error(changes: dict[str, Any]) -> None:
    assert examples(of_mine(**changes), trials(*TIE)) is None
