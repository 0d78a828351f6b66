"""The pool of Ray workers: how many there are, what they may use, and what is said when there are none."""

from __future__ import annotations

import time

import pytest
from executing import HALF, JOB, alive, end, reports, run, run_one, task

from hpo.errors import HpoError, InputError
from hpo.execution import FINISHED, Ended, Executor, Job
from hpo.resources import Resources

pytestmark = pytest.mark.xdist_group("ray")


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
    second = None
    try:
        assert end(run_one(first, task("number"))).how == FINISHED
        # Not before: Ray gives the room that the other pool has left to either.
        second = RayExecutor(JOB, 1, Resources(cpus=1.5, gpus=0.0, memory=0.0), say=remarks.append)
        for _ in range(20):
            second.poll(0.1)
        assert remarks[-1].startswith("no worker has started yet: the nodes hold 1, unless something else takes ")
        assert len(remarks) <= 2  # the first one may have been slow
        first.close()
        assert end(run_one(second, task("number"))).how == FINISHED
    finally:
        first.close()
        if second is not None:
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
