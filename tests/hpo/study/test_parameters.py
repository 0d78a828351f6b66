"""The Parameter protocol: units, encodings and descriptions of every kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.study.fields import Place
from hpo.study.space import Parameter, read_space

SPECS: dict[str, dict[str, Any]] = {
    "float": {"low": -2.0, "high": 3.0},
    "float, log": {"low": 1e-6, "high": 1e-1, "log": True},
    "float, step": {"low": 0.0, "high": 1.0, "step": 0.1},
    "int": {"low": 1, "high": 9},
    "int, step": {"low": -3, "high": 9, "step": 3},
    "int, log": {"low": 1, "high": 200, "log": True},
    "choice": {"choice": ["a", 1, True, [50, 100], {"k": 1.5}]},
    "choice of one": {"choice": ["only"]},
}
KINDS = {name: read_space(Place("s.toml", "space"), {"p": spec})["p"] for name, spec in SPECS.items()}
every = pytest.mark.parametrize("parameter", KINDS.values(), ids=KINDS)


@every
@given(u=st.floats(0, 1))
def test_a_unit_gives_a_value_of_the_parameter_and_the_value_gives_itself(parameter: Parameter, u: float) -> None:
    value = parameter.from_unit(u)

    assert parameter.contains(value)
    assert parameter.decode(parameter.encode(value)) == value
    assert 0.0 <= parameter.to_unit(value) <= 1.0
    again = parameter.from_unit(parameter.to_unit(value))
    assert again == (value if parameter.values() is not None else pytest.approx(value))


@every
def test_every_listed_value_comes_back_from_its_unit(parameter: Parameter) -> None:
    for value in parameter.values() or []:
        assert json.dumps(parameter.from_unit(parameter.to_unit(value))) == json.dumps(value)


@every
def test_units_grow_with_the_values_and_the_ends_are_values(parameter: Parameter) -> None:
    units = [parameter.to_unit(parameter.from_unit(u / 50)) for u in range(51)]

    assert units == sorted(units)
    assert all(parameter.contains(end) for end in parameter.ends)
    assert parameter.encode(parameter.from_unit(0.0)) == pytest.approx(parameter.encode(parameter.ends[0]))
    assert parameter.encode(parameter.from_unit(1.0)) == pytest.approx(parameter.encode(parameter.ends[1]))


@every
def test_a_table_says_all_about_a_parameter(parameter: Parameter) -> None:
    assert read_space(Place("s.toml", "space"), {"p": parameter.to_dict()})["p"] == parameter


def test_values_on_a_step_are_those_that_were_written() -> None:
    parameter = KINDS["float, step"]

    assert parameter.values() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert parameter.decode(0.1 + 0.2) == 0.3
    assert parameter.from_unit(0.3) == 0.3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("float", "a number in [-2, 3]"),
        ("float, step", "a number in [0, 1] in steps of 0.1"),
        ("int", "a whole number in [1, 9]"),
        ("int, step", "a whole number in [-3, 9] in steps of 3"),
        ("choice of one", 'one of ["only"]'),
    ],
)
def test_a_parameter_says_what_a_value_must_be(name: str, text: str) -> None:
    assert KINDS[name].describe() == text
