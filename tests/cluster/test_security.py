"""Who gets in, and what is to be seen of the secrets: on the running cluster, from outside, beside and within."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compose import MLFLOW, RAY, Compose
from machine import INSIDE, Machine

pytestmark = [pytest.mark.containers, pytest.mark.mnist, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(1800)]
HERE = Path(__file__).parent
WRONG = "this-is-not-the-secret-that-opens"
SPY = """
name      = "spy"
objective = "spy:objective"
metric    = "sees_the_head"
direction = "maximize"
[fixed]
postgres = "{postgres}"
mlflow   = "{mlflow}"
[space]
x = {{ low = 0.0, high = 1.0 }}
[budget]
trials = 2
"""


def scan(machine: Machine, address: str, *, outside: bool) -> set[int]:
    """The ports that answer at an address, as seen by the machine itself or by a host outside."""
    script = (sys.executable, "-IS", str(HERE / "scan.py"), address)
    run = machine.run_outside if outside else machine.run
    return set(map(int, run(*script).stdout.split()))


def test_no_port_answers_from_outside_and_only_the_two_published_ones_on_the_machine(cluster: Compose) -> None:
    # A door that is open, so that a scan that sees nothing has looked.
    door = "import socket as s, time; d = s.create_server(('0.0.0.0', 45454)); print(flush=True); time.sleep(600)"
    command = cluster.machine.inside([sys.executable, "-c", door])
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=cluster.machine.environment()) as opened:
        assert opened.stdout is not None
        opened.stdout.readline()
        try:
            assert scan(cluster.machine, INSIDE, outside=True) == {45454}
            assert scan(cluster.machine, "127.0.0.1", outside=False) == {5000, 8265, 45454}
        finally:
            opened.kill()


def test_rays_dashboard_and_jobs_ask_for_the_token(cluster: Compose) -> None:
    for path in (
        "api/version",
        "api/jobs/",
        "nodes?view=summary",
        "api/v0/tasks",
        "api/cluster_status",
        "logical/actors",
    ):
        url = f"http://{RAY}/{path}"
        assert cluster.fetch(url, token=cluster.secrets["HPO_RAY_TOKEN"]).status == 200, path
        assert cluster.fetch(url).status == 401, path
        assert cluster.fetch(url, token=WRONG).status == 403, path


def test_mlflows_ui_and_api_ask_for_the_password(cluster: Compose) -> None:
    right, wrong = cluster.secrets["HPO_MLFLOW_ADMIN_PASSWORD"], ("password1234", WRONG)
    for path in ("", "api/2.0/mlflow/experiments/search?max_results=1", "api/2.0/mlflow/users/list"):
        url = f"http://{MLFLOW}/{path}"
        assert cluster.fetch(url, user=f"admin:{right}").status == 200, path
        assert cluster.fetch(url).status == 401, path
        for user in (f"hpo:{right}", *(f"admin:{password}" for password in wrong)):
            assert cluster.fetch(url, user=user).status == 401, path


def test_the_drivers_account_in_mlflow_is_no_admin(cluster: Compose) -> None:
    user = f"hpo:{cluster.secrets['HPO_MLFLOW_PASSWORD']}"
    url = f"http://{MLFLOW}/api/2.0/mlflow/users/get?username="
    assert cluster.fetch(url + "hpo", user=user).status == 200
    assert cluster.fetch(url + "admin", user=user).status == 403


LOGINS = """
import os, psycopg
tried = "hpo/hpo mlflow/mlflow hpo/mlflow mlflow/hpo postgres/postgres hpo/template1"
for role, database in (pair.split("/") for pair in tried.split()):
    for secret in ("HPO_LEDGER_PASSWORD", "HPO_MLFLOW_DATABASE_PASSWORD", "WRONG", None):
        password = {"password": os.environ[secret]} if secret else {"passfile": "/dev/null"}
        try:
            psycopg.connect(host="postgres", user=role, dbname=database, **password).close()
        except psycopg.OperationalError:
            continue
        print(role, database, secret)
"""


def test_postgresql_lets_each_role_into_its_own_database_with_its_own_password(cluster: Compose) -> None:
    given = cluster.secrets | {"WRONG": WRONG}
    names = ("HPO_LEDGER_PASSWORD", "HPO_MLFLOW_DATABASE_PASSWORD", "WRONG")
    variables = [f"--env={name}={given[name]}" for name in names]
    run = ("run", "--rm", "--network=hpo_data", *variables, "localhost/hpo", "python3", "-c", LOGINS)
    assert cluster.podman(*run).splitlines() == [
        "hpo hpo HPO_LEDGER_PASSWORD",
        "mlflow mlflow HPO_MLFLOW_DATABASE_PASSWORD",
    ]


def test_ray_itself_and_its_client_port_ask_for_the_token(cluster: Compose) -> None:
    def ask(*settings: str) -> list[str]:
        variables = [f"--env={setting}" for setting in settings]
        run = ("run", "--rm", "--network=hpo_compute", "--shm-size=512m", *variables)
        script = f"--volume={HERE / 'stranger.py'}:/stranger.py:ro"
        return cluster.podman(*run, script, "localhost/hpo", "python3", "/stranger.py", timeout=300).splitlines()

    known = ("RAY_AUTH_MODE=token", "HPO_SECRETS=HPO_RAY_TOKEN")
    refused = ["client: UNAUTHENTICATED", "cluster: UNAUTHENTICATED"]
    assert ask("RAY_AUTH_MODE=disabled") == refused
    assert ask(*known, f"HPO_RAY_TOKEN={WRONG}") == refused
    assert ask(*known, f"HPO_RAY_TOKEN={cluster.secrets['HPO_RAY_TOKEN']}") == ["client: open", "cluster: open"]


def test_no_secret_is_anywhere_to_be_read(cluster: Compose) -> None:
    """In a job by an objective that looks for them, and in everything that the cluster and hpo say about it."""
    postgres, mlflow = cluster.containers("postgres")[0], cluster.containers("mlflow")[0]
    folder = cluster.machine.folder / "spy"
    folder.mkdir()
    shutil.copy(HERE / "spy.py", folder)
    addresses = {"postgres": cluster.address(postgres, "data"), "mlflow": cluster.address(mlflow, "data")}
    (folder / "spy.toml").write_text(SPY.format(**addresses))

    told = cluster.hpo("submit", "spy.toml", "--follow", "--json", cwd=folder)

    shown = json.loads(cluster.client("show", "spy", "--json").stdout)
    assert shown["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "running": 0}, told.stdout + told.stderr
    assert [trial["value"] for trial in shown["best"]] == [1.0, 1.0]  # and it looked: the head's port it did see
    job = json.loads(told.stdout)["job"]
    user = f"admin:{cluster.secrets['HPO_MLFLOW_ADMIN_PASSWORD']}"
    experiment = cluster.fetch(f"http://{MLFLOW}/api/2.0/mlflow/experiments/get-by-name?experiment_name=spy", user=user)
    search = f"http://{MLFLOW}/ajax-api/2.0/mlflow/experiments/search?max_results=100"
    said = {
        "job": json.dumps(cluster.job(job)),
        "job log": cluster.ask_ray(f"/api/jobs/{job}/logs"),
        "submit": told.stdout + told.stderr,
        "jobs": cluster.hpo("jobs", "--json", cwd=folder).stdout,
        "doctor": cluster.client("doctor", "--json").stdout,
        "list": cluster.client("list").stdout,
        "MLflow": experiment.body + cluster.fetch(search, user=user).body,
        "MLflow's tags": str(
            cluster.sql("SELECT * FROM tags", "mlflow") + cluster.sql("SELECT * FROM params", "mlflow")
        ),
        "ledger": cluster.execute(postgres, "pg_dump", "hpo").stdout,
        "arguments": cluster.machine.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout,
        "images": cluster.podman("image", "inspect", "localhost/hpo", "localhost/hpo-postgres")
        + cluster.podman("history", "--no-trunc", "localhost/hpo"),
        "logs": "".join(cluster.logs(name) for name in cluster.podman("ps", "--all", "--format={{.Names}}").split()),
    }
    assert [place for place, text in said.items() if len(text) < 10] == []
    assert [
        (place, name) for place, text in said.items() for name, value in cluster.secrets.items() if value in text
    ] == []


def test_a_wrong_password_is_refused_in_one_line(cluster: Compose) -> None:
    refused = cluster.client("list", check=False, environment={"HPO_LEDGER_PASSWORD": WRONG})
    assert refused.returncode == 2
    assert 'password authentication failed for user "hpo"' in refused.stderr
    assert WRONG not in refused.stderr


def test_a_token_of_another_cluster_is_refused_in_one_line(cluster: Compose) -> None:
    refused = cluster.client("run", "studies/digits.toml", check=False, environment={"HPO_RAY_TOKEN": WRONG})
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("hpo: the cluster does not accept HPO_RAY_TOKEN")


@pytest.mark.parametrize(("value", "rule"), [("", "is missing"), ("changeme", "is shorter than 24 characters")])
def test_a_container_refuses_to_start_without_a_real_secret(machine: Machine, value: str, rule: str) -> None:
    for image, name in (("hpo", "HPO_RAY_TOKEN"), ("hpo-postgres", "HPO_LEDGER_PASSWORD")):
        variables = (f"--env=HPO_SECRETS={name}", f"--env={name}={value}")
        for _ in range(5):
            refused = machine.run("podman", "run", "--rm", *variables, f"localhost/{image}", "true", check=False)
            assert refused.returncode == 2
            if refused.stderr:  # Podman may lose what a container prints that ends within a moment
                break
        assert f"the secret {name} {rule}; `make secrets`" in refused.stderr


def test_an_env_file_that_others_can_read_is_refused_before_anything_starts(cluster: Compose) -> None:
    env = cluster.folder / ".env"
    env.chmod(0o644)
    try:
        refused = cluster.run("--project-name=open", "run", "-T", "--rm", "--no-deps", "preflight", check=False)
    finally:
        env.chmod(0o600)
    assert refused.returncode == 2
    assert ".env can be read by others (its mode is 644): chmod 600 .env" in refused.stderr


@pytest.mark.parametrize("secret", ["HPO_RAY_TOKEN", "HPO_MLFLOW_SECRET_KEY"])
def test_compose_refuses_without_a_secret(machine: Machine, tmp_path: Path, secret: str) -> None:
    shutil.copy(HERE.parents[1] / "docker-compose.yml", tmp_path)
    subprocess.run([sys.executable, str(HERE.parents[1] / "deploy" / "make_secrets.py")], cwd=tmp_path, check=True)
    env = tmp_path / ".env"
    env.write_text("".join(line for line in env.read_text().splitlines(True) if not line.startswith(secret)))
    command = (sys.executable, "-m", "podman_compose", "config")
    refused = machine.run(*command, cwd=tmp_path, check=False)
    assert refused.returncode != 0
    assert f"{secret} is missing a value: run make secrets" in refused.stderr
