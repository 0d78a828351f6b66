"""Workers that die, hang, or do to their machine what nobody asked for: the attempt is lost, the pool is well."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from player import alive, still_well

from hpo.execution import Ended, Event, Executor, Outcome, Reported, Started
from hpo.testing.executors import end, reports, run, run_one, task

pytestmark = pytest.mark.xdist_group("ray")


@pytest.mark.parametrize("act", ["vanish", "kill_self"])
def test_a_worker_that_dies_is_said_to_be_lost_and_replaced(pool: Executor, act: str) -> None:
    others = [task("count", steps=100) for _ in range(3)]
    one = task(act)

    events = run(pool, one, *others)

    assert end(events[one.number]).how == Outcome.LOST
    assert "its process " in (end(events[one.number]).error or "")
    assert all(end(events[other.number]).how == Outcome.FINISHED for other in others)
    still_well(pool)


def test_a_worker_killed_from_outside_loses_its_attempt_alone(pool: Executor) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, Reported) and event.number == hanging.number:
            os.kill(pids[event.number], signal.SIGKILL)

    def note(event: Event) -> None:
        if isinstance(event, Started):
            pids[event.number] = int(event.worker.rpartition("/")[2])
        kill(event)

    pids: dict[int, int] = {}
    hanging = task("hang")
    events = run(pool, hanging, task("count", steps=10), task("count", steps=10), hear=note)

    assert [end(one).how for one in events.values()] == [Outcome.LOST, Outcome.FINISHED, Outcome.FINISHED]
    still_well(pool)


def test_an_idle_worker_that_dies_costs_one_attempt_at_most(pool: Executor) -> None:
    pids = {int(reports(events)[0].metrics["pid"]) for events in run(pool, *(task("where") for _ in range(6))).values()}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    hows = [end(events).how for events in run(pool, *(task("number") for _ in range(6))).values()]

    assert hows.count(Outcome.LOST) <= 2
    still_well(pool)


def test_an_objective_that_hangs_and_ignores_signals_can_be_killed(pool: Executor) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, Reported):
            for _ in range(3):
                pool.kill(event.number, "ran longer than 1 s")

    events = run_one(pool, task("hang"), hear=kill)

    assert (end(events).how, end(events).error) == (Outcome.LOST, "ran longer than 1 s")
    still_well(pool)


def test_a_kill_that_comes_too_late_does_not_cost_the_next_trial(pool: Executor, tmp_path: Path) -> None:
    one = task("finish_then_say", folder=str(tmp_path))
    while not pool.free:
        pool.poll(0.1)
    pool.submit(one)
    deadline = time.monotonic() + 60
    while not (tmp_path / "finished").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.5)  # its end is on the way, or there

    pool.kill(one.number, "ran longer than 1 s")
    ends: list[Any] = []
    while not ends:
        ends = [event for event in pool.poll(0.1) if isinstance(event, Ended)]

    assert len(ends) == 1
    still_well(pool)


def test_keyboard_interrupt_in_an_objective_ends_the_attempt(pool: Executor) -> None:
    assert end(run_one(pool, task("interrupt"))).how in (Outcome.RAISED, Outcome.LOST)
    still_well(pool)


def test_megabytes_of_output_are_no_hindrance_and_stay_off_the_terminal(
    pool: Executor, capfd: pytest.CaptureFixture[str]
) -> None:
    assert end(run_one(pool, task("chatter"))).how == Outcome.FINISHED
    time.sleep(1)

    captured = capfd.readouterr()
    assert "0123456789abcdef" not in captured.out + captured.err


def test_children_of_an_objective_do_not_keep_its_end_back(pool: Executor) -> None:
    events = run_one(pool, task("fork", then="finish"))

    assert end(events).how == Outcome.FINISHED
    still_well(pool)


def test_a_killed_worker_takes_the_children_of_its_objective_along(pool: Executor) -> None:
    children: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, Reported):
            children.extend(int(event.reports[0].metrics[name]) for name in ("child", "forked"))
            pool.kill(event.number, "too long")

    events = run_one(pool, task("fork", then="hang"), hear=kill)

    assert end(events).how == Outcome.LOST
    still_well(pool)
    deadline = time.monotonic() + 30
    while (left := [pid for pid in children if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
