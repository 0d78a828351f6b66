"""Fronts, ranks and volumes of several objectives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _fast_non_domination_rank

from hpo import fronts
from hpo.best import Best, front_of, ranked
from hpo.fronts import Covered, box_of, diverged, hypervolume
from hpo.insight.front import prefer
from hpo.so_far import BestSoFar
from hpo.statistics import Floats
from hpo.trial import Direction, State, Trial

OBJECTIVES = {"accuracy": Direction.MAXIMIZE, "latency": Direction.MINIMIZE}


@st.composite
def points(draw: st.DrawFn) -> Floats:
    """Up to 30 points of up to four objectives, with many equal values."""
    shape = draw(st.integers(0, 30)), draw(st.integers(1, 4))
    values = draw(st.lists(st.integers(0, 5), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return np.array(values, dtype=np.float64).reshape(shape)


def beats(one: Floats, other: Floats) -> bool:
    return bool((one <= other).all() and (one < other).any())


@given(points())
def test_the_front_is_what_no_point_beats(costs: Floats) -> None:
    wanted = [not any(beats(other, own) for other in costs) for own in costs]
    assert fronts.on_front(costs).tolist() == wanted


@given(points())
def test_ranks_are_those_of_optuna(costs: Floats) -> None:
    if len(costs):
        assert fronts.ranks(costs).tolist() == _fast_non_domination_rank(costs).tolist()


@settings(deadline=None)
@given(points())
def test_the_hypervolume_is_that_of_optuna(costs: Floats) -> None:
    reference = np.full(costs.shape[1], 4.5)
    inside = costs[(costs < reference).all(axis=1)]
    wanted = compute_hypervolume(inside, reference) if len(inside) else 0.0
    assert fronts.hypervolume(costs, reference) == pytest.approx(wanted)


@given(
    events=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 3), st.sampled_from(State)), max_size=30
    ),
    several=st.booleans(),
)
def test_the_best_so_far_are_those_of_all_trials_as_they_are_now(
    events: list[tuple[int, int, int, State]], several: bool
) -> None:
    """A trial that comes again has been discarded, or counts again."""
    objectives = OBJECTIVES if several else {"accuracy": Direction.MAXIMIZE}
    best, now = Best(objectives), {}
    for number, one, other, state in events:
        now[number] = Trial(number, {}, 0, state, (float(one), float(other))[: len(objectives)])
        best.add(now[number])
        wanted = front_of(sorted(now.values(), key=lambda trial: trial.number), objectives)
        assert best.trials == (wanted if several else wanted[:1])


def test_values_near_the_largest_float_are_compared_without_a_word() -> None:
    most = 1.7e308
    costs = np.array([[most, -most], [-most, most], [0, 0], [1, -1]], dtype=np.float64)
    assert fronts.crowding(costs).tolist() == pytest.approx([np.inf, np.inf, 1.0, 1.0])
    covered = fronts.Covered(np.array([most, most]))
    assert [covered.add(point) for point in costs] == [0.0, 0.0, np.inf, np.inf]
    objectives = {"loss": Direction.MINIMIZE, "size": Direction.MINIMIZE}
    trials = [Trial(n, {}, 0, State.COMPLETE, tuple(point)) for n, point in enumerate(costs.tolist())]
    assert prefer(front_of(trials, objectives), objectives, "loss=1, size=2").number in (0, 2, 3)


def test_the_ends_of_a_front_come_first_and_then_the_lonely_ones() -> None:
    costs = np.array([[0, 9], [1, 8], [2, 3], [3, 2.5], [9, 0], [9, 9]], dtype=np.float64)
    assert fronts.crowding(costs[:5]).tolist() == pytest.approx(
        [np.inf, 2 / 9 + 6 / 9, 2 / 9 + 5.5 / 9, 7 / 9 + 3 / 9, np.inf]
    )
    assert fronts.order(costs).tolist() == [0, 4, 3, 1, 2, 5]


def trial(number: int, *values: float, state: State = State.COMPLETE) -> Trial:
    return Trial(number, {}, 0, state, values)


def test_a_front_of_trials_is_best_by_the_first_objective_first() -> None:
    trials = [
        trial(0, 0.7, 10.0),
        trial(1, 0.9, 50.0),
        trial(2, 0.9, 40.0),  # beats 1
        trial(3, 0.99, 1.0, state=State.PRUNED),
        trial(4, float("nan"), 1.0),
        trial(5, state=State.FAILED),
        trial(6, 0.7, 10.0),  # as good as 0
    ]
    assert [t.number for t in front_of(trials, OBJECTIVES)] == [2, 0, 6]
    assert [t.number for t in ranked(trials, OBJECTIVES)] == [0, 2, 6, 1]
    assert front_of([], OBJECTIVES) == ranked([], OBJECTIVES) == []


def test_with_one_objective_the_front_is_the_best_trial_and_its_equals() -> None:
    trials = [trial(0, 2.0), trial(1, 1.0), trial(2, 1.0)]
    assert [t.number for t in front_of(trials, {"loss": Direction.MINIMIZE})] == [1, 2]
    assert [t.number for t in ranked(trials, {"loss": Direction.MINIMIZE})] == [1, 2, 0]


@given(points())
def test_the_front_so_far_has_the_values_of_the_front(costs: Floats) -> None:
    objectives = {f"f{index}": Direction.MINIMIZE for index in range(costs.shape[1])}
    trials = [trial(number, *map(float, values)) for number, values in enumerate(costs)]
    so_far = BestSoFar(*objectives.values())
    for each in trials:
        so_far.add(each)
    assert sorted(so_far.front) == sorted({t.values for t in front_of(trials, objectives)})


def test_no_improvement_is_counted_since_the_latest_trial_on_the_front() -> None:
    so_far = BestSoFar(*OBJECTIVES.values())
    since = []
    for each in [
        trial(0, 0.5, 5.0),
        trial(1, 0.4, 6.0),
        trial(2, 0.5, 5.0),
        trial(3, 0.4, 4.0),
        trial(4, state=State.FAILED),
    ]:
        so_far.add(each)
        since.append(so_far.since)
    assert since == [0, 1, 2, 0, 1]


# Hypervolume over trials -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [4, 5])
def test_many_objectives_cover_what_the_exact_volume_is_and_never_less_than_before(objectives: int) -> None:
    costs = np.random.default_rng(objectives).random((30, objectives))
    covered = Covered(np.ones(objectives))
    totals = [covered.add(point) for point in costs]
    assert totals == sorted(totals)
    assert totals[0] == np.prod(1 - costs[0])  # of a single point nothing is estimated
    assert totals[-1] == pytest.approx(hypervolume(costs, np.ones(objectives)), rel=0.02)
    again = Covered(np.ones(objectives))
    assert [again.add(point) for point in costs] == totals


@pytest.mark.slow
def test_many_objectives_take_a_bounded_number_of_random_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact volume of such a front of 8 objectives would not end in the lifetime of this test."""
    costs = np.abs(np.random.default_rng(0).normal(size=(300, 8)))
    costs /= np.linalg.norm(costs, axis=1)[:, None]  # no point beats another
    monkeypatch.setattr("hpo.fronts._volume", None)  # which computes exact ones
    covered, drawn = Covered(np.ones(8)), []
    random = covered._rng.random

    class Counting:
        def random(self, shape: tuple[int, int]) -> Floats:
            drawn.append(shape[0])
            return random(shape)

    monkeypatch.setattr(covered, "_rng", Counting())
    assert 0 < [covered.add(point) for point in costs][-1] < 1
    assert drawn[0] == 20_000
    assert all(points <= 20_000 and points * (front + 1) <= 1_000_000 + front for front, points in enumerate(drawn))


@pytest.mark.parametrize("diverged_first", [0.05, -1.0])  # beaten, and on the front: the best of the first objective
def test_a_diverged_cost_never_makes_the_box(diverged_first: float) -> None:
    costs = np.random.default_rng(0).random((20, 2))
    costs[3] = diverged_first, 1e30
    assert diverged(costs).tolist() == [[False, index == 3] for index in range(20)]
    assert box_of(costs).worst[1] < 1
    covered = box_of(costs).covered(costs)
    assert covered[3] == covered[2] < covered[-1] < 1


def test_almost_half_of_the_trials_may_have_diverged() -> None:
    costs = np.random.default_rng(0).random((10, 2))
    costs[:4, 1] = 1e30, 1e12, 1e300, np.inf
    assert box_of(costs).worst[1] < 1
    costs[4:6, 1] = 1e30
    assert box_of(costs).worst[1] >= 1e9  # now they are most of what there is


def test_a_front_over_many_powers_of_ten_has_not_diverged() -> None:
    costs = np.array([[10 - power, 10.0**power] for power in range(1, 7)])
    assert not diverged(costs).any()
    assert box_of(costs).worst.tolist() == [9.0, 1e6]


def test_where_most_points_have_the_best_cost_none_has_diverged() -> None:
    costs = np.array([[1.0, 1.0]] * 8 + [[0.0, 5000.0]])
    assert not diverged(costs).any()
    assert box_of(costs).worst.tolist() == [1.0, 5000.0]
