"""Row U8: learning rates that decay, and those that warm up."""

import math
from typing import Any

import pytest

from trainer.schedules import constant, cosine, exponential, step, warm_up


def test_constant() -> None:
    assert {constant()(time) for time in (0, 0.5, 100)} == {1.0}


def test_exponential_falls_by_the_factor_each_epoch() -> None:
    schedule = exponential(0.5)
    assert [schedule(time) for time in (0, 0.5, 1, 3)] == pytest.approx([1, math.sqrt(0.5), 0.5, 0.125])


def test_step_falls_at_once() -> None:
    schedule = step(0.1, every=2)
    assert [schedule(time) for time in (0, 1.99, 2, 3.9, 4)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_runs_from_1_to_0_and_stays_there() -> None:
    schedule = cosine(10)
    assert [schedule(time) for time in (0, 5, 10, 12)] == pytest.approx([1, 0.5, 0, 0])


def test_warm_up_grows_to_what_follows() -> None:
    schedule = warm_up(2, exponential(0.5))
    assert [schedule(time) for time in (1, 2, 3)] == pytest.approx([0.25, 0.25, 0.125])
    assert 0 < schedule(0) <= 0.001


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: exponential(0.0), r"`0 < factor <= 1` must hold, but got \(factor=0.0\)"),
        (lambda: step(1.1, 2), "`0 < factor <= 1`"),
        (lambda: step(0.5, 0), "`0 < every < inf`"),
        (lambda: cosine(0), "`0 < epochs < inf`"),
        (lambda: warm_up(-1, constant()), "`0 < epochs < inf`"),
    ],
)
def test_bad_input_states_rule_and_value(make: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()
