"""``hpo init``: a commented study file for a function, a script or a notebook."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import read_path
from hpo.cli.text import write
from hpo.errors import InputError
from hpo.objective.source import Draft, read_objective
from hpo.study import parse
from hpo.study.remarks import usual_direction
from hpo.trial import Direction

TEMPLATE = """\
# A study: what to search, how, and for how long. Check every line, then: hpo run {file}
# `hpo run` also resumes it. Errors in this file are reported before anything starts.

name      = {name}
objective = {objective}
{about}
metric    = {metric}
direction = {direction}

[fixed]      # passed to the objective unchanged
{fixed}

[space]      # searched; the ranges are guesses from the names: check them
{space}
# Other kinds: dropout   = {{ low = 0.0, high = 0.5 }}               real numbers
#              layers    = {{ low = 1, high = 4 }}                   whole numbers
#              lr        = {{ low = 1e-5, high = 0.1, log = true }}  on a logarithmic scale
#              optimizer = {{ choice = ["sgd", "adam"] }}

[sampler]
name = "tpe"               # learns from earlier trials; random does not
seed = 0

# [pruner]                 # stops bad trials early, if the objective reports more than once
# name = "median"

[budget]
trials = 30                # or time = "1h"

# [workers]                # what one trial needs; as many run at once as fit
# cpus = 1
# gpus = 0
{more}"""
# What a program's study has besides.
ARGUMENTS = """
[arguments]                # how {{args}} writes a parameter, where not as --name=value
{arguments}
"""
REPORTS = """
# [reports]                # for a program that prints its metric in other words
# pattern = 'epoch (?P<step>\\d+): loss=(?P<{metric}>\\S+)'
"""
# A range for a parameter of such a name; the first that fits.
GUESSES = {
    r"lr|eta|rate|decay|alpha|lambda|gamma|reg|tol|wd|l1|l2": "{ low = 1e-5, high = 0.1, log = true }",
    r"n|num|size|layers|depth|units|estimators|hidden|width|batch|neighbors|k": "{ low = 1, high = 100, log = true }",
    r"": "{ low = 0.0, high = 1.0 }",
}
# Parameters that are rarely searched.
FIXED = re.compile(r"(.*_)?(epochs?|steps?|iters?|iterations)")


def init(
    file: Annotated[
        Path, typer.Argument(metavar="[STUDY.toml]", help="The file to write; never one that exists.", parser=read_path)
    ] = Path("study.toml"),
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="A function (train.py:objective, package.module:name), a script or program (train.py, ./train), or a "
            "notebook (train.ipynb).",
            show_default="asked for on a terminal",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The metric to optimize.", show_default="asked for on a terminal"),
    ] = None,
    direction: Annotated[
        Direction | None, typer.Option(help="Which values are better.", show_default="guessed from the metric's name")
    ] = None,
) -> None:
    """Write a commented study file for a function, a script or a notebook."""
    if file.exists():
        raise InputError(
            f"init: {file} exists, and is left as it is; name another file: hpo init OTHER.toml", file=str(file)
        )
    draft = read_objective(
        objective or _ask("--objective", "Objective (train.py:objective, train.py, train.ipynb)"), file
    )
    measured = metric or _ask("--metric", "Metric to optimize, as the objective reports it")
    better = direction or usual_direction(measured) or Direction.MINIMIZE
    text = compose(draft, file, measured, better)
    parse(tomllib.loads(text), file=str(file))
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except OSError as error:
        raise InputError(f"init: {file} cannot be written: {error.strerror}", file=str(file)) from None
    run = f"in the notebook: hpo.run({json.dumps(str(file))})" if draft.in_notebook else f"hpo run {file}"
    write(f"{file}: {better} {measured}; check its [space], then {run}\n")


def _ask(option: str, question: str) -> str:
    if not sys.stdin.isatty():
        raise InputError(f"init: {option} must be given where there is no terminal to ask on", key=option)
    return str(typer.prompt(question, err=True)).strip()


def compose(draft: Draft, file: Path, metric: str, direction: Direction) -> str:
    """The text of a study file."""
    fixed = [name for name in draft.parameters if FIXED.fullmatch(name)]
    searched = {name: of or _range(name) for name, of in draft.parameters.items() if name not in fixed}
    arguments = "\n".join(f"{_key(name)} = {json.dumps(pattern)}" for name, pattern in draft.arguments.items())
    more = ARGUMENTS.format(arguments=arguments) if arguments else ""
    if not isinstance(draft.objective, str):
        more += REPORTS.format(metric=metric if metric.isidentifier() else "NAME")
    return TEMPLATE.format(
        file=file,
        name=json.dumps(draft.name),
        objective=json.dumps(draft.objective, ensure_ascii=False),
        about=draft.about,
        metric=json.dumps(metric, ensure_ascii=False),
        direction=json.dumps(direction),
        fixed="\n".join(f"{_key(name)} = 10" for name in fixed) or "# epochs = 10",
        space="\n".join(f"{_key(name)} = {of}" for name, of in (searched or {"lr": _range("lr")}).items()),
        more=more,
    )


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name)


def _range(name: str) -> str:
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next(text for names, text in GUESSES.items() if not names or any(re.fullmatch(names, w) for w in words))
