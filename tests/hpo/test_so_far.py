"""The best value and the running time after every trial, against their plain definitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpo.so_far import BestSoFar, RunningTime
from hpo.trial import Direction, State, Trial, best_first


def trial(number: int, state: State = State.COMPLETE, value: float | None = None) -> Trial:
    return Trial(number, {}, 0, state=state, values=() if value is None else (value,))


@given(st.lists(st.tuples(st.sampled_from(State), st.one_of(st.none(), st.floats())), max_size=20), st.booleans())
def test_the_best_so_far_is_the_first_of_best_first_and_counts_what_came_after(
    results: list[tuple[State, float | None]], lower: bool
) -> None:
    direction = Direction.MINIMIZE if lower else Direction.MAXIMIZE
    trials = [trial(number, state, value) for number, (state, value) in enumerate(results)]
    found = BestSoFar(direction)
    for one in trials:
        found.add(one)

    ranked = best_first(trials, direction)
    assert found.value == (ranked[0].value if ranked else None)
    assert found.since == (len(trials) - 1 - ranked[0].number if ranked else len(trials))


def test_with_one_direction_further_values_of_a_trial_do_not_count() -> None:
    found = BestSoFar(Direction.MINIMIZE)
    for number, values in enumerate([(0.6, 3.0), (0.5, 9.0), (0.6, 1.0)]):
        found.add(Trial(number, {}, 0, state=State.COMPLETE, values=values))

    assert (found.value, found.since) == (0.5, 1)


SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=12)


@given(SPANS, SPANS)
def test_the_running_time_is_every_second_in_which_a_trial_ran(
    ended: list[tuple[int, int]], runs: list[tuple[int, int]]
) -> None:
    """In any order: a clock that was set back makes the later trial the earlier one."""
    running, seconds = RunningTime(), set[int]()
    for begin, lasting in ended:
        running.add(begin, begin + lasting)
        seconds |= set(range(begin, begin + lasting))
        assert running.seconds == len(seconds)

    for begin, lasting in runs:
        seconds |= set(range(begin, begin + lasting))
    assert running.including((begin, begin + lasting) for begin, lasting in runs) == len(seconds)
