"""What every executor must do: in this process, in one child of it, and Ray with two workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from player import JOB
from threadpoolctl import threadpool_info, threadpool_limits

from hpo.execution import Executor, Outcome
from hpo.execution.inline import THREADS, InlineExecutor
from hpo.execution.process import Child
from hpo.execution.single import SingleExecutor
from hpo.testing import ExecutorContract
from hpo.testing.executors import end, go, reports, run_one, task


class OwnContract(ExecutorContract):
    """What hpo's executors do beyond the contract: both run trials by the same ``Worker``."""

    def test_a_plain_function_is_one_report(self, executor: Executor) -> None:
        (number,) = reports(run_one(executor, task("number", seed=3)))

        assert (number.step, number.metrics) == (1, {"score": 1.5})

    def test_many_metrics_at_every_step_arrive(self, executor: Executor) -> None:
        heard = reports(run_one(executor, task("write_much")))

        assert len(heard) == 200
        assert all(len(report.metrics) == 501 for report in heard)

    def test_an_exception_that_can_be_neither_pickled_nor_printed_is_reported(self, executor: Executor) -> None:
        events = run_one(executor, task("stubborn"))

        assert end(events).how == Outcome.RAISED
        assert "Stubborn" in (end(events).error or "")

    def test_sys_exit_in_an_objective_is_a_failure_of_the_trial_alone(self, executor: Executor) -> None:
        events = run_one(executor, task("exit_"))

        assert end(events).how == Outcome.RAISED
        assert "SystemExit: 3" in (end(events).error or "")

    @pytest.mark.parametrize("which", range(10))
    def test_a_report_of_anything_but_numbers_is_an_error(self, executor: Executor, which: int) -> None:
        events = run_one(executor, task("garbage", seed=which))

        assert len(reports(events)) == 1
        assert end(events).how == Outcome.RAISED
        last = (end(events).error or "").splitlines()[-1]
        assert last.startswith(("TypeError: a report must be a mapping of metric names to numbers", "OverflowError: "))

    def test_an_objective_that_fails_to_clean_up_is_reported(self, executor: Executor, tmp_path: Path) -> None:
        one = task("step_by_step", folder=str(tmp_path), careless=True)

        events = run_one(executor, one, hear=self.stop_at_first_report(executor, tmp_path))

        assert end(events).how == Outcome.RAISED
        assert "the scratch folder is gone" in (end(events).error or "")


class TestInline(OwnContract):
    workers = 1
    inside_poll = True

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        inline = InlineExecutor(JOB)
        yield inline
        inline.close()


@pytest.fixture(scope="module")
def single() -> Iterator[Executor]:
    """One child for all tests, as Ray's workers serve all: whatever one does to it, it must be well for the next."""
    single = SingleExecutor(Child(JOB))
    yield single
    single.close()


class TestSingle(OwnContract):
    workers = 1

    @pytest.fixture
    def executor(self, single: Executor) -> Executor:
        return single


@pytest.mark.xdist_group("ray")
class TestRay(OwnContract):
    @pytest.fixture
    def executor(self, pool: Executor) -> Executor:
        return pool

    def settle(self, executor: Executor) -> None:
        import ray

        for slot in executor._slots:
            ray.get(slot.actor.ready.options(concurrency_group="control").remote())


def test_close_ends_what_runs_and_closes_its_generator_inline(tmp_path: Path) -> None:
    go(tmp_path, *range(1, 100))
    inline = InlineExecutor(JOB)
    inline.submit(task("step_by_step", folder=str(tmp_path)))
    for _ in range(3):
        inline.poll(0.1)

    inline.close()

    assert (tmp_path / "closed").exists()
    assert inline.free == 1


@pytest.mark.parametrize(("chosen", "during"), [(None, 1), ("OPENBLAS_NUM_THREADS", 2)])
def test_inline_numeric_libraries_get_a_workers_threads_unless_the_user_chose(
    chosen: str | None, during: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    if chosen is not None:
        monkeypatch.setenv(chosen, "2")

    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info()}

    with threadpool_limits(2):
        inline = InlineExecutor(JOB, threads=1)

        assert threads() == {during}
        assert os.environ.get("OMP_NUM_THREADS") == (None if chosen else "1")
        inline.close()
        assert threads() == {2}
        assert "OMP_NUM_THREADS" not in os.environ
