"""docker-compose.yml, brought up: podman-compose reads the very file, and its conditions are waited for."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from machine import Machine

ROOT = Path(__file__).parents[2]
# Generous: the machine that tests run on may be busy.
PATIENCE = 300.0
# What is published, as a person on the machine sees it.
MLFLOW, RAY = "127.0.0.1:5000", "127.0.0.1:8265"

FETCH = """
import os, sys, urllib.error, urllib.request
credentials = os.environ["CREDENTIALS"]
request = urllib.request.Request(sys.argv[1], headers={"Authorization": credentials} if credentials else {})
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode(errors="replace"))
"""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: str


class Compose:
    """The project in a folder of its own inside a machine: the file, its .env, the studies.

    Args:
        machine: Where its containers run.
        data: The folder that holds MNIST.
    """

    def __init__(self, machine: Machine, data: Path) -> None:
        self.machine = machine
        self.folder = machine.folder / "project"
        self.folder.mkdir()
        for name in ("docker-compose.yml", "studies", "deploy"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.folder / name)
            else:
                shutil.copy(source, self.folder)
        subprocess.run([sys.executable, "deploy/make_secrets.py"], cwd=self.folder, check=True, capture_output=True)
        self.environment = machine.environment() | {"HPO_DATA_DIR": str(data), "PYTHONDONTWRITEBYTECODE": "1"}
        self.services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    @property
    def secrets(self) -> dict[str, str]:
        lines = (self.folder / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def command(self, *words: str) -> list[str]:
        """The command line of ``docker compose WORDS``."""
        return [sys.executable, "-m", "podman_compose", "--in-pod=false", *words]

    def run(self, *words: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return self.machine.run(
            *self.command(*words), cwd=self.folder, environment=self.environment, check=check, timeout=timeout
        )

    def up(self, **scale: int) -> None:
        """Starts every service of the default profile when what it depends on is as it asks.

        podman-compose cannot wait for health with this Podman, so the order of the file is kept here.
        """
        waiting = {name: service for name, service in self.services.items() if "profiles" not in service}
        started: set[str] = set()
        while waiting:
            name = next(name for name, service in waiting.items() if set(service.get("depends_on", {})) <= started)
            for other, how in waiting[name].get("depends_on", {}).items():
                self.wait(other, how["condition"])
            count = scale.get(name.replace("-", "_"), 1)
            words = ("--detach", "--no-build", "--no-deps", "--scale", f"{name}={count}", name)
            self.run("up", *words)
            started.add(name)
            del waiting[name]
        self.settle()

    def wait(self, service: str, condition: str) -> None:
        for container in self.containers(service):
            if condition == "service_completed_successfully":
                code = self.podman("wait", container).strip()
                assert code == "0", f"{service} ended with {code}:\n{self.logs(container)}"
            else:
                assert condition == "service_healthy", condition
                self.until(partial(self.healthy, container), f"{container} is healthy", container)

    def healthy(self, container: str) -> bool:
        """Runs the container's own health check once (without systemd Podman has no timer for it)."""
        return self.machine.run("podman", "healthcheck", "run", container, check=False).returncode == 0

    def until(self, holds: Callable[[], bool], what: str, container: str | None = None) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                log = self.logs(container) if container else ""
                raise AssertionError(f"{what}: not within {PATIENCE:g} s\n{log}")
            time.sleep(0.5)

    def settle(self) -> None:
        """Waits until every service is healthy, whatever was done to it."""
        for name, service in self.services.items():
            if "healthcheck" in service and "profiles" not in service:
                self.wait(name, "service_healthy")

    def client(
        self, *words: str, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """``docker compose run --rm hpo WORDS`` (Docker turns the profile on by itself)."""
        changed = [part for name, value in (environment or {}).items() for part in ("-e", f"{name}={value}")]
        return self.run(
            "--profile=client", "run", "-T", "--rm", "--no-deps", *changed, "hpo", *words, check=check, timeout=PATIENCE
        )

    def hpo(self, *words: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """An hpo command outside all containers, by a person who has the token of the cluster."""
        token = self.machine.folder / "token"
        token.write_text(self.secrets["HPO_RAY_TOKEN"])
        token.chmod(0o600)
        environment = self.machine.environment() | {
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_API_SERVER_ADDRESS": f"http://{RAY}",
            "HPO_DATA_DIR": self.environment["HPO_DATA_DIR"],
        }
        command = (sys.executable, "-m", "hpo", *words)
        return self.machine.run(*command, cwd=cwd, environment=environment, check=check, timeout=PATIENCE)

    def ask_ray(self, path: str) -> str:
        """An answer of the dashboard to whoever has the token."""
        answer = self.fetch(f"http://{RAY}{path}", token=self.secrets["HPO_RAY_TOKEN"])
        assert answer.status == 200, answer
        return answer.body

    def job(self, name: str) -> dict[str, Any]:
        """Ray's description of a job."""
        found: dict[str, Any] = json.loads(self.ask_ray(f"/api/jobs/{name}"))
        return found

    def alive(self) -> set[str]:
        """The addresses of the nodes that take trials and that Ray believes in."""
        nodes = json.loads(self.ask_ray("/nodes?view=summary"))["data"]["summary"]
        states = [node["raylet"] for node in nodes if not node["raylet"].get("isHeadNode")]
        return {node["nodeManagerAddress"] for node in states if node["state"] == "ALIVE"}

    def fetch(self, url: str, *, user: str | None = None, token: str | None = None) -> Answer:
        """What a published port answers on this machine, to ``NAME:PASSWORD``, to a token, or to neither."""
        credentials = f"Bearer {token}" if token else ""
        if user:
            credentials = f"Basic {base64.b64encode(user.encode()).decode()}"
        environment = self.machine.environment() | {"CREDENTIALS": credentials}
        done = self.machine.run(sys.executable, "-IS", "-c", FETCH, url, environment=environment)
        status, _, body = done.stdout.partition("\n")
        return Answer(int(status), body)

    def sql(self, query: str, database: str = "hpo") -> list[list[str]]:
        """Rows of a database, as its owner's administrator sees them, on the socket inside its container."""
        rows = self.execute(self.containers("postgres")[0], "psql", "-XAtd", database, "-c", query).stdout
        return [row.split("|") for row in rows.splitlines()]

    def containers(self, service: str) -> list[str]:
        label = f"label=com.docker.compose.service={service}"
        listed = self.podman("ps", "--all", f"--filter={label}", "--format={{.Names}}")
        return sorted(listed.split())

    def podman(self, *words: str, check: bool = True, timeout: float = 120) -> str:
        return self.machine.run("podman", *words, check=check, timeout=timeout).stdout

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.podman("inspect", container))[0]
        return found

    def address(self, container: str, network: str) -> str:
        return str(self.inspect(container)["NetworkSettings"]["Networks"][f"hpo_{network}"]["IPAddress"])

    def logs(self, container: str) -> str:
        done = self.machine.run("podman", "logs", "--tail=200", container, check=False)
        return done.stdout + done.stderr

    def execute(self, container: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.machine.run("podman", "exec", container, *command, check=check)

    def kill(self, container: str) -> None:
        """Ends a host with all its processes, at once; the restart policy starts it again, as another boot."""
        self.machine.run("kill", "-KILL", str(self.inspect(container)["State"]["Pid"]))

    def link(self, container: str, state: str) -> None:
        """Pulls a host's network cable (``"down"``), or puts it back (``"up"``)."""
        pid = str(self.inspect(container)["State"]["Pid"])
        near = self.machine.run("nsenter", f"--target={pid}", "--net", "ip", "-json", "link", "show", "eth0").stdout
        peer = json.loads(near)[0]["link_index"]
        links = json.loads(self.machine.run("ip", "-json", "link").stdout)
        (far,) = [link["ifname"] for link in links if link["ifindex"] == peer]
        self.machine.run("ip", "link", "set", far, state)
