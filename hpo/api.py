"""Studies from Python and from notebooks: ``hpo.run``, ``hpo.watch`` and ``hpo.read``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from hpo.cli.text import number, seconds, value
from hpo.ledger.address import DEFAULT_STORAGE, parse
from hpo.ledger.storage import probe
from hpo.study import Study, load
from hpo.study import parse as parse_study
from hpo.tracking import DEFAULT_TRACKING
from hpo.trial import Trial, best_first, counts

# How many of the best trials a result shows of itself.
TOP = 5


@dataclass(frozen=True, repr=False)
class Result:
    """A study and what has become of it.

    Attributes:
        study: What was searched.
        trials: In order of their numbers.
        state: ``"complete"`` (the budget is spent), ``"stopped"`` (it can go on) or ``"running"``.
    """

    study: Study
    trials: list[Trial]
    state: str

    @property
    def best(self) -> Trial | None:
        """The best complete trial: its ``number``, ``value`` and ``params``; None without any."""
        return next(iter(best_first(self.trials, self.study.direction)), None)

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per trial, as ``pandas.DataFrame`` takes them: number, state, value, seconds, parameters."""
        return [
            {"number": t.number, "state": t.state, "value": t.value, "seconds": t.seconds, **t.params}
            for t in self.trials
        ]

    def lines(self) -> list[str]:
        """What the trials say of each parameter, a sentence each."""
        from hpo.report.insight import study_insight

        return study_insight(self.study, self.trials, resamples=0).lines()

    def figure(self, name: str) -> Any:
        """One of the report's figures, such as ``"best_trials"``, ``"pairs"`` or ``"timeline"``.

        Returns:
            A ``matplotlib.figure.Figure`` that a notebook shows by itself.

        Raises:
            KeyError: When there is no such figure.
        """
        from hpo.report.figures import FIGURES

        return FIGURES[name](self.study, self.trials)

    def report(self, folder: str | Path) -> Path:
        """Writes the report's page and figures into a folder; returns the page."""
        from hpo.report.files import write

        return write(self.study, self.trials, Path(folder))[0]

    def __repr__(self) -> str:
        best = f", best {number(self.best.value)} (trial {self.best.number})" if self.best else ""
        return f"<{self.study.name}: {self.state}, {self._counted()}{best}>"

    def _repr_html_(self) -> str:
        names = [parameter.name for parameter in self.study.space.parameters]
        heads = "".join(f"<th>{escape(head)}</th>" for head in ["trial", self.study.metric, *names, "time"])
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{escape(cell)}</td>"
                for cell in [
                    str(trial.number),
                    number(trial.value),
                    *(value(trial.params.get(name, "")) for name in names),
                    seconds(trial.seconds),
                ]
            )
            + "</tr>"
            for trial in best_first(self.trials, self.study.direction)[:TOP]
        )
        return (
            f"<div><b>{escape(self.study.name)}</b>: {self.state}, {self._counted()}</div>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _counted(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in counts(self.trials).items() if count) or "no trials"


def run(
    study: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    address: str | None = None,
    storage: str | None = None,
    tracking: str | None = None,
    quiet: bool = False,
) -> Result:
    """Runs a study, or goes on with it, as ``hpo run`` does; a notebook shows a bar under the cell.

    An interrupt (Ctrl-C, or the notebook's stop button) starts no new trials and lets the running ones finish; a second
    one stops at once. Either way the same call goes on with the study.

    Args:
        study: A study file, or a study as nested tables.
        overrides: ``"key=value"`` texts that replace single keys of a file.
        workers: How many trials run at once; None fills the machine or the cluster; 0 runs them in this process,
            without Ray, and is the only way for an objective that is defined in a notebook (``"__main__:objective"``).
        address: A Ray cluster; None for ``RAY_ADDRESS``, and without that for this machine.
        storage: The ledger; None for ``HPO_STORAGE``, and without that for ``hpo.journal``.
        tracking: The MLflow tracking store, or ``"none"``; None for ``MLFLOW_TRACKING_URI``, and without that for
            ``mlflow.db``.
        quiet: No progress.

    Raises:
        hpo.errors.InputError: What was given is wrong; nothing was started.
        hpo.errors.HpoError: The study could not go on.
    """
    _import_optuna()
    from hpo.cli.drive import Engine, check_before_work, drive

    parsed = parse_study(study, file="study") if isinstance(study, Mapping) else load(study, overrides)
    where = parse(_chosen(storage, "HPO_STORAGE", DEFAULT_STORAGE))
    uri = _chosen(tracking, "MLFLOW_TRACKING_URI", DEFAULT_TRACKING)
    check_before_work(parsed, where)
    cluster = address if address is not None else os.environ.get("RAY_ADDRESS")
    with closing(Engine(parsed.workers, workers, cluster, verbose=False)) as engine:
        drive(parsed, where, engine, tracking=uri, quiet=quiet, publish=True)
    return read(parsed.name, storage=storage)


def watch(name: str, *, every: float = 2.0, storage: str | None = None) -> Result:
    """Shows the progress of a study that another process runs, until it runs no more; returns what it is then.

    Args:
        name: The study.
        every: Seconds between two looks at the ledger.
        storage: The ledger, as in :func:`run`.

    Raises:
        hpo.errors.InputError: There is no such study, or no such ledger.
    """
    _import_optuna()
    from hpo.cli.progress import follow

    where = parse(_chosen(storage, "HPO_STORAGE", DEFAULT_STORAGE))
    probe(where, create=False)
    book = follow(where, name, every)
    return Result(book.study, book.trials, book.state)


def read(name: str, *, storage: str | None = None) -> Result:
    """A study as the ledger has it now; arguments and errors are those of :func:`watch`."""
    where = parse(_chosen(storage, "HPO_STORAGE", DEFAULT_STORAGE))
    probe(where, create=False)
    _import_optuna()
    from hpo.ledger import books

    book = books.read(where, name)
    return Result(book.study, book.trials, book.state)


def _import_optuna() -> None:
    """Without a notebook's warning that Optuna's own progress bar, which is not used here, would need ipywidgets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import optuna  # noqa: F401


def _chosen(given: str | None, variable: str, default: str) -> str:
    return given if given is not None else os.environ.get(variable) or default
