"""Ranges with a step that grow or shrink stay on their lattice, to the last bit."""

from __future__ import annotations

import warnings

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from hpo.study.space import Float, Space
from hpo.study.values import lattice_point

STEPS = st.sampled_from([0.1, 0.05, 0.3, 0.25, 1e-3, 7e-5])


def test_a_point_of_a_lattice_is_the_number_a_person_writes() -> None:
    assert lattice_point(0.0, 0.1, 3) == 0.3
    assert lattice_point(-0.2, 0.1, 1) == -0.1
    assert lattice_point(2, 3, -1) == -1


@given(STEPS, st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_widened_range_is_one_that_optuna_takes_as_it_is(step: float, steps: int, down: int, up: int) -> None:
    range_ = Float("x", 0.0, lattice_point(0.0, step, steps), step=step)
    wanted = (lattice_point(0.0, step, -down), lattice_point(range_.high, step, up))
    (wide,) = Space((range_,)).widened({"x": wanted}).parameters
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distribution = wide.distribution()
    assert isinstance(distribution, FloatDistribution)
    assert (distribution.low, distribution.high) == wanted


@given(STEPS, st.integers(2, 40), st.floats(0, 1), st.floats(0, 1))
def test_a_part_of_a_range_is_one_that_optuna_takes_as_it_is(step: float, steps: int, a: float, b: float) -> None:
    whole = Float("x", 0.0, lattice_point(0.0, step, steps), step=step)
    low, high = sorted((a * whole.high, b * whole.high))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        part = whole.within((low, high)).distribution()
    assert isinstance(part, FloatDistribution)
    assert whole.low <= part.low <= part.high <= whole.high
