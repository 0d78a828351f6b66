"""What runs inside a worker, whatever carries it: one resolved objective, trial after trial."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from queue import SimpleQueue

from hpo.errors import InputError
from hpo.execution import FINISHED, RAISED, STOPPED, Ended, Event, Job, Reported, Started, Task
from hpo.objective import reports, resolve
from hpo.trial import Report

# Seconds for which reports are gathered before they are sent together; the first of a trial goes out at once.
BATCH = 0.05


class Worker:
    """Resolves the objective once and then serves trials.

    Args:
        job: The study's objective and metric.
    """

    def __init__(self, job: Job) -> None:
        sys.path[:0] = [folder for folder in job.path if folder not in sys.path]
        self._metric = job.metric
        self._objective = resolve(job.objective)
        self._stop: tuple[int, int] | None = None
        self.name = f"{platform.node()}/{os.getpid()}"

    def stop(self, number: int, attempt: int) -> None:
        """Ends the attempt at its next report; may be called from another thread."""
        self._stop = (number, attempt)

    def steps(self, task: Task) -> Generator[Event, None, None]:
        """Runs one attempt; yields every event as it happens. What the objective raises is an event too."""
        key = (task.number, task.attempt)
        yield Started(*key, self.name, time.time())
        running = reports(self._objective, task.params, task.seed, self._metric, task.checkpoint)
        how, error = FINISHED, None
        try:
            for step, metrics in enumerate(running, start=1):
                yield Reported(*key, (Report(step, time.time(), metrics),))
                if self._stop == key:
                    how = STOPPED
                    break
        except (Exception, SystemExit) as raised:
            how, error = RAISED, _traceback(raised)
        finally:
            how, error = _closed(running, how, error)
        yield Ended(*key, how, time.time(), error)

    def run(self, task: Task) -> Iterator[list[Event]]:
        """:meth:`steps`, with the reports of :data:`BATCH` seconds sent together.

        The attempt runs in a thread of its own, so that no report waits for the one after it.
        """
        events: SimpleQueue[Event] = SimpleQueue()
        ended = threading.Event()
        threading.Thread(
            target=self._pump, args=(task, events, ended), name=f"trial {task.number}", daemon=True
        ).start()
        last: Event | None = None
        while not isinstance(last, Ended):
            gathered = [events.get()]
            while not events.empty():
                gathered.append(events.get())
            yield merge(gathered)
            last = gathered[-1]
            if isinstance(last, Reported):
                ended.wait(BATCH)

    def _pump(self, task: Task, events: SimpleQueue[Event], ended: threading.Event) -> None:
        try:
            for event in self.steps(task):
                events.put(event)
        except BaseException as raised:  # a KeyboardInterrupt that is nobody's, say; the stream must end all the same
            events.put(Ended(task.number, task.attempt, RAISED, time.time(), _traceback(raised)))
        finally:
            ended.set()


def merge(events: list[Event]) -> list[Event]:
    """Joins neighbouring reports of one attempt."""
    merged: list[Event] = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, Reported) and isinstance(last, Reported):
            merged[-1] = Reported(event.number, event.attempt, last.reports + event.reports)
        else:
            merged.append(event)
    return merged


def _closed(running: Generator[dict[str, float], None, None], how: str, error: str | None) -> tuple[str, str | None]:
    try:
        running.close()
    except (Exception, SystemExit) as raised:
        return RAISED, _traceback(raised)
    return how, error


def _traceback(raised: BaseException) -> str:
    """The traceback from the objective's own frames on."""
    if isinstance(raised, InputError):
        return str(raised)
    frames = raised.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("hpo."):
        frames = frames.tb_next
    return "".join(traceback.format_exception(raised.with_traceback(frames))).rstrip()
