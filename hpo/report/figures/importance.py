"""How much each parameter decides, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpo.report.figures.style import BLUE, GRID, INK, MUTED, PALE, VERMILION, blank, new_figure, plain, styled
from hpo.report.insight import FEWEST, Insight, ParameterInsight, study_insight
from hpo.report.scale import label
from hpo.study import Study
from hpo.trial import Trial

MOST = 25


@styled
def importances(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """Importance with its interval and what luck alone reaches; rank correlation with its interval beside it."""
    about = (insight or study_insight(study, trials)).parameters
    if all(p.effect is None for p in about):
        return blank(f"Importances need at least {FEWEST} trials with a value.")
    about = tuple(sorted(about, key=_strength))[-MOST:]
    figure = new_figure(9, 1.3 + 0.42 * len(about))
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_yticks(range(len(about)), [plain(label(p.name, 28)) for p in about])
    left.set_ylim(-0.6, len(about) - 0.4)
    for row, parameter in enumerate(about):
        _bar(left, row, parameter)
        _correlation(right, row, parameter)
    left.set(xlim=(0, 1.02), xlabel="importance (PED-ANOVA, share)")
    right.axvline(0, color=MUTED, linewidth=1)
    right.set(xlim=(-1.02, 1.02), xlabel=plain(f"rank correlation with {study.metric}"))
    right.tick_params(left=False)
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
    handles = [
        Line2D([], [], color=BLUE, linewidth=6, label="effect shown"),
        Line2D([], [], color=PALE, linewidth=6, label="no effect shown"),
        Line2D([], [], color=INK, linewidth=1.2, label="interval (left 90%, right 95%)"),
        Line2D([], [], color=VERMILION, linewidth=0, marker="|", markersize=9, label="luck alone (95% below)"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return figure


def _strength(parameter: ParameterInsight) -> tuple[float, float]:
    share = parameter.importance.share if parameter.importance else 0.0
    return share, -1.0 if parameter.p_value is None else -parameter.p_value


def _bar(axes: Axes, row: int, parameter: ParameterInsight) -> None:
    importance = parameter.importance
    if importance is None:
        axes.text(0.01, row, "-", va="center", color=MUTED)
        return
    axes.barh(row, importance.share, height=0.5, color=BLUE if parameter.effect else PALE)
    if importance.interval is not None:
        axes.hlines(row, *importance.interval, color=INK, linewidth=1.2)
    if importance.luck is not None:
        axes.plot([importance.luck], [row], "|", color=VERMILION, markersize=13, markeredgewidth=1.6)


def _correlation(axes: Axes, row: int, parameter: ParameterInsight) -> None:
    if parameter.correlation is None or parameter.interval is None:
        text = "too few trials" if parameter.effect is None else f"no order; p = {parameter.p_value:.2g}"
        axes.text(0.02, row, text, va="center", color=MUTED, fontsize=8)
        return
    colour = BLUE if parameter.effect else MUTED
    axes.hlines(row, -1, 1, color=GRID, linewidth=0.8, zorder=0)
    axes.hlines(row, *parameter.interval, color=colour, linewidth=2)
    axes.plot([parameter.correlation], [row], "o", color=colour, markersize=6)
