"""The language of constraints: names, numbers, text, arithmetic and comparisons, written as in Python.

Python's parser reads the text, and nothing ever runs it: only the few forms below are known. Their kinds are checked
while they are read, so that text is never added to a number. Length, depth and the size of numbers are bounded; what
has no value within these bounds (a division by zero, ``9**9**9``) does not hold.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hpo.text import suggest

MAX_CHARACTERS, MAX_DEPTH = 1000, 50  # characters, levels
_BITS = 1024  # of a whole number; the largest float has as many
Values = Mapping[str, Any]
Kind = type[float] | type[str] | type[bool]
_WORDS = {float: "a number", str: "text", bool: "true or false"}
_EXAMPLE = 'must be a comparison such as "layers * width <= 4096"'


class Node:
    """A part of an expression."""

    def value(self, values: Values) -> Any:
        """Its value; ``ArithmeticError`` or ``ValueError`` where it has none."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Name(Node):
    name: str

    def value(self, values: Values) -> Any:
        return values[self.name]


@dataclass(frozen=True)
class _Constant(Node):
    constant: Any

    def value(self, values: Values) -> Any:
        return self.constant


@dataclass(frozen=True)
class _Call(Node):
    function: Callable[..., Any]
    parts: tuple[Node, ...]

    def value(self, values: Values) -> Any:
        result = self.function(*(part.value(values) for part in self.parts))
        if isinstance(result, int):
            if result.bit_length() > _BITS:
                raise OverflowError
        elif not isinstance(result, float) or not math.isfinite(result):  # a root of -1 is complex
            raise ValueError
        return result


@dataclass(frozen=True)
class _Comparison(Node):
    """``a < b <= c``: every part has one value."""

    operators: tuple[Callable[[Any, Any], bool], ...]
    parts: tuple[Node, ...]

    def value(self, values: Values) -> bool:
        left = self.parts[0].value(values)
        for compare, part in zip(self.operators, self.parts[1:], strict=True):
            right = part.value(values)
            if not compare(left, right):
                return False
            left = right
        return True


@dataclass(frozen=True)
class _Logic(Node):
    """``and`` and ``or``; ``decides`` is the value that ends them early."""

    decides: bool
    parts: tuple[Node, ...]

    def value(self, values: Values) -> bool:
        if any(part.value(values) is self.decides for part in self.parts):
            return self.decides
        return not self.decides


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and base.bit_length() * exponent > 2 * _BITS:
        raise OverflowError
    return base**exponent


_ARITHMETIC: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
# Each with how few and how many arguments it takes.
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "min": (min, 2, MAX_CHARACTERS),
    "max": (max, 2, MAX_CHARACTERS),
    "abs": (abs, 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "exp": (math.exp, 1, 1),
    "log": (math.log, 1, 1),
    "log2": (math.log2, 1, 1),
    "log10": (math.log10, 1, 1),
}
_TRUTH = {"true": True, "false": False, "True": True, "False": False}
_FORMS = (
    "must consist of names, numbers, text, + - * / // % **, comparisons, and, or, not, "
    f"{', '.join(FUNCTIONS)}, and not of "
)


@dataclass(frozen=True)
class Expression:
    """A condition on parameters.

    Attributes:
        text: As the study file has it.
        names: The searched parameters that it names.
        root: What computes it.
    """

    text: str
    names: frozenset[str]
    root: Node

    def holds(self, values: Values) -> bool:
        """Whether it holds for these parameters; it also holds where one that it names is missing."""
        if not self.names <= values.keys():
            return True
        try:
            return self.root.value(values) is True
        except (ArithmeticError, ValueError):
            return False


def kind_of(values: list[Any]) -> Kind | None:
    """The one kind of all these values; None for lists, tables and mixtures."""
    for kind, types in ((bool, bool), (str, str), (float, int | float)):
        if all(isinstance(value, types) and (kind is bool or not isinstance(value, bool)) for value in values):
            return kind
    return None


def parse(text: Any, kinds: Mapping[str, Kind | None], fixed: Mapping[str, Any]) -> Expression:
    """Reads a constraint.

    Args:
        text: The constraint. A name that Python would not take stands in backquotes.
        kinds: The searched parameters, each with the kind of its values.
        fixed: The fixed parameters; they are constants.

    Raises:
        ValueError: With the rule that is broken.
    """
    if not isinstance(text, str) or not 0 < len(text) <= MAX_CHARACTERS:
        raise ValueError(f"{_EXAMPLE}, of at most {MAX_CHARACTERS} characters")
    quoted: dict[str, str] = {}

    def replaced(match: re.Match[str]) -> str:
        if match[1] is None:  # text, which may hold backquotes
            return match[0]
        quoted[name := f"__quoted_{len(quoted)}"] = match[1]
        return name

    source = re.sub(r"""'[^']*'|"[^"]*"|`([^`]+)`""", replaced, text).strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of the parser, about an escape for example
            tree = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{_EXAMPLE}; Python's parser: {error.msg}{_unquoted(text, [*kinds, *fixed])}") from None
    except (ValueError, MemoryError, RecursionError):
        raise ValueError(_EXAMPLE) from None
    reader = _Reader(source, quoted, kinds, fixed)
    root, kind = reader.read(tree, MAX_DEPTH)
    if kind is not bool:
        raise ValueError(f"{_EXAMPLE}; this is {_WORDS[kind]}")
    return Expression(text, frozenset(reader.names), root)


def _unquoted(text: str, names: Iterable[str]) -> str:
    """The tail of a message where a name that needs backquotes stands without them; empty where none does."""
    for name in names:
        takes = all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))
        if not takes and re.search(rf"(?<![\w`]){re.escape(name)}(?![\w`])", text):
            return f"; write `{name}` with backquotes, because of Python's notation"
    return ""


class _Reader:
    """Turns Python's tree into nodes, and gives the kind of each."""

    def __init__(
        self, source: str, quoted: Mapping[str, str], kinds: Mapping[str, Kind | None], fixed: Mapping[str, Any]
    ) -> None:
        self._source, self._quoted, self._kinds, self._fixed = source, quoted, kinds, fixed
        self.names: set[str] = set()

    def read(self, tree: ast.expr, depth: int) -> tuple[Node, Kind]:
        if not depth:
            raise ValueError(f"must have at most {MAX_DEPTH} levels")
        match tree:
            case ast.Constant(value=value):
                return self._constant(value, tree)
            case ast.Name() | ast.Attribute():
                return self._name(tree)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _Call(_ARITHMETIC[type(op)], self._all([left, right], float, depth)), float
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _Comparison((operator.is_,), (*self._all([operand], bool, depth), _Constant(False))), bool
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _ARITHMETIC:
                return _Call(_ARITHMETIC[type(op)], self._all([operand], float, depth)), float
            case ast.BoolOp(op=op, values=parts):
                return _Logic(isinstance(op, ast.Or), self._all(parts, bool, depth)), bool
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
                return self._comparison([left, *others], ops, depth), bool
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                function, fewest, most = FUNCTIONS[name]
                numbers = self._all(args, float, depth)
                if not fewest <= len(numbers) <= most:
                    raise ValueError(f"{name} takes {'one number' if most == 1 else 'two numbers or more'}")
                return _Call(function, numbers), float
        raise ValueError(_FORMS + self._part(tree))

    def _all(self, trees: list[ast.expr], kind: Kind, depth: int) -> tuple[Node, ...]:
        found = [self.read(tree, depth - 1) for tree in trees]
        for tree, (_, other) in zip(trees, found, strict=True):
            if other is not kind:
                self._mismatch(tree, other, kind)
        return tuple(node for node, _ in found)

    def _comparison(self, trees: list[ast.expr], ops: list[ast.cmpop], depth: int) -> Node:
        found = [self.read(tree, depth - 1) for tree in trees]
        first = found[0][1]
        only_equal = all(isinstance(op, ast.Eq | ast.NotEq) for op in ops)
        wanted = first if only_equal else float
        for tree, (_, kind) in zip(trees, found, strict=True):
            if kind is not wanted:
                self._mismatch(tree, kind, wanted)
        return _Comparison(tuple(_COMPARISONS[type(op)] for op in ops), tuple(node for node, _ in found))

    def _mismatch(self, tree: ast.expr, kind: Kind, wanted: Kind) -> None:
        raise ValueError(f"{self._part(tree)} is {_WORDS[kind]}, but {_WORDS[wanted]} is needed there")

    def _part(self, tree: ast.expr) -> str:
        return ast.get_source_segment(self._source, tree) or "this"

    def _constant(self, value: Any, tree: ast.expr) -> tuple[Node, Kind]:
        kind = kind_of([value])
        if kind is None:
            raise ValueError(_FORMS + self._part(tree))
        if kind is float and (value.bit_length() > _BITS if isinstance(value, int) else not math.isfinite(value)):
            raise ValueError("must hold numbers of at most 1e308")
        return _Constant(value), kind

    def _name(self, tree: ast.expr) -> tuple[Node, Kind]:
        known = [*self._kinds, *self._fixed]
        name = self._dotted(tree)
        if name not in known:  # Python's parser turns the micro sign into a Greek letter, for example
            name = {unicodedata.normalize("NFKC", other): other for other in known}.get(name, name)
        if name not in known:
            if name in _TRUTH:
                return _Constant(_TRUTH[name]), bool
            hint = _unquoted(self._source, known) or suggest(name, known)
            raise ValueError(f"names {name!r}, which is no parameter{hint}")
        kind = self._kinds[name] if name in self._kinds else kind_of([self._fixed[name]])
        if kind is None:
            raise ValueError(f"names {name!r}, whose values are not all numbers, all text, or all true and false")
        if name in self._fixed:
            return _Constant(self._fixed[name]), kind
        self.names.add(name)
        return _Name(name), kind

    def _dotted(self, tree: ast.expr) -> str:
        parts: list[str] = []
        while isinstance(tree, ast.Attribute):
            parts.append(tree.attr)
            tree = tree.value
        if not isinstance(tree, ast.Name):
            raise ValueError(_FORMS + self._part(tree))
        return ".".join([self._quoted.get(tree.id, tree.id), *reversed(parts)])
