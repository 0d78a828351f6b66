"""How results look: tables, numbers, durations, TOML."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.cli.table import print_table
from hpo.cli.text import print_json, toml_lines
from hpo.text import duration, length, number, short, signed, value

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(WORDS, VALUES, max_size=4))
def test_toml_reads_back_as_it_was(table: dict[str, Any]) -> None:
    assert tomllib.loads("\n".join(toml_lines(table))) == table


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "-"),
        (0.0, "0.00 s"),
        (59.99, "59.99 s"),
        (60.0, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3600.0, "1 h 00 min"),
        (90061.0, "25 h 01 min"),
    ],
)
def test_a_duration_is_shown_in_units_of_its_size(amount: float | None, shown: str) -> None:
    assert duration(amount) == shown


@pytest.mark.parametrize(
    ("amount", "shown"), [(0.02, "0.02 s"), (4.0, "4 s"), (20, "20 s"), (90, "1 min 30 s"), (5400.0, "1 h 30 min")]
)
def test_a_length_that_was_set_has_no_needless_digits(amount: float, shown: str) -> None:
    assert length(amount) == shown


def test_numbers_have_six_digits_and_everything_else_is_itself() -> None:
    assert (number(None), number(1 / 3), number(1e-10)) == ("-", "0.333333", "1e-10")
    assert (value(1 / 3), value([1, 2]), value("relu"), value(True)) == ("0.333333", "[1, 2]", "relu", "True")


def test_where_there_is_little_room_numbers_have_three_digits_and_texts_are_cut() -> None:
    assert (short(1 / 3), short(7), short([1, 2])) == ("0.333", "7", "[1, 2]")
    assert short("a" * 30, 10) == "a" * 9 + "…"
    assert (signed(0.5), signed(-0.001), signed(-0.25)) == ("+0.50", "+0.00", "-0.25")


def test_json_has_null_for_what_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"value": float("nan"), "values": [1.5, float("-inf")], "name": "nan"})
    assert json.loads(capsys.readouterr().out) == {"value": None, "values": [1.5, None], "name": "nan"}


def test_a_table_is_as_wide_as_its_rows_and_knows_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "value"], [["[bold]x[/bold]", "y" * 500], ["[red]", "2"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["[bold]x[/bold]", "y" * 500]
    assert lines[3].split() == ["[red]", "2"]


def test_numbers_stand_right_and_words_left(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["a", "1"], ["b", "100"]]
    print_table(["", "n"], rows)
    numbers = capsys.readouterr().out.splitlines()[2:]
    print_table(["", "n"], rows, words=True)
    words = capsys.readouterr().out.splitlines()[2:]
    assert [line.index("1") for line in numbers] == [6, 4]
    assert [line.index("1") for line in words] == [4, 4]
