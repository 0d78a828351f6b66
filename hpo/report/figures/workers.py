"""Who ran what when: the workers of a study, their idle time and how well they were used."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hpo.report.figures.style import CROWD, GRID, MUTED, PAPER, STATE_COLOURS, blank, new_figure, plain, styled
from hpo.report.scale import duration, label
from hpo.report.usage import Usage, Worker, usage
from hpo.study import Study
from hpo.trial import STATES, Trial

# More workers than this are rows without names.
NAMED = 40
HEIGHT = 0.64


@styled
def timeline(study: Study, trials: Sequence[Trial]) -> Figure:
    """One row per worker, one bar per trial, coloured by how it ended; pauses between runs are cut out."""
    found = usage(trials)
    if found is None:
        return blank("No trial has run yet.")
    figure = new_figure(9, 1.3 + min(8.0, 0.42 * max(len(found.workers), 2)))
    axes = figure.subplots()
    unit, name = _unit(found.seconds)
    offsets = _offsets(found)
    crowd = len(trials) > CROWD
    for row, worker in enumerate(found.workers.values()):
        present = [((start - _offset(offsets, start)) / unit, (end - start) / unit) for start, end in worker.present]
        axes.broken_barh(present, (row - HEIGHT / 2, HEIGHT), facecolor=GRID, linewidth=0)
        for state in STATES:
            _bars(axes, row, worker, state, offsets, unit, rasterized=crowd)
    _pauses(axes, found, offsets, unit)
    _labels(axes, found)
    axes.set(xlabel=f"{name} of running", ylim=(len(found.workers) - 0.4, -0.6))
    axes.set_xlim(-0.01 * found.seconds / unit)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    used = f"{len(found.workers)} worker{'s' if len(found.workers) > 1 else ''} busy {found.share:.1%} of the time"
    figure.suptitle(f"{used}, {duration(found.idle)} idle in {duration(found.seconds)}", x=0.01, ha="left", fontsize=10)
    seen = [state for state in STATES if any(trial.state == state for trial in trials)]
    handles = [Patch(color=STATE_COLOURS[state], label=state) for state in seen] + [Patch(color=GRID, label="idle")]
    figure.legend(handles=handles, loc="outside lower right", ncols=5)
    return figure


def _bars(
    axes: Axes,
    row: int,
    worker: Worker,
    state: str,
    offsets: Sequence[tuple[float, float]],
    unit: float,
    *,
    rasterized: bool,
) -> None:
    spans = [s for s in worker.spans if s.state == state]
    axes.broken_barh(
        [((s.start - _offset(offsets, s.start)) / unit, (s.end - s.start) / unit) for s in spans],
        (row - HEIGHT / 2, HEIGHT),
        facecolor=STATE_COLOURS[state],
        edgecolor=PAPER,
        linewidth=0.5 if len(worker.spans) <= 60 else 0.0,
        rasterized=rasterized,
    )


def _offsets(found: Usage) -> list[tuple[float, float]]:
    """When each run began, and what to take off its times so that runs follow each other."""
    room = 0.03 * found.seconds
    offsets, taken = [], found.runs[0][0]
    for index, (start, _) in enumerate(found.runs):
        if index:
            taken += start - found.runs[index - 1][1] - room
        offsets.append((start, taken))
    return offsets


def _offset(offsets: Sequence[tuple[float, float]], time: float) -> float:
    return next(taken for start, taken in reversed(offsets) if start <= time)


def _pauses(axes: Axes, found: Usage, offsets: Sequence[tuple[float, float]], unit: float) -> None:
    for (_, end), (start, _) in pairwise(found.runs):
        at = (start - _offset(offsets, start) + end - _offset(offsets, end)) / 2 / unit
        axes.axvline(at, color=MUTED, linewidth=1, linestyle=":")
        axes.annotate(
            f"{duration(start - end)} pause",
            (at, 1),
            (2, 1),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=7,
            color=MUTED,
        )


def _labels(axes: Axes, found: Usage) -> None:
    rows = range(len(found.workers))
    if len(found.workers) > NAMED:
        axes.set_yticks([])
        return
    axes.set_yticks(rows, [plain(label(name, 28)) for name in found.workers])
    for row, worker in zip(rows, found.workers.values(), strict=True):
        share = worker.busy / worker.available if worker.available else 0.0
        axes.text(1.005, row, f"{share:.0%}", transform=axes.get_yaxis_transform(), va="center", fontsize=8)


def _unit(seconds: float) -> tuple[float, str]:
    return next((unit for unit in ((3600.0, "hours"), (60.0, "minutes")) if seconds > 3 * unit[0]), (1.0, "seconds"))
