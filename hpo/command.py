"""A command line as an objective: any program that prints one JSON object per report on standard output.

``objective = ["./train", "--lr={lr}", "--seed={seed}"]``: braces name parameters or ``seed``; doubled braces are
literal. The same values are in the environment as ``HPO_PARAMS`` (a JSON object), ``HPO_SEED`` and
``HPO_CHECKPOINT`` (a folder of the trial's own that survives a retry). Lines that are no JSON object are ordinary
output. The program and everything it starts are ended with the trial.
"""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import string
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from hpo.errors import InputError
from hpo.fields import suggest

# Seconds between asking a stopped program to end and ending it.
GRACE = 5.0
# A shell that reads a process group's number, waits for its standard input to close, and ends the group.
_GUARD = 'read -r group; read -r _; kill -s KILL -- "-$group"'


def command_objective(
    words: tuple[str, ...],
) -> Callable[[Mapping[str, Any], int], Generator[dict[str, Any], None, None]]:
    """Wraps a command as an objective.

    Raises:
        InputError: When the program is not found or a placeholder is malformed.
    """
    if shutil.which(words[0]) is None:
        raise InputError(f"objective: {_missing(words[0])}")
    names = {name for word in words for _, name in _split(word) if name is not None}

    def run(
        params: Mapping[str, Any], seed: int, checkpoint: str | None = None
    ) -> Generator[dict[str, Any], None, None]:
        return _run(words, params, seed, checkpoint)

    def check(params: Mapping[str, Any]) -> None:
        for name in sorted(names - {"seed"}):
            if name not in params:
                raise ValueError(
                    f"the command names {{{name}}}, which is not among a trial's parameters"
                    + suggest(name, [*params, "seed"])
                )

    run.check = check  # type: ignore[attr-defined]
    return run


def _missing(program: str) -> str:
    if not Path(program).is_file():
        where = "" if "/" in program else " on the PATH; write ./ in front of one in the working folder"
        return f"there is no program {program!r}{where}"
    if os.access(program, os.X_OK):
        return f"there is no program {program!r} on the PATH, but one in the working folder: write './{program}'"
    return f"{program!r} is not executable: `chmod +x` it, or put its interpreter in front"


def _split(word: str) -> list[tuple[str, str | None]]:
    """A word as pairs of literal text and the name in braces after it, if there is one."""
    try:
        parts = list(string.Formatter().parse(word))
    except ValueError as error:
        raise InputError(f"objective: {word!r}: {error}; write {{{{ and }}}} for literal braces") from None
    for _, name, spec, conversion in parts:
        if name is not None and (not name or spec or conversion):
            raise InputError(
                "objective: braces must hold a parameter's name and nothing else (write {{ and }} for literal braces), "
                f"got {word!r}"
            )
    return [(text, name) for text, name, _, _ in parts]


def _run(
    words: tuple[str, ...], params: Mapping[str, Any], seed: int, checkpoint: str | None
) -> Generator[dict[str, Any], None, None]:
    values = {name: _text(value) for name, value in params.items()} | {"seed": str(seed)}
    command = ["".join(text + (values[name] if name is not None else "") for text, name in _split(w)) for w in words]
    tail: collections.deque[str] = collections.deque(maxlen=50)
    environment = {"HPO_PARAMS": json.dumps(dict(params)), "HPO_SEED": str(seed)}
    if checkpoint is not None:
        environment["HPO_CHECKPOINT"] = checkpoint
    with _program(command, environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        drain = threading.Thread(target=_keep_tail, args=(process.stderr, tail), daemon=True)
        drain.start()
        for line in process.stdout:
            if (report := _json_object(line)) is not None:
                yield report
        if code := process.wait():
            drain.join(GRACE)
            how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
            raise RuntimeError(f"the command {how}\n{''.join(tail)}".rstrip())


@contextmanager
def _program(command: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A running program; when the block ends it and its children are ended, and also when this process is killed."""
    guard = subprocess.Popen(["/bin/sh", "-c", _GUARD], stdin=subprocess.PIPE, text=True, start_new_session=True)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | environment,
            text=True,
            errors="replace",
            start_new_session=True,  # a group of its own, so that a stop reaches its children too
        )
        assert guard.stdin is not None
        guard.stdin.write(f"{process.pid}\n")
        guard.stdin.flush()
        try:
            yield process
        finally:
            _end(process)
            assert process.stdout is not None
            process.stdout.close()
    finally:
        guard.kill()
        guard.communicate()


def _end(process: subprocess.Popen[str]) -> None:
    """Asks the program's whole group to end, and ends what has not done so after a while."""
    deadline = time.monotonic() + GRACE
    with suppress(ProcessLookupError):  # nobody is left
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # a process that not even a kill reaches is left to the system
        process.wait(GRACE)


def _json_object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        return json.loads(line)  # type: ignore[no-any-return]
    except (ValueError, RecursionError):
        return None  # ordinary output


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _keep_tail(stream: IO[str], tail: collections.deque[str]) -> None:
    with stream:
        tail.extend(stream)
