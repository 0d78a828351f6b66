"""``hpo init``: a commented study file for a function, a script or a notebook."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from hpo.cli.options import read_path
from hpo.cli.text import write
from hpo.errors import InputError
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
"""
# A range for a parameter of such a name; the first that fits.
GUESSES = {
    r"lr|eta|rate|decay|alpha|lambda|gamma|reg|tol|wd|l1|l2": "{ low = 1e-5, high = 0.1, log = true }",
    r"n|num|size|layers|depth|units|estimators|hidden|width|batch|neighbors|k": "{ low = 1, high = 100, log = true }",
    r"": "{ low = 0.0, high = 1.0 }",
}
# Parameters that are rarely searched.
FIXED = re.compile(r"(.*_)?(epochs?|steps?|iters?|iterations)")
NOTEBOOK = """\
# Defined in a cell of {notebook}; below it, search with: import hpo; result = hpo.run("{file}")"""


class Draft(NamedTuple):
    """What is known of an objective without running it.

    Attributes:
        name: What the study may be called.
        objective: The study's key.
        about: A comment below it.
        parameters: The names of the parameters that it takes, as far as its text shows them.
    """

    name: str
    objective: str | list[str]
    about: str
    parameters: list[str]

    @property
    def in_notebook(self) -> bool:
        return isinstance(self.objective, str) and self.objective.startswith("__main__:")


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
    searched = [name for name in draft.parameters if not FIXED.fullmatch(name)]
    fixed = [name for name in draft.parameters if FIXED.fullmatch(name)]
    return TEMPLATE.format(
        file=file,
        name=json.dumps(draft.name),
        objective=json.dumps(draft.objective, ensure_ascii=False),
        about=draft.about,
        metric=json.dumps(metric, ensure_ascii=False),
        direction=json.dumps(direction),
        fixed="\n".join(f"{_key(name)} = 10" for name in fixed) or "# epochs = 10",
        space="\n".join(f"{_key(name)} = {_range(name)}" for name in searched or ["lr"]),
    )


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name)


def _range(name: str) -> str:
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next(text for names, text in GUESSES.items() if not names or any(re.fullmatch(names, w) for w in words))


# Reading an objective ----------------------------------------------------------------------------------------------


def read_objective(what: str, study: Path) -> Draft:
    """What the text of a function, a script, a program or a notebook shows about it; nothing is run.

    Raises:
        InputError: When there is no such file, or nothing in it that could be an objective.
    """
    place, colon, function = what.rpartition(":")
    if colon:
        source = Path(place if place.endswith(".py") else place.replace(".", "/") + ".py")
        module = re.sub(r"[/\\]", ".", place.removeprefix("./").removesuffix(".py"))
        known = dict(_functions(_read(source))) if source.is_file() else {}
        return Draft(_name(module.rpartition(".")[2], study), f"{module}:{function}", _ABOUT, known.get(function, []))
    file = Path(what)
    text = _read(file)
    if file.suffix == ".ipynb":
        return _notebook(file, text, study)
    if file.suffix == ".py" and (functions := _functions(text)):
        function, names = functions[-1]
        return Draft(_name(file.stem, study), f"{'.'.join(file.with_suffix('').parts)}:{function}", _ABOUT, names)
    names = list(dict.fromkeys(re.findall(r"""add_argument\(\s*(?:["']-\w["'],\s*)?["']--([\w-]+)""", text)))
    words = ["python", what] if file.suffix == ".py" else [what if "/" in what else f"./{what}"]
    searched = [name for name in names if name != "seed"]
    arguments = [f"--{name}={{{name.replace('-', '_')}}}" for name in searched] or ["{args}"]
    words += [*arguments, *(["--seed={seed}"] if "seed" in names else [])]
    about = '# the program prints one JSON object per report, for example {"loss": 0.5}; names in braces are parameters'
    return Draft(_name(file.stem, study), words, about, [name.replace("-", "_") for name in searched])


_ABOUT = "# called as objective(params, seed) in every trial; yields {metric: number}, or returns it once"


def _notebook(file: Path, text: str, study: Path) -> Draft:
    try:
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"init: {file} is no notebook", file=str(file), key="--objective") from None
    functions = [found for cell in cells for found in _functions(re.sub(r"^[%!].*$", "", cell, flags=re.MULTILINE))]
    function, names = functions[-1] if functions else ("objective", [])
    about = NOTEBOOK.format(notebook=file, file=study)
    return Draft(_name(file.stem, study), f"__main__:{function}", about, names)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        rule = f"{file} cannot be read: {error.strerror}"
        raise InputError(f"init: --objective: {rule}", file=str(file), key="--objective", rule=rule) from None


def _functions(text: str) -> list[tuple[str, list[str]]]:
    """The functions of ``(params, seed)`` in a program, in order: name, and the parameters that each looks up."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    return [
        (node.name, list(dict.fromkeys(_looked_up(ast.walk(node), node.args.args[0].arg))))
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and len(node.args.args) in (2, 3) and node.args.args[1].arg == "seed"
    ]


def _looked_up(nodes: Iterable[ast.AST], mapping: str) -> Iterable[str]:
    for node in nodes:
        match node:
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key))) if name == mapping:
                yield key
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[ast.Constant(value=str(key)), *_]
            ) if name == mapping:
                yield key


def _name(source: str, study: Path) -> str:
    """A study's name: that of its file, unless it is the usual one, or else of what it searches."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", source if study.stem == "study" else study.stem).strip("-._") or "study"
