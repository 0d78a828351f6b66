"""How results are printed: streams, prose, JSON and TOML."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from hpo.errors import HpoError
from hpo.machine import lenient
from hpo.text import for_json, number, printable, redact

# Streams -----------------------------------------------------------------------------------------------------------

# Where results go; None for `sys.stdout`.
_out: TextIO | None = None


def _has_descriptor(stream: TextIO, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except (OSError, ValueError):  # a stream of a test, or of a notebook
        return False


def harden_streams() -> None:
    """Makes the standard streams take any character, and standard error never fail, even where it is closed."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:  # otherwise the next file that is opened would get its number, and what is written to it
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if _has_descriptor(sys.stderr, 2):
        sys.stderr = lenient(2, sys.stderr)


def own_output() -> None:
    """Keeps standard output for this command's results; what other code prints, in C too, goes to standard error."""
    global _out
    if _out is None and _has_descriptor(sys.stdout, 1) and _has_descriptor(sys.stderr, 2):
        sys.stdout.flush()
        _out = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="backslashreplace")
        os.dup2(2, 1)
        sys.stdout = lenient(1, _out)


def out() -> TextIO:
    """Where results go."""
    return _out or sys.stdout


def line_length() -> int:
    """How many characters a line of the terminal holds; any number where results go to a pipe or a file."""
    if not out().isatty():
        return sys.maxsize
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        return os.get_terminal_size(out().fileno()).columns or 80
    except OSError:
        return 80


def write_lines(lines: Iterable[str]) -> None:
    """Writes prose; on a terminal, lines that are too long are wrapped between two words."""
    for line in lines:
        fits = len(line) <= line_length()
        parts = [line] if fits else textwrap.wrap(line, line_length(), break_long_words=False, break_on_hyphens=False)
        write("\n".join(parts) + "\n")


def write(text: str, *, safe: bool = True) -> None:
    """Writes a part of the results at once.

    Args:
        text: The text, with its line breaks.
        safe: Escape what could command a terminal.

    Raises:
        BrokenPipeError: When nobody reads it any more.
        HpoError: When it cannot be written.
    """
    _put(out(), printable(text) if safe else text)


def write_bytes(data: bytes) -> None:
    """Writes a whole file as the results; a terminal gets it as text.

    Raises:
        BrokenPipeError: When nobody reads it any more.
        HpoError: When it cannot be written.
    """
    stream = getattr(out(), "buffer", None)
    if stream is None or out().isatty():
        write(data.decode())
    else:
        _put(stream, data)


def _put(stream: Any, what: str | bytes) -> None:
    try:
        stream.write(what)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HpoError(f"standard output cannot be written: {error.strerror or error}") from error


# Forms -------------------------------------------------------------------------------------------------------------


def browsed(server: str) -> str:
    """A tracking server's address for a browser; inside a cluster the server may have another name."""
    outside = os.environ.get("HPO_MLFLOW_URL") if server == os.environ.get("MLFLOW_TRACKING_URI") else None
    return redact(outside or server)


def print_json(value: Any) -> None:
    write(json.dumps(for_json(value), indent=2, allow_nan=False) + "\n")


def print_toml(table: Mapping[str, Any]) -> None:
    """The body of a TOML table; what the output cannot show is escaped as TOML has it."""
    encoding = out().encoding or "utf-8"
    for line in toml_lines(table):
        write("".join(_shown(character, encoding) for character in line) + "\n")


def _shown(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return f"\\U{ord(character):08x}"
    return character if printable(character) == character else f"\\u{ord(character):04x}"


def toml_lines(table: Mapping[str, Any]) -> list[str]:
    """The body of a TOML table, one key a line."""
    return [f"{_toml_key(key)} = {_toml(value)}" for key, value in table.items()]


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(toml_lines(value)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON's scalars are TOML's, but for surrogate pairs and one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def values_in_words(head: Mapping[str, Any]) -> str:
    """The value, or the values by name, of a trial's JSON; empty without any."""
    values = head.get("values") or {"": head.get("value")}
    return ", ".join(f"{name} {number(value)}".lstrip() for name, value in values.items() if value is not None)
