"""The objective's own process: its main thread, its end, and what it leaves."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from player import alive

from hpo.execution import Ended, Event, Job, Outcome, Reported, Started, Task
from hpo.execution.process import Child, ChildRefused

OBJECTIVES = """
import os, signal, subprocess, sys, threading, time
seen = []
def where(params, seed):
    seen.append(threading.get_ident())
    yield {"loss": 0.0, "main": float(threading.current_thread() is threading.main_thread()), "threads": len(set(seen)),
           "pid": os.getpid(), "umask": os.umask(0o022), "ray": float(os.environ.get("RAY_ADDRESS") == "here")}
def count(params, seed):
    for step in range(params["steps"]):
        yield {"loss": float(step)}
def hang(params, seed):
    yield {"loss": 0.0, "child": subprocess.Popen(["sleep", "600"]).pid}
    time.sleep(600)
def leaving(params, seed):
    started = [subprocess.Popen(["sleep", "600"], start_new_session=True).pid for _ in range(2)]
    yield {"loss": 0.0, "first": started[0], "second": started[1]}
    time.sleep(params["then"])
def forked(params, seed):
    yield {"loss": 0.0}
    os.fork() or time.sleep(600)
    os._exit(3)
def secrets(params, seed):
    return float("PGPASSWORD" in os.environ)
def interrupted(params, seed):
    yield 1.0
    raise KeyboardInterrupt
def garbling(params, seed):
    yield 1.0
    for descriptor in map(int, os.listdir("/dev/fd")):
        try:
            if descriptor > 2:
                os.write(descriptor, b"\\xff" * 999)
        except OSError:
            pass
    yield 2.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "child_objectives.py").write_text(OBJECTIVES)
    return tmp_path


def child_of(folder: Path, name: str, **environment: str) -> Child:
    return Child(Job(f"child_objectives:{name}", "loss", path=(str(folder),), umask=0o027), environment)


def events(child: Child, task: Task) -> list[Event]:
    return [event for batch in child.run(task) for event in batch]


def metrics(found: list[Event]) -> dict[str, Any]:
    return dict(next(event for event in found if isinstance(event, Reported)).reports[0].metrics)


def end(found: list[Event]) -> Ended:
    assert isinstance(found[-1], Ended)
    assert sum(isinstance(event, Ended) for event in found) == 1
    return found[-1]


def reasons(child: Child, task: Task, kill: Any) -> Iterator[Event]:
    """The events of an attempt; ``kill`` is called at its first report."""
    for batch in child.run(task):
        for event in batch:
            if isinstance(event, Reported):
                kill(event)
            yield event


def test_trials_run_in_one_main_thread_with_the_users_umask_and_on_the_given_cluster(folder: Path) -> None:
    child = child_of(folder, "where", RAY_ADDRESS="here")
    first, second = (metrics(events(child, Task(number, 1, {}, 0))) for number in range(2))
    child.close()

    assert (first["main"], first["umask"], first["ray"]) == (1.0, 0o027, 1.0)
    assert (second["main"], second["threads"]) == (1.0, 1.0)
    assert first["pid"] == second["pid"] != os.getpid()


def test_every_report_arrives_in_order(folder: Path) -> None:
    child = child_of(folder, "count")
    found = events(child, Task(0, 1, {"steps": 3000}, 0))
    child.close()

    assert isinstance(found[0], Started)
    steps = [report.step for event in found if isinstance(event, Reported) for report in event.reports]
    assert steps == list(range(1, 3001))
    assert end(found).how is Outcome.FINISHED


@pytest.mark.parametrize("then", [0, 600])
def test_what_has_left_its_group_and_session_is_ended_with_the_child(folder: Path, then: int) -> None:
    child = child_of(folder, "leaving")

    def kill(_: Event) -> None:
        if then:
            child.kill(0, 1, "too long")

    found = list(reasons(child, Task(0, 1, {"then": then}, 0), kill))
    assert end(found).how is (Outcome.LOST if then else Outcome.FINISHED)
    child.leave()
    started = {int(metrics(found)[name]) for name in ("first", "second")}
    assert len(started) == 2
    assert not any(map(alive, started))


def test_a_stop_ends_an_attempt_at_its_next_report(folder: Path) -> None:
    child = child_of(folder, "count")
    found = list(reasons(child, Task(0, 1, {"steps": 10**9}, 0), lambda event: child.stop(0, 1)))
    again = events(child, Task(1, 1, {"steps": 2}, 0))
    child.close()

    assert end(found).how is Outcome.STOPPED
    assert end(again).how is Outcome.FINISHED


@pytest.mark.parametrize("stopped", [False, True])
def test_a_kill_ends_what_hangs_or_is_stopped_and_what_it_has_started(folder: Path, stopped: bool) -> None:
    child = child_of(folder, "hang")
    started: list[int] = []

    def kill(event: Reported) -> None:
        started.append(int(event.reports[0].metrics["child"]))
        if stopped:
            os.kill(int(child.name.rpartition("/")[2]), signal.SIGSTOP)
        threading.Timer(0.1, child.kill, (0, 1, "ran longer than 1 s")).start()

    found = list(reasons(child, Task(0, 1, {}, 0), kill))
    child.close()

    assert (end(found).how, end(found).error) == (Outcome.LOST, "ran longer than 1 s")
    deadline = time.monotonic() + 10
    while alive(started[0]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(started[0])


def test_a_process_that_ends_is_replaced_though_its_own_child_lives_on(folder: Path) -> None:
    child = child_of(folder, "forked")
    first = child.ready()
    found = events(child, Task(0, 1, {}, 0))
    second = child.ready()
    child.close()

    assert (end(found).how, end(found).error) == (Outcome.LOST, "its process ended with exit code 3")
    assert first != second


def test_an_objective_that_raises_an_interrupt_of_its_own_ends_its_attempt_alone(folder: Path) -> None:
    child = child_of(folder, "interrupted")
    found = events(child, Task(0, 1, {}, 0))
    child.close()

    assert end(found).how is Outcome.RAISED
    assert "KeyboardInterrupt" in (end(found).error or "")


def test_the_drivers_passwords_do_not_reach_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    child = child_of(folder, "secrets")
    found = events(child, Task(0, 1, {}, 0))
    child.close()

    assert metrics(found) == {"loss": 0.0}


def test_an_objective_that_cannot_be_imported_is_refused_with_the_reason(folder: Path) -> None:
    child = child_of(folder, "abent")
    with pytest.raises(ChildRefused, match="there is no 'abent'"):
        child.ready()
    child.close()


def test_what_an_objective_writes_to_hpos_own_pipes_costs_its_attempt_alone(folder: Path) -> None:
    child = child_of(folder, "garbling")
    ends = [end(events(child, Task(number, 1, {}, 0))) for number in range(2)]
    child.close()

    assert [one.how for one in ends] == [Outcome.LOST] * 2
    assert [one.error for one in ends] == ["it wrote to hpo's internal pipes"] * 2
