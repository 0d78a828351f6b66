from dataclasses import replace

from hpo.insight.precision import points
from hpo.trial import CONSTRAINTS, REPEAT, VIOLATIONS, Direction, State, Trial


def trial(number: int, rate: float, repeat: int | None, value: float | None, state: State = State.COMPLETE) -> Trial:
    notes = {} if repeat is None else {REPEAT: repeat}
    return Trial(number, {"rate": rate, "hidden": [5]}, 0, state, () if value is None else (value,), notes=notes)


def test_a_point_is_the_mean_of_its_repeats_and_one_lucky_seed_does_not_win() -> None:
    trials = [
        trial(0, 0.1, 0, 0.9),
        trial(1, 0.2, 0, 0.8),
        trial(2, 0.3, 0, None, State.FAILED),
        trial(3, 0.1, 1, 0.1),
        trial(4, 0.2, 1, 0.6),
        trial(5, 0.3, 1, None, State.RUNNING),
    ]

    best, second, last = points(trials, Direction.MAXIMIZE)

    assert (best.params["rate"], best.mean, best.trials) == (0.2, 0.7, 2)
    assert best.deviation is not None
    assert abs(best.deviation - 0.02**0.5) < 1e-12
    assert (second.params["rate"], second.mean) == (0.1, 0.5)
    assert (last.params["rate"], last.values, last.deviation, last.trials) == (0.3, [], None, 1)
    assert points(trials, Direction.MINIMIZE)[0].params["rate"] == 0.1


def test_a_study_without_repeats_has_no_points() -> None:
    assert points([trial(0, 0.1, None, 0.9)], Direction.MAXIMIZE) == []


def test_a_repeat_beyond_a_bound_is_no_part_of_its_point() -> None:
    beyond = {CONSTRAINTS: [0.5], VIOLATIONS: {"memory": 5.0}}
    trials = [trial(0, 0.1, 0, 0.9), trial(1, 0.1, 1, 0.1), trial(2, 0.2, 0, 0.5)]
    trials[0] = replace(trials[0], notes={**trials[0].notes, **beyond})

    best, second = points(trials, Direction.MAXIMIZE)

    assert (best.params["rate"], best.mean) == (0.2, 0.5)
    assert (second.values, second.trials) == ([0.1], 2)
