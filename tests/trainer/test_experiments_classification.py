"""The objectives `classify` and `evaluate`; rows H1, H2, D14, D15."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer import Diverged, data
from trainer.experiments import classification, classify, evaluate, sized
from trainer.experiments.reading import read
from trainer.experiments.settings import Setting

DIGITS = {"dataset": "digits", "hidden": [20], "lr": 0.1, "epochs": 3, "batch_size": 32}


def digits(**params: Any) -> dict[str, Any]:
    return DIGITS | params


def test_it_is_a_generator_of_plain_numbers_per_epoch() -> None:
    assert inspect.isgeneratorfunction(classify)
    reports = list(classify(DIGITS, seed=0))
    assert [list(r) for r in reports] == [["loss", "train_accuracy", "val_accuracy", "val_loss"]] * 3
    json.dumps(reports)


def test_the_size_of_the_network_is_reported_beside_the_rest() -> None:
    reports = list(sized(DIGITS, seed=0))
    assert {report.pop("parameters") for report in reports} == {(64 + 1) * 20 + (20 + 1) * 10}
    assert reports == list(classify(DIGITS, seed=0))


def test_a_seed_repeats_a_trial_and_another_seed_does_not() -> None:
    assert list(classify(DIGITS, seed=3)) == list(classify(DIGITS, seed=3))
    assert list(classify(DIGITS, seed=3)) != list(classify(DIGITS, seed=4))


def test_h1_the_split_belongs_to_the_study_and_not_to_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def fit(*arguments: Any, validation: Any = None, **_: Any) -> list[Any]:
        seen.append((arguments, validation))
        return []

    monkeypatch.setattr(classification, "fit", fit)
    for seed, split_seed in ((0, 0), (1, 0), (0, 1)):
        list(classify(digits(split_seed=split_seed, train_size=200), seed))
    ((_, first), v_first), ((_, second), v_second), ((_, third), _) = seen
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(v_first[0], v_second[0])
    assert not np.array_equal(first[0], third[0])
    assert (len(first[1]), len(v_first[1])) == (160, 40)
    whole = data.load_train("digits", 200)
    together = np.concatenate([first[0], v_first[0]])
    assert sorted(map(bytes, together)) == sorted(map(bytes, whole.x))


def test_validation_examples_can_be_those_that_follow() -> None:
    train, validation = read(Setting, digits(train_size=30, validation_size=50)).load()
    x, t = data.load_train("digits", 80)
    np.testing.assert_array_equal(train[0], x[:30])
    np.testing.assert_array_equal(validation[0], x[30:])
    np.testing.assert_array_equal(validation[1], t[30:])


def test_a_rate_of_0_goes_without_validation() -> None:
    assert list(next(classify(digits(validation_rate=0), 0))) == ["loss", "train_accuracy"]
    train, _ = read(Setting, digits(validation_rate=0.0)).load()
    assert len(train[1]) == data.describe("digits").train_size


def test_h2_the_search_never_opens_the_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(dataset: str) -> None:
        raise AssertionError("the test set was opened")

    monkeypatch.setattr(data, "load_test", opened)
    list(classify(DIGITS, 0))
    with pytest.raises(AssertionError, match="was opened"):
        list(evaluate(DIGITS, 0))


def test_h2_no_other_code_of_the_trainer_names_the_test_set() -> None:
    users = {
        path.relative_to(Path(data.__file__).parent.parent).as_posix()
        for path in Path(data.__file__).parent.parent.rglob("*.py")
        if "load_test" in path.read_text() and path.parent.name != "data"
    }
    assert users == {"experiments/classification.py", "experiments/overfitting.py"}  # the latter: Figs 6-20 to 6-23


def test_evaluate_scores_once_after_training_on_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    original = classification.fit

    def noting(network: Any, train: Any, **arguments: Any) -> Any:
        sizes.append(len(train[1]))
        assert arguments.get("validation") is None
        return original(network, train, **arguments)

    monkeypatch.setattr(classification, "fit", noting)
    (report,) = evaluate(digits(epochs=20, train_size=500), 0)
    assert sizes == [500]
    assert list(report) == ["test_accuracy", "test_loss"]
    assert report["test_accuracy"] > 0.8
    assert 0 < report["test_loss"] < 1.5


@pytest.mark.parametrize(
    "params",
    [
        {"activation": "sigmoid", "initializer": "xavier"},
        {"initializer": 0.05, "batch_norm": True, "dropout": 0.1, "dtype": "float64"},
        {"optimizer": "momentum", "momentum": 0.8, "schedule": "cosine", "warmup": 1},
        {"optimizer": "adamw", "lr": 0.01, "beta1": 0.8, "weight_decay": 0.01, "sampling": "epoch"},
        {"schedule": "step", "lr_decay": 0.5, "lr_decay_every": 2, "accuracy_after": "first", "updates": 9},
        {"schedule": "exponential", "lr_decay": 0.9, "evaluated": 50, "hidden": ()},
        {"lr": np.float64(0.1), "batch_size": np.int64(16)},
        {"hidden": [20, 20], "input_dropout": 0.1, "lr_factor": 2.0, "train_evaluated": 10},
    ],
)
def test_every_setting_trains(params: dict[str, Any]) -> None:
    classify.check(digits(**params))
    first, *_, last = classify(digits(**params, epochs=5), 0)
    assert last["loss"] < first["loss"]


def test_without_a_rate_the_optimizers_own_default_holds() -> None:
    params = {k: v for k, v in digits(optimizer="adam").items() if k != "lr"}
    assert read(Setting, params).make_optimizer().lr == 0.001


@pytest.mark.parametrize(("optimizer", "rate"), [("nesterov", 0.03), ("adamw", 0.003)])
def test_one_factor_suits_the_rates_of_all_optimizers(optimizer: Any, rate: float) -> None:
    params = {k: v for k, v in digits(optimizer=optimizer, lr_factor=3.0).items() if k != "lr"}
    assert read(Setting, params).make_optimizer().lr == pytest.approx(rate)


def test_width_and_depth_stand_for_equal_hidden_layers() -> None:
    params = {k: v for k, v in DIGITS.items() if k != "hidden"}
    assert read(Setting, params | {"width": 30, "depth": 3}).layer_widths() == (30, 30, 30)
    assert list(classify(params | {"width": 20, "depth": 1}, 0)) == list(classify(DIGITS, 0))


def test_trials_share_the_examples_of_their_split() -> None:
    first, second, other = (read(Setting, digits(split_seed=seed)).load() for seed in (0, 0, 1))
    assert first[0][0] is second[0][0]
    assert not np.array_equal(first[0][0], other[0][0])
    with pytest.raises(ValueError, match="read-only"):
        first[0][0][0] = 0.0


def test_closing_runs_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = classify(digits(epochs=1000), 0)
    next(reports)
    reports.close()
    assert list(reports) == []


def test_a_diverging_trial_says_so() -> None:
    with pytest.raises(Diverged, match="epoch"):
        list(classify(digits(lr=1e20, hidden=[20, 20]), 0))


def test_a_resumed_trial_reports_the_identical_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification, "SECONDS_BETWEEN_SAVES", 0.0)
    params = digits(epochs=6, dropout=0.1, batch_norm=True, optimizer="adam", lr=0.01)
    whole = list(classify(params, 5))
    interrupted = classify(params, 5, checkpoint=tmp_path)
    assert [next(interrupted) for _ in range(4)] == whole[:4]
    interrupted.close()
    resumed = classify(params, 5, checkpoint=tmp_path)
    updates = []
    original = classification.fit

    def noting(*args: Any, done: Any, **arguments: Any) -> Any:
        updates.append(done)
        return original(*args, done=done, **arguments)

    monkeypatch.setattr(classification, "fit", noting)
    assert list(resumed) == whole
    assert updates == [4]
    assert list(classify(params, 5, checkpoint=tmp_path)) == whole


def test_another_trials_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification, "SECONDS_BETWEEN_SAVES", 0.0)
    list(classify(DIGITS, 0, checkpoint=tmp_path))
    with pytest.raises(ValueError, match="must belong to the training"):
        list(classify(DIGITS, 1, checkpoint=tmp_path))


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"learning_rate": 0.1}, r"unknown parameters \['learning_rate'\]; the legal ones .*'lr'"),
        ({"momentum": 0.9}, r"unknown parameters \['momentum'\]"),
        ({"dataset": "cifar"}, "`dataset` must be one of 'digits', 'mnist', but got 'cifar'"),
        ({"lr": -1.0}, r"`0 < lr < inf` must hold, but got \(lr=-1.0\)"),
        ({"lr": "1e-3"}, "`lr` must be of type float or None, but got '1e-3'"),
        ({"lr": True}, "`lr` must be of type float or None, but got True"),
        ({"hidden": 100}, "`hidden` must be of type list of int or None, but got 100"),
        ({"hidden": [10.5]}, r"`hidden` must be of type list of int or None, but got \[10.5\]"),
        ({"hidden": [0]}, "`hidden` must be positive integers"),
        ({"width": 10}, r"either `hidden`, or `width` and `depth`, .* got \(hidden=\(20,\), width=10, depth=None\)"),
        ({"hidden": None, "depth": 2}, "either `hidden`, or `width` and `depth`, must be given"),
        ({"hidden": None, "width": 9, "depth": -1}, r"`0 <= depth` must hold, but got \(depth=-1\)"),
        ({"lr_factor": 0.0}, r"`0 < lr_factor < inf` must hold, but got \(lr_factor=0.0\)"),
        ({"train_evaluated": -1}, "`train_evaluated` must be an integer >= 0"),
        ({"input_dropout": 1.0}, "`0 <= input_dropout < 1`"),
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1"),
        ({"batch_size": 10.0}, "`batch_size` must be of type int, but got 10.0"),
        ({"epochs": 0}, "`1 <= epochs` must hold"),
        ({"dropout": 1.0}, "`0 <= dropout < 1`"),
        ({"weight_decay": -1e-3}, "`0 <= weight_decay < inf`"),
        ({"train_size": 10_000}, "`1 <= train_size <= 1437` must hold for 'digits'"),
        ({"validation_rate": 1.0}, "`0 <= validation_rate < 1`"),
        ({"validation_size": 10}, "`1 <= validation_size <= 1437 - train_size`"),
        ({"split_seed": -1}, "`0 <= split_seed` must hold"),
        ({"activation": "gelu"}, "`activation` must be one of"),
        ({"initializer": "ones"}, "`initializer` must be a number or one of"),
        ({"optimizer": "lion"}, "`optimizer` must be one of"),
        ({"optimizer": 3}, "`optimizer` must be one of"),
        ({"schedule": "linear"}, r"`schedule` must be one of \('constant',"),
        ({"schedule": "step", "lr_decay": 2.0}, "`0 < factor <= 1`"),
        ({"warmup": -1}, "`0 < epochs < inf`"),
        ({"sampling": "epoch", "updates": 3}, "with sampling 'replacement'"),
        ({"accuracy_after": "never"}, "`accuracy_after` must be one of"),
        ({"dtype": "int8"}, "`dtype` must be 'float32' or 'float64'"),
    ],
)
@pytest.mark.parametrize("call", [classify.check, evaluate.check, lambda params: next(classify(params, 0))])
def test_bad_input_states_rule_and_value_before_any_work(
    params: dict[str, Any], rule: str, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "load_train", None)
    with pytest.raises(ValueError, match=rule):
        call(digits(**params))


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(ValueError, match=r"the parameters \['dataset'\] must be given"):
        classify.check({"lr": 0.1})
    with pytest.raises(ValueError, match="either `hidden`, or `width` and `depth`, must be given"):
        classify.check({"dataset": "digits"})


def test_a_missing_data_set_is_said_by_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_DATA_DIR", str(tmp_path))
    with pytest.raises(data.DataError, match="hpo fetch mnist"):
        classify.check(digits(dataset="mnist"))


def test_the_trainer_imports_nothing_of_the_service() -> None:
    code = "import sys, trainer.experiments; print({'hpo', 'optuna', 'ray', 'mlflow', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
