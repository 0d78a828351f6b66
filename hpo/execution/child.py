"""The child's side of :mod:`hpo.execution.process`: it serves tasks and calls in its main thread."""

from __future__ import annotations

import ctypes
import io
import os
import select
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pickle import HIGHEST_PROTOCOL, dumps  # by name: the study's code may replace what modules hold
from typing import Any

from hpo.errors import HpoError
from hpo.execution import Ended, Event, Outcome, Reported, Task
from hpo.execution.worker import Worker, error_text
from hpo.imports import look_in, raised
from hpo.machine import lenient, working_folder

# Bytes of reports after which the child asks the parent to read them: half of what a pipe holds.
HALF = 1 << 15
# The length of what follows it in the pipe for reports.
LENGTH = struct.Struct("!Q")
# Linux: the signal that the system sends a child when its parent is gone.
_PR_SET_PDEATHSIG = 1


class _Writing:
    """The child's side of the pipe for reports.

    Args:
        descriptor: The pipe.
        events: Where to say that it is half full.
    """

    def __init__(self, descriptor: int, events: Connection) -> None:
        self._pipe, self._events = io.FileIO(descriptor, "w"), events
        self._written = 0

    def put(self, item: object) -> None:
        data = dumps(item, HIGHEST_PROTOCOL)
        frame = LENGTH.pack(len(data)) + data
        self._written += len(frame)
        if self._written > HALF:
            self._events.send(None)
            self._written = 0
        while frame:  # at once, but for reports that no pipe holds
            frame = frame[self._pipe.write(frame) :]

    def close(self) -> None:
        self._pipe.close()


def main(events: Connection, stops: Connection, reports: int, output: int) -> None:
    """Serves tasks and calls until the parent is gone."""
    writing = _Writing(reports, events)
    _die_with_parent(events, writing)
    nothing = os.open(os.devnull, os.O_RDONLY)
    job = events.recv()
    if job.umask is not None:
        os.umask(job.umask)
    look_in(*job.path)
    for number, name in ((1, "stdout"), (2, "stderr")):  # what it prints is not lost when it is ended
        if (stream := getattr(sys, name)) is not None:
            setattr(sys, name, lenient(number, stream))
    worker: Worker | None = None
    asked = select.poll()
    asked.register(stops.fileno(), select.POLLIN)
    while True:
        try:
            message = events.recv()
        except EOFError:
            return
        if message == ():
            return
        if isinstance(message, tuple):
            events.send_bytes(_answer(*message))
        elif message is None:
            for source, descriptor in ((nothing, 0), (output, 1), (output, 2)):  # from now on nobody types, and what
                os.dup2(source, descriptor)  # is printed is the attempts'
            try:
                worker = worker or Worker(job)
                events.send((worker.name, None))
            except BaseException as error:
                events.send((None, error_text(error)))
        else:
            assert worker is not None
            for event in _events(worker, message):
                if isinstance(event, Ended):
                    events.send(event)
                elif isinstance(event, Reported):
                    writing.put(tuple(event.reports[0]))
                elif event is not None:
                    writing.put(event)
                while asked.poll(0):
                    worker.stop(*stops.recv())


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What a call gives or raises, as ``Connection.recv`` takes it."""
    try:
        with working_folder():  # the next trial starts where it would without this call
            return ForkingPickler.dumps((function(*arguments), None))
    except BaseException as error:  # also an exit of the study's own code: only the parent ends this process
        own = isinstance(error, HpoError) and type(error).__module__ == HpoError.__module__
        return ForkingPickler.dumps((None, error if own else raised(error)))


def _events(worker: Worker, task: Task) -> Iterator[Event | None]:
    try:
        yield from worker.steps(task)
    except BaseException as raised:  # a KeyboardInterrupt of the objective's own, say: the attempt ends all the same
        yield Ended(task.number, task.attempt, Outcome.RAISED, None, error_text(raised))


def _die_with_parent(events: Connection, writing: _Writing) -> None:
    """Ends this process when its parent ends, however that ends."""
    for pipe in (events, writing):  # or the parent would wait for the child's own children
        os.register_at_fork(after_in_child=pipe.close)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    tasks, stopping, reporting, printing = map(int, sys.argv[1:])
    for descriptor in (tasks, stopping, reporting, printing):
        os.set_inheritable(descriptor, False)
    try:
        main(Connection(tasks), Connection(stopping, writable=False), reporting, printing)
    except OSError:  # the parent is gone, or the study's code has closed the pipes
        os._exit(1)
