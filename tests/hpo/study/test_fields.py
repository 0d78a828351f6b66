"""Reading tables against a description of their keys: every message has the same shape."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import InputError
from hpo.study.fields import (
    Field,
    Place,
    boolean,
    duration,
    integer,
    label,
    number,
    one_of,
    plain,
    read_table,
    show,
    table,
    text,
)
from hpo.text import suggest

TABLE = {"size": Field(integer(1)), "rate": Field(number(0, 1), 0.5), "name": Field(text, None)}


def message(read: Any, *args: Any) -> str:
    with pytest.raises(InputError) as raised:
        read(*args)
    return str(raised.value)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (3, "f.toml: box: must be a table, got 3"),
        ([], "f.toml: box: must be a table, got []"),
        ({"size": 1, "rat": 2}, "f.toml: box.rat: unknown key; did you mean 'rate'?"),
        ({"size": 1, "zzz": 2}, "f.toml: box.zzz: unknown key; known are size, rate, name"),
        ({}, "f.toml: box.size: is missing; it must be a whole number"),
        ({"size": 0}, "f.toml: box.size: must be at least 1, got 0"),
        ({"size": 1, "rate": 2}, "f.toml: box.rate: must be at most 1, got 2"),
        ({"size": 1, "name": ""}, 'f.toml: box.name: must be a non-empty string, got ""'),
    ],
)
def test_a_wrong_table_names_file_key_rule_and_value(raw: Any, said: str) -> None:
    assert message(read_table, Place("f.toml") / "box", raw, TABLE) == said


def test_absent_keys_get_their_defaults_and_present_ones_are_read() -> None:
    assert read_table(Place("f"), {"size": 3}, TABLE) == {"size": 3, "rate": 0.5, "name": None}


def test_a_place_without_a_key_names_the_file_alone() -> None:
    assert str(Place("f.toml").error("rule")) == "f.toml: rule"
    assert str((Place("f.toml") / "a" / "b").error("rule")) == "f.toml: a.b: rule"


def test_a_long_value_is_shortened_in_messages() -> None:
    assert len(show("x" * 1000)) == 80
    assert show({"é": [1, True]}) == '{"é": [1, true]}'


def test_a_suggestion_is_the_nearest_name_or_all_names() -> None:
    assert suggest("metrik", ["metric", "name"]) == "; did you mean 'metric'?"
    assert suggest("zzz", ["metric", "name"]) == "; known are metric, name"
    assert suggest("zzz", []) == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90.0),
        (0.5, 0.5),
        ("90s", 90.0),
        ("30m", 1800.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
        ("1d2h3m4s", 93784.0),
    ],
)
def test_a_duration_is_seconds_or_amounts_with_units(value: Any, seconds: float) -> None:
    assert duration(value) == seconds


@pytest.mark.parametrize("value", ["", "90", "s", "1h x", "1w", "-3s", "1e3s", "٣x", 0, -1, "0s", True, None, [], {}])
def test_what_is_no_positive_duration_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        duration(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_a_number_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        number()(value)
    with pytest.raises(ValueError, match="must be finite"):
        duration(value)


@pytest.mark.parametrize("value", [True, "1", None, [1], {}])
def test_a_number_is_neither_text_nor_truth(value: Any) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        number()(value)
    with pytest.raises(ValueError, match="must be a whole number"):
        integer()(value)


def test_number_bounds_are_inclusive_unless_above() -> None:
    assert number(0, 1)(0) == 0.0
    assert number(0, 1)(1) == 1.0
    assert isinstance(number()(1), float)
    with pytest.raises(ValueError, match="must be above 0"):
        number(0, above=True)(0)
    with pytest.raises(ValueError, match="must be at least 0"):
        number(0)(-1e-300)


def test_a_whole_number_is_exact_in_a_float64() -> None:
    assert integer()(2**53) == 2**53
    with pytest.raises(ValueError, match=f"must be at most {2**53}"):
        integer()(2**53 + 1)
    with pytest.raises(ValueError, match=f"must be at least -{2**53}"):
        integer()(-(2**53) - 1)
    with pytest.raises(ValueError, match="must be a whole number"):
        integer()(1.0)


@pytest.mark.parametrize("name", ["lr", "weight_decay", "0", "val/accuracy", "top 5", "größe", "a.b-c:d", "x" * 100])
def test_a_label_is_what_optuna_and_mlflow_take(name: str) -> None:
    assert label(name) == name


@pytest.mark.parametrize(
    "name", ["", "a(b)", "a=b", "/a", "a/", "a//b", "../a", " a", "-a", "a\nb", "x" * 101, 3, None]
)
def test_a_label_that_mlflow_would_refuse_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="must be 1 to 100 letters"):
        label(name)


@pytest.mark.parametrize("value", ["a", 1, -0.5, True, [], {}, [[1, "a"], {"b": [True]}]])
def test_plain_values_are_kept_unchanged(value: Any) -> None:
    assert plain(value) == value


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": [-math.inf]}, None, [None], object()])
def test_what_json_cannot_give_back_is_not_plain(value: Any) -> None:
    with pytest.raises(ValueError, match="must hold"):
        plain(value)


def test_a_choice_of_words_and_a_truth_and_a_table() -> None:
    assert one_of("a", "b")("a") == "a"
    with pytest.raises(ValueError, match=re.escape("must be one of a, b")):
        one_of("a", "b")(["a"])
    assert boolean(False) is False
    with pytest.raises(ValueError, match="must be true or false"):
        boolean(0)
    assert table({}) == {}
    with pytest.raises(ValueError, match="must be a table"):
        table([])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(ANYTHING)
def test_no_value_makes_a_reader_fail_otherwise_than_by_its_rule(value: Any) -> None:
    for read in (text, label, boolean, table, plain, duration, integer(0, 3), number(0, 1), one_of("a")):
        try:
            read(value)
        except ValueError as rule:
            assert str(rule).startswith("must ")  # noqa: PT017 - a value that is right is right


@given(st.dictionaries(st.sampled_from([*TABLE, "other"]), ANYTHING) | ANYTHING)
def test_no_table_fails_otherwise_than_with_its_place(raw: Any) -> None:
    try:
        values = read_table(Place("f.toml") / "box", raw, TABLE)
    except InputError as error:
        assert str(error).startswith("f.toml: box")  # noqa: PT017
    else:
        assert values.keys() == TABLE.keys()
