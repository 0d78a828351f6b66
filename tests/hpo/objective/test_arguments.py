"""A trial's parameters as words of a command line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import InputError
from hpo.objective.arguments import Template, hydra
from hpo.study.command import Command

PARAMS = {"lr": 0.01, "layers": 3, "nesterov": True, "name": "two words", "sizes": [64, 32]}


def words(*template: str, params: dict[str, Any] = PARAMS, arguments: dict[str, str] | None = None) -> list[str]:
    filled = Template(Command(template, arguments=arguments or {}))
    filled.check(params)
    return filled.fill(params, {"seed": "7", "trial": "12", "study": "s"})


def test_args_are_one_option_per_parameter_and_a_flag_per_true_one() -> None:
    assert words("train", "{args}", "last") == [
        "train",
        "--lr=0.01",
        "--layers=3",
        "--nesterov",
        "--name=two words",
        "--sizes=64",
        "--sizes=32",
        "last",
    ]
    assert words("train", "{args}", params={"nesterov": False, "lr": 1e-7}) == ["train", "--lr=1e-07"]


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("--nesterov/--no-nesterov", True, ["--nesterov"]),
        ("--nesterov/--no-nesterov", False, ["--no-nesterov"]),
        ("/--plain", False, ["--plain"]),
        ("/--plain", True, []),
        ("--x={}", True, ["--x=true"]),
        ("--x", 0.5, ["--x=0.5"]),
        ("-x {}", 0.5, ["-x", "0.5"]),
        ("-x{}", 3, ["-x3"]),
        ("{}", "a b", ["a b"]),
        ("+x={}", "a", ["+x=a"]),
        ("--x={}", [1, 2], ["--x=1", "--x=2"]),
        ("--x {}", [1, 2], ["--x", "1", "--x", "2"]),
        ("--x={,}", [1, 2], ["--x=1,2"]),
        ("--x { }", [1, 2], ["--x", "1", "2"]),
        ("--x [{, }]", [1, 2], ["--x", "[1, 2]"]),
        ("--x={,}", [], ["--x="]),
        ("--x={}", [], []),
        ("--x={}", {"a": [1]}, ['--x={"a": [1]}']),
        ("--x=<{}>", "y", ["--x=<y>"]),
    ],
)
def test_a_pattern_says_how_a_parameter_is_written(pattern: str, value: Any, expected: list[str]) -> None:
    assert words("{args}", params={"x": value}, arguments={"x": pattern}) == expected


def test_a_slash_in_a_name_parts_no_flags() -> None:
    params = {"model/size": 3, "model/big": True, "model/old": False}
    assert words("{args}", params=params) == ["--model/size=3", "--model/big"]


@pytest.mark.parametrize(("word", "name"), [("{args}", "a\0b"), ("{x}", "a\0b"), ("a\0b", "")])
def test_a_character_that_no_program_can_be_given_is_refused(word: str, name: str) -> None:
    with pytest.raises(ValueError, match="a word of the command has a NUL character"):
        words("train", word, params={"x": name})


def test_a_parameter_that_another_word_names_is_not_repeated() -> None:
    assert words("--rate={lr}", "{args}", "{seed}/{trial}/{study}", params={"lr": 0.1, "b": 1}) == [
        "--rate=0.1",
        "--b=1",
        "7/12/s",
    ]


def test_a_word_whose_parameter_a_trial_does_not_have_is_left_out() -> None:
    command = Command(("{args}", "--momentum={momentum}"), conditional=frozenset({"momentum"}))
    template = Template(command)
    template.check({"lr": 0.1})
    assert template.fill({"lr": 0.1}, {}) == ["--lr=0.1"]
    assert template.fill({"lr": 0.1, "momentum": 0.9}, {}) == ["--lr=0.1", "--momentum=0.9"]


@pytest.mark.parametrize(
    ("template", "params", "message"),
    [
        (("--momentum", "{momentum}"), {"lr": 0.1}, r"the word \{momentum\} is left over"),
        (("--momentum", "{momentum}"), {"momentum": 0.1}, r"the word \{momentum\} is left over"),
        (("--x={momentun}",), {"momentum": 0.1}, "did you mean 'momentum'"),
        (("--n={trial}",), {"trial": 1}, "has a parameter 'trial' too"),
        (("{args}",), {"args": 1}, "has a parameter 'args' too"),
    ],
)
def test_what_cannot_be_filled_is_refused(template: tuple[str, ...], params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Template(Command(template, conditional=frozenset({"momentum"}))).check(params)


def test_all_parameters_are_a_word_of_their_own() -> None:
    with pytest.raises(InputError, match=r"\{args\} becomes several words, so it must be a word of its own"):
        Template(Command(("--all={args}",)))


def test_two_flags_are_for_true_and_false_only() -> None:
    with pytest.raises(ValueError, match=r"\[arguments\] lr = '--a/--b' is for true and false, got 0.5"):
        words("{args}", params={"lr": 0.5}, arguments={"lr": "--a/--b"})


TEXTS = st.text(st.sampled_from("ab1.,:'\"\\$ {}[]()=+-/@%~#*?|&!;<>`^\n\t\réNULLtruefalse_"))
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    lambda part: (
        st.lists(part, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b_c", " a b", "a:b", "x/y.z", "$(k)", "9_"]), part)
    ),
    max_leaves=5,
)


@given(VALUES)
def test_hydra_reads_an_override_as_the_value_that_was_written(value: Any) -> None:
    """By Hydra's own parser, and OmegaConf's interpolation after it."""
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser")
    omegaconf = pytest.importorskip("omegaconf")
    override = parser.OverridesParser.create().parse_override(f"x={hydra(value)}")
    config = omegaconf.OmegaConf.create({"x": None})
    omegaconf.OmegaConf.update(config, "x", override.value(), merge=True)
    read = omegaconf.OmegaConf.to_container(config, resolve=True)["x"]
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize(
    "params",
    [{"a b": 1}, {"é": 1}, {"9": 1}, {"x": {"1": 2}}, {"x": [{"true": 1}]}, {"x": {"it's": 1}}, {"x": {"": 1}}],
)
def test_names_and_keys_that_hydra_cannot_read_are_refused(params: dict[str, Any]) -> None:
    """Or would read as something else: as the number 1, say."""
    with pytest.raises(ValueError, match=r"\{overrides\}: Hydra has no way to write the"):
        words("app", "{overrides}", params=params)


def test_overrides_are_hydras() -> None:
    assert words("app", "{overrides}", params={"model.lr": 0.01, "db": "a b", "on": True, "sizes": [1, 2]}) == [
        "app",
        "model.lr=0.01",
        "db='a b'",
        "on=true",
        "sizes=[1,2]",
    ]
