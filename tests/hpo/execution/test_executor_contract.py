"""What every executor must do: inline in this process, and Ray with two workers.

``stop`` means "close the generator at its next report". A generator that has no next report because it is already
past its last one is exhausted, not closed, and the attempt ends as finished; what that makes of the trial is the
search's decision.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import HpoError, InputError
from hpo.execution import FINISHED, LOST, RAISED, STOPPED, Ended, Event, Executor, Job, Reported, Started, Task
from hpo.execution.inline import InlineExecutor
from hpo.resources import Resources
from hpo.trial import Report

JOB = Job("worker_objectives:play", "score", (str(Path(__file__).parent),))
HALF = Resources(cpus=0.5, gpus=0.0, memory=0.0)
numbers = itertools.count()

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def pool(ray_here: None) -> Iterator[Executor]:
    """Two workers, for all tests of this file: whatever one test does to them, they must be well for the next."""
    from hpo.execution.ray import RayExecutor

    pool = RayExecutor(JOB, 2, HALF)
    yield pool
    pool.close()


@pytest.fixture
def whole_ray(pool: Executor) -> None:
    """All of Ray's room: the other tests' pool gives its own back, until one of them polls it again."""
    pool.close()


@pytest.fixture(params=["inline", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        yield request.getfixturevalue("pool")
    else:
        inline = InlineExecutor(JOB)
        yield inline
        inline.close()


def task(act: str, seed: int = 0, attempt: int = 1, **params: Any) -> Task:
    return Task(next(numbers), attempt, {"act": act, **params}, seed)


def run(
    executor: Executor, *tasks: Task, hear: Callable[[Event], object] = lambda event: None
) -> dict[int, list[Event]]:
    """Runs tasks to their ends; checks that each starts once, ends once, and that nothing comes after its end."""
    waiting, events = list(tasks), {task.number: list[Event]() for task in tasks}
    running: set[int] = set()
    deadline = time.monotonic() + 120
    while waiting or running:
        assert time.monotonic() < deadline, f"never ended: {running}, after {events}"
        while waiting and executor.free:
            running.add(waiting[0].number)
            executor.submit(waiting.pop(0))
        for event in executor.poll(0.1):
            assert event.number in running, event
            events[event.number].append(event)
            if isinstance(event, Ended):
                running.remove(event.number)
            hear(event)
    for task in tasks:
        first, last = events[task.number][0], events[task.number][-1]
        assert isinstance(last, Ended)
        assert isinstance(first, Started) or last.how == LOST
        assert {event.attempt for event in events[task.number]} == {task.attempt}
    return events


def reports(events: list[Event]) -> list[Report]:
    return [report for event in events if isinstance(event, Reported) for report in event.reports]


def end(events: list[Event]) -> Ended:
    assert isinstance(events[-1], Ended)
    return events[-1]


def run_one(executor: Executor, task: Task, **options: Any) -> list[Event]:
    return run(executor, task, **options)[task.number]


# What comes back ---------------------------------------------------------------------------------------------------


def test_reports_arrive_complete_and_in_order(executor: Executor) -> None:
    tasks = [task("count", seed=seed, steps=steps) for seed, steps in enumerate([1, 30, 300, 2, 1000])]

    events = run(executor, *tasks)

    for seed, one in enumerate(tasks):
        heard = reports(events[one.number])
        assert [report.step for report in heard] == list(range(1, one.params["steps"] + 1))
        assert [report.metrics for report in heard] == [
            {"score": step + seed / 1000, "twice": 2.0 * step} for step in range(one.params["steps"])
        ]
        times = [report.time for report in heard]
        assert times == sorted(times)
        assert end(events[one.number]).how == FINISHED
        assert end(events[one.number]).error is None


def test_a_generator_without_reports_is_finished(executor: Executor) -> None:
    events = run_one(executor, task("count", steps=0))

    assert reports(events) == []
    assert end(events).how == FINISHED


def test_a_plain_function_is_one_report(executor: Executor) -> None:
    (number,) = reports(run_one(executor, task("number", seed=3)))

    assert (number.step, number.metrics) == (1, {"score": 1.5})


def test_many_metrics_at_every_step_arrive(executor: Executor) -> None:
    heard = reports(run_one(executor, task("write_much")))

    assert len(heard) == 200
    assert all(len(report.metrics) == 501 for report in heard)


def test_a_worker_serves_trial_after_trial_with_one_resolved_objective(executor: Executor) -> None:
    trials = [reports(events)[0].metrics for events in run(executor, *(task("where") for _ in range(12))).values()]

    workers = {trial["pid"] for trial in trials}
    assert len(workers) <= 2  # the second may start while the first serves them all
    for pid in workers:
        calls = [trial["calls"] for trial in trials if trial["pid"] == pid]
        assert sorted(calls) == list(range(int(min(calls)), int(min(calls)) + len(calls)))


# Objectives that fail ----------------------------------------------------------------------------------------------


def test_an_objective_that_raises_ends_with_its_own_traceback(executor: Executor) -> None:
    events = run_one(executor, task("raise_"))

    assert len(reports(events)) == 1
    assert end(events).how == RAISED
    error = end(events).error or ""
    assert error.startswith("Traceback (most recent call last):")
    assert error.endswith("RuntimeError: the loss went through the roof: 学習率")
    assert "in raise_here" in error
    assert "execution/worker.py" not in error


def test_an_exception_that_can_neither_travel_nor_speak_is_told_all_the_same(executor: Executor) -> None:
    events = run_one(executor, task("stubborn"))

    assert end(events).how == RAISED
    assert "Stubborn" in (end(events).error or "")


def test_sys_exit_in_an_objective_is_a_failure_of_the_trial_alone(executor: Executor) -> None:
    events = run_one(executor, task("exit_"))

    assert end(events).how == RAISED
    assert "SystemExit: 3" in (end(events).error or "")


@pytest.mark.parametrize("which", range(10))
def test_garbage_is_said(executor: Executor, which: int) -> None:
    events = run_one(executor, task("garbage", seed=which))

    assert len(reports(events)) == 1
    assert end(events).how == RAISED
    last = (end(events).error or "").splitlines()[-1]
    assert last.startswith(("TypeError: a report must be a mapping of metric names to numbers", "OverflowError: "))


# Stopping ----------------------------------------------------------------------------------------------------------


def go(folder: Path, *steps: int) -> None:
    for step in steps:
        (folder / f"go.{step}").touch()


def settle(executor: Executor) -> None:
    """Waits until the stops that were asked for have arrived at the workers."""
    if isinstance(executor, InlineExecutor):
        return
    import ray

    for slot in executor._slots:  # type: ignore[attr-defined]
        ray.get(slot.actor.ready.options(concurrency_group="control").remote())


def test_a_stop_reaches_the_generator_at_its_next_report(executor: Executor, tmp_path: Path) -> None:
    def stop_at_the_second(event: Event) -> None:
        if isinstance(event, Reported) and event.reports[-1].step == 2:
            executor.stop(event.number)
            settle(executor)
            go(tmp_path, *range(3, 100))

    go(tmp_path, 1, 2)
    events = run_one(executor, task("step_by_step", folder=str(tmp_path)), hear=stop_at_the_second)

    assert end(events).how == STOPPED
    assert len(reports(events)) <= 3
    assert (tmp_path / "closed").exists()


def test_a_stop_before_the_first_report_waits_for_it(executor: Executor, tmp_path: Path) -> None:
    def stop_at_once(event: Event) -> None:
        if isinstance(event, Started):
            executor.stop(event.number)
            settle(executor)
            go(tmp_path, *range(1, 100))

    events = run_one(executor, task("step_by_step", folder=str(tmp_path)), hear=stop_at_once)

    assert end(events).how == STOPPED
    assert len(reports(events)) == 1
    assert (tmp_path / "closed").exists()


def test_a_generator_that_ended_before_the_stop_arrived_is_finished(executor: Executor, tmp_path: Path) -> None:
    def stop_after_the_last(event: Event) -> None:
        if isinstance(event, Reported):
            if isinstance(executor, InlineExecutor):
                return  # it is stopped between two reports only; there is no too late
            go(tmp_path, 2)
            executor.stop(event.number)

    go(tmp_path, 1)
    if isinstance(executor, InlineExecutor):
        go(tmp_path, 2)
    one = task("step_by_step", folder=str(tmp_path), last=2)
    events = run_one(executor, one, hear=stop_after_the_last)

    assert end(events).how == FINISHED
    assert (tmp_path / "closed").exists()
    executor.stop(one.number)  # later still: nothing happens
    assert end(run_one(executor, task("number"))).how == FINISHED


def stop_at_first_report(executor: Executor, folder: Path) -> Callable[[Event], None]:
    """Asks for a stop at the first report; the second one comes when the stop has arrived."""

    def hear(event: Event) -> None:
        if isinstance(event, Reported) and event.reports[0].step == 1:
            executor.stop(event.number)
            settle(executor)
            go(folder, *range(2, 100))

    go(folder, 1)
    return hear


def test_a_stop_for_one_attempt_does_not_end_the_next(executor: Executor, tmp_path: Path) -> None:
    first = task("step_by_step", folder=str(tmp_path))
    stopped = run_one(executor, first, hear=stop_at_first_report(executor, tmp_path))
    assert end(stopped).how == STOPPED

    again = Task(first.number, 2, {"act": "count", "steps": 50}, 0)
    events = run_one(executor, again)

    assert end(events).how == FINISHED
    assert len(reports(events)) == 50


def test_a_stop_of_an_unknown_trial_does_nothing(executor: Executor) -> None:
    executor.stop(10**6)
    executor.kill(10**6, "unknown")

    assert end(run_one(executor, task("number"))).how == FINISHED


def test_an_objective_that_fails_to_clean_up_is_told(executor: Executor, tmp_path: Path) -> None:
    one = task("step_by_step", folder=str(tmp_path), careless=True)

    events = run_one(executor, one, hear=stop_at_first_report(executor, tmp_path))

    assert end(events).how == RAISED
    assert "the scratch folder is gone" in (end(events).error or "")


def test_a_kill_ends_the_attempt_as_lost_for_the_reason_given(executor: Executor, tmp_path: Path) -> None:
    go(tmp_path, *range(1, 100))

    def kill(event: Event) -> None:
        if isinstance(event, Reported):
            executor.kill(event.number, "ran longer than 1 s")

    events = run_one(executor, task("step_by_step", folder=str(tmp_path)), hear=kill)

    assert (end(events).how, end(events).error) == (LOST, "ran longer than 1 s")
    assert end(run_one(executor, task("number"))).how == FINISHED


def test_close_ends_what_runs_and_closes_its_generator_inline(tmp_path: Path) -> None:
    go(tmp_path, *range(1, 100))
    inline = InlineExecutor(JOB)
    inline.submit(task("step_by_step", folder=str(tmp_path)))
    for _ in range(3):
        inline.poll(0.1)

    inline.close()

    assert (tmp_path / "closed").exists()
    assert inline.free == 1


# Workers that die: Ray alone ---------------------------------------------------------------------------------------


def still_well(pool: Executor) -> None:
    """Both places of the pool work."""
    assert all(end(events).how == FINISHED for events in run(pool, *(task("number") for _ in range(6))).values())


@pytest.mark.parametrize("act", ["vanish", "kill_self"])
def test_a_worker_that_dies_is_said_to_be_lost_and_replaced(pool: Executor, act: str) -> None:
    others = [task("count", steps=100) for _ in range(3)]
    one = task(act)

    events = run(pool, one, *others)

    assert end(events[one.number]).how == LOST
    assert "was lost" in (end(events[one.number]).error or "")
    assert all(end(events[other.number]).how == FINISHED for other in others)
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

    assert [end(one).how for one in events.values()] == [LOST, FINISHED, FINISHED]
    still_well(pool)


def test_an_idle_worker_that_dies_costs_one_attempt_at_most(pool: Executor) -> None:
    pids = {int(reports(events)[0].metrics["pid"]) for events in run(pool, *(task("where") for _ in range(6))).values()}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    hows = [end(events).how for events in run(pool, *(task("number") for _ in range(6))).values()]

    assert hows.count(LOST) <= 2
    still_well(pool)


def test_an_objective_that_hangs_and_ignores_signals_can_be_killed(pool: Executor) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, Reported):
            for _ in range(3):
                pool.kill(event.number, "ran longer than 1 s")

    events = run_one(pool, task("hang"), hear=kill)

    assert (end(events).how, end(events).error) == (LOST, "ran longer than 1 s")
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
    ends = []
    while not ends:
        ends = [event for event in pool.poll(0.1) if isinstance(event, Ended)]

    assert len(ends) == 1
    still_well(pool)


def test_keyboard_interrupt_in_an_objective_ends_the_attempt(pool: Executor) -> None:
    assert end(run_one(pool, task("interrupt"))).how in (RAISED, LOST)
    still_well(pool)


def test_megabytes_of_output_are_no_hindrance_and_stay_off_the_terminal(
    pool: Executor, capfd: pytest.CaptureFixture[str]
) -> None:
    assert end(run_one(pool, task("chatter"))).how == FINISHED
    time.sleep(1)

    captured = capfd.readouterr()
    assert "0123456789abcdef" not in captured.out + captured.err


def test_children_of_an_objective_do_not_keep_its_end_back(pool: Executor) -> None:
    events = run_one(pool, task("fork", then="finish"))

    assert end(events).how == FINISHED
    still_well(pool)


def test_a_killed_worker_takes_the_children_of_its_objective_along(pool: Executor) -> None:
    children: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, Reported):
            children.extend(int(event.reports[0].metrics[name]) for name in ("child", "forked"))
            pool.kill(event.number, "too long")

    events = run_one(pool, task("fork", then="hang"), hear=kill)

    assert end(events).how == LOST
    still_well(pool)
    deadline = time.monotonic() + 30
    while (left := [pid for pid in children if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# The pool ----------------------------------------------------------------------------------------------------------


def test_a_worker_uses_one_blas_thread(pool: Executor) -> None:
    (report,) = reports(run_one(pool, task("threads")))

    assert report.metrics["pools"] >= 1
    assert report.metrics["threads"] == 1


def test_fractions_of_a_core_make_many_workers(ray_here: None) -> None:
    from hpo.execution.ray import RayExecutor

    many = RayExecutor(JOB, 7, Resources(cpus=0.125, gpus=0.0, memory=0.0))
    try:
        events = run(many, *(task("where") for _ in range(30)))
        deadline = time.monotonic() + 60
        while many.free < 7 and time.monotonic() < deadline:
            many.poll(0.1)
        assert many.free == 7
        assert all(end(one).how == FINISHED for one in events.values())
    finally:
        many.close()


def test_closing_a_pool_ends_its_workers(ray_here: None) -> None:
    from hpo.execution.ray import RayExecutor

    some = RayExecutor(JOB, 2, Resources(cpus=0.125, gpus=0.0, memory=0.0))
    pids = {int(reports(one)[0].metrics["pid"]) for one in run(some, *(task("where") for _ in range(6))).values()}
    some.submit(task("hang"))
    some.close()

    deadline = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def poll_for_a_while(executor: Executor) -> None:
    for _ in range(600):
        executor.poll(0.2)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("nowhere_at_all:classify", "there is no module 'nowhere_at_all'"),
        ("worker_objectives:nothing", "there is no 'nothing' in worker_objectives"),
    ],
)
def test_workers_that_cannot_start_say_why(ray_here: None, objective: str, said: str) -> None:
    from hpo.execution.ray import RayExecutor

    broken = RayExecutor(Job(objective, "score", JOB.path), 2, Resources(cpus=0.125, gpus=0.0, memory=0.0))
    try:
        with pytest.raises(HpoError, match=f"no worker can start: objective: .*{said}"):
            poll_for_a_while(broken)
    finally:
        broken.close()


def test_a_resource_that_no_node_has_is_said_at_once(ray_here: None) -> None:
    from hpo.execution.ray import RayExecutor

    for needs, asked in (
        (Resources(cpus=0.5, gpus=7.0, memory=0.0), "0.5 CPUs, 7 GPUs"),
        (
            Resources(cpus=0.5, gpus=0.0, memory=0.0, resources={"TPU": 1.0, "bigmem": 0.5}),
            "0.5 CPUs, 1 TPU, 0.5 bigmem",
        ),
    ):
        with pytest.raises(InputError) as caught:
            RayExecutor(JOB, 1, needs)
        assert str(caught.value) == (f"workers: no node has what one worker asks for: {asked}; the nodes have: 2 CPUs")


def test_a_pool_that_waits_for_room_says_so_once(whole_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo.execution import ray as execution
    from hpo.execution.ray import RayExecutor

    monkeypatch.setattr(execution, "NOTICE", 1.0)
    remarks: list[str] = []
    first = RayExecutor(JOB, 1, Resources(cpus=1.5, gpus=0.0, memory=0.0), say=remarks.append)
    second = RayExecutor(JOB, 1, Resources(cpus=1.5, gpus=0.0, memory=0.0), say=remarks.append)
    try:
        assert end(run_one(first, task("number"))).how == FINISHED
        for _ in range(20):
            second.poll(0.1)
        assert remarks[-1].startswith("no worker has started yet: the nodes hold 1, unless something else takes ")
        assert len(remarks) <= 2  # the first one may have been slow
        first.close()
        assert end(run_one(second, task("number"))).how == FINISHED
    finally:
        first.close()
        second.close()


def test_searches_that_fill_one_cluster_divide_it(whole_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo.execution import ray as execution
    from hpo.execution.ray import RayExecutor

    def ready(pool: RayExecutor, count: int) -> None:
        deadline = time.monotonic() + 120
        while pool.free != count:
            assert time.monotonic() < deadline
            for other in pools:
                other.poll(0.1)

    monkeypatch.setattr(execution, "RESIZE", 0.1)
    quarters = Resources(cpus=0.5, gpus=0.0, memory=0.0, resources={})
    pools = [RayExecutor(JOB, None, quarters, shared=True)]
    try:
        ready(pools[0], 4)
        busy = [task("step_by_step", folder="/nowhere") for _ in range(4)]
        for one in busy:
            pools[0].submit(one)
        pools.append(RayExecutor(JOB, None, quarters, shared=True))
        for _ in range(10):
            assert not any(isinstance(event, Ended) for pool in pools for event in pool.poll(0.1))
        assert pools[1].free == 0  # no trial is cut short

        for one in busy:
            pools[0].kill(one.number, "over")
        ready(pools[1], 2)
        ready(pools[0], 2)
        pools.pop(0).close()
        ready(pools[0], 4)
    finally:
        for pool in pools:
            pool.close()


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
def test_an_address_outside_the_cluster_is_refused_with_advice(address: str) -> None:
    from hpo.execution import ray

    with pytest.raises(InputError, match=r"hpo submit STUDY\.toml --address http://HEAD:8265"):
        ray.start(address, 1, HALF)
