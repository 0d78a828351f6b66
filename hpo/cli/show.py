"""``hpo show``: a study, or one of its trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo import service
from hpo.best import front_of
from hpo.cli import trials
from hpo.cli.options import AsJson, Name, Storage
from hpo.cli.table import print_best, print_table
from hpo.cli.text import print_json, write, write_lines
from hpo.errors import InputError
from hpo.ledger import DISCARDED_ATTR
from hpo.ledger.address import DEFAULT_STORAGE
from hpo.machine import absolute
from hpo.search.folders import found_folder
from hpo.study.budget import BudgetMeter, in_words
from hpo.text import clock
from hpo.trial import RETRY_OF, counts, origins

if TYPE_CHECKING:
    from hpo.insight.parameters import Insight
    from hpo.ledger.snapshots import Snapshot


def show(
    name: Name,
    trial_number: Annotated[
        int | None, typer.Option("--trial", min=0, metavar="N", help="Everything about this trial.", show_default=False)
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="With --trial: print all that the trial printed.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="With --log: until the trial ends.")] = False,
    top: Annotated[int, typer.Option(min=1, help="How many of the best trials.")] = 5,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until its search ends, or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="How often --watch reads the ledger.")] = 2.0,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show a study: progress, trials per state, the best trials, what each parameter does; or one of its trials."""
    where = service.open_ledger(storage)
    from hpo import progress
    from hpo.ledger import snapshots

    if follow and not (log and trial_number is not None):
        raise InputError("--follow: needs --trial N and --log; to follow the study, use --watch", key="--follow")
    snapshot = progress.follow(where, name, every) if watch else snapshots.read(where, name)
    if trial_number is not None:
        trial = trials.find(snapshot.trials, name, trial_number)
        folder = found_folder(absolute(where.folder), name, snapshot.uid, trial_number)
        if follow:
            trials.follow_log(where, name, trial_number, every)
        elif log:
            trials.print_log(name, trial, folder)
        elif as_json:
            print_json(trials.to_dict(snapshot.study, trial, folder))
        else:
            trials.print_trial(snapshot.study, trial, folder)
        return
    if log:
        raise InputError("--log: needs --trial N, the trial whose output is to be shown", key="--log")
    from hpo.insight.front import front_insight
    from hpo.insight.parameters import findings, study_insight

    insight = study_insight(snapshot.study, snapshot.trials, resamples=0)
    if as_json:
        more: dict[str, Any] = {"parameters": [parameter.to_dict() for parameter in insight.parameters]}
        if found := findings(snapshot.study, snapshot.trials):
            more["rounds"] = [dataclasses.asdict(finding) for finding in found]
        if snapshot.edits:
            more["edits"] = [edit.to_dict() for edit in snapshot.edits]
        if len(snapshot.study.objectives) > 1 and (worth := front_insight(snapshot.study, snapshot.trials)):
            more["precision"] = worth.to_dict()
        print_json(snapshot.head(top) | more)
        return
    _print_summary(snapshot, top, insight)
    _print_changes(snapshot)
    _print_points(snapshot)
    _print_rounds(snapshot)
    lines = [trials.failures(snapshot.trials, name, where, state) for state in trials.WORDS]
    if any(lines):
        write("\n")
        write_lines(filter(None, lines))


def progress(budget: Mapping[str, Any], finished: int, again: int) -> str:
    """How much of a budget is used, in words.

    Args:
        budget: The limits in the study file.
        finished: Finished trials that count.
        again: Trials that ran a failed one again; they count in its place.
    """
    limits = ", ".join(f"{key} {in_words(value)}" for key, value in budget.items() if key != "trials")
    most = budget.get("trials")
    if most is None:
        words = f"{finished} trials"
    elif finished <= most:
        words = f"{finished} of {most} trials"
    else:
        words = f"{finished} trials, {finished - most} more than the budget of {most} in the study as last run"
    return words + f", {again} failed ones run again" * bool(again) + f"; budget: {limits}" * bool(limits)


def _print_summary(snapshot: Snapshot, top: int, insight: Insight) -> None:
    """State, budget, the best trials, and what the trials show about each parameter."""
    study, total = snapshot.study, counts(snapshot.trials)
    state = f"{snapshot.state} by {snapshot.holder}" if snapshot.holder else snapshot.state
    finished = [trial for trial in snapshot.trials if trial.finished]
    again = sum(RETRY_OF in trial.notes for trial in finished)
    used = progress(study.resolved["budget"], BudgetMeter.counted(finished), again)
    write_lines(
        [
            f"{study.name}: {state}, {used} ({', '.join(f'{count} {key}' for key, count in total.items())})",
            f"{study.goals} of {study.objective}, "
            f"sampler {study.sampler.name}, pruner {study.pruner.name}, seed {study.seed}",
            *([f"{came}; they were not run again"] if (came := origins(snapshot.trials)) else []),
            "",
        ]
    )
    print_best(study, snapshot.trials, top)
    if snapshot.trials:
        about = [f"for {study.metric}, the first objective:"] if len(study.objectives) > 1 else []
        write_lines([*about, *insight.lines(), *_worth(snapshot, insight)])


def _worth(snapshot: Snapshot, insight: Insight) -> list[str]:
    """What the error of the values means for the best trials."""
    from hpo.insight.front import front_insight

    study = snapshot.study
    if len(study.objectives) == 1:
        return [tie] if (tie := insight.tie(study.metric)) else []
    found = front_insight(study, snapshot.trials)
    return found.lines(len(front_of(snapshot.trials, study.objectives))) if found else []


def _print_changes(snapshot: Snapshot) -> None:
    """What people have changed: the edits that hold, and the trials that do not count."""
    lines = [
        f"{edit.key} = {edit.text} (before: {edit.before}), set by {edit.by} on {clock(edit.time)}"
        for edit in snapshot.edits
        if not edit.ended
    ]
    for trial in snapshot.trials:
        if mark := trial.notes.get(DISCARDED_ATTR):
            lines.append(f"trial {trial.number} does not count: {mark['why']} ({mark['by']} on {clock(mark['time'])})")
    if lines:
        write("\n")
        write_lines(lines)


def _print_points(snapshot: Snapshot) -> None:
    """The points of a study with repeats: the mean over its seeds counts, not the best seed."""
    from hpo.insight.precision import points

    found = points(snapshot.trials, snapshot.study.direction)
    if not found:
        return
    names = list(dict.fromkeys(name for point in found for name in point.params))
    rows = [
        [
            *(point.params.get(name, "") for name in names),
            point.mean if point.values else None,
            point.deviation,
            f"{len(point.values)} of {point.trials}",
        ]
        for point in found
    ]
    write("\n")
    counted = "feasible" if snapshot.study.bounds else "complete"
    print_table([*names, f"mean {snapshot.study.metric}", "standard deviation", counted], rows)


def _print_rounds(snapshot: Snapshot) -> None:
    """The conclusion of every round of a narrowing search, with its evidence."""
    from hpo.insight.parameters import findings, in_words

    rows = [list(in_words(finding).values()) for finding in findings(snapshot.study, snapshot.trials)]
    if rows:
        write("\n")
        print_table(["round", "parameter", "drawn from", "next", "evidence", "remark"], rows, words=True)
