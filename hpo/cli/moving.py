"""Trials on their way: into a new study (``hpo fork``), and out of the ledger as a table (``hpo export``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo import service, transfers
from hpo.cli.options import AsJson, Name, Names, Storage, at_storage, complete_name, read_name, read_path
from hpo.cli.studies import choose
from hpo.cli.text import out, print_json, write, write_bytes, write_lines
from hpo.errors import InputError
from hpo.ledger.address import DEFAULT_STORAGE, Address
from hpo.machine import absolute_uri, expand, write_whole
from hpo.progress import to_stderr
from hpo.study import Study, load
from hpo.text import suggest

if TYPE_CHECKING:
    from hpo.moving.importing import Import
    from hpo.trial import Trial


def fork(
    name: Annotated[
        str,
        typer.Argument(
            metavar="OLD",
            help="The old study's name, or its file.",
            show_default=False,
            parser=read_name,
            autocompletion=complete_name,
        ),
    ],
    study_file: Annotated[
        Path,
        typer.Argument(metavar="NEW.toml", help="The new study's file.", show_default=False, parser=read_path),
    ],
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Begin a new study with the trials of another one: its sampler knows them, and they are not run again."""
    study, where = load(study_file), service.open_ledger(storage)
    planned = transfers.fork(study, where, name)
    if as_json:
        left = [{"number": number, "reason": reason} for number, reason in planned.left]
        keys = {"trials": len(planned.trials), "as": planned.how, "changed": list(planned.changed), "left": left}
        print_json({"name": study.name, "from": name, **keys})
        return
    for number, reason in planned.left:
        to_stderr(f"trial {number} of {name} is not valid in {study.name}: {reason}")
    from hpo.moving.take_over import in_words

    write_lines([in_words(study.name, planned), f"to run it: hpo run {study_file}{at_storage(where)}"])


def import_trials(
    study: Annotated[
        str,
        typer.Argument(
            metavar="NAME|STUDY.toml",
            help="A study of the ledger, or a file: its study is made when absent.",
            autocompletion=complete_name,
        ),
    ],
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", parser=read_path, help="From a table with a head; - is standard input."),
    ] = None,
    reports: Annotated[
        Path | None,
        typer.Option(
            "--reports",
            metavar="FILE",
            parser=read_path,
            help="With --csv: the trials' reports, as hpo export --reports writes them.",
        ),
    ] = None,
    optuna: Annotated[
        tuple[str, str] | None, typer.Option("--optuna", metavar="URL STUDY", help="From a study of plain Optuna.")
    ] = None,
    mlflow: Annotated[
        tuple[str, str] | None,
        typer.Option("--mlflow", metavar="URI EXPERIMENT", help="From the runs of an experiment in MLflow."),
    ] = None,
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="NAME=THEIRS", help="What the source calls a parameter or the metric."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be imported.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Import finished trials. The sampler uses them like its own. Importing again adds only new ones."""
    given = {"--csv": csv, "--optuna": optuna, "--mlflow": mlflow}
    if len(chosen := [option for option, source in given.items() if source]) != 1:
        found = ", ".join(chosen) or "none"
        raise InputError(f"import: needs one of --csv, --optuna and --mlflow, got {found}", key="import")
    if reports and not csv:
        raise InputError(f"--reports: must come with --csv, got {chosen[0]}", key="--reports", value=str(reports))
    where = service.open_ledger(storage, create=study.endswith(".toml"))
    parsed = load(read_path(study)) if study.endswith(".toml") else _stored(where, study)
    names = _mapped(mapped or (), parsed)
    if csv:
        from hpo.moving.table import csv_trials

        (trials, unused), names = csv_trials(csv, parsed, names, reports), {}
    else:
        trials, unused = _foreign(optuna, mlflow, parsed), []
    word = {"--csv": "row", "--optuna": "trial", "--mlflow": "run"}[chosen[0]]
    done = transfers.import_trials(parsed, where, trials, names, word=word, strict=bool(optuna), dry_run=dry_run)
    _print_import(parsed, done, [*unused, *done.ignored], dry_run=dry_run, as_json=as_json)
    if done.refused and not done.trials and not done.known:
        raise InputError(f"import: none of {len(done.refused)} {word}s can be imported into {parsed.name}; see above")


def _foreign(optuna: tuple[str, str] | None, mlflow: tuple[str, str] | None, study: Study) -> list[Trial]:
    """The trials of a study of plain Optuna, or of an experiment in MLflow."""
    if optuna:
        from hpo.ledger.foreign import optuna_trials

        return optuna_trials(expand(optuna[0]), optuna[1], study.objectives)
    from hpo.tracking.mlflow.foreign import mlflow_trials

    assert mlflow is not None
    return mlflow_trials(absolute_uri(expand(mlflow[0])), mlflow[1])


def _stored(where: Address, name: str) -> Study:
    from hpo.ledger import snapshots

    return snapshots.read(where, name).study


def _mapped(words: Sequence[str], study: Study) -> dict[str, str]:
    """The source's names by the study's."""
    mine, found = [*study.space.names, *study.fixed, *{**study.objectives, **study.bounds}], {}
    for word in words:
        name, equals, theirs = word.partition("=")
        if not equals or not theirs or name not in mine:
            rule = f"must be NAME=THEIRS, with a parameter or the metric of {study.name} as NAME"
            raise InputError(
                f"--map: {rule}, got {word!r}{'' if name in mine else suggest(name, mine)}",
                key="--map",
                rule=rule,
                value=word,
            )
        found[name] = theirs
    return found


def _print_import(study: Study, done: Import, ignored: Sequence[str], *, dry_run: bool, as_json: bool) -> None:
    name = study.name
    if as_json:
        refused = [{"row": row, "reason": reason} for row, reason in done.refused]
        counted = {"imported": len(done.trials), "known": done.known, "refused": refused, "ignored": list(ignored)}
        print_json({"name": name, "dry_run": dry_run, **counted})
        return
    for row, reason in done.refused:
        to_stderr(f"{row} is refused: {reason}")
    mine = {*study.space.names, *study.fixed, *study.objectives, *study.bounds, "value"}
    doubles = [other for other in ignored if other in mine or other.partition(".")[2] in mine]
    if strange := [other for other in ignored if other not in doubles]:
        to_stderr(f"ignored, because {name} has no such parameter: {', '.join(strange)}")
    if doubles:
        to_stderr(f"ignored, because another column is taken in its place: {', '.join(doubles)}")
    would = "would be " if dry_run else ""
    words = f"{len(done.trials)} trials {would}imported, {len(done.refused)} refused, {done.known} were there already"
    write(f"{name}: {words}\n")


def copy(
    names: Names,
    to: Annotated[
        str, typer.Option("--to", parser=expand, metavar="URL", help="The other ledger; created when absent.")
    ],
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Copy studies to another ledger. Run it again to update an older copy."""
    where = service.open_ledger(storage)
    chosen = choose(names, where, "copy")
    target = service.open_ledger(to, create=True)
    copied = {name: transfers.copy(where, name, target) for name in chosen}
    if as_json:
        rows = [{"name": name, "trials": found.trials, "written": found.written} for name, found in copied.items()]
        print_json(rows)
        return
    for name, found in copied.items():
        written = "all were there" if found.written == 0 else f"{found.written} of them written now"
        write(f"{name}: {found.trials} trials in {target}, {written}\n")


def export(
    name: Name,
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV; the default without an ending in --out.")] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write Parquet.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON, one object per row.")] = False,
    reports: Annotated[bool, typer.Option("--reports", help="One row per report, with all metrics.")] = False,
    file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", parser=read_path, help="Where to write.", show_default="standard output"),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Export a study's trials as a table, one row per trial; the study may be running."""
    chosen = [kind for kind, wanted in {"csv": csv, "parquet": parquet, "json": json}.items() if wanted]
    if len(chosen) > 1:
        raise InputError(
            f"--{chosen[1]}: must come without --{chosen[0]}: a table has one format", key=f"--{chosen[1]}"
        )
    kind = _format(file, next(iter(chosen), None))
    if kind == "parquet" and file is None and out().isatty():
        raise InputError("--parquet: is not for terminals; name a file with --out, or use a pipe", key="--parquet")
    where = service.open_ledger(storage)
    from hpo.ledger import snapshots
    from hpo.moving.export import FORMATS, heading, report_rows, trial_rows

    found = snapshots.read(where, name)
    rows = report_rows(found.trials) if reports else trial_rows(found.trials, found.study.objectives)
    data = FORMATS[kind](rows, heading(found.study, reports=reports))
    if file is None:
        write_bytes(data)
        return
    _save(file, data)
    write(f"{file}: {len(rows)} {'reports' if reports else 'trials'} of {name}\n")


# What a file's ending may say.
_FORMATS = ("csv", "parquet", "json")
# Endings of files that would not be what their name says.
_OTHERS = {*_FORMATS, "xlsx", "xls", "ods", "tsv", "html", "feather", "arrow", "h5", "pkl", "db", "sqlite"}


def _format(file: Path | None, asked: str | None) -> str:
    """The format of a table: what was asked for, else what a file's ending says, else CSV."""
    ending = file.suffix.lower().removeprefix(".") if file else ""
    by_ending = ending if ending in _FORMATS else None
    rule = None
    if asked and by_ending and asked != by_ending:
        rule = f"is no name for {asked}; leave out --{asked} to write {by_ending}, or give the file another ending"
    elif file and not (asked or by_ending) and {*file.name.lower().split(".")[1:]} & _OTHERS:
        rule = "would hold a plain table under that name; end it in .csv, .parquet or .json, or give the format"
    if rule:
        raise InputError(f"--out: {file} {rule}", key="--out", rule=rule, value=str(file))
    return asked or by_ending or "csv"


def _save(file: Path, data: bytes) -> None:
    """Writes a file, all of it or nothing, in place of an older one; a pipe or device, such as /dev/stdout, stays."""
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):
            file.write_bytes(data)
        else:
            write_whole(file, data)
    except OSError as error:
        how = "make its folder, or name another file" if not file.parent.is_dir() else "name another file"
        raise InputError.about("--out", f"cannot write {file}: {error.strerror}; {how}", str(file)) from None
