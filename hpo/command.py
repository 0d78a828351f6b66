"""A command line as an objective: any program that prints one JSON object per report on standard output.

``objective = ["./train", "--lr={lr}", "--seed={seed}"]``: braces name parameters or ``seed``. The same values are in
the environment as ``HPO_PARAMS`` (a JSON object) and ``HPO_SEED``. Lines that are no JSON object are ordinary output.
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
from collections.abc import Callable, Generator, Mapping
from typing import IO, Any

from hpo.errors import InputError
from hpo.fields import suggest

# Seconds between asking a stopped program to end and ending it.
GRACE = 5.0


def command_objective(
    words: tuple[str, ...],
) -> Callable[[Mapping[str, Any], int], Generator[dict[str, Any], None, None]]:
    """Wraps a command as an objective.

    Raises:
        InputError: When the program is not found or a placeholder is malformed.
    """
    if shutil.which(words[0]) is None:
        raise InputError(f"objective: there is no program {words[0]!r} in the working folder or on the PATH")
    try:
        names = {name for word in words for _, name, _, _ in string.Formatter().parse(word) if name is not None}
    except ValueError as error:
        raise InputError(f"objective: {' '.join(words)}: {error}") from None

    def run(params: Mapping[str, Any], seed: int) -> Generator[dict[str, Any], None, None]:
        return _run(words, params, seed)

    def check(params: Mapping[str, Any]) -> None:
        for name in sorted(names - {"seed"}):
            if name not in params:
                raise ValueError(f"the command names {{{name}}}, which is no parameter{suggest(name, params)}")

    run.check = check  # type: ignore[attr-defined]
    return run


def _run(words: tuple[str, ...], params: Mapping[str, Any], seed: int) -> Generator[dict[str, Any], None, None]:
    values = {name: _text(value) for name, value in params.items()} | {"seed": str(seed)}
    process = subprocess.Popen(
        [word.format_map(values) for word in words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"HPO_PARAMS": json.dumps(dict(params)), "HPO_SEED": str(seed)},
        text=True,
        errors="replace",
        start_new_session=True,  # so that a stop reaches the program's children too
    )
    assert process.stdout is not None
    assert process.stderr is not None
    tail: collections.deque[str] = collections.deque(maxlen=50)
    drain = threading.Thread(target=_keep_tail, args=(process.stderr, tail), daemon=True)
    drain.start()
    try:
        for line in process.stdout:
            if (report := _json_object(line)) is not None:
                yield report
        if code := process.wait():
            drain.join(GRACE)
            raise RuntimeError(f"the command ended with exit code {code}\n{''.join(tail)}".rstrip())
    finally:
        _end(process)
        drain.join(GRACE)
        process.stdout.close()
        process.stderr.close()


def _json_object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        return json.loads(line)  # type: ignore[no-any-return]
    except json.JSONDecodeError:
        return None  # ordinary output


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _keep_tail(stream: IO[str], tail: collections.deque[str]) -> None:
    tail.extend(stream)


def _end(process: subprocess.Popen[str]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue
