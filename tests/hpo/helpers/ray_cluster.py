"""A real Ray cluster on this machine: a head with jobs API and token authentication, and nodes that come and go.

Every node is a ``ray start --block`` of its own, marked in its environment, so that exactly what a node started is
ended with it, and nothing else on the machine.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

MARK = "HPO_TEST_NODE"
# Ray gives up on a node that needs more than half a minute to start, as it may on a busy machine.
TRIES = 4
# A lost node is noticed within seconds.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass(frozen=True)
class Node:
    """One host's worth of Ray."""

    process: subprocess.Popen[bytes]
    mark: str

    def kill(self) -> None:
        """Ends everything of this node at once, as a power cut does."""
        while pids := marked(self.mark):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.wait(30)
            time.sleep(0.05)


def marked(mark: str) -> list[int]:
    """The living processes that carry the mark; Ray's helpers that wrote their title over it are its children."""
    found = set()
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z":
                    continue
                parents[int(entry.name)] = int(parent)
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
            except OSError:  # ended meanwhile, or somebody else's
                continue
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


class RayCluster:
    """A head and its nodes.

    Args:
        environment: What the head's environment holds beside this process's own: what the driver of a job finds there.
        cpus: The head's.
    """

    def __init__(self, environment: dict[str, str], cpus: int = 2) -> None:
        # Not pytest's folder: the path of a Unix socket has about a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="hpo-ray-"))
        self.token_file = self.folder / "token"
        self.token_file.write_text(secrets.token_hex(32))
        self.token_file.chmod(0o600)
        self._nodes: list[Node] = []
        dashboard = _free_port()
        self.url = f"http://127.0.0.1:{dashboard}"
        head = ["--head", "--port", str(_free_port()), "--ray-client-server-port", str(_free_port())]
        head += ["--include-dashboard", "true", "--dashboard-port", str(dashboard), "--temp-dir", str(self.folder)]
        try:
            output = self._start([*head, "--num-cpus", str(cpus)], environment)
            found = re.search(r"--address='([^']+)'", output)
            assert found, output
            self.address = found[1]
            self._wait_for_jobs_api()
        except BaseException:
            self.close()
            raise

    @property
    def credentials(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}

    def processes(self, *words: str) -> list[int]:
        """The living processes of all nodes whose command line has all of these words."""
        found = []
        for pid in (pid for node in self._nodes for pid in marked(node.mark)):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if set(words) <= set(line):
                found.append(pid)
        return found

    def add(self, cpus: int, resources: dict[str, float]) -> Node:
        """A node joins."""
        words = ["--address", self.address, "--num-cpus", str(cpus), "--resources", json.dumps(resources)]
        self._start(words, {})
        return self._nodes[-1]

    def _start(self, words: list[str], environment: dict[str, str], tries: int = TRIES) -> str:
        """``ray start``; returns what it printed by the time it was up."""
        mark = uuid.uuid4().hex
        kept = {key: text for key, text in os.environ.items() if not key.startswith(("HPO_", "RAY_", "MLFLOW_"))}
        kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
        kept |= self.credentials | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0", MARK: mark}
        kept |= IMPATIENT
        log = self.folder / f"start-{len(self._nodes)}.log"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *words]
        command += ["--dashboard-agent-listen-port", str(_free_port())]
        command += ["--min-worker-port", "0", "--max-worker-port", "0", "--object-store-memory", str(100 * 2**20)]
        with log.open("w") as out:
            process = subprocess.Popen(
                command, cwd=self.folder, env=kept | environment, stdout=out, stderr=out, start_new_session=True
            )
        node = Node(process, mark)
        self._nodes.append(node)
        while "will now block forever" not in log.read_text():
            if process.poll() is not None:
                assert tries > 1, log.read_text()
                self._nodes.remove(node)
                node.kill()
                return self._start(words, environment, tries - 1)
            time.sleep(0.1)
        return log.read_text()

    def _wait_for_jobs_api(self) -> None:
        deadline = time.monotonic() + 150
        port = int(self.url.rpartition(":")[2])
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "the dashboard does not come up"
                time.sleep(0.1)

    def close(self) -> None:
        for node in reversed(self._nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
