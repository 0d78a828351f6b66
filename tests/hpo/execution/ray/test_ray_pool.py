"""The pool of Ray workers: how many there are, what they may use, and what is said when there are none."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from player import HALF, JOB, alive

from hpo.errors import ClusterUnusable, HpoError, InputError
from hpo.execution import Ended, Executor, Job, Outcome
from hpo.study.workers import Resources
from hpo.testing.executors import end, reports, run, run_one, task

pytestmark = pytest.mark.xdist_group("ray")


def test_a_worker_uses_one_blas_thread(pool: Executor) -> None:
    (report,) = reports(run_one(pool, task("threads")))

    assert report.metrics["pools"] >= 1
    assert report.metrics["threads"] == 1


@pytest.mark.slow
def test_fractions_of_a_core_make_many_workers(ray_here: None) -> None:
    from hpo.execution.ray.pool import RayExecutor

    many = RayExecutor(JOB, 7, Resources(cpus=0.125, gpus=0.0, memory=0.0))
    try:
        events = run(many, *(task("where") for _ in range(30)))
        deadline = time.monotonic() + 60
        while many.free < 7 and time.monotonic() < deadline:
            many.poll(0.1)
        assert many.free == 7
        assert all(end(one).how == Outcome.FINISHED for one in events.values())
    finally:
        many.close()


def test_closing_a_pool_ends_its_workers(ray_here: None) -> None:
    from hpo.execution.ray.pool import RayExecutor

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
        pytest.param("worker_objectives:nothing", "there is no 'nothing' in worker_objectives", marks=pytest.mark.slow),
    ],
)
def test_workers_that_cannot_start_say_why(ray_here: None, objective: str, said: str) -> None:
    from hpo.execution.ray.pool import RayExecutor

    broken = RayExecutor(Job(objective, "score", path=JOB.path), 2, Resources(cpus=0.125, gpus=0.0, memory=0.0))
    try:
        with pytest.raises(HpoError, match=f"no worker can start: objective: .*{said}"):
            poll_for_a_while(broken)
    finally:
        broken.close()


def test_a_resource_that_no_node_has_is_said_at_once(ray_here: None) -> None:
    from hpo.execution.ray.pool import RayExecutor

    for needs, asked in (
        (Resources(cpus=0.5, gpus=7.0, memory=0.0), "0.5 CPUs, 7 GPUs"),
        (
            Resources(cpus=0.5, gpus=0.0, memory=0.0, resources={"TPU": 1.0, "bigmem": 0.5}),
            "0.5 CPUs, 1 TPU, 0.5 bigmem",
        ),
    ):
        with pytest.raises(InputError) as caught:
            RayExecutor(JOB, 1, needs)
        assert str(caught.value) == (
            f"workers: no node has what one worker asks for: {asked}; the nodes have: 2 CPUs; "
            "ask for less in [workers], or add a node that has it"
        )


@pytest.mark.slow
def test_a_pool_that_waits_for_room_says_so_once(whole_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo.execution.ray import pool as execution
    from hpo.execution.ray.pool import RayExecutor

    monkeypatch.setattr(execution, "NOTICE", 1.0)
    remarks: list[str] = []
    first = RayExecutor(JOB, 1, Resources(cpus=1.5, gpus=0.0, memory=0.0), notify=remarks.append)
    second = None
    try:
        assert end(run_one(first, task("number"))).how == Outcome.FINISHED
        # Not before: Ray gives the room that the other pool has left to either.
        second = RayExecutor(JOB, 1, Resources(cpus=1.5, gpus=0.0, memory=0.0), notify=remarks.append)
        for _ in range(20):
            second.poll(0.1)
        assert remarks[-1].startswith("no worker has started yet: the nodes have room for 1, but something else may ")
        assert len(remarks) <= 2  # the first one may have been slow
        first.close()
        assert end(run_one(second, task("number"))).how == Outcome.FINISHED
    finally:
        first.close()
        if second is not None:
            second.close()


@pytest.mark.slow
def test_searches_that_fill_one_cluster_divide_it(whole_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo.execution.ray import pool as execution
    from hpo.execution.ray.pool import RayExecutor

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
    from hpo.execution.ray import cluster as ray

    with pytest.raises(InputError, match=r"hpo submit STUDY\.toml --address http://HEAD:8265"):
        ray.start(address, 1, HALF)


def test_a_second_search_of_a_process_is_refused_and_the_first_one_keeps_its_ray(pool: Executor) -> None:
    from hpo.execution.ray import cluster as ray

    with pytest.raises(ClusterUnusable, match="another search of this process uses Ray"):
        ray.start(None, 1, HALF)

    (events,) = run(pool, task("number")).values()
    assert end(events).how is Outcome.FINISHED


def test_an_address_where_nobody_listens_is_refused_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo.execution.ray import cluster as ray

    with pytest.raises(ClusterUnusable, match=r"RAY_ADDRESS: .*127\.0\.0\.1:1"):
        ray._connect_or_start("127.0.0.1:1", "RAY_ADDRESS", 1, HALF, verbose=False)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (None, "what listens there has not answered for 0.5 s"),
        (b"", "what listens there is no Ray control server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what listens there is no Ray control server"),
        (b"\0", "what listens there is no Ray control server"),
    ],
)
def test_an_address_where_something_else_listens_is_refused_within_seconds(
    monkeypatch: pytest.MonkeyPatch, says: bytes | None, why: str
) -> None:
    from hpo.execution.ray import cluster as ray

    monkeypatch.setattr("hpo.execution.ray.address.ANSWER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            if says is not None:
                with connection, suppress(OSError):  # the client has gone, with some of the answer unread
                    connection.sendall(says)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(100)
            else:
                held.append(connection)

        held: list[socket.socket] = []
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ClusterUnusable, match=f"^RAY_ADDRESS: no Ray cluster answers at 127.0.0.1:{port}: {why}; "):
            ray._connect_or_start(f"127.0.0.1:{port}", "RAY_ADDRESS", 1, HALF, verbose=False)
        thread.join()
        for connection in held:
            connection.close()


def test_auto_is_refused_at_once_where_the_cluster_that_was_started_last_has_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from hpo.execution.ray import cluster as ray

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    with pytest.raises(ClusterUnusable, match=r"RAY_ADDRESS: no Ray cluster answers at 127\.0\.0\.1:1: .*refused"):
        ray._connect_or_start("auto", "RAY_ADDRESS", 1, HALF, verbose=False)


@pytest.mark.slow
def test_a_pool_grows_and_shrinks_while_trials_run_and_ends_none_of_them(ray_here: None) -> None:
    from hpo.execution.ray.pool import RayExecutor

    def wait_for_free(count: int) -> None:
        deadline = time.monotonic() + 60
        while pool.free != count and time.monotonic() < deadline:
            assert not pool.poll(0.1)
        assert pool.free == count

    pool = RayExecutor(JOB, 1, Resources(cpus=0.125, gpus=0.0, memory=0.0))
    try:
        wait_for_free(1)
        pool.resize(3)
        wait_for_free(3)
        for _ in range(3):
            pool.submit(task("count", steps=20))
        pool.resize(1)
        ended: list[Ended] = []
        deadline = time.monotonic() + 60
        while len(ended) < 3 and time.monotonic() < deadline:
            ended += [event for event in pool.poll(0.1) if isinstance(event, Ended)]
        assert [event.how for event in ended] == [Outcome.FINISHED] * 3
        wait_for_free(1)
        pool.resize(3)
        pool.limit(2)
        wait_for_free(2)
    finally:
        pool.close()
