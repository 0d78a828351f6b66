"""What the ledger knows (``hpo list``, ``best``), and what becomes of it (``report``, ``evaluate``, ``delete`` ...)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo import service
from hpo.best import front_of
from hpo.cli.options import AsJson, Name, Names, Prefer, Storage, Tracking, read_name, read_path
from hpo.cli.table import print_best, print_table
from hpo.cli.text import print_json, print_toml, values_in_words, write
from hpo.errors import InputError, StudyNotFound, TrackingError
from hpo.ledger.address import DEFAULT_STORAGE, Address
from hpo.machine import absolute
from hpo.search import folders
from hpo.study import Study
from hpo.study.constraints import missing_best
from hpo.text import number, redact, suggest, value
from hpo.tracking import DEFAULT_TRACKING
from hpo.trial import Trial, counts

if TYPE_CHECKING:
    from hpo.ledger.snapshots import Snapshot


class Sort(StrEnum):
    """What a list of studies is sorted by."""

    created = "created"
    name = "name"
    state = "state"
    trials = "trials"


def list_studies(
    sort: Annotated[
        Sort | None,
        typer.Option(help="created and trials: the highest first.", show_default="created; of --json, name"),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """List the studies in the ledger, the newest first: their state and best value."""
    where = service.open_ledger(storage)
    from hpo.ledger import snapshots

    unknown: dict[str, Any] = {"state": "unreadable", "direction": None, "metric": None}
    unknown |= {
        "budget": {},
        "trials": counts([]),
        "retried": 0,
        "inherited": 0,
        "counted": 0,
        "best": [],
        "created": None,
    }
    found = snapshots.heads_of(where)
    unreadable = {name: head for name, head in found.items() if isinstance(head, str)}
    heads = [
        {"name": name, **unknown, "error": head} if isinstance(head, str) else head for name, head in found.items()
    ]
    _sort(heads, sort or (Sort.name if as_json else Sort.created))
    if as_json:
        print_json(heads)
        return
    if not heads:
        write(f"no studies in {where}; create one with: hpo run STUDY.toml\n")
        return
    rows = [
        [
            head["name"],
            head["state"],
            _trials(head["counted"], head["budget"].get("trials")),
            _best(head),
            datetime.fromtimestamp(head["created"]).strftime("%Y-%m-%d %H:%M") if head["created"] else "-",
        ]
        for head in heads
    ]
    print_table(["study", "state", "trials", "best", "created"], rows)
    for name, reason in unreadable.items():
        write(f"{name} cannot be read: {reason}; to delete it: hpo delete {name}\n")


def _best(head: dict[str, Any]) -> str:
    if not head["best"]:
        return "-"
    first = head["best"][0]
    if "value" in first:
        return f"{head['metric']} {first['value']:.4g}"
    name, value = next(iter(first["values"].items()))
    return f"{name} {value:.4g}, {head['front']} on the front"


def _trials(finished: int, budget: int | None) -> str:
    """How many trials of how many; a study that was extended once has more."""
    if budget is None:
        return str(finished)
    return f"{finished}/{budget}" if finished <= budget else f"{finished} (budget {budget})"


def _sort(heads: list[dict[str, Any]], by: Sort) -> None:
    heads.sort(key=lambda head: str(head["name"]))
    keys: dict[Sort, Callable[[dict[str, Any]], Any]] = {
        Sort.created: lambda head: -(head["created"] or 0.0),
        Sort.state: lambda head: head["state"],
        Sort.trials: lambda head: -head["counted"],
    }
    if by in keys:
        heads.sort(key=keys[by])


def best(
    name: Name,
    preference: Prefer = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="Print a [fixed] table for another study.")] = False,
) -> None:
    """Print the best parameters; with several objectives the Pareto front, or with --prefer one trial of it."""
    where = service.open_ledger(storage)
    from hpo.ledger import snapshots

    head = snapshots.head(where, name)
    if not head["best"]:
        snapshot = snapshots.read(where, name)
        raise missing_best(name, snapshot.study.bounds, snapshot.trials)
    if preference is not None or "objectives" in head:
        _print_front(snapshots.read(where, name), preference, as_json=as_json, as_toml=as_toml)
        return
    trial = head["best"][0]
    if as_json:
        print_json({key: trial[key] for key in ("number", "value", "params")})
    elif as_toml:
        write("[fixed]\n")
        print_toml({**snapshots.read(where, name).study.fixed, **trial["params"]})
    else:
        write(f"trial {trial['number']}: {head['metric']} {number(trial['value'])}\n")
        write("".join(f"  {key} = {value(item)}\n" for key, item in trial["params"].items()))


def _print_front(snapshot: Snapshot, preference: str | None, *, as_json: bool, as_toml: bool) -> None:
    from hpo.insight.front import chosen

    study = snapshot.study
    if preference is None and as_json:
        print_json([_named(trial, study) for trial in front_of(snapshot.trials, study.objectives)])
    elif preference is None and not as_toml:
        print_best(study, snapshot.trials)
    else:
        trial = chosen(study, snapshot.trials, preference)
        if as_json:
            print_json(_named(trial, study))
        elif as_toml:
            write("[fixed]\n")
            print_toml({**study.fixed, **trial.params})
        else:
            write(f"trial {trial.number}: {values_in_words(_named(trial, study))}\n")
            write("".join(f"  {key} = {value(item)}\n" for key, item in trial.params.items()))


def _named(trial: Trial, study: Study) -> dict[str, Any]:
    return {"number": trial.number, **trial.scored(study.objectives), "params": trial.params}


def report(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", parser=read_path, help="Where to write.", show_default="reports/NAME")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write a study's figures (PNG and SVG) and one page with all of them; the study may be running."""
    where = service.open_ledger(storage)
    from hpo.ledger import snapshots

    snapshot = snapshots.read(where, name)
    folder = out if out is not None else Path("reports") / name
    home = absolute(folder)  # the study's own code, called for the examples, may change the working folder
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out: cannot create the folder {folder}: {error.strerror}", key="--out", value=str(folder)
        ) from None
    from hpo.publish import examples
    from hpo.report import files

    links = folders.links(folders.found_folder(absolute(where.folder), name, snapshot.uid), home)
    try:
        known = examples(snapshot.study, snapshot.trials)
        paths = files.write(snapshot.study, snapshot.trials, home, examples=known, links=links)
    except OSError as error:
        raise InputError(f"--out: cannot write {error.filename}: {error.strerror}", key="--out") from None
    written = [folder / path.relative_to(home) for path in paths]
    if as_json:
        print_json({"name": name, "page": str(written[0]), "files": [str(path) for path in written]})
        return
    figures = len({path.stem for path in written[1:]})
    write(f"{written[0]}\n{folder}: {figures} figures, each as PNG and SVG\n")


def evaluate(
    name: Name,
    again: Annotated[bool, typer.Option("--again", help="Evaluate again; that is recorded too.")] = False,
    trial_number: Annotated[
        int | None, typer.Option("--trial", min=0, metavar="N", help="The trial.", show_default="the best")
    ] = None,
    preference: Prefer = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = DEFAULT_TRACKING,
    as_json: AsJson = False,
) -> None:
    """Score the best trial's parameters on the sealed test set, once."""
    from hpo import evaluation

    where = service.open_ledger(storage, create=True)
    entry = evaluation.evaluate(
        where, name, trial_number=trial_number, preference=preference, again=again, tracking=tracking
    )
    if as_json:
        print_json(entry)
    else:
        write(f"{name}, trial {entry['trial']}: {evaluation.metrics_text(entry['metrics'])}\n")


def sync(
    name: Name,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = DEFAULT_TRACKING,
    as_json: AsJson = False,
) -> None:
    """Update MLflow from the ledger: write missing runs, correct wrong ones, delete duplicates; add report, model."""
    if tracking == "none":
        raise InputError("--tracking: must be a tracking store, got none", key="--tracking", value="none")
    where = service.open_ledger(storage, create=True)  # it will be locked: no search may write to MLflow meanwhile
    from hpo import background

    synced = background.sync(where, name, tracking)
    if as_json:
        print_json({"name": name, "trials": synced.trials, "written": synced.written, "failed": synced.failed})
    else:
        written = f"{synced.written} of them written now" if synced.written else "all up to date"
        write(f"{name}: {synced.trials} trials in MLflow at {redact(tracking)}, {written}\n")
    if synced.failed:
        raise TrackingError(f"not in MLflow: {', '.join(synced.failed)}; see the messages above")


def delete(
    names: Names,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = DEFAULT_TRACKING,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete studies from the ledger, and move their runs in MLflow to MLflow's trash."""
    where = service.open_ledger(storage)
    from hpo.ledger import snapshots

    chosen = {name: snapshots.trial_count(where, name) for name in choose(names, where, "delete")}
    if not yes:
        _ask(", ".join(f"{name} with {trials} trials" for name, trials in chosen.items()))
    for name in chosen:
        count, moved = service.delete(where, name, tracking)
        write(f"deleted {name} with {count} trials from {where}\n")
        if moved:
            write("moved its runs in MLflow to the trash\n")


def choose(words: Sequence[str], where: Address, command: str) -> list[str]:
    """The studies that names, files and patterns stand for, each once; the command is for messages."""
    from hpo.ledger import snapshots

    known, found = snapshots.names(where), []
    for word in words:
        matching = [name for name in known if fnmatchcase(name, word)] if set("*?[") & set(word) else [read_name(word)]
        if not matching:
            raise StudyNotFound(f"{command}: no study in {where} matches {word!r}{suggest(word, known)}")
        found += matching
    return list(dict.fromkeys(found))


def _ask(what: str) -> None:
    try:
        agreed = typer.confirm(f"Delete {what}?", err=True)
    except typer.Abort:
        raise InputError(
            "nothing was deleted: nobody answered the confirmation (no terminal?); add --yes to delete without it",
            key="--yes",
        ) from None
    if not agreed:
        raise typer.Abort
