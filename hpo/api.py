"""Studies from Python and from notebooks: ``hpo.run``, ``hpo.watch``, ``hpo.read`` and ``hpo.connect``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo import requests, service
from hpo.best import front_of, ranked
from hpo.errors import FigureNotFound, InputError
from hpo.executors import Executors
from hpo.imports import reference_to
from hpo.ledger.address import DEFAULT_STORAGE, Address, parse
from hpo.machine import absolute, absolute_uri, expand
from hpo.requests import Connection
from hpo.study import Study, load
from hpo.study import parse as parse_study
from hpo.study.fields import Place, argument, as_written
from hpo.study.overrides import override
from hpo.text import duration, number, value
from hpo.tracking import DEFAULT_TRACKING
from hpo.tracking import check as check_tracking
from hpo.trial import Trial, counts

if TYPE_CHECKING:
    import pandas as pd

# How many of the best trials a result shows in a notebook; seconds that may lie between two readings of a ledger.
TOP, MOST = 5, 86_400
# What every row of a result has of its trial, whatever its parameters and objectives are called.
OWN = ("number", "state", "seconds")


@dataclass(frozen=True, repr=False)
class Result:
    """A study and its trials.

    Attributes:
        study: What was searched.
        trials: In order of their numbers.
        state: ``"complete"`` (the budget is spent), ``"stopped"`` (it can be resumed), ``"failed"`` (no trial is
            complete) or ``"running"``.
    """

    study: Study
    trials: list[Trial]
    state: str

    @property
    def best(self) -> Trial | None:
        """The best complete trial: its ``number``, ``value`` and ``params``; None without any.

        With several objectives, the trial of the front that is best by the first.
        """
        return next(iter(self.front), None)

    @property
    def front(self) -> list[Trial]:
        """The Pareto front: the complete trials that no other one beats, best by the first objective first."""
        return front_of(self.trials, self.study.objectives)

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per trial, as ``pandas.DataFrame`` takes them: number, state, value, seconds, parameters.

        With several objectives, each value stands under its objective's name. What has the name of a column before it
        stands under ``values.NAME`` or ``params.NAME``.
        """
        several, rows = len(self.study.objectives) > 1, []
        for t in self.trials:
            row: dict[str, Any] = {"number": t.number, "state": t.state}
            values = t.named(self.study.objectives) if several else {"value": t.value}
            row |= {f"values.{name}" if name in OWN else name: v for name, v in values.items()}
            row["seconds"] = t.seconds
            rows.append(row | {f"params.{name}" if name in row else name: v for name, v in t.params.items()})
        return rows

    def dataframe(self) -> pd.DataFrame:
        """One row per trial, with the trial's number as index: all that the ledger has but the course of the metrics.

        The columns are those of :meth:`rows`, then ``seed``, ``attempt``, ``worker``, ``started`` and ``ended`` (UTC),
        ``error``, ``reports`` (how many) and each reported metric's last value. An objective, parameter or metric that
        has the name of another column stands under ``values.NAME``, ``params.NAME`` or ``metrics.NAME``.
        """
        import pandas as pd

        from hpo.moving.export import trial_rows

        rows, valued = self.rows(), self.study.objectives if len(self.study.objectives) > 1 else {}
        for row, full in zip(rows, trial_rows(self.trials), strict=True):
            own = {key: value for key, value in full.items() if not key.startswith(("value", "params.", "metrics."))}
            for name in own.keys() & row.keys() - {*OWN}:
                row[f"{'values' if name in valued else 'params'}.{name}"] = row.pop(name)
            row |= own
            last = {key.removeprefix("metrics."): v for key, v in full.items() if key.startswith("metrics.")}
            row |= {f"metrics.{name}" if name in row else name: value for name, value in last.items()}
        frame = pd.DataFrame(rows).set_index("number") if rows else pd.DataFrame()
        for name in frame.columns.intersection(["started", "ended"]):
            frame[name] = pd.to_datetime(frame[name].astype(float), unit="s", utc=True)
        return frame

    def lines(self) -> list[str]:
        """What the trials show about each parameter, one sentence each."""
        from hpo.insight.parameters import study_insight

        return study_insight(self.study, self.trials, resamples=0).lines()

    def figure(self, name: str) -> Any:
        """One of the report's figures, such as ``"best_trials"``, ``"pairs"`` or ``"timeline"``.

        Returns:
            A ``matplotlib.figure.Figure`` that a notebook shows by itself.

        Raises:
            hpo.errors.FigureNotFound: When there is no such figure; it is a ``KeyError`` too.
        """
        from hpo.report.figures import FIGURES, FRONTS

        known = FRONTS | FIGURES
        if name not in list(known):  # a list compares what no table can look up
            raise FigureNotFound.about("name", f"must be one of {', '.join(known)}", name, got=True)
        return known[name](self.study, self.trials)

    def report(self, folder: str | Path) -> Path:
        """Writes the report's page and figures into a folder; returns the page."""
        from hpo.publish import examples
        from hpo.report.files import write

        return write(self.study, self.trials, absolute(folder), examples=examples(self.study, self.trials))[0]

    def __repr__(self) -> str:
        best = f", best {number(self.best.value)} (trial {self.best.number})" if self.best else ""
        if best and len(self.study.objectives) > 1:
            best = f", {len(self.front)} on the front"
        return f"<{self.study.name}: {self.state}, {self._counted()}{best}>"

    def _repr_html_(self) -> str:
        names = [parameter.name for parameter in self.study.space.parameters]
        heads = "".join(f"<th>{escape(head)}</th>" for head in ["trial", *self.study.objectives, *names, "time"])
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{escape(cell)}</td>"
                for cell in [
                    str(trial.number),
                    *map(number, trial.values),
                    *(value(trial.params.get(name, "")) for name in names),
                    duration(trial.seconds),
                ]
            )
            + "</tr>"
            for trial in ranked(self.trials, self.study.objectives)[:TOP]
        )
        return (
            f"<div><b>{escape(self.study.name)}</b>: {self.state}, {self._counted()}</div>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _counted(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in counts(self.trials).items() if count) or "no trials"


def run(
    study: str | Path | Mapping[str, Any] | Callable[..., Any],
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    address: str | None = None,
    storage: str | None = None,
    tracking: str | None = None,
    quiet: bool = False,
    **keys: Any,
) -> Result:
    """Runs a study, or resumes it, as ``hpo run`` does; a notebook shows a bar under the cell.

    ::

        hpo.run(train, space={"lr": {"low": 1e-4, "high": 0.1, "log": True}}, metric="val_loss", direction="minimize",
                budget={"trials": 30})

    After an interrupt (Ctrl-C, or the notebook's stop button) no new trials start and the running ones may finish; a
    second one stops at once. The same call resumes the study.

    Args:
        study: A study file, a study as nested tables, or the objective itself: a function of a module, of this script
            or of a notebook, with the rest of the study as keyword arguments.
        overrides: ``"key=value"`` texts that replace single keys.
        workers: How many trials run at once; None fills the machine or the cluster; 0 runs them in this process,
            without Ray.
        address: A Ray cluster; None for ``RAY_ADDRESS``, or this machine if that is not set.
        storage: The ledger; None for ``HPO_STORAGE``, or ``hpo.journal`` if that is not set.
        tracking: The MLflow tracking store, or ``"none"``; None for ``MLFLOW_TRACKING_URI``, or
            ``mlflow.db`` if that is not set.
        quiet: No progress.
        **keys: The keys of a study file beside a function: ``space``, ``metric`` and ``direction`` (or
            ``objectives``), ``budget``, ``fixed``, ``sampler``, ...; the ``name`` is the function's unless it is given.

    Raises:
        hpo.errors.InputError: The input is wrong; nothing was started.
        hpo.errors.HpoError: The study failed.
    """
    argument("workers", workers, Integral | None, "must be a whole number, 0 or more, or None", low=0)
    argument("address", address, str | None, "must be text, or None")
    argument("quiet", quiet, bool, "must be True or False")
    _import_optuna()
    parsed = _study(study, overrides, keys)
    where = parse(_chosen("storage", storage, "HPO_STORAGE", DEFAULT_STORAGE))
    uri = _chosen("tracking", tracking, "MLFLOW_TRACKING_URI", DEFAULT_TRACKING)
    check_tracking(absolute_uri(uri), "tracking")
    cluster = address if address is not None else os.environ.get("RAY_ADDRESS")
    code = None if workers == 0 else _code(parsed)
    with closing(Executors(parsed.workers, workers, cluster, here=True, code=code)) as executors:
        service.check(parsed, where, executors)
        service.run(parsed, where, executors, tracking=uri, quiet=quiet, publish=True)
    return read(parsed.name, storage=storage)


def _study(
    given: str | Path | Mapping[str, Any] | Callable[..., Any], overrides: Sequence[str], keys: Mapping[str, Any]
) -> Study:
    if callable(given):
        name = getattr(given, "__name__", "").lower()
        given, keys = {"name": name, **keys, "objective": reference_to(given)}, {}
    if keys:
        rule = "keys of a study go beside a function, not beside a file or a mapping"
        raise InputError(f"{', '.join(keys)}: {rule}", key=next(iter(keys)), rule=rule)
    argument("study", given, (str, Path, Mapping), "must be a study file's path, a mapping or a function")
    listed = () if isinstance(overrides, str | Mapping) else Iterable
    argument("overrides", overrides, listed, 'must be a list of "key=value" texts')
    for text in (overrides := list(overrides)):
        argument("overrides", text, str, 'must hold "key=value" texts')
    if not isinstance(given, Mapping):
        return load(Path(expand(str(given))), overrides)
    raw = as_written(Place("study"), given)
    for text in overrides:
        override(raw, text, Place("overrides"))
    return parse_study(raw, file="study")


def _code(study: Study) -> bytes | None:
    """What Ray's workers need of an objective that is defined in this program and that they cannot import.

    This program pickles it for its own workers. It is written nowhere: what a ledger holds is never unpickled.
    """
    reference = study.objective
    if not isinstance(reference, str) or not reference.startswith("__main__:"):
        return None
    import cloudpickle

    from hpo.objective import resolve

    try:
        return bytes(cloudpickle.dumps(resolve(reference)))
    except Exception as error:  # of whatever the function refers to
        why = f"{reference} cannot be sent to workers ({type(error).__name__}: {error})"
        rule = f"{why}; put it into a module, or run it in this process with workers=0"
        raise InputError.about("objective", rule, reference) from error


def watch(name: str, *, every: float = 2.0, storage: str | None = None) -> Result:
    """Shows the progress of a study that another process runs, until its search ends; returns the study as it is then.

    Args:
        name: The study.
        every: Seconds between two readings of the ledger, 0.1 or more.
        storage: The ledger, as in :func:`run`.

    Raises:
        hpo.errors.InputError: There is no such study, or no such ledger.
    """
    argument("every", every, Real, f"must be a number of seconds, 0.1 to {MOST:,}", low=0.1, high=MOST)
    _import_optuna()
    from hpo.progress import follow

    snapshot = follow(_ledger(name, storage), name, every)
    return Result(snapshot.study, snapshot.trials, str(snapshot.state))


def read(name: str, *, storage: str | None = None) -> Result:
    """A study as the ledger has it now; arguments and errors are those of :func:`watch`."""
    where = _ledger(name, storage)
    _import_optuna()
    from hpo.ledger import snapshots

    snapshot = snapshots.read(where, name)
    return Result(snapshot.study, snapshot.trials, str(snapshot.state))


def connect(study: str | Path | Mapping[str, Any], *, storage: str | None = None) -> Connection:
    """A study for a program that runs its trials itself, beside a driver or without one::

        study = hpo.connect("digits")
        while asked := study.ask():
            study.tell(asked, train(**asked.params))

    Args:
        study: The name of a study in the ledger. Or a study file (a path that ends in ``.toml``), or a study as nested
            tables: it is recorded in the ledger where it is not known yet.
        storage: The ledger, as in :func:`run`.

    Raises:
        hpo.errors.InputError: There is no such study, or no such ledger.
    """
    known = isinstance(study, str) and not study.endswith(".toml")
    where = service.open_ledger(_chosen("storage", storage, "HPO_STORAGE", DEFAULT_STORAGE), create=not known)
    _import_optuna()
    if known:
        from hpo.ledger import snapshots

        snapshots.head(where, str(study))
        return Connection(str(study), where)
    parsed = _study(study, (), {})
    requests.begin(where, parsed)
    return Connection(parsed.name, where)


def _ledger(name: str, storage: str | None) -> Address:
    argument("name", name, str, "must be a study's name")
    return service.open_ledger(_chosen("storage", storage, "HPO_STORAGE", DEFAULT_STORAGE))


def _import_optuna() -> None:
    """Imports Optuna without a notebook's warning that its own progress bar, not used here, would need ipywidgets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import optuna  # noqa: F401


def _chosen(key: str, given: str | None, variable: str, default: str) -> str:
    argument(key, given, str | Path | None, "must be text, or None")
    return expand(given if given is not None else os.environ.get(variable) or default)
