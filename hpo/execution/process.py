"""An objective in a process of its own: a child that runs trial after trial in its main thread.

User code may change whatever a process has: directory, signals, NumPy's error states, standard streams. Here it changes
a child that does nothing else. The parent starts the child, hands it tasks, passes its events on, and can end it at any
moment, even one that hangs or is stopped. The study's other code (``check``, ``evaluate``, a model, a figure) is called
in such a child too.

The child is ``python -m`` :mod:`hpo.execution.child` with three pipes: one for tasks and their ends, one for stops, and
one for reports. The child writes a report to its pipe in microseconds and continues. The parent does not wait for
single reports, because that would take a core from the child: it reads the pipe every now and then (``Job.pause``), and
when the child says that the pipe is half full.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Pipe
from pickle import loads
from types import MappingProxyType
from typing import Any

from hpo.errors import HpoError
from hpo.execution import CREDENTIALS, Ended, Event, Job, Outcome, Printed, Reported, Started, Task
from hpo.execution.child import LENGTH
from hpo.execution.output import Output
from hpo.objective.spawn import kill_marked
from hpo.text import length
from hpo.trial import Report

# Begins the name of the variable that marks a child and everything it starts.
MARK = "HPO_CHILD"
# The longest report. The error of a child whose pipes hold something else.
MAX_REPORT_BYTES = 1 << 30
PIPES_CORRUPTED = "it wrote to hpo's internal pipes"
# Seconds for which a child may end by itself.
GRACE = 2.0


class ChildDied(Exception):
    """The child is gone; the message says how."""


class ChildRefused(Exception):
    """The child could not import the objective; the message says why."""


class ChildFailed(Exception):
    """What was called in the child raised; the message names place and error, to follow what was called."""


class Child:
    """The parent's side of a child process, which is started at once and imports nothing of the study's before it must.

    Args:
        job: What the child needs to know of the study.
        environment: Variables for the child, beside this process's own.
        inherits: The child has this process's standard streams for calls. What attempts print, they always tell.

    Attributes:
        name: The worker's name; empty until the objective is imported.
    """

    def __init__(
        self, job: Job, environment: Mapping[str, str] = MappingProxyType({}), *, inherits: bool = False
    ) -> None:
        self.job, self._environment, self._inherits = job, environment, inherits
        self._lock = threading.Lock()
        self._current: tuple[int, int] | None = None
        self._reason: str | None = None
        self._start()

    def _start(self) -> None:
        self._events, events = Pipe()
        stops, self._stops = Pipe(duplex=False)
        self._reports = _Reading()
        self._output = Output()
        self._mark = f"{MARK}_{uuid.uuid4().hex}"
        descriptors = (events.fileno(), stops.fileno(), self._reports.writing, self._output.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-u", "-m", "hpo.execution.child", *map(str, descriptors)],
            stdin=None if self._inherits else subprocess.DEVNULL,
            stdout=None if self._inherits else self._output.fileno(),
            stderr=None if self._inherits else self._output.fileno(),
            pass_fds=descriptors,
            env={name: value for name, value in os.environ.items() if name not in CREDENTIALS}
            | {**self._environment, **self.job.env, self._mark: "1"},
            start_new_session=True,  # a Ctrl-C at the terminal is the driver's, and a kill reaches what it has started
        )
        events.close()
        stops.close()
        os.close(self._reports.writing)
        self.name = ""
        with suppress(ChildDied):  # the next call reports the death
            self._send(self.job)

    def ready(self) -> str:
        """Waits until the objective is imported; returns the worker's name.

        Raises:
            ChildRefused: When it cannot be imported there.
            ChildDied: When the child ends meanwhile.
        """
        if not self.name:
            self._send(None)
            name, error = self._receive()
            if error is not None:
                raise ChildRefused(error)
            self.name = name
        return self.name

    def call(self, function: Callable[..., Any], *arguments: Any, limit: float | None = None) -> Any:
        """Calls a function in the child, between two attempts; its arguments and its result are pickled.

        Args:
            function: One of hpo's own, from the top of its module.
            arguments: What it is called with.
            limit: Seconds that it may take; None for any number.

        Raises:
            HpoError: One that the function raised.
            ChildFailed: When it raised anything else.
            ChildDied: When the child ended, or was ended since it took longer than the limit.
        """
        self._send((function, arguments))
        if not self._events.poll(limit):
            self._end()
            raise ChildDied(f"it took longer than {length(limit or 0)}")
        value, error = self._receive()
        if error is not None:
            raise error if isinstance(error, HpoError) else ChildFailed(error)
        return value

    def run(self, task: Task, *, idle: bool = False) -> Iterator[list[Event]]:
        """Runs one attempt; yields its events in small batches, and ends with exactly one :class:`Ended`.

        A child that dies is replaced, and its attempt ends as lost.

        Args:
            task: The attempt.
            idle: Yield an empty batch too, when there was nothing to hear for a pause.
        """
        try:
            self.ready()
            self._begin(task)
            batch: list[Event] = []
            while not (batch and isinstance(batch[-1], Ended)):
                if (batch := self._hear(task)) or idle:
                    yield batch
        except ChildRefused as refusal:
            yield [Ended(task.number, task.attempt, Outcome.RAISED, None, str(refusal))]
        except ChildDied as death:
            with self._lock:
                reason, self._reason = self._reason or str(death), None
            printed = Printed(task.number, task.attempt, self._output.end())
            self.close()
            self._start()
            yield [printed, Ended(task.number, task.attempt, Outcome.LOST, None, reason)]
        finally:
            self._current = None

    def _begin(self, task: Task) -> None:
        with self._lock:
            self._current = (task.number, task.attempt)
        self._output.begin()
        self._send(task)

    def _hear(self, task: Task) -> list[Event]:
        """What the child has sent since the last call, after a pause that only the end of the attempt cuts short."""
        ended: Ended | None = self._receive() if self._events.poll(self.job.pause) else None
        try:
            items = list(self._reports.items())
        except EOFError:
            raise ChildDied(self._death()) from None
        except Exception:  # of the unpickler's, any
            raise ChildDied(PIPES_CORRUPTED) from None
        batch: list[Event] = [item for item in items if isinstance(item, Started)]
        if reports := tuple(Report(*item) for item in items if not isinstance(item, Started)):
            batch.append(Reported(task.number, task.attempt, reports))
        if text := self._output.more() if ended is None else self._output.end():
            batch.append(Printed(task.number, task.attempt, text))
        return batch if ended is None else [*batch, ended]

    def stop(self, number: int, attempt: int) -> None:
        """Ends the attempt at its next report; may be called from another thread."""
        with suppress(OSError):  # the child is gone, and the attempt with it
            self._stops.send((number, attempt))

    def kill(self, number: int, attempt: int, reason: str) -> None:
        """Ends the attempt now: its process, and what that has started; may be called from another thread."""
        with self._lock:
            if self._current == (number, attempt):
                self._reason = self._reason or reason
                self._end()

    def leave(self) -> None:
        """Lets the child end by itself, as a script does at its end, and ends what is left of it."""
        with suppress(ChildDied):
            self._send(())
            self._events.poll(GRACE)
        self.close()

    def close(self) -> None:
        """Ends the child."""
        self._end()
        self._process.wait()
        self._events.close()
        self._stops.close()
        self._reports.close()
        self._output.close()

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        kill_marked(f"{self._mark}=1".encode())  # what has left its group

    def _send(self, message: object) -> None:
        try:
            self._events.send(message)
        except OSError:
            raise ChildDied(self._death()) from None

    def _receive(self) -> Any:
        try:
            return self._events.recv()
        except (EOFError, OSError):
            raise ChildDied(self._death()) from None
        except Exception:  # of the unpickler's, any
            raise ChildDied(PIPES_CORRUPTED) from None

    def _death(self) -> str:
        """How the child ended, in words."""
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:  # it has closed its pipes, and lives
            return "its process closed its pipes"
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}"


class _Reading:
    """The parent's side of the pipe for reports; :meth:`items` raises ``EOFError`` when the child is gone."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        self._ready = select.poll()
        self._ready.register(self._reading, select.POLLIN)
        self._rest = bytearray()

    def items(self) -> Iterator[Any]:
        """What is there now; waits for the rest of an item that is half written."""
        while self._ready.poll(None if self._rest else 0):
            part = os.read(self._reading, 1 << 20)
            if not part:
                raise EOFError
            self._rest += part
            start = 0
            while len(self._rest) >= start + LENGTH.size:
                length = LENGTH.unpack_from(self._rest, start)[0]
                if length > MAX_REPORT_BYTES:
                    raise ValueError(f"a report of {length} bytes")
                end = start + LENGTH.size + length
                if len(self._rest) < end:
                    break
                yield loads(memoryview(self._rest)[start + LENGTH.size : end].tobytes())
                start = end
            del self._rest[:start]

    def close(self) -> None:
        os.close(self._reading)
