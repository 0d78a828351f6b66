"""``hpo list``, ``show``, ``best`` and ``delete``: what the ledger knows."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import AsJson, Name, Storage, Tracking
from hpo.cli.text import number, print_best, print_json, print_table, toml_lines, value
from hpo.errors import HpoError
from hpo.ledger.address import DEFAULT_STORAGE, Address, parse, redact
from hpo.ledger.storage import probe
from hpo.tracking import DEFAULT_TRACKING
from hpo.trial import FAILED, best_first, counts

if TYPE_CHECKING:
    from hpo.ledger.books import Book


def list_studies(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """List the studies in the ledger, their state and best value."""
    where = _open(storage)
    from hpo.ledger import books

    heads = [books.read(where, name).head() for name in books.names(where)]
    if as_json:
        print_json(heads)
        return
    if not heads:
        sys.stdout.write(f"no studies in {where}; `hpo run STUDY.toml` makes one\n")
        return
    rows = [
        [
            head["name"],
            head["state"],
            f"{sum(head['trials'].values()) - head['trials']['running']}/{head['budget'].get('trials', '-')}",
            f"{head['metric']} {number(head['best'][0]['value'])}" if head["best"] else "-",
        ]
        for head in heads
    ]
    print_table(["study", "state", "trials", "best"], rows)


def show(
    name: Name,
    top: Annotated[int, typer.Option(min=1, help="How many of the best trials.")] = 5,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow it until nobody runs it any more, or Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How often --watch looks.")] = 2.0,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show a study: progress, trials per state, the best trials, what each parameter does."""
    where = _open(storage)
    from hpo.cli.progress import follow
    from hpo.ledger import books

    book = follow(where, name, every) if watch else books.read(where, name)
    from hpo.report.insight import study_insight
    from hpo.report.narrowed import findings

    insight = study_insight(book.study, book.trials, resamples=0)
    if as_json:
        more = {"parameters": [parameter.to_dict() for parameter in insight.parameters]}
        if found := findings(book.study, book.trials):
            more["rounds"] = [dataclasses.asdict(finding) for finding in found]
        print_json(book.head(top) | more)
        return
    total = counts(book.trials)
    state = f"{book.state} by {book.holder}" if book.holder else book.state
    sys.stdout.write(
        f"{name}: {state}, {len(book.trials) - total['running']} of {_limits(book.study.resolved['budget'])} "
        f"({', '.join(f'{count} {key}' for key, count in total.items())})\n"
        f"{book.study.direction} {book.study.metric} of {book.study.resolved['objective']}, "
        f"sampler {book.study.sampler.name}, pruner {book.study.pruner.name}, seed {book.study.seed}\n\n"
    )
    print_best(best_first(book.trials, book.study.direction)[:top], book.study.metric)
    if book.trials:
        tie = insight.tie(book.study.metric)
        sys.stdout.writelines(f"{line}\n" for line in [*insight.lines(), *([tie] if tie else [])])
    _print_points(book)
    _print_rounds(book)
    failed = [trial for trial in book.trials if trial.state == FAILED]
    if failed:
        reason = (failed[-1].error or "").splitlines()
        sys.stdout.write(f"last failure, trial {failed[-1].number}: {reason[-1] if reason else 'unknown'}\n")


def _print_points(book: Book) -> None:
    """The points of a study with repeats: the mean of each counts, and not its luckiest seed."""
    from hpo.report.repeats import points

    found = points(book.trials, book.study.direction)
    if not found:
        return
    names = list(dict.fromkeys(name for point in found for name in point.params))
    rows = [
        [
            *(value(point.params.get(name, "")) for name in names),
            number(point.mean) if point.values else "-",
            "-" if point.deviation is None else number(point.deviation),
            f"{len(point.values)} of {point.trials}",
        ]
        for point in found
    ]
    sys.stdout.write("\n")
    print_table([*names, f"mean {book.study.metric}", "standard deviation", "complete"], rows)


def _print_rounds(book: Book) -> None:
    """What every round of a narrowing search concluded, and from what."""
    from hpo.report.narrowed import findings, said

    rows = [list(said(finding).values()) for finding in findings(book.study, book.trials)]
    if rows:
        sys.stdout.write("\n")
        print_table(["round", "parameter", "drawn from", "next", "evidence", "remark"], rows, words=True)


def best(
    name: Name,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="Print a [fixed] table for another study.")] = False,
) -> None:
    """Print the best parameters."""
    where = _open(storage)
    from hpo.ledger import books

    book = books.read(where, name)
    ranked = best_first(book.trials, book.study.direction)
    if not ranked:
        raise HpoError(f"no trial of {name} is complete; `hpo show {name}` says what became of them")
    trial = ranked[0]
    if as_json:
        print_json({"number": trial.number, "value": trial.value, "params": trial.params})
    elif as_toml:
        sys.stdout.write("[fixed]\n")
        sys.stdout.writelines(f"{line}\n" for line in toml_lines(dict(book.study.fixed) | trial.params))
    else:
        sys.stdout.write(f"trial {trial.number}: {book.study.metric} {number(trial.value)}\n")
        sys.stdout.writelines(f"  {key} = {value(item)}\n" for key, item in trial.params.items())


def delete(
    name: Name,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = DEFAULT_TRACKING,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a study from the ledger, and move its MLflow experiment to MLflow's trash."""
    where = _open(storage)
    from hpo.ledger import books

    book = books.read(where, name)
    if not yes:
        typer.confirm(f"Delete {name} with {len(book.trials)} trials?", abort=True, err=True)
    count = books.delete(where, name)
    sys.stdout.write(f"deleted {name} with {count} trials from {where}\n")
    if tracking != "none" and not _is_absent(tracking):
        from hpo.tracking.mlflow import delete as delete_experiment

        try:
            found = delete_experiment(tracking, name)
        except Exception as error:
            raise HpoError(
                f"the MLflow experiment {name!r} in {redact(tracking)} is left, delete it there: {_line(error)}"
            ) from error
        if found:
            sys.stdout.write("moved its MLflow experiment to the trash\n")


def _is_absent(tracking: str) -> bool:
    """Whether the store is a database file that MLflow would only now make."""
    scheme, _, path = tracking.partition(":///")
    return scheme == "sqlite" and not Path(path).exists()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _limits(budget: Mapping[str, Any]) -> str:
    """A budget in words, the number of trials first."""
    words = [f"{budget['trials']} trials"] if "trials" in budget else []
    return ", ".join([*words, *(f"{key} {value:g}" for key, value in budget.items() if key != "trials")])


def _open(storage: str) -> Address:
    where = parse(storage)
    probe(where, create=False)
    return where
