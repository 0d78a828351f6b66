"""A command line as an objective: any program that prints its metrics or writes them to a file.

``objective = ["./train", "--lr={lr}", "--seed={seed}"]``: see :mod:`hpo.objective.arguments` for the placeholders and
:mod:`hpo.objective.readers` for where metrics are read. The same values are in the environment: ``HPO_PARAMS`` (a JSON
object), ``HPO_SEED``, ``HPO_TRIAL``, ``HPO_STUDY``, ``HPO_FOLDER`` (a folder of the trial's own) and ``HPO_CHECKPOINT``
(one that survives a retry). The trial ends with the program, also where a process that it started holds its output
open; the program and everything it started are ended with the trial.
"""

from __future__ import annotations

import collections
import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpo.objective.arguments import ALL, Template, error
from hpo.objective.readers import FILES, Gather, Pattern, Reader
from hpo.objective.spawn import POLL_SECONDS, lines, spawn
from hpo.study.command import Command
from hpo.text import how_many, printable

# What a command gives instead of a report, every :data:`POLL_SECONDS` seconds: it can be stopped then.
IDLE = object()
# Characters of a line of an error message.
SHOWN = 2000

Run = Callable[..., Generator[Any, None, None]]


class CommandFailed(RuntimeError):
    """A command ended with an exit code other than 0, or by a signal (a negative code)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def command_objective(command: Command) -> Run:
    """Wraps a command as an objective.

    Raises:
        ObjectiveError: When the program is not found or a placeholder is malformed.
    """
    if shutil.which(command.words[0]) is None:
        raise error(_missing(command.words[0]))
    if command.workdir == "own":  # the words are read in another folder than they were written for
        program, *words = command.words
        if "/" in program:  # others are looked for on the PATH
            program = _absolute(program, command.folder)
        command = replace(command, words=(program, *(_absolute(word, command.folder) for word in words)))
    template = Template(command)
    where = Template(Command((command.where,) if command.source in FILES else ()), f"reports.{command.source}")
    if command.source == "tensorboard":
        FILES["tensorboard"]("")  # whether it is installed

    def run(
        params: Mapping[str, Any],
        seed: int,
        *,
        checkpoint: str | None = None,
        folder: str | None = None,
        trial: int | None = None,
    ) -> Generator[Any, None, None]:
        given = {"seed": seed, "trial": trial, "study": command.study, "folder": folder, "checkpoint": checkpoint}
        values = {name: str(value) for name, value in given.items() if value is not None}
        own = folder if command.workdir == "own" else None
        environment = {f"HPO_{name.upper()}": text for name, text in values.items()}
        environment["HPO_PARAMS"] = json.dumps(dict(params))
        if "PYTHONUNBUFFERED" not in os.environ:  # Python keeps what it prints into a pipe, and nothing could be pruned
            environment["PYTHONUNBUFFERED"] = "1"
        reader: Reader | None = None
        if command.source == "pattern":
            reader = Pattern(command.where)
        elif command.source is not None:
            reader = FILES[command.source](str(Path(own or "", *where.fill(params, values))))
        return _run(template.fill(params, values), environment, own, command, reader)

    def check(params: Mapping[str, Any]) -> None:
        template.check(params)
        if wrong := where.names & {*ALL, *command.conditional}:
            raise ValueError(
                f"reports.{command.source} must name one file or folder in every trial, so it cannot have "
                f"{{{min(wrong)}}}"
            )
        where.check(params)

    run.check = check  # type: ignore[attr-defined]
    return run


def _absolute(word: str, folder: str) -> str:
    """A word or an option's value that names what exists, in the working folder or the study file's, made absolute.

    An option's value must be a file: a word such as ``--mode=train`` seldom means a folder. ``.`` is the trial's own.
    """
    option, is_option, value = word.partition("=") if word.startswith("-") else ("", "", word)
    for place in (Path.cwd(), Path(folder)):
        with suppress(OSError):  # a word may be longer than any name
            if value not in ("", ".") and ((place / value).is_file() if is_option else (place / value).exists()):
                literal = str(place).replace("{", "{{").replace("}", "}}")
                return f"{option}{is_option}{Path(literal, value)}"
    return word


def _missing(program: str) -> str:
    if not Path(program).is_file():
        where = "" if "/" in program else " on the PATH; write ./ in front of one in the working folder"
        return f"there is no program {program!r}{where}"
    if os.access(program, os.X_OK):
        return f"there is no program {program!r} on the PATH, but one in the working folder: write './{program}'"
    return f"{program!r} is not executable: `chmod +x` it, or put its interpreter in front"


def _run(
    words: list[str], environment: Mapping[str, str], folder: str | None, command: Command, reader: Reader | None
) -> Generator[Any, None, None]:
    """The program's reports, and :data:`IDLE` in between."""
    tail: collections.deque[str] = collections.deque(maxlen=50)
    gather = Gather(command.metrics, reader.names if isinstance(reader, Pattern) else None)
    count = reported = 0
    looked = 0.0
    last = ""
    with spawn(words, environment, folder, command.grace) as process, closing(lines(process)) as heard:
        for stream, text in heard:
            if stream is process.stderr:
                tail.append(text[:SHOWN])
            if pause := time.monotonic() > looked + POLL_SECONDS:
                looked = time.monotonic()
                yield IDLE
            if reader is not None:
                for row in [*(reader.hear(text) if stream else ()), *(reader.look() if pause else ())]:
                    yield from gather.add(row)
            elif stream is process.stdout and (report := _json_object(text)) is not None:
                reported += 1
                yield report
            elif stream is process.stdout and text.strip():
                count += 1
                # A line in braces was meant as a report.
                last = text if text.startswith("{") or not last.startswith("{") else last
        if code := process.wait():
            how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
            raise CommandFailed("\n".join([f"the command {how}", *tail]).rstrip(), code)
    if reader is not None:
        for row in reader.look(ended=True):
            yield from gather.add(row)
        yield from gather.flush()
        if not gather.count:
            wanted = " or ".join(map(repr, command.metrics))
            raise RuntimeError(
                f"[reports] {command.source} = {command.where!r} never found {wanted}; " + reader.account(gather.seen)
            )
    elif count and not reported:
        raise RuntimeError(_nothing_reported(count, last))


def _nothing_reported(count: int, last: str) -> str:
    hint = "; JSON needs double quotes and decimal points" if last.startswith("{") else ""
    found = f"{how_many(count, 'line')} of output, none of them JSON"
    return f"{found}; the last one: {printable(last[:200].strip())}{hint}"


def _json_object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        return json.loads(line)  # type: ignore[no-any-return]
    except (ValueError, RecursionError):
        return None  # ordinary output
