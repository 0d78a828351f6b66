"""What a study file may say but rarely means: remarks for people; none is an error."""

from __future__ import annotations

import re
import sys

from hpo.study.points import grid_size
from hpo.study.study import Study
from hpo.trial import Direction

# Words in a metric's name by which people know what is better.
_LOWER = re.compile("loss(es)?|err(ors?)?|r?mse|mae|mape|nll|logloss|perplexity|ppl|cost|regret|cer|wer|brier")
_HIGHER = re.compile(
    "acc|accuracy|accuracies|auc|auroc|auprc|f1|r2|precision|recall|score|reward|bleu|rouge|iou|dice|ndcg|kappa"
)
_NEGATED = re.compile("neg|negative|minus")


# Constraints that leave less of a space are remarked on.
RARE = 0.01


def usual_direction(metric: str) -> Direction | None:
    """The direction that a metric of this name has as a rule; None where the name does not say, or says both."""
    words = re.findall(r"[a-z]+\d*", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", metric).lower())
    lower, higher, negated = (any(map(known.fullmatch, words)) for known in (_LOWER, _HIGHER, _NEGATED))
    if lower == higher:
        return None
    return Direction.MINIMIZE if lower != negated else Direction.MAXIMIZE


def on(study: Study) -> list[str]:
    """Remarks on a study: what was found, what it means, and what to do."""
    return [*_space(study), *_constraints(study), *_direction(study), *_start_up(study), *_repetition(study)]


def before_run(study: Study, workers: int | None) -> list[str]:
    """Remarks on a study that is to be run: those of :func:`on`, and on what is left untried or idle.

    Args:
        study: The study.
        workers: How many trials run at once; None where that is not known yet.
    """
    return [*on(study), *_untried(study), *_idle(study, workers)]


def _untried(study: Study) -> list[str]:
    wanted, size = study.resolved["budget"].get("trials", sys.maxsize), study.points
    points = study.sampler.algorithm.list_name
    if size is not None and study.budget.most < wanted:
        return [f"the {points} has {size} points; the search ends after them"]
    if size is not None and study.budget.most < size + len(study.enqueue):
        return [f"the {points} has {size} points; the budget ends after {wanted} trials"]
    return []


def _idle(study: Study, workers: int | None) -> list[str]:
    if not study.batch or not workers or workers <= study.batch:
        return []
    return [f"batch = {study.batch} keeps {workers - study.batch} of {workers} workers idle"]


def _space(study: Study) -> list[str]:
    return [
        f"space.{parameter.name}: {low} and {high} are whole numbers, so only these two are tried; for real numbers "
        f"write low = {low}.0, high = {high}.0"
        for parameter in study.space.parameters
        for low, high in [parameter.ends]
        if parameter.whole and parameter.count == 2 and high - low == 1
    ]


def _constraints(study: Study) -> list[str]:
    if not study.space.constraints or study.points is not None or (share := study.space.share()) >= RARE:
        return []
    found = f"about {share:.2%}" if share else "less than 0.01%"
    return [
        f"constraints.parameters: {found} of the space satisfies them: points are drawn until one does, which takes "
        "time; ranges or conditions that fit them better would help"
    ]


def _direction(study: Study) -> list[str]:
    return [
        f"{'objectives' if several else 'direction'}: {direction} {name}, but of a metric with such a name "
        f"{'lower' if usual is Direction.MINIMIZE else 'higher'} values are usually better; if that holds here, write "
        f'{name if several else "direction"} = "{usual}"'
        for several in [len(study.objectives) > 1]
        for name, direction in study.objectives.items()
        if (usual := usual_direction(name)) not in (None, direction)
    ]


def _start_up(study: Study) -> list[str]:
    options = study.sampler.options
    key = next((key for key in study.sampler.algorithm.startup if key in options), "")
    first, trials = options.get(key), study.resolved["budget"].get("trials")
    if not isinstance(first, int) or trials is None or trials > first or study.inherits.study is not None:
        return []
    return [
        f"sampler: {study.sampler.name} draws its first {first} trials at random, and the budget is {trials}: it never "
        f"uses what it learns; raise budget.trials, or lower sampler.{key}"
    ]


def _repetition(study: Study) -> list[str]:
    trials = study.resolved["budget"].get("trials")
    if study.points is not None or trials is None:
        return []
    try:
        size = grid_size(study.space, {})
    except ValueError:  # a continuous parameter, or more points than any budget
        return []
    if size >= trials:
        return []
    return [
        f"space: it has {size} different points, and the budget is {trials} trials: points are tried again, with other "
        'seeds; to try each once, write sampler.name = "grid"'
    ]
