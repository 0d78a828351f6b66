"""How good the fronts are that samplers find, hpo's against Optuna's own, on problems whose fronts are known.

ZDT1 to ZDT4 have two objectives, DTLZ2 and C2-DTLZ2 three; C2-DTLZ2 has a constraint on a metric. The measure is the
hypervolume of the front of the feasible trials, below a reference point fixed per problem, as a share of the known
front's. hpo's side is the advisor, which every search asks; Optuna's side is a study in memory with the sampler as it
comes. Both get the same problem, number of trials and seed, in turns, in one process. Pairs of one seed are compared.

    OMP_NUM_THREADS=1 python benchmarks/fronts.py [--trials 100] [--seeds 10] [--problems ZDT1 ...] [--sides tpe ...]

The same command resumes an interrupted benchmark from --file, and prints the table. With --table it runs nothing, and
prints the table of the seeds that are finished.

- Zitzler, Deb, Thiele: Comparison of Multiobjective Evolutionary Algorithms. Evolutionary Computation 8, 2000 (ZDT).
- Deb, Thiele, Laumanns, Zitzler: Scalable Test Problems for Evolutionary Multiobjective Optimization. 2005 (DTLZ).
- Jain, Deb: An Evolutionary Many-Objective Optimization Algorithm, Part II. IEEE Transactions on Evolutionary
  Computation 18, 2014 (C2-DTLZ2).
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from hpo.best import front_of
from hpo.compare.comparison import contrast, correct
from hpo.fronts import costs_of, hypervolume
from hpo.search.advisor import Advisor
from hpo.statistics import Floats
from hpo.study import parse
from hpo.study.constraints import judged
from hpo.trial import Direction, State, Trial

RADIUS = 0.4  # C2-DTLZ2: points this near to a corner or to the middle of the front are feasible
EXCESS = "excess"


@dataclass(frozen=True)
class Problem:
    """A problem with a known front; all objectives are minimized.

    Attributes:
        ranges: Of each variable.
        values: The objectives at a point.
        reference: The worst values that count.
        whole: The hypervolume of the known front.
        excess: The constraint, 0 or less where it holds; takes the objectives.
    """

    ranges: Sequence[tuple[float, float]]
    values: Callable[[Sequence[float]], list[float]]
    reference: Sequence[float]
    whole: Callable[[], float]
    excess: Callable[[Sequence[float]], float] | None = None


# The problems ------------------------------------------------------------------------------------------------------


def zdt(
    front: Callable[[float, float], float], distance: Callable[[Sequence[float]], float], x: Sequence[float]
) -> list[float]:
    g = distance(x[1:])
    return [x[0], g * front(x[0], x[0] / g)]


def convex(first: float, share: float) -> float:
    return 1 - math.sqrt(share)


def concave(first: float, share: float) -> float:
    return 1 - share**2


def broken(first: float, share: float) -> float:
    return 1 - math.sqrt(share) - share * math.sin(10 * math.pi * first)


def smooth(rest: Sequence[float]) -> float:
    return 1 + 9 * sum(rest) / len(rest)


def rugged(rest: Sequence[float]) -> float:
    return 1 + 10 * len(rest) + sum(x**2 - 10 * math.cos(4 * math.pi * x) for x in rest)


def dtlz2(x: Sequence[float]) -> list[float]:
    distance = 1 + sum((value - 0.5) ** 2 for value in x[2:])
    a, b = (value * math.pi / 2 for value in x[:2])
    return [distance * math.cos(a) * math.cos(b), distance * math.cos(a) * math.sin(b), distance * math.sin(a)]


def excess(f: Sequence[float]) -> float:
    total = sum(value**2 for value in f)
    corner = min((value - 1) ** 2 + total - value**2 for value in f)
    middle = sum((value - 1 / math.sqrt(len(f))) ** 2 for value in f)
    return min(corner, middle) - RADIUS**2


def below_curve(front: Callable[[float, float], float], reference: Sequence[float]) -> float:
    """The hypervolume of a front of two objectives, from 4,001 points of it."""
    first = np.linspace(0, 1, 4001)
    return hypervolume(np.array([(x, front(x, x)) for x in first]), reference)


def below_sphere(reference: Sequence[float]) -> float:
    """DTLZ2's: all of the box but an eighth of the unit ball."""
    return math.prod(reference) - math.pi / 6


def below_patches(reference: Sequence[float], steps: int = 200) -> float:
    """C2-DTLZ2's: the share of a fine lattice that some feasible point of the front is no worse than."""
    axis = (np.arange(steps) + 0.5) / steps
    low, middle, high = np.sort(np.stack(np.meshgrid(*(axis * end for end in reference)), axis=-1).reshape(-1, 3)).T
    outside = low**2 + middle**2 + high**2 >= 1
    near = 1 - RADIUS**2 / 2  # the cosine of the angle between a patch's centre and its edge
    # Of the front's points that are no worse, the one nearest to the middle has the most equal objectives.
    a = np.minimum(low, 1 / math.sqrt(3))
    b = np.minimum(middle, np.sqrt((1 - a**2) / 2))
    c = np.sqrt(1 - a**2 - b**2)
    return math.prod(reference) * float(np.mean(outside & ((high >= near) | (a + b + c >= near * math.sqrt(3)))))


def two(
    front: Callable[[float, float], float], distance: Callable[[Sequence[float]], float], worst: float, **more: Any
) -> Problem:
    ranges = [(0.0, 1.0), *[more.get("others", (0.0, 1.0))] * more.get("count", 5)]
    reference = [1.1, worst]
    return Problem(ranges, partial(zdt, front, distance), reference, partial(below_curve, front, reference))


UNIT, BALL = [(0.0, 1.0)] * 6, [1.2] * 3
PROBLEMS = {
    "ZDT1": two(convex, smooth, 3.0),
    "ZDT2": two(concave, smooth, 3.0),
    "ZDT3": two(broken, smooth, 3.0),
    "ZDT4": two(convex, rugged, 30.0, others=(-5.0, 5.0), count=3),
    "DTLZ2": Problem(UNIT, dtlz2, BALL, partial(below_sphere, BALL)),
    "C2-DTLZ2": Problem(UNIT, dtlz2, BALL, partial(below_patches, BALL), excess),
}


# Both sides --------------------------------------------------------------------------------------------------------


def hpo_side(problem: Problem, trials: int, seed: int, sampler: Mapping[str, Any]) -> list[Trial]:
    study = parse(
        {
            "name": "fronts",
            "objective": "json:dumps",  # never called: this process evaluates the points
            "objectives": {f"f{index}": "minimize" for index in range(len(problem.reference))},
            "space": {f"x{index}": {"low": low, "high": high} for index, (low, high) in enumerate(problem.ranges)},
            "sampler": {**sampler, "seed": seed},
            "budget": {"trials": trials},
            **({"constraints": {"metrics": {EXCESS: {"max": 0.0}}}} if problem.excess else {}),
        },
        file="fronts",
    )
    advisor, finished = Advisor(study), []
    for _ in range(trials):
        trial = advisor.ask()
        values = problem.values(list(trial.params.values()))
        if problem.excess:
            for key, note in judged(study.bounds, {EXCESS: problem.excess(values)}.get).items():
                advisor.note(trial.number, key, note)
        finished.append(advisor.tell(replace(trial, state=State.COMPLETE, values=tuple(values))))
    return finished


def optuna_side(problem: Problem, trials: int, seed: int, sampler: Callable[..., Any]) -> list[Trial]:
    study = optuna.create_study(directions=["minimize"] * len(problem.reference), sampler=sampler(seed=seed))
    finished = []
    for number in range(trials):
        trial = study.ask()
        params = {f"x{i}": trial.suggest_float(f"x{i}", low, high) for i, (low, high) in enumerate(problem.ranges)}
        values = problem.values(list(params.values()))
        over = problem.excess(values) if problem.excess else 0.0
        if problem.excess:
            trial.set_constraint(EXCESS, over)
        study.tell(trial, values)
        if over <= 0:  # the others are on no front
            finished.append(Trial(number, params, 0, state=State.COMPLETE, values=tuple(values)))
    return finished


# By name: hpo's [sampler] table, and the sampler of Optuna's that it is compared with.
SMALL = {"population_size": 20}  # instead of 50, so that there are generations to learn from
SIDES: dict[str, tuple[Mapping[str, Any], Callable[..., Any]]] = {
    "random": ({"name": "random"}, optuna.samplers.RandomSampler),
    "tpe": ({"name": "tpe"}, optuna.samplers.TPESampler),
    "tpe, multivariate = true": ({"name": "tpe", "multivariate": True}, optuna.samplers.TPESampler),
    "nsga2": ({"name": "nsga2", **SMALL}, partial(optuna.samplers.NSGAIISampler, **SMALL)),
    "nsga3": ({"name": "nsga3", **SMALL}, partial(optuna.samplers.NSGAIIISampler, **SMALL)),
    "qmc": ({"name": "qmc"}, partial(optuna.samplers.QMCSampler, scramble=True, warn_independent_sampling=False)),
    "gp": ({"name": "gp"}, optuna.samplers.GPSampler),
}
MANY = [name for name in SIDES if name != "gp"]  # which is much slower: ask for it by --sides


def share(problem: str, trials: Sequence[Trial]) -> float:
    """The hypervolume of the trials' front, as a share of the known one's."""
    reference = PROBLEMS[problem].reference
    objectives = {f"f{index}": Direction.MINIMIZE for index in range(len(reference))}
    return hypervolume(costs_of(front_of(trials, objectives), objectives), reference) / whole(problem)


@cache
def whole(problem: str) -> float:
    return PROBLEMS[problem].whole()


def run(problem: str, side: str, trials: int, seed: int) -> dict[str, Any]:
    ours, theirs = SIDES[side]
    found = share(problem, hpo_side(PROBLEMS[problem], trials, seed, ours))
    other = optuna_share(problem, trials, seed, theirs)
    return {"problem": problem, "side": side, "trials": trials, "seed": seed, "hpo": found, "optuna": other}


@cache  # two sides are compared with the same one of Optuna's
def optuna_share(problem: str, trials: int, seed: int, sampler: Callable[..., Any]) -> float:
    return share(problem, optuna_side(PROBLEMS[problem], trials, seed, sampler))


# The table ---------------------------------------------------------------------------------------------------------


def against_optuna(side: str, found: Mapping[str, Mapping[str, Floats]]) -> Iterator[str]:
    """One sampler's rows, with Holm's correction over its problems; ``found`` has both sides' shares by problem."""
    pairs = [contrast("share", ("hpo", v["hpo"]), ("Optuna", v["optuna"]), Direction.MAXIMIZE) for v in found.values()]
    for (problem, values), one in zip(found.items(), correct(pairs, Direction.MAXIMIZE), strict=True):
        interval = "-" if one.interval is None else "[{:+.3f}, {:+.3f}]".format(*one.interval)
        verdict = "no difference shown" if one.better is None else f"{one.better} is better"
        yield (
            f"| {side} | {problem} | {middle(values['hpo'])} | {middle(values['optuna'])} "
            f"| {one.difference:+.3f} {interval} | {one.superiority:.0%} | {one.corrected:.2g} | {verdict} |"
        )


def middle(values: Floats) -> str:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{median:.3f} [{low:.3f}, {high:.3f}]"


def read(file: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [one for one in map(json.loads, lines) if one["trials"] == options.trials]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=MANY)
    parser.add_argument("--file", type=Path, default=Path("fronts.jsonl"), help="where the results are kept")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    known = {(one["problem"], one["side"], one["seed"]): one for one in read(options.file, options)}
    for seed, problem, side in product(range(options.seeds), options.problems, options.sides):
        if (problem, side, seed) not in known and not options.table:
            known[problem, side, seed] = run(problem, side, options.trials, seed)
            with options.file.open("a") as lines:
                print(json.dumps(known[problem, side, seed]), file=lines)
    wanted = [(problem, side) for problem in options.problems for side in options.sides]
    seeds = [seed for seed in range(options.seeds) if all((*pair, seed) in known for pair in wanted)]
    print(f"{options.trials} trials, {len(seeds)} seeds; medians [quartiles] of the share of the known hypervolume\n")
    if not seeds:
        parser.error("no seed is finished for every problem and sampler")
    print("| sampler | problem | hpo | Optuna | mean difference [95% interval] | hpo ahead | p (Holm) | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    for side in options.sides:
        shares = {
            problem: {
                name: np.array([known[problem, side, seed][name] for seed in seeds]) for name in ("hpo", "optuna")
            }
            for problem in options.problems
        }
        print("\n".join(against_optuna(side, shares)))


if __name__ == "__main__":
    main()
