"""A study: what to search, how, and for how long. It never changes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpo.study.algorithms import Named
from hpo.study.budget import Budget
from hpo.study.command import Command
from hpo.study.constraints import Bounds
from hpo.study.figures import FigureSpec
from hpo.study.from_table import Inherits
from hpo.study.points import untried
from hpo.study.space import Space
from hpo.study.trials import TrialSettings
from hpo.study.workers import Resources
from hpo.trial import FIXED, Direction, Trial

# The keys that must not change while a study's trials are to be compared with each other.
IDENTITY = ("objective", "arguments", "reports", "metric", "direction", "objectives", "fixed", "space", "constraints")


@dataclass(frozen=True)
class Study:
    """A validated study.

    Attributes:
        file: Where it was read from, for messages.
        source: The file's text, unchanged.
        name: Its name in the ledger and in MLflow.
        objective: ``"package.module:name"``, or a command.
        objectives: The reported metrics that a trial is judged by, often only one, with what is better of each: lower
            or higher values. The last value of each counts.
        fixed: Passed to the objective unchanged, together with the searched parameters.
        space: The searched parameters.
        bounds: What the last values of metrics must be for a trial to count as feasible.
        seed: What every draw of the search and every trial's own seed derive from.
        batch: How many trials are asked for at once, after all earlier ones have finished; None to ask whenever a
            worker is free.
        enqueue: Points that are tried first; what they leave open is left to the sampler.
        evaluate: What scores the chosen trial's setting on the sealed test set, in the shape of an objective; None
            where the study has no such thing.
        figures: What its report draws in addition to the figures of every report.
        model: ``"package.module:name"`` of what trains the chosen trial's setting again and saves the model; None
            where the study has no such thing.
        examples: How many examples the metric, a share of them, is measured on; None where the file does not say.
        inherits: What it takes over from another study at its beginning.
        folder: The folder of its file, where its code may lie; the working folder for a study without a file.
        resolved: The whole study as plain values, defaults and overrides included.
        unchanged: The same without the overrides; None where there are none.
    """

    file: str
    source: str
    name: str
    objective: str | Command
    objectives: Mapping[str, Direction]
    fixed: Mapping[str, Any]
    space: Space
    bounds: Mapping[str, Bounds]
    sampler: Named
    seed: int
    batch: int | None
    pruner: Named
    enqueue: tuple[Mapping[str, Any], ...]
    budget: Budget
    trial: TrialSettings
    workers: Resources
    evaluate: str | Command | None
    figures: tuple[FigureSpec, ...]
    model: str | None
    examples: int | None
    inherits: Inherits
    folder: str
    resolved: Mapping[str, Any]
    unchanged: Mapping[str, Any] | None = None

    @property
    def metric(self) -> str:
        """The first objective."""
        return next(iter(self.objectives))

    @property
    def direction(self) -> Direction:
        """Whether lower or higher values of the first objective are better."""
        return self.objectives[self.metric]

    @property
    def goals(self) -> str:
        """What is optimized, in words: ``"maximize val_accuracy, minimize latency_ms"``."""
        return ", ".join(f"{direction} {name}" for name, direction in self.objectives.items())

    @property
    def points(self) -> int | None:
        """How many points its sampler has, a grid for example; None for a sampler without end."""
        return self.sampler.points(self.space)

    def budget_beside(self, trials: Sequence[Trial]) -> Budget:
        """The budget of a study that has trials already.

        A grid or list ends the search when every point has been tried. Trials that took none of its points, since it
        was changed between two runs, do not count for that.
        """
        size, listed = self.points, self.sampler.algorithm.list_points
        if size is None or listed is None or not trials or self.budget.most < size + len(self.enqueue):
            return self.budget
        options = self.sampler.options
        points = listed(options["points"], self.space)
        queue = [self.space.encode(point) for point in self.enqueue]
        counted = [trial for trial in trials if trial.counted]
        for trial in counted:
            if trial.notes.get(FIXED) in queue:
                queue.remove(trial.notes[FIXED])
        most = len(counted) + len(queue) + untried(points, options["repeats"], self.space, trials)
        return replace(self.budget, trials=min(most, self.resolved["budget"].get("trials", sys.maxsize)))

    def identity(self) -> dict[str, Any]:
        """What must not change while the study's trials are to be compared with each other."""
        return identity(self.resolved)


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a resolved study that make its identity; None for those that it does not have."""
    found = {key: resolved.get(key) for key in IDENTITY}
    if found["objectives"] is not None:  # a list: trials have their values in this order
        found["objectives"] = [f"{name}: {direction}" for name, direction in found["objectives"].items()]
    return found
