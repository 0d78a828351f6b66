"""How names, numbers, values and times are written: in messages, on pages and axes, in MLflow and in JSON."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

# What a terminal obeys or cannot show: control characters but tab and line feed, marks that turn the direction of
# writing, and halves of characters.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# A password among the options of an address, or in a connection string.
_SECRET_OPTION = re.compile(
    r"(?i)((?:^|[?&;,\s(])\w*(?:password|passwd|token|secret)\s*=\s*)('(?:\\.|[^'])*'|[^\s&;]*)"
)


def printable(text: str) -> str:
    r"""The text with what could command a terminal written as escapes, such as ``\x1b``."""
    return _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text)


def redact(url: str) -> str:
    """A text without the passwords of the addresses in it: after a user's name, among options and in a DSN."""
    url = re.sub(r"(?<!http:)(?<!https:)(//[^\s/?#@:]*):\S*@", r"\1:***@", url)
    url = re.sub(r"(https?://[^\s/?#@:]*):(?!\d+[/?#])\S*@", r"\1:***@", url)  # :5000/ is a port
    return _SECRET_OPTION.sub(r"\1***", url)


def reason(error: object) -> str:
    """What an error of a database or server says, in one line that is not too long, without passwords."""
    line = re.split(r" \[SQL: | \(Background on this error", " ".join(str(error).split()))[0]  # for programmers
    return redact(line)[:300]  # in this order: half an address may hide its password


def cut(text: str, most: int) -> str:
    """A text of at most ``most`` characters: of a longer one beginning and end, and between them how much is left out.

    Args:
        text: The text.
        most: At least 60.
    """
    if len(text) <= most:
        return text
    half = most // 2 - 25  # the note takes up to 50
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def number(value: float | None) -> str:
    """Six digits; ``-`` for what is not there."""
    return "-" if value is None else f"{value:.6g}"


def value(value: Any) -> str:
    """A parameter's value: a number with six digits, anything else as it is."""
    return number(value) if isinstance(value, float) else str(value)


def short(value: Any, width: int = 60) -> str:
    """A value where there is little room: numbers with three digits, long texts cut after ``width`` characters."""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def how_many(count: int, noun: str) -> str:
    """A number of things, such as ``1 trial`` or ``3 trials``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def sentence(text: str) -> str:
    """Words as a sentence of their own."""
    return f"{text[:1].upper()}{text[1:]}."


def signed(value: float) -> str:
    """Two digits and a sign, without a negative zero."""
    return f"{round(value, 2) + 0.0:+.2f}"


def duration(seconds: float | None) -> str:
    """A length of time in units of its size; ``-`` for what is not there."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def length(seconds: float) -> str:
    """A length of time that somebody has set, or nearly: like :func:`duration`, without needless digits."""
    return f"{seconds:g} s" if seconds < 60 else duration(seconds)


def clock(moment: float | None) -> str:
    """A moment, in local time; ``-`` for what is not there."""
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


def for_json(value: Any) -> Any:
    """A value with None for the numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: for_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def near(name: object, known: Iterable[str]) -> str:
    """The tail of an "unknown name" message: the nearest known name, if there is one; what is no text has none."""
    found = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) else []
    return f"; did you mean {found[0]!r}?" if found else ""


def suggest(name: str, known: Iterable[str]) -> str:
    """The tail of an "unknown name" message: the nearest known name, or all of them."""
    known = list(known)
    return near(name, known) or (f"; known are {', '.join(known)}" if known else "")


def error_line(error: str) -> str:
    """The line of a traceback, or of another account of an error, that says what went wrong."""
    lines = [line for line in error.splitlines() if line.strip()]
    frames = [index for index, line in enumerate(lines) if line.startswith('  File "')]
    after = lines[frames[-1] + 1 :] if frames else lines
    reasons = [line for line in after if not line.startswith((" ", "Traceback (most recent call last)"))]
    return reasons[0] if reasons else lines[-1] if lines else "unknown"
