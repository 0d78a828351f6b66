"""Every figure of a study: ``FIGURES`` maps a file name to a function of ``(study, trials)``.

Each works with any number of trials in any state and returns a ``matplotlib.figure.Figure`` of its own; pyplot and its
global state are never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from matplotlib.figure import Figure

from hpo.report.figures.curves import best_so_far, best_trials, learning_curves
from hpo.report.figures.importance import importances
from hpo.report.figures.parallel import parallel
from hpo.report.figures.parameters import pairs, slices
from hpo.report.figures.workers import timeline
from hpo.report.insight import Insight
from hpo.study import Study
from hpo.trial import Trial

FIGURES: dict[str, Callable[..., Figure]] = {
    "best_trials": best_trials,
    "best_so_far": best_so_far,
    "slices": slices,
    "pairs": pairs,
    "importances": importances,
    "parallel": parallel,
    "learning_curves": learning_curves,
    "timeline": timeline,
}

# These read the verdicts, which take longer than the drawing.
_INFORMED = (slices, pairs, importances)


def draw_all(study: Study, trials: Sequence[Trial], insight: Insight) -> Iterator[tuple[str, Figure]]:
    """Every figure with its name; ``insight`` is the study's, read once for all."""
    for name, draw in FIGURES.items():
        yield name, draw(study, trials, insight) if draw in _INFORMED else draw(study, trials)
