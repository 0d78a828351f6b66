"""``hpo compare``: which of several studies is better, from repeats of each."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.drive import Engine, check_before_work, drive, read_workers, resumable
from hpo.cli.options import AsJson, Overrides, Quiet, RayAddress, Storage, Verbose, Workers
from hpo.cli.text import print_json
from hpo.errors import HpoError, InputError, Interrupted
from hpo.ledger.address import DEFAULT_STORAGE, Address, parse
from hpo.ledger.storage import probe
from hpo.study import Study, load
from hpo.trial import COMPLETE, FAILED, Trial

if TYPE_CHECKING:
    from hpo.verdict import Comparison, Trace

# Repeats of a study file, unless told otherwise: enough to show a clear difference between up to six pairs of studies.
REPEATS = 10


class Over(StrEnum):
    """What makes budgets equal."""

    trials = "trials"
    reports = "reports"


@dataclass
class _Entry:
    """One of the studies to compare.

    Attributes:
        study: As its file says; of one in the ledger, as its first repeat says.
        repeats: What is to be run, by the number of the repeat; empty for a study in the ledger.
        traces: What has been run.
    """

    study: Study
    name: str
    repeats: dict[int, Study] = field(default_factory=dict)
    traces: dict[int, Trace] = field(default_factory=dict)


def compare(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...",
            help="Study files, or names of studies in the ledger (NAME-r0 ... or NAME).",
            show_default=False,
        ),
    ],
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats",
            "-r",
            min=1,
            metavar="R",
            help="How often each file is run; of a name, take the first R.",
            show_default=f"{REPEATS} of a file, all of a name",
        ),
    ] = None,
    over: Annotated[
        Over | None,
        typer.Option(
            help="What makes budgets equal: trials, or the workers' reports.",
            show_default="trials; reports where the pruners differ",
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(metavar="V", help="The value to reach.", show_default="the median best of the first study"),
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A fixed whole number that grows by 1 with every repeat, as the seed does."),
    ] = None,
    overrides: Overrides = None,
    workers: Workers = "auto",
    address: RayAddress = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Annotated[str, typer.Option(metavar="URI", help='The MLflow tracking store, or "none".')] = "none",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write the figure, as PNG and SVG.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run studies several times, with different seeds, and say which is better; what has finished is not run again."""
    count, where = read_workers(workers), parse(storage)
    entries = _read(studies, repeats, overrides or [], vary, where, skip=tracking == "none")
    _agree(entries)
    command = f"hpo compare {' '.join(studies)}"
    needs = max((e.study.workers for e in entries), key=lambda needs: needs.cpus)
    with resumable(command), closing(Engine(needs, count, address, verbose=verbose)) as engine:
        _run(entries, where, engine, command, tracking=tracking, quiet=quiet)
    if over is None:
        pruners = {json.dumps(e.study.resolved["pruner"], sort_keys=True) for e in entries}
        over = Over.trials if len(pruners) == 1 else Over.reports
    first = entries[0].study
    from hpo import verdict
    from hpo.cli.compared import print_comparison, to_dict

    try:
        found = verdict.compare({e.name: e.traces for e in entries}, first.direction, over.value, target)
    except ValueError as error:
        raise HpoError(str(error)) from None
    files = [] if out is None else _draw(found, first.metric, out)
    if as_json:
        print_json(to_dict(found, first.metric) | {"files": [str(path) for path in files]})
    else:
        print_comparison(found, first.metric)
        if files:
            sys.stdout.write(f"\n{', '.join(map(str, files))}\n")


# What to compare ---------------------------------------------------------------------------------------------------


def _read(
    words: Sequence[str],
    repeats: int | None,
    overrides: Sequence[str],
    vary: str | None,
    where: Address,
    *,
    skip: bool,
) -> list[_Entry]:
    """Every study: files validated whole, names found in the ledger; ``skip`` leaves alone what has finished."""
    if len(words) < 2:
        raise InputError("it takes two studies to compare")
    files = [word for word in words if word.endswith(".toml")]
    for option, given in (("--set", overrides), ("--vary", vary)):
        if given and not files:
            raise InputError(f"{option}: there is no study file among the studies, and what has run stays as it is")
    plans = {word: _plan(word, repeats or REPEATS, overrides, vary) for word in files}
    for entry in plans.values():
        check_before_work(entry.study, where)
    probe(where, create=bool(files))
    _look_up(plans.values(), where, skip=skip)
    return [plans[word] if word in plans else _recall(word, repeats, where) for word in words]


def _plan(file: str, repeats: int, overrides: Sequence[str], vary: str | None) -> _Entry:
    study = load(file, overrides)
    entry = _Entry(study, study.name)
    for repeat in range(repeats):
        own = [f'name="{study.name}-r{repeat}"', f"sampler.seed={study.seed + repeat}"]
        if vary is not None:
            begin = study.fixed.get(vary, 0)
            if not isinstance(begin, int) or isinstance(begin, bool):
                raise InputError(f"--vary: fixed.{vary} must be a whole number, got {begin!r}")
            own.append(f"fixed.{vary}={begin + repeat}")
        entry.repeats[repeat] = load(file, [*overrides, *own])
    return entry


def _look_up(entries: Iterable[_Entry], where: Address, *, skip: bool) -> None:
    """Looks for repeats that have been run, refuses those of another study, and takes over what has finished.

    A ledger lets a study go on with another sampler; a verdict on samplers must not be one on a mixture.
    """
    from hpo.ledger import books
    from hpo.verdict import trace

    wanted = {study.name: (entry, repeat) for entry in entries for repeat, study in entry.repeats.items()}
    for name, book in books.read_all(where, wanted.__contains__).items():
        entry, repeat = wanted[name]
        study = entry.repeats[repeat]
        if all(trial.value is None for trial in book.trials):
            continue
        for key in (*study.identity(), "sampler", "pruner", "enqueue"):
            was, now = (json.dumps(s.resolved[key], sort_keys=True) for s in (book.study, study))
            if was != now:
                raise InputError(
                    f"{study.file}: {key}: {name} was run with {was}, now it is {now}; choose another name, or "
                    f"`hpo delete {name}`"
                )
        complete = replace(book, study=study).state == "complete" and all(trial.finished for trial in book.trials)
        if complete and skip:
            entry.traces[repeat] = trace(book.trials, study.direction)


def _recall(name: str, repeats: int | None, where: Address) -> _Entry:
    """A study that the ledger has."""
    from hpo.ledger import books
    from hpo.verdict import trace

    repeat_of = re.compile(re.escape(name) + r"-r(\d+)")
    known = books.read_all(where, lambda other: bool(repeat_of.fullmatch(other)))
    numbered = sorted((int(other[len(name) + 2 :]), other) for other in known)
    chosen = [(repeat, known[other]) for repeat, other in numbered[:repeats]] or [(0, books.read(where, name))]
    entry = _Entry(chosen[0][1].study, name)
    for repeat, book in chosen:
        if book.state != "complete":
            sys.stderr.write(f"hpo: {book.study.name} is {book.state}: it counts as far as it has come\n")
        entry.traces[repeat] = trace(book.trials, book.study.direction)
    return entry


def _agree(entries: Sequence[_Entry]) -> None:
    """Sides need names of their own and one metric; other differences are remarked on."""
    first, *others = entries
    if len({e.name for e in entries}) < len(entries):
        raise InputError(f"each study needs a name of its own, got {', '.join(e.name for e in entries)}")
    for other in others:
        for key in ("metric", "direction"):
            one, two = (e.study.resolved[key] for e in (first, other))
            if one != two:
                raise InputError(f"{key} must be the same, got {one!r} in {first.name} and {two!r} in {other.name}")
        different = [
            key for key in ("objective", "fixed", "space") if first.study.resolved[key] != other.study.resolved[key]
        ]
        if different:
            sys.stderr.write(f"hpo: {first.name} and {other.name} differ in {', '.join(different)} too\n")


# Running -----------------------------------------------------------------------------------------------------------


def _run(
    entries: Sequence[_Entry], where: Address, engine: Engine, command: str, *, tracking: str, quiet: bool
) -> None:
    """Every repeat of every file, repeat by repeat, so that a comparison that is cut short has whole pairs."""
    from hpo.verdict import trace

    missing = 0
    for repeat in range(max(len(e.repeats) for e in entries)):
        for entry in entries:
            if repeat not in entry.repeats or repeat in entry.traces:
                continue
            study = entry.repeats[repeat]
            try:
                search, unwritten = drive(study, where, engine, tracking=tracking, quiet=quiet)
            except InputError:
                raise
            except HpoError as error:
                trials = _of_failed_search(where, study.name)
                if trials is None:
                    raise
                sys.stderr.write(f"hpo: {study.name} counts as failed: {error}\n")
                entry.traces[repeat] = trace(trials, study.direction)
                continue
            if search.interrupted:
                raise Interrupted(command)
            missing += unwritten
            entry.traces[repeat] = trace(search.trials, study.direction)
    if missing:
        sys.stderr.write(f"hpo: {missing} trials are not in MLflow yet; the same command writes them\n")


def _of_failed_search(where: Address, name: str) -> list[Trial] | None:
    """The trials of a search that gave up because all of them failed; None if it ended for another reason."""
    from hpo.ledger import books

    trials = books.read(where, name).trials
    gave_up = any(t.state == FAILED for t in trials) and not any(t.state == COMPLETE for t in trials)
    return trials if gave_up else None


def _draw(found: Comparison, metric: str, folder: Path) -> list[Path]:
    from hpo.report.figures.comparison import comparison
    from hpo.report.files import png, svg

    figure = comparison(found, metric)
    written = [folder / "comparison.png", folder / "comparison.svg"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written[0].write_bytes(png(figure))
        written[1].write_text(svg(figure, "comparison"), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out: cannot write {error.filename}: {error.strerror}") from None
    return written
