"""``hpo evaluate``: the sealed test set, once, for the chosen trial."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import AsJson, Name, Storage, Tracking
from hpo.cli.text import number, print_json
from hpo.errors import HpoError, InputError
from hpo.ledger.address import DEFAULT_STORAGE, parse, redact
from hpo.ledger.storage import probe
from hpo.tracking import DEFAULT_TRACKING
from hpo.trial import best_first

if TYPE_CHECKING:
    from hpo.ledger.books import Book
    from hpo.trial import Trial


def evaluate(
    name: Name,
    again: Annotated[bool, typer.Option("--again", help="Evaluate a second time; that is recorded too.")] = False,
    trial_number: Annotated[
        int | None, typer.Option("--trial", min=0, metavar="N", help="The chosen trial.", show_default="the best")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = DEFAULT_TRACKING,
    as_json: AsJson = False,
) -> None:
    """Score the chosen trial's setting on the sealed test set, once."""
    where = parse(storage)
    probe(where, create=True)
    from hpo.ledger import books

    book = books.read(where, name)
    trial = _chosen(book, trial_number)
    if book.evaluations and not again:
        first = book.evaluations[0]
        when = datetime.fromtimestamp(first["time"]).astimezone().isoformat(timespec="seconds")
        raise InputError(
            f"{name} was evaluated with trial {first['trial']} at {when}: {_text(first['metrics'])}; a choice made "
            "after looking is no test any more. --again does it all the same, and is recorded"
        )
    score = _scorer(book, trial)
    with books.note_evaluation(where, name, trial.number) as entry:
        entry["metrics"].update(score())
    if tracking != "none":
        from hpo.tracking.mlflow import record_evaluation

        if not record_evaluation(tracking, book.uid, name, entry, len(book.evaluations) + 1):
            sys.stderr.write(f"hpo: MLflow at {redact(tracking)} does not know {name}; `hpo run` writes it there\n")
    if as_json:
        print_json(entry)
    else:
        sys.stdout.write(f"{name}, trial {trial.number}: {_text(entry['metrics'])}\n")


def _chosen(book: Book, wanted: int | None) -> Trial:
    ranked = best_first(book.trials, book.study.direction)
    if not ranked:
        raise HpoError(f"no trial of {book.study.name} is complete")
    for trial in ranked:
        if wanted is None or trial.number == wanted:
            return trial
    raise InputError(f"--trial: {book.study.name} has no complete trial {wanted}")


def _scorer(book: Book, trial: Trial) -> Any:
    """What trains and scores; all that can be wrong with it is said before the test set is touched."""
    from threadpoolctl import threadpool_limits

    from hpo import objective

    study = book.study
    if study.evaluate is None:
        raise InputError(
            f'{study.name} names nothing to evaluate with; add `evaluate = "package.module:name"` to its file'
        )

    target = objective.resolve(study.evaluate)
    params = {**study.fixed, **trial.params}
    objective.check(target, [params])

    def score() -> dict[str, float]:
        metrics: dict[str, float] = {}
        try:
            with threadpool_limits(study.workers.threads):  # as a worker has: the same numbers, in the same time
                for report in objective.reports(target, params, trial.seed, study.metric):
                    metrics.update(report)
        except Exception as error:
            raise HpoError(f"the evaluation failed, and is recorded: {type(error).__name__}: {error}") from error
        return metrics

    return score


def _text(metrics: dict[str, float]) -> str:
    return ", ".join(f"{key} {number(value)}" for key, value in metrics.items()) or "no result, it was interrupted"
