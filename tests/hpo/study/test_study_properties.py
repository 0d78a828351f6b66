"""Study files by the hundred: garbage never ends otherwise than in a message, and a resolved study reads back."""

from __future__ import annotations

import copy
import json
import tomllib
from typing import Any

import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_study import FULL, MINIMAL

from hpo.errors import InputError
from hpo.study import Study, load, parse

# Anything at all ---------------------------------------------------------------------------------------------------

WORDS = """
    name objective metric direction fixed space sampler pruner budget trial workers low high log step choice when seed
    trials retries timeout cpus lr
"""
KEYS = st.sampled_from(WORDS.split()) | st.text(max_size=3)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=4)
    | st.sampled_from(["a:b", "random", "tpe", "minimize", "1h", 10**400])
)
TREES = st.recursive(
    LEAVES, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t, max_size=4), max_leaves=12
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A good study with a few parts of it replaced."""
    raw = copy.deepcopy(tomllib.loads(FULL))
    for _ in range(draw(st.integers(1, 3))):
        where: Any = raw
        key = draw(st.sampled_from(sorted(where)))
        while isinstance(where[key], dict) and where[key] and draw(st.booleans()):
            where = where[key]
            key = draw(st.sampled_from(sorted(where)))
        where[draw(st.just(key) | KEYS)] = draw(TREES)
    return raw


@given(damaged() | st.dictionaries(KEYS, TREES))
@settings(max_examples=examples(300))
def test_garbage_is_a_study_or_an_input_error(raw: dict[str, Any]) -> None:
    try:
        study = parse(raw, file="s.toml")
    except InputError as error:
        assert str(error).startswith("s.toml: ")  # noqa: PT017
    else:
        json.dumps(study.resolved, allow_nan=False)
        study.space.distributions()


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_study_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load(path)


@given(st.text(max_size=30))
def test_any_override_is_a_study_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, override: str) -> None:
    path = tmp_path_factory.getbasetemp() / "good.toml"
    path.write_text(MINIMAL)
    for text in (override, f"fixed.x={override}", f"budget.trials={override}"):
        try:
            load(path, [text])
        except InputError as error:
            assert str(error)  # noqa: PT017


# There and back ----------------------------------------------------------------------------------------------------


@st.composite
def studies(draw: st.DrawFn) -> Study:
    raw = copy.deepcopy(tomllib.loads(FULL))
    raw["direction"] = draw(st.sampled_from(["minimize", "maximize"]))
    raw["budget"]["trials"] = draw(st.integers(1, 10**6))
    raw["fixed"] = draw(
        st.dictionaries(
            st.sampled_from("uvw"),
            st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False),
        )
    )
    low = draw(st.floats(1e-9, 1.0))
    raw["space"] = {
        "x": {"low": low, "high": low + draw(st.floats(1.0, 9.0)), "log": draw(st.booleans())},
        "n": {"low": 1, "high": 1 + 2 * draw(st.integers(1, 9)), "step": draw(st.sampled_from([1, 2]))},
        "c": {"choice": [[1], [True], "a"], "when": {"n": 1}},
    }
    raw["sampler"]["seed"] = draw(st.integers(0, 2**32 - 1))
    raw["trial"] = draw(st.sampled_from([{}, {"timeout": 0.5}, {"timeout": "1d", "retries": 0}]))
    if draw(st.booleans()):
        raw["objective"] = ["./train", "{x}"]
    return parse(raw, file="s.toml", source="text")


@given(studies())
def test_a_resolved_study_is_the_same_study(study: Study) -> None:
    again = parse(json.loads(json.dumps(study.resolved)), file="s.toml", source="text")
    assert again == study
    assert again.identity() == study.identity()
    assert json.dumps(again.resolved) == json.dumps(study.resolved)
