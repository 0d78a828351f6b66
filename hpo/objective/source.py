"""What the text of an objective shows about it, without running it: of a function, a program or a notebook."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hpo.errors import InputError

# What argparse may do with an option that takes no value.
FLAGS = ("store_true", "store_false", "BooleanOptionalAction")
FUNCTION = "# called as objective(params, seed) in every trial; yields {metric: number}, or returns it once"
PROGRAM = """\
# the program prints one JSON object per report, for example {"loss": 0.5}, or what [reports] below says;
# names in braces are parameters: docs/programs.md"""
NOTEBOOK = """\
# Defined in a cell of {notebook}; below it, search with: import hpo; result = hpo.run("{file}")"""


class Draft(NamedTuple):
    """What is known of an objective without running it.

    Attributes:
        name: What the study may be called.
        objective: The study's key.
        about: A comment below it.
        parameters: The names of the parameters that it takes, as far as its text shows them, and their ranges; None
            for a guess from the name.
        arguments: How ``{args}`` writes a parameter, where not as ``--name=value``.
    """

    name: str
    objective: str | list[str]
    about: str
    parameters: Mapping[str, str | None]
    arguments: Mapping[str, str] = MappingProxyType({})

    @property
    def in_notebook(self) -> bool:
        return isinstance(self.objective, str) and self.objective.startswith("__main__:")


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
        return Draft(_name(module.rpartition(".")[2], study), f"{module}:{function}", FUNCTION, known.get(function, {}))
    file = Path(what)
    text = _read(file)
    if file.suffix == ".ipynb":
        return _notebook(file, text, study)
    if file.suffix == ".py" and (functions := _functions(text)):
        function, names = functions[-1]
        return Draft(_name(file.stem, study), f"{'.'.join(file.with_suffix('').parts)}:{function}", FUNCTION, names)
    return _program(file, what, text, study)


def _notebook(file: Path, text: str, study: Path) -> Draft:
    try:
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"init: {file} is no notebook", file=str(file), key="--objective") from None
    functions = [found for cell in cells for found in _functions(re.sub(r"^[%!].*$", "", cell, flags=re.MULTILINE))]
    function, names = functions[-1] if functions else ("objective", {})
    about = NOTEBOOK.format(notebook=file, file=study)
    return Draft(_name(file.stem, study), f"__main__:{function}", about, names)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        rule = f"{file} cannot be read: {error.strerror}"
        raise InputError(f"init: --objective: {rule}", file=str(file), key="--objective", rule=rule) from None


def _parsed(text: str) -> ast.Module:
    """A program; an empty one where it is not Python's."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):  # a NUL character is a ValueError
        return ast.Module([], [])


def _functions(text: str) -> list[tuple[str, dict[str, None]]]:
    """The functions of ``(params, seed)`` in a program, in order: name, and the parameters that each looks up."""
    return [
        (node.name, dict.fromkeys(_looked_up(ast.walk(node), node.args.args[0].arg)))
        for node in _parsed(text).body
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


def _program(file: Path, what: str, text: str, study: Path) -> Draft:
    """A program with the options that it gives argparse; text options keep the program's own values."""
    words = ["python", what] if file.suffix == ".py" else [what if "/" in what else f"./{what}"]
    parameters: dict[str, str | None] = {}
    arguments: dict[str, str] = {}
    seed: list[str] = []
    for option, given in _options(text):
        name, space = option.replace("-", "_"), _space(given)
        if option == "seed":
            seed = ["--seed={seed}"]
        elif space is not None:
            parameters[name] = space or None
            if pattern := _pattern(option, name, given):
                arguments[name] = pattern
            if not pattern and given.get("action") not in FLAGS:
                words.append(f"--{option}={{{name}}}")
    named = sum("{" in word for word in words)
    words += [*(["{args}"] if named < len(parameters) or not parameters else []), *seed]
    return Draft(_name(file.stem, study), words, PROGRAM, parameters, arguments)


def _options(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The long options of a program that argparse reads, without dashes, and what else is said of each."""
    calls = [node for node in ast.walk(_parsed(text)) if isinstance(node, ast.Call)]
    found: dict[str, dict[str, Any]] = {}
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
            long = [str(word) for arg in call.args if str(word := _literal(arg)).startswith("--")]
            given = {str(word.arg): _value(word) for word in call.keywords}
            found |= {option[2:]: given for option in long[:1]}
    return list(found.items())


def _value(word: ast.keyword) -> Any:
    """The value of an argument, of a type or action its name; None where only running the program would tell."""
    if isinstance(word.value, ast.Name | ast.Attribute):
        return ast.unparse(word.value).removeprefix("argparse.") if word.arg in ("type", "action") else None
    return _literal(word.value)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _space(given: dict[str, Any]) -> str | None:
    """The values to search for an option; "" for a guess from its name, None to leave it alone."""
    default, choices = given.get("default"), given.get("choices")
    if given.get("action", "store") in FLAGS:
        return "{ choice = [true, false] }"
    if given.get("action", "store") != "store":
        return None
    if _takes_a_list(given):
        return f"{{ choice = [{json.dumps(default)}] }}  # add other lists" if default and _plain(default) else None
    if isinstance(choices, list | tuple) and _plain(choices):
        return f"{{ choice = {json.dumps(choices, ensure_ascii=False)} }}"
    if given.get("type", "float") not in ("int", "float") or isinstance(default, str):
        return None
    return "{ low = 1, high = 100, log = true }" if given.get("type") == "int" else ""


def _takes_a_list(given: dict[str, Any]) -> bool:
    return bool(given.get("nargs", "?") != "?")


def _plain(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(type(value) in (str, int, float) for value in values)


def _pattern(option: str, name: str, given: dict[str, Any]) -> str | None:
    """How ``{args}`` writes the parameter of an option; None where it needs no ``[arguments]``."""
    if _takes_a_list(given):
        return f"--{option} {{ }}"
    if given.get("action") == "BooleanOptionalAction":
        return f"--{option}/--no-{option}"
    return f"--{option}" if given.get("action") in FLAGS and option != name else None


def _name(source: str, study: Path) -> str:
    """A study's name: that of its file, unless it is the usual one, or else of what it searches."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", source if study.stem == "study" else study.stem).strip("-._") or "study"
