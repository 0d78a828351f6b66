"""A trial's parameters as words of a command line.

``{args}`` becomes one option per parameter, ``{overrides}`` becomes Hydra's ``key=value``, and ``{name}`` one value.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from typing import Any

from hpo.errors import ObjectiveError
from hpo.study.command import Command
from hpo.text import suggest

# What a word may name beside parameters. The first two stand for all parameters that no other word names.
ALL = ("args", "overrides")
RESERVED = (*ALL, "seed", "trial", "study", "folder", "checkpoint")
# Texts that Hydra's grammar takes as they are; all others are quoted.
_BARE = re.compile(r"[A-Za-z_/@][\w./@%+-]*", re.ASCII)
_KEY_ESCAPE, _BACKSLASH = re.compile(r"[\\()\[\]{}:=, \t]"), r"\\\g<0>"
_NOT_TEXT = re.compile(r"true|false|null|nan|inf", re.IGNORECASE)
# What may be a key in Hydra's grammar, which has no quotes for keys: of an override, and of a table in its value.
_NAME = re.compile(r"{0}(/{0})*|({0}|\d+)(\.({0}|\d+))+".format(r"[A-Za-z_][\w-]*"), re.ASCII)
_KEY = re.compile(r"[\w/\\+.$%*@?|()\[\]{}:=, \t-]+", re.ASCII)

Word = list[tuple[str, str | None]]


class Template:
    """The words of a command, checked once and filled for every trial.

    Args:
        command: Its words, and how they write parameters.
        what: What they are, for messages.

    Raises:
        ObjectiveError: When a placeholder is malformed.
    """

    def __init__(self, command: Command, what: str = "the command") -> None:
        self._command, self._what = command, what
        self._words = [split(word) for word in command.words]
        self.names = {name for word in self._words for _, name in word if name is not None}
        for word, parts in zip(command.words, self._words, strict=True):
            if len(parts) > 1 or (parts[:1] and parts[0][0]):
                for name in ALL:
                    if any(name == found for _, found in parts):
                        raise error(f"{{{name}}} becomes several words, so it must be a word of its own, got {word!r}")

    def check(self, params: Mapping[str, Any]) -> None:
        """Refuses parameters that the command cannot be called with.

        Raises:
            ValueError: With the rule that is broken.
        """
        for name in sorted(self.names & {*RESERVED} & {*params}):
            raise ValueError(
                f"{self._what} names {{{name}}}, which hpo fills in, but the study has a parameter {name!r} too; "
                "rename the parameter, or read it from HPO_PARAMS"
            )
        for name in sorted(self.names - {*RESERVED, *params} - self._command.conditional):
            raise ValueError(
                f"{self._what} names {{{name}}}, which is not among a trial's parameters"
                + suggest(name, [*params, *RESERVED])
            )
        for word in self._words:
            if len(word) == 1 and word[0][0] == "" and word[0][1] in self._command.conditional:
                raise ValueError(
                    f"the word {{{word[0][1]}}} is left over in trials that do not have this parameter; write it with "
                    f"its option in one word, as in '--{word[0][1]}={{{word[0][1]}}}', or use {{args}}"
                )
        if any("\0" in word for word in self.fill(params, dict.fromkeys(RESERVED, ""))):
            raise ValueError(f"a word of {self._what} has a NUL character, which no program can be given")

    def fill(self, params: Mapping[str, Any], values: Mapping[str, str]) -> list[str]:
        """The command's words for one trial.

        Args:
            params: The trial's parameters; a word that names a missing one is left out.
            values: What the names in :data:`RESERVED` stand for, as far as the trial has it.
        """
        rest = {name: value for name, value in params.items() if name not in self.names}
        texts = {name: plain(value) for name, value in params.items()} | dict(values)
        words: list[str] = []
        for word in self._words:
            if word and word[0][1] == "args":
                for name, value in rest.items():
                    words += _argument(self._command.arguments.get(name), name, value)
            elif word and word[0][1] == "overrides":
                words += [_override(name, value) for name, value in rest.items()]
            elif all(name is None or name in texts for _, name in word):
                words.append("".join(text + ("" if name is None else texts[name]) for text, name in word))
        return words


def error(rule: str) -> ObjectiveError:
    """The error for a command that cannot be used."""
    return ObjectiveError(f"objective: {rule}", key="objective", rule=rule)


def plain(value: Any) -> str:
    """A value as one word: text as it is, anything else as JSON, with all digits."""
    return value if isinstance(value, str) else json.dumps(value)


def hydra(value: Any) -> str:
    """A value in the grammar of Hydra's command-line overrides (Hydra 1.1 and newer).

    Raises:
        ValueError: For a key of a table that Hydra cannot read, or would read as a number, say.
    """
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(name)}:{hydra(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(hydra, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    if _BARE.fullmatch(value) and not _NOT_TEXT.fullmatch(value):
        return value
    # Backslashes count only before a quote, before the end and before ${, which would be an interpolation.
    escaped = re.sub(r"(\\*)('|\$\{|\Z)", lambda m: m[1] * 2 + (m[2] and "\\" + m[2]), value)
    return f"'{escaped}'"


def _key(name: str) -> str:
    if not _KEY.fullmatch(name) or _NOT_TEXT.fullmatch(name) or _is_number(name):
        raise ValueError(f"{{overrides}}: Hydra has no way to write the key {name!r}")
    return _KEY_ESCAPE.sub(_BACKSLASH, name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _override(name: str, value: Any) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{{overrides}}: Hydra has no way to write the parameter's name {name!r}")
    return f"{name}={hydra(value)}"


def split(word: str) -> Word:
    """A word as pairs of literal text and the name in braces after it, if there is one."""
    try:
        parts = list(string.Formatter().parse(word))
    except ValueError as malformed:
        raise error(f"{word!r}: {malformed}; write {{{{ and }}}} for literal braces") from None
    for _, name, spec, conversion in parts:
        if name is not None and (not name or spec or conversion):
            raise error(
                "braces must hold a parameter's name and nothing else (write {{ and }} for literal braces), "
                f"got {word!r}"
            )
    return [(text, name) for text, name, _, _ in parts]


def _argument(pattern: str | None, name: str, value: Any) -> list[str]:
    """One parameter's words: ``--lr={}`` filled with the value, ``--nesterov`` for a true one."""
    if pattern is None:  # a slash in a name does not part two flags
        if isinstance(value, bool):
            return [f"--{name}"] if value else []
        pattern = f"--{name}={{}}"
    head, brace, tail = pattern.partition("{")
    if isinstance(value, bool) and not brace:
        on, _, off = pattern.partition("/")
        return [word for word in [on if value else off] if word]
    if not brace:
        if "/" in pattern:
            raise ValueError(f"[arguments] {name} = {pattern!r} is for true and false, got {json.dumps(value)}")
        head, tail = f"{pattern}=", "}"
    between, _, tail = tail.partition("}")
    if not isinstance(value, list):
        return _joined(head, [plain(value)], tail)
    texts = [plain(part) for part in value]
    if not between:  # the whole pattern once per value
        return [word for text in texts for word in _joined(head, [text], tail)]
    return _joined(head, [between.join(texts)] if between.strip() else texts, tail)


def _joined(head: str, texts: list[str], tail: str) -> list[str]:
    """The pattern's words: what stands before a space is a word of its own."""
    *before, first = head.split(" ") if " " in head else [head]
    words = [first + text + tail for text in texts] if first else texts and [*texts[:-1], texts[-1] + tail]
    return [*filter(None, before), *words]
