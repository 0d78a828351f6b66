"""The statistics behind ``hpo compare``, against brute force, symmetry and what chance does."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hpo import statistics
from hpo.compare import figure
from hpo.compare.comparison import (
    AREA,
    BEST,
    REPORTS,
    TRIALS,
    Trace,
    compare,
    contrast,
    correct,
    follow,
    in_hypervolume,
    quartiles,
    trace,
)
from hpo.statistics import fewest_pairs, holm, mean_interval, sign_flip, superiority
from hpo.trial import Direction, Report, State, Trial

# Halves are exact in binary, so that equal sums are equal.
differences = st.lists(st.integers(-20, 20).map(lambda n: n / 2), min_size=1, max_size=9).map(np.array)
directions = st.sampled_from([Direction.MINIMIZE, Direction.MAXIMIZE])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def trial(number: int, value: float | None, state: State = State.COMPLETE, reports: int = 2) -> Trial:
    """Trial k runs from second k to second k + 1."""
    made = [Report(step, number + 1.0, {"m": value or 0.0}) for step in range(1, reports + 1)]
    return Trial(
        number, {}, 0, state, () if value is None else (value,), started=float(number), ended=number + 1.0, reports=made
    )


def search(*values: float | None) -> list[Trial]:
    return [trial(k, value, State.FAILED if value is None else State.COMPLETE) for k, value in enumerate(values)]


def sides(
    *repeats: Sequence[Sequence[float | None]], direction: Direction = Direction.MAXIMIZE
) -> dict[str, dict[int, Trace]]:
    """Sides a, b, ... from the values of their searches."""
    return {
        chr(ord("a") + index): {r: trace(search(*values), direction) for r, values in enumerate(side)}
        for index, side in enumerate(repeats)
    }


# The sign-flip test ------------------------------------------------------------------------------------------------


@given(differences)
def test_the_exact_test_is_the_share_of_all_signs_that_reach_as_far(values: np.ndarray) -> None:
    sums = [abs(float(np.dot(signs, values))) for signs in itertools.product((-1, 1), repeat=len(values))]
    expected = np.mean([s >= abs(values.sum()) for s in sums])
    assert sign_flip(values, rng()) == pytest.approx(expected, abs=1e-12)


def test_the_exact_test_is_scipys() -> None:
    values = rng(3).normal(0.4, 1.0, 11)
    expected = stats.permutation_test(
        (values, np.zeros(11)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip(values, rng()) == pytest.approx(expected)


@given(differences, st.integers(0, 99))
def test_the_test_is_the_same_the_other_way_round_in_any_order_and_on_any_scale(values: np.ndarray, seed: int) -> None:
    p = sign_flip(values, rng())
    assert sign_flip(-values, rng()) == p
    assert sign_flip(rng(seed).permutation(values), rng()) == pytest.approx(p)
    assert sign_flip(values * 1e-9, rng()) == pytest.approx(p)
    assert sign_flip(values * 0.1, rng()) == pytest.approx(p)


@given(differences)
def test_ties_do_not_count(values: np.ndarray) -> None:
    assert sign_flip(np.concatenate([values, np.zeros(3)]), rng()) == sign_flip(values, rng())


def test_only_ties_are_no_difference() -> None:
    assert sign_flip(np.zeros(8), rng()) == 1.0


@given(differences)
def test_the_p_value_is_never_below_what_so_many_pairs_can_show(values: np.ndarray) -> None:
    assert 2 / 2 ** len(values) <= sign_flip(values, rng()) <= 1.0


def test_p_values_are_uniform_when_there_is_no_difference() -> None:
    draw = rng(1)
    ps = np.array([sign_flip(draw.normal(size=10), draw) for _ in range(4000)])
    for level in (0.01, 0.05, 0.1, 0.25, 0.5, 0.9):
        # The exact p-value is uniform on multiples of 2**-9: below a level with at most that probability.
        expected = math.floor(level * 2**9) / 2**9
        assert abs(np.mean(ps <= level) - expected) < 4 * math.sqrt(expected * (1 - expected) / len(ps))


def test_random_signs_come_near_the_exact_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng(5).normal(0.5, 1.0, 14)
    exact = sign_flip(values, rng())
    monkeypatch.setattr(statistics, "EXACT", 0)
    drawn = sign_flip(values, rng(7))
    assert drawn != exact
    assert abs(drawn - exact) < 5 * math.sqrt(exact * (1 - exact) / statistics.FLIPS)
    assert sign_flip(values, rng(7)) == drawn
    assert sign_flip(-values, rng(7)) == drawn


def test_random_signs_never_give_zero() -> None:
    assert sign_flip(np.ones(60), rng()) == 1 / (statistics.FLIPS + 1)


@pytest.mark.parametrize(("tests", "fewest"), [(1, 6), (2, 7), (6, 8), (20, 10)])
def test_one_pair_less_than_the_fewest_can_show_nothing(tests: int, fewest: int) -> None:
    assert fewest_pairs(tests) == fewest
    for pairs, shown in ((fewest - 1, False), (fewest, True)):
        smallest = sign_flip(np.ones(pairs), rng())
        assert (holm([smallest] + [1.0] * (tests - 1))[0] <= statistics.ALPHA) is shown


def test_holm_multiplies_the_smallest_p_by_the_number_of_tests_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


# Effect sizes ------------------------------------------------------------------------------------------------------


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    draw = rng(2)
    intervals = [mean_interval(draw.normal(1.0, 2.0, 20), draw) for _ in range(300)]
    held = np.mean([i is not None and i[0] <= 1.0 <= i[1] for i in intervals])
    assert 0.88 <= held <= 0.99


def test_the_interval_of_equal_values_is_a_point_and_one_value_has_none() -> None:
    assert mean_interval(np.full(5, 0.25), rng()) == (0.25, 0.25)
    assert mean_interval(np.array([0.25]), rng()) is None


@given(differences.filter(lambda values: len(values) > 1))
def test_the_interval_turns_round_with_its_values(values: np.ndarray) -> None:
    interval, turned = mean_interval(values, rng()), mean_interval(-values, rng())
    assert interval is not None
    assert turned is not None
    assert turned == pytest.approx((-interval[1], -interval[0]), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_superiority_is_shared_between_the_two(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=np.float64).T
    assert superiority(a, b) + superiority(b, a) == pytest.approx(1.0)
    assert superiority(a, b) == np.mean([1.0 if x > y else 0.5 if x == y else 0.0 for x, y in pairs])
    assert superiority(a, a) == 0.5


@given(differences, directions)
def test_minimising_is_maximising_the_negative(values: np.ndarray, direction: Direction) -> None:
    other = {Direction.MINIMIZE: Direction.MAXIMIZE, Direction.MAXIMIZE: Direction.MINIMIZE}[direction]
    zeros = np.zeros(len(values))
    one = correct([contrast(BEST, ("a", values), ("b", zeros), direction)], direction)[0]
    two = correct([contrast(BEST, ("a", -values), ("b", -zeros), other)], other)[0]
    assert (one.p_value, one.superiority, one.better) == (two.p_value, two.superiority, two.better)


@pytest.mark.parametrize(("direction", "better"), [(Direction.MAXIMIZE, "a"), (Direction.MINIMIZE, "b")])
def test_the_better_side_is_named(direction: Direction, better: str) -> None:
    higher = (np.arange(8.0) + 1, np.arange(8.0))
    (judged,) = correct([contrast(BEST, ("a", higher[0]), ("b", higher[1]), direction)], direction)
    assert judged.better == better
    assert judged.difference == 1.0
    assert judged.superiority == (1.0 if better == "a" else 0.0)


# Traces ------------------------------------------------------------------------------------------------------------


def test_a_trace_follows_the_trials_in_the_order_in_which_they_ended() -> None:
    late = replace(trial(0, 9.0), ended=10.0)
    pruned = trial(2, 8.0, State.PRUNED, reports=1)
    found = trace([late, trial(1, 2.0), pruned, trial(3, 1.0), trial(4, None, State.RUNNING)], Direction.MINIMIZE)
    assert found.best.tolist() == [2.0, 2.0, 1.0, 1.0]
    assert found.reports.tolist() == [2, 3, 5, 7]


def test_time_in_which_nothing_ran_does_not_count_and_neither_does_overlap() -> None:
    spans = ((0.0, 4.0), (1.0, 5.0), (100.0, 102.0))
    made = [replace(trial(k, 1.0), started=start, ended=end) for k, (start, end) in enumerate(spans)]
    assert trace(made, Direction.MINIMIZE).seconds.tolist() == [4.0, 5.0, 7.0]


def test_a_pruned_or_failed_trial_is_never_the_best() -> None:
    trials = [trial(0, 9.0, State.PRUNED), trial(1, None, State.FAILED), trial(2, 1.0)]
    assert np.isnan(trace(trials, Direction.MAXIMIZE).best).tolist() == [True, True, False]


@given(st.lists(st.integers(-50, 50).map(float), min_size=1), directions)
def test_the_best_so_far_never_gets_worse_and_ends_at_the_best(values: list[float], direction: Direction) -> None:
    best = trace(search(*values), direction).best
    steps = np.diff(best) * (1 if direction == Direction.MAXIMIZE else -1)
    assert (steps >= 0).all()
    assert best[-1] == (max(values) if direction == Direction.MAXIMIZE else min(values))


def test_a_budget_in_reports_buys_what_has_finished_by_then() -> None:
    found = trace([trial(0, 1.0, reports=3), trial(1, 5.0, reports=2)], Direction.MAXIMIZE)
    assert found.at(np.array([1, 2, 3, 4, 5, 99]), REPORTS, -7.0).tolist() == [-7.0, -7.0, 1.0, 1.0, 5.0, 5.0]
    assert found.at(np.array([1, 2]), TRIALS, -7.0).tolist() == [1.0, 5.0]


# Comparisons -------------------------------------------------------------------------------------------------------


def test_the_area_is_the_mean_of_the_best_so_far_over_the_common_budget() -> None:
    found = compare(sides([[1.0, 3.0, 2.0]], [[2.0, 2.0, 4.0, 9.0]]), Direction.MAXIMIZE)
    assert found.common == {TRIALS: 3, REPORTS: 6}
    a, b = found.sides
    assert a.area.tolist() == pytest.approx([7 / 3])
    assert b.area.tolist() == pytest.approx([8 / 3])
    assert (a.best.tolist(), b.best.tolist()) == ([3.0], [4.0])


def test_the_target_is_what_half_of_the_first_side_found() -> None:
    found = compare(
        sides([[1.0, 5.0], [2.0, 3.0], [4.0, 4.0]], [[9.0, 9.0], [1.0, 4.0], [1.0, 1.0]]), Direction.MAXIMIZE
    )
    assert found.target == 4.0
    a, b = found.sides
    assert (a.reached, b.reached) == (2, 2)
    assert a.to_target == {"trials": 2.0, "reports": 4.0, "seconds": 2.0}
    assert b.to_target == {"trials": 2.0, "reports": 4.0, "seconds": 2.0}


def test_a_target_that_less_than_half_reach_has_no_time() -> None:
    (a, b) = compare(sides([[1.0], [5.0], [1.0]], [[1.0], [5.0]]), Direction.MAXIMIZE, target=5.0).sides
    assert (a.reached, b.reached) == (1, 1)
    assert a.to_target == {"trials": None, "reports": None, "seconds": None}
    assert b.to_target == {"trials": 1.0, "reports": 2.0, "seconds": 1.0}


def test_a_failed_search_counts_as_the_worst_start_and_shortens_nothing() -> None:
    found = compare(sides([[None, None]], [[0.25, 0.75, 0.5]]), Direction.MAXIMIZE)
    assert found.common[TRIALS] == 3
    a, b = found.sides
    assert (a.failed, b.failed) == (1, 0)
    assert (a.best[0], a.area[0]) == (0.25, 0.25)
    assert found.contrasts[0].superiority == 0.0


def test_failing_at_first_is_never_an_advantage() -> None:
    (whole, late) = compare(sides([[1.0, 2.0, 3.0]], [[None, 2.0, 3.0]]), Direction.MAXIMIZE).sides
    assert late.area[0] <= whole.area[0]
    assert late.best[0] == whole.best[0]


def test_nothing_complete_is_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="no search has a complete trial"):
        compare(sides([[None]], [[None]]), Direction.MAXIMIZE)


def test_pairs_are_the_repeats_that_both_have() -> None:
    made = sides([[1.0], [2.0], [3.0]], [[9.0], [1.0], [1.0]])
    del made["a"][0], made["b"][2]
    found = compare(made, Direction.MAXIMIZE)
    assert [c.pairs for c in found.contrasts] == [1, 1]
    assert found.contrasts[0].difference == 1.0
    del made["b"][1]
    assert compare(made, Direction.MAXIMIZE).contrasts == ()


def test_every_two_sides_are_compared_under_both_measures_and_corrected_together() -> None:
    better = [[float(r + 10), r + 12.0] for r in range(8)]
    worse = [[float(r), r + 2.0] for r in range(8)]
    found = compare(sides(better, worse, worse), Direction.MAXIMIZE)
    assert [(c.first, c.second, c.measure) for c in found.contrasts] == [
        (*two, measure) for two in (("a", "b"), ("a", "c"), ("b", "c")) for measure in (BEST, AREA)
    ]
    assert [c.better for c in found.contrasts] == ["a", "a", "a", "a", None, None]
    assert found.contrasts[0].corrected == pytest.approx(6 * 2 / 2**8)
    assert found.contrasts[-1].corrected == 1.0


def test_a_study_compared_with_itself_shows_no_difference() -> None:
    one = [list(rng(r).normal(size=6)) for r in range(12)]
    for c in compare(sides(one, one), Direction.MINIMIZE).contrasts:
        assert (c.difference, c.superiority, c.corrected, c.better) == (0.0, 0.5, 1.0, None)


def test_the_band_is_the_quartiles_of_the_repeats() -> None:
    (side, _) = compare(sides([[1.0], [2.0], [3.0], [4.0], [5.0]], [[1.0]]), Direction.MAXIMIZE).sides
    assert quartiles(side, np.array([1]), TRIALS, 0.0)[:, 0].tolist() == [2.0, 3.0, 4.0]


def test_values_near_the_largest_float_are_compared_as_any_others() -> None:
    """The same data in units of 1.7e308: sums and differences are no float64, and verdicts are the same."""
    low, high = ([[sign * (1 - k / 50)] * 3 for k in range(8)] for sign in (-1.0, 1.0))
    plain = compare(sides(low, high), Direction.MINIMIZE)
    huge = compare(sides(*([[v * 1.7e308 for v in r] for r in side] for side in (low, high))), Direction.MINIMIZE)

    assert [c.better for c in huge.contrasts] == [c.better for c in plain.contrasts] == ["a", "a"]
    assert [c.p_value for c in huge.contrasts] == [c.p_value for c in plain.contrasts]
    assert [c.superiority for c in huge.contrasts] == [1.0, 1.0]
    assert huge.contrasts[0].difference == -sys.float_info.max  # -3.2e308 is none
    assert huge.sides[1].area == pytest.approx(plain.sides[1].area * 1.7e308)
    assert quartiles(huge.sides[1], np.array([3]), TRIALS, huge.start)[1] == pytest.approx(1.7e308 * 0.93)
    assert huge.target == pytest.approx(-1.7e308 * 0.93)
    assert figure.comparison(huge, "loss").get_axes()


# Several objectives ------------------------------------------------------------------------------------------------

OBJECTIVES = {"a": Direction.MAXIMIZE, "b": Direction.MINIMIZE}


def several(*points: tuple[float, float] | None) -> Trace:
    """A search with two objectives; None for a trial that failed."""
    trials = [
        replace(trial(k, None, State.FAILED if values is None else State.COMPLETE), values=values or ())
        for k, values in enumerate(points)
    ]
    return follow(trials, OBJECTIVES)


def test_fronts_are_compared_by_what_they_cover_of_one_box_for_all() -> None:
    # From the best values (3, 0) to the worst ones (0, 3) the box has 9 squares.
    first = several((0.0, 0.0), None, (2.0, 1.0), (1.0, 2.0))
    second = several((3.0, 3.0), (1.0, 2.0))

    found, reference = in_hypervolume({"first": {0: first}, "second": {0: second}}, OBJECTIVES)

    assert reference == {"a": 0.0, "b": 3.0}
    assert found["first"][0].best.tolist() == pytest.approx([0, 0, 4 / 9, 4 / 9])
    assert found["second"][0].best.tolist() == pytest.approx([0, 1 / 9])
    (better, _) = compare(found, Direction.MAXIMIZE).contrasts
    assert better.difference == pytest.approx(0 - 1 / 9)  # after two trials, the common budget


def test_a_search_with_several_objectives_covers_nothing_known_before_its_first_complete_trial() -> None:
    found, _ = in_hypervolume({"a": {0: several(None, (1.0, 1.0), (0.0, 2.0))}, "b": {0: several(None)}}, OBJECTIVES)
    assert np.isnan(found["a"][0].best).tolist() == [True, False, False]
    assert found["b"][0].failed


def test_no_complete_trial_is_no_front_to_compare() -> None:
    with pytest.raises(ValueError, match="no search has a complete trial"):
        in_hypervolume({"a": {0: several(None)}, "b": {0: several(None)}}, OBJECTIVES)


def test_one_objective_is_compared_by_its_values() -> None:
    trials = search(1.0, None, 3.0)
    assert follow(trials, {"m": Direction.MAXIMIZE}).best.tolist() == [1.0, 1.0, 3.0]
    assert follow(trials, {"m": Direction.MAXIMIZE}).costs is None
