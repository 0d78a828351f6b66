"""The search space: what is read, what is refused, and that what Optuna stores comes back as it was."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from depth import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hpo.errors import InputError
from hpo.study.fields import Place
from hpo.study.space import Choice, Float, Int, Space, read_space

PLACE = Place("s.toml") / "space"
SCALARS = st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=2) | st.dictionaries(st.text(max_size=2), v, max_size=2), max_leaves=4
)


def space(**parameters: Any) -> Space:
    return read_space(PLACE, parameters)


def refusal(**parameters: Any) -> str:
    with pytest.raises(InputError) as raised:
        space(**parameters)
    return str(raised.value)


@pytest.fixture(autouse=True)
def quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def asked(which: Space, count: int, seed: int = 0) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What the objective sees and what Optuna stores, for a few trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trials = [study.ask() for _ in range(count)]
    return [(which.suggest(trial), trial.params) for trial in trials]


# What is read ------------------------------------------------------------------------------------------------------


def test_whole_ends_make_an_int_and_any_real_end_or_step_a_float() -> None:
    read = space(a={"low": 1, "high": 9}, b={"low": 1, "high": 9.0}, c={"low": 1, "high": 3, "step": 0.5})
    assert read.parameters == (
        Int("a", 1, 9, False, 1, {}),
        Float("b", 1.0, 9.0, False, None, {}),
        Float("c", 1.0, 3.0, False, 0.5, {}),
    )


@pytest.mark.parametrize(("spec", "shown"), [(3, "3"), ({}, "{}"), ({"choices": [1]}, '{"choices": [1]}')])
def test_what_is_neither_range_nor_choice_is_told_how_to_be_one(spec: Any, shown: str) -> None:
    assert refusal(lr=spec) == (
        "s.toml: space.lr: must be a table such as { low = 1e-6, high = 1e-2, log = true } or { choice = [...] }, "
        f"got {shown}"
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"low": 2, "high": 1}, "low must be below high, got low = 2, high = 1"),
        ({"low": 1.5, "high": 1.5}, "low must be below high, got low = 1.5, high = 1.5"),
        ({"low": -1e308, "high": 1e308}, "high - low must be finite, got low = -1e+308, high = 1e+308"),
        (
            {"low": 0.0, "high": 1.0, "log": True},
            "low must be above 0 for a logarithmic range, got low = 0",
        ),
        ({"low": -1, "high": 5, "log": True}, "low must be above 0 for a logarithmic range, got low = -1"),
        ({"low": 1, "high": 9, "log": True, "step": 2}, "a logarithmic range has no step, got step = 2"),
        (
            {"low": 0, "high": 10, "step": 3},
            "high - low must be a multiple of step, got low = 0, high = 10, step = 3",
        ),
        (
            {"low": 0.0, "high": 1.0, "step": 0.3},
            "high - low must be a multiple of step, got low = 0, high = 1, step = 0.3",
        ),
        ({"low": 0, "high": 1, "step": 5}, "high - low must be a multiple of step, got low = 0, high = 1, step = 5"),
        (
            {"low": 0.0, "high": 1.0, "step": 1e-30},
            "must have at most 2**53 steps, got low = 0, high = 1, step = 1e-30",
        ),
    ],
)
def test_a_wrong_range_is_refused_with_rule_and_values(spec: Any, said: str) -> None:
    assert refusal(lr=spec) == f"s.toml: space.lr: {said}"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"low": math.nan, "high": 1}, "low: must be finite, got NaN"),
        ({"low": 0, "high": math.inf}, "high: must be finite, got Infinity"),
        ({"low": "0", "high": 1}, 'low: must be a number, got "0"'),
        ({"low": True, "high": 4}, "low: must be a whole number, got true"),
        ({"low": 0, "high": 2**60}, f"high: must be at most {2**53}, got {2**60}"),
        ({"low": 0, "high": 4, "step": 0}, "step: must be at least 1, got 0"),
        ({"low": 0.0, "high": 4, "step": -0.5}, "step: must be above 0, got -0.5"),
        ({"low": 0, "high": 4, "log": 1}, "log: must be true or false, got 1"),
        ({"low": 0}, "high: is missing; it must be a number"),
        ({"lo": 0, "high": 1}, "lo: unknown key; did you mean 'low'?"),
        ({"choice": []}, "choice: must be a list of at least one value, got []"),
        ({"choice": "relu"}, 'choice: must be a list of at least one value, got "relu"'),
        ({"choice": [1, 1.0]}, "choice: must not name a value twice, got [1, 1.0]"),
        ({"choice": [[1], [1]]}, "choice: must not name a value twice, got [[1], [1]]"),
        ({"choice": [[math.nan]]}, "choice: must hold finite numbers only, got [[NaN]]"),
        (
            {"choice": [1], "low": 1},
            "low: must not stand beside choice: a parameter has either low and high or choice; to replace the one by "
            "the other, write all of it, as in space.lr = { choice = [...] }",
        ),
        ({"low": 0, "high": 1, "when": 3}, "when: must be a table, got 3"),
    ],
)
def test_a_wrong_key_of_a_parameter_is_named(spec: Any, said: str) -> None:
    assert refusal(lr=spec) == f"s.toml: space.lr.{said}"


@pytest.mark.parametrize("raw", [{}, [], 3, None])
def test_a_space_has_at_least_one_parameter(raw: Any) -> None:
    with pytest.raises(InputError, match=r"^s.toml: space: must be a table with at least one parameter, got "):
        read_space(PLACE, raw)


def test_a_parameter_has_a_name_that_mlflow_takes() -> None:
    assert refusal(**{"lr(1)": {"low": 0, "high": 1}}).startswith("s.toml: space.lr(1): must be 1 to 100 letters")


def test_a_step_divides_its_range_in_decimals_as_written() -> None:
    read = space(p={"low": 0.3, "high": 0.9, "step": 0.1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna would warn, and search another range
        distribution = read.parameters[0].distribution()
    assert distribution == optuna.distributions.FloatDistribution(0.3, 0.9, step=0.1)


# Conditions --------------------------------------------------------------------------------------------------------


OPTIMIZERS = {"choice": ["sgd", "momentum", "adam"]}


def test_a_condition_names_a_parameter_before_it_and_a_value_that_it_can_have() -> None:
    momentum = {"low": 0.0, "high": 0.9}
    assert (
        refusal(m=momentum | {"when": {"optimizer": "momentum"}}, optimizer=OPTIMIZERS)
        == 's.toml: space.m.when: must name a parameter that stands before it, got "optimizer"'
    )
    assert (
        refusal(optimizer=OPTIMIZERS, m=momentum | {"when": {"optimizer": "adams"}})
        == 's.toml: space.m.when.optimizer: must be a value that optimizer can have, got "adams"'
    )
    assert (
        refusal(optimizer=OPTIMIZERS, m=momentum | {"when": {"optimizer": []}})
        == "s.toml: space.m.when.optimizer: must be a value that optimizer can have, got []"
    )


def test_a_parameter_exists_only_where_its_condition_holds() -> None:
    read = space(
        optimizer=OPTIMIZERS,
        beta={"low": 0.0, "high": 0.9, "when": {"optimizer": ["momentum", "adam"]}},
        nesterov={"choice": [True, False], "when": {"optimizer": "momentum"}},
        warm={"low": 1, "high": 5, "when": {"nesterov": True}},
    )
    seen = set()
    for values, _ in asked(read, 60):
        seen.add(frozenset(values))
        assert ("beta" in values) == (values["optimizer"] in ("momentum", "adam"))
        assert ("nesterov" in values) == (values["optimizer"] == "momentum")
        assert ("warm" in values) == (values.get("nesterov") is True)
    assert len(seen) == 4


def test_a_condition_on_one_is_none_on_true() -> None:
    read = space(flag={"choice": [True, 1]}, x={"low": 0, "high": 1, "when": {"flag": 1}})
    assert not read.active(read.parameters[1], {"flag": True})
    assert read.active(read.parameters[1], {"flag": 1})


def test_corners_are_concrete_points_of_the_space() -> None:
    read = space(a={"choice": ["x", "y"]}, b={"low": 1, "high": 3, "when": {"a": "y"}}, c={"low": 0.5, "high": 0.75})
    assert read.corners() == [{"a": "x", "c": 0.5}, {"a": "y", "b": 3, "c": 0.75}]


# Values ------------------------------------------------------------------------------------------------------------


@given(st.lists(VALUES, min_size=1, max_size=5))
@settings(deadline=None, max_examples=examples(100))
def test_a_choice_comes_back_from_storage_as_it_was_written(choices: list[Any]) -> None:
    try:
        choice = space(p={"choice": choices}).parameters[0]
    except InputError as error:
        assume("twice" not in str(error))
        raise
    assert isinstance(choice, Choice)
    distribution = choice.distribution()
    for value in choices:
        label = choice.encode(value)
        stored = distribution.to_external_repr(distribution.to_internal_repr(label))
        back = choice.decode(json.loads(json.dumps(stored)))
        assert (repr(back), choice.contains(back)) == (repr(value), True)


@pytest.mark.parametrize("choices", [[True, 1], [False, 0, 0.5], [[True], [1]], [{"a": 1}, {"a": True}]])
def test_true_and_one_are_two_choices(choices: list[Any]) -> None:
    read = space(p={"choice": choices})
    pairs = asked(read, 40)
    assert {repr(values["p"]) for values, _ in pairs} == set(map(repr, choices))
    for values, stored in pairs:
        assert repr(read.decode(stored)) == repr(values)


def test_a_value_that_is_no_choice_is_refused() -> None:
    choice = Choice("p", ("a", [1, 2]))
    assert not choice.contains("b")
    assert not choice.contains([2, 1])
    with pytest.raises(ValueError, match="must be one of"):
        choice.decode("b")


@given(
    low=st.integers(-100, 100),
    count=st.integers(1, 20),
    step=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=examples(30))
def test_whole_numbers_lie_on_their_lattice(low: int, count: int, step: int, seed: int) -> None:
    read = space(n={"low": low, "high": low + count * step, "step": step})
    for values, stored in asked(read, 5, seed):
        assert read.parameters[0].contains(values["n"])
        assert read.decode(stored) == values
        assert isinstance(values["n"], int)
    assert not read.parameters[0].contains(low - step)
    assert not read.parameters[0].contains(low + (count + 1) * step)
    assert read.parameters[0].contains(low + 1) == (step == 1)


@given(exponents=st.tuples(st.floats(-12, 3), st.floats(0.1, 9)), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=examples(30))
def test_real_numbers_lie_in_their_range(exponents: tuple[float, float], seed: int) -> None:
    low = 10 ** exponents[0]
    read = space(lr={"low": low, "high": low * 10 ** exponents[1], "log": True})
    for values, stored in asked(read, 5, seed):
        assert read.parameters[0].contains(values["lr"])
        assert read.decode(stored) == values


@pytest.mark.parametrize("value", [True, "3", None, math.nan, math.inf, [3]])
def test_a_range_contains_numbers_only(value: Any) -> None:
    assert not Float("p", 0.0, 9.0).contains(value)
    assert not Int("p", 0, 9).contains(value)


def test_a_range_contains_its_ends_and_its_lattice() -> None:
    assert Float("p", 0.0, 1.0, step=0.1).contains(0.30000000000000004)
    assert not Float("p", 0.0, 1.0, step=0.1).contains(0.35)
    assert Float("p", 0.25, 1.0).contains(1.0)
    assert Int("p", 1, 9).contains(9.0)
    assert not Int("p", 1, 9).contains(8.5)


# There and back ----------------------------------------------------------------------------------------------------


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        low = draw(st.integers(-50, 50))
        step = draw(st.integers(1, 5))
        spec: dict[str, Any] = {"low": low, "high": low + step * draw(st.integers(1, 9)), "step": step}
    else:
        low_float = draw(st.floats(-1e6, 1e6))
        spec = {"low": low_float, "high": low_float + draw(st.floats(1.0, 1e6))}
    if spec["low"] > 0 and draw(st.booleans()):
        spec = {"low": spec["low"], "high": spec["high"], "log": True}
    return spec


@given(st.lists(ranges() | st.builds(lambda c: {"choice": c}, st.lists(SCALARS, min_size=1, max_size=3)), max_size=4))
def test_a_space_written_down_and_read_again_is_the_same(specs: list[Any]) -> None:
    specs = [{"choice": ["on", "off"]}, *specs]
    raw = {f"p{i}": spec | ({"when": {"p0": "on"}} if i else {}) for i, spec in enumerate(specs)}
    try:
        read = space(**raw)
    except InputError as error:
        assume("twice" not in str(error))
        raise
    written = json.loads(json.dumps(read.to_dict()))
    assert read_space(PLACE, written) == read
    assert list(written) == list(raw)
    assert read_space(PLACE, written).distributions() == read.distributions()
