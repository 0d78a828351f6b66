"""Studies as jobs of a Ray cluster, through the jobs API of its head."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hpo.errors import ClusterError, ClusterUnusable, HpoError, InputError
from hpo.machine import expand
from hpo.text import redact

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

# Ray's own states, in small letters.
PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED = "pending", "running", "succeeded", "failed", "stopped"
# The metadata key that marks hpo's jobs.
STUDY_KEY = "hpo.study"
# Seconds to wait for an address that does not answer, and for a cluster that is starting or has gone away.
CONNECT_TIMEOUT, CLUSTER_TIMEOUT = 5.0, 60.0
# Seconds without output after which the connection is opened again: it may be dead without an error.
SILENCE = 60.0


@dataclass(frozen=True)
class StudyJob:
    """One job.

    Attributes:
        name: Ray's submission id.
        study: The study's name.
        state: ``"pending"``, ``"running"``, ``"succeeded"``, ``"failed"`` or ``"stopped"``.
        started: Seconds since the epoch.
        ended: The same; None while it runs.
        exit_code: Its driver's, when the driver ended by itself.
        message: Ray's message about a failed job.
    """

    name: str
    study: str
    state: str
    started: float | None
    ended: float | None
    exit_code: int | None
    message: str

    @property
    def over(self) -> bool:
        return self.state in (SUCCEEDED, FAILED, STOPPED)


class Jobs:
    """The jobs of one cluster.

    The token of a cluster that asks for one is found as Ray finds it: ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH`` or,
    with ``RAY_AUTH_MODE=token``, ``~/.ray/auth_token``.

    Args:
        address: The head's dashboard, ``http://HEAD:8265``.

    Raises:
        ClusterUnusable: When no jobs API answers there, or it refuses the token.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        _reach(self.address)
        _find_token()
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address  # otherwise Ray prefers RAY_ADDRESS to its argument
        from ray.job_submission import JobSubmissionClient

        for chatty in ("dashboard_sdk", "job.sdk"):
            logging.getLogger(f"ray.dashboard.modules.{chatty}").setLevel(logging.WARNING)
        with self._translated():
            self._client: JobSubmissionClient = JobSubmissionClient(self.address)
            self._client.list_jobs()  # unlike the version, the jobs need the token

    def submit(self, study: str, entrypoint: str, package: Path, environment: Mapping[str, str]) -> str:
        """Sends a study's package and starts its driver on the cluster; returns the job's name."""
        job: dict[str, Any] = {
            "entrypoint": entrypoint,
            "submission_id": f"{study}-{secrets.token_hex(2)}",
            "runtime_env": {"working_dir": str(package), "env_vars": dict(environment)},
            "metadata": {STUDY_KEY: study},
            "entrypoint_num_cpus": 0,  # a driver mostly waits; the cores are for the workers
        }
        deadline = time.monotonic() + CLUSTER_TIMEOUT
        with self._translated():
            while True:
                try:
                    return self._client.submit_job(**job)
                except RuntimeError as error:  # a head that is just starting
                    if "No available agent" not in str(error):
                        raise
                    if time.monotonic() > deadline:
                        raise ClusterError(
                            f"the head of {self.address} takes no jobs: its Ray agent is down; restart Ray there"
                        ) from None
                    time.sleep(1)

    def list(self) -> list[StudyJob]:
        """All jobs that :meth:`submit` has made, the oldest first."""
        with self._translated():
            found = [_read(details) for details in self._client.list_jobs() if STUDY_KEY in (details.metadata or {})]
        return sorted(found, key=lambda job: job.started or 0.0)

    def find(self, name: str) -> StudyJob:
        """The job of this name; or of the study of this name the one that runs it, or else its latest.

        Raises:
            InputError: When there is none.
        """
        jobs = self.list()
        named = [job for job in jobs if job.name == name]
        of_study = sorted((job for job in jobs if job.study == name), key=lambda job: not job.over)
        if found := named or of_study:
            return found[-1]
        raise InputError(f"there is no job or study {name!r} on {self.address}; list them with: hpo jobs", value=name)

    def log(self, name: str) -> str:
        """A job's log so far."""
        with self._translated():
            return self._client.get_job_logs(name)

    def follow(self, name: str, write: Callable[[str], object]) -> StudyJob:
        """Writes a job's log until the job is over, also across interruptions of the network.

        Raises:
            ClusterError: When the cluster has not answered for a minute.
        """
        from aiohttp import ClientError

        written = 0
        heard = time.monotonic()

        async def tail() -> None:
            nonlocal written, heard
            position = 0  # a new connection begins at the start of the log again
            texts = self._client.tail_job_logs(name)
            while text := await asyncio.wait_for(anext(texts, ""), SILENCE):
                if new := text[max(0, written - position) :]:
                    write(new)
                position += len(text)
                written, heard = max(written, position), time.monotonic()

        while True:
            try:
                whole = _run(tail())
                job = self.find(name)
                heard = time.monotonic()
                if whole and job.over:
                    return job
            except BrokenPipeError:  # the reader of our output has ended
                raise
            except (OSError, RuntimeError, ClientError, HpoError) as error:
                if time.monotonic() - heard > CLUSTER_TIMEOUT:
                    raise ClusterError(
                        f"{self.address} does not answer any more, but the job may still run; try again: "
                        f"hpo logs {name} --follow: {_line(error)}"
                    ) from None
            time.sleep(0.5)

    def stop(self, name: str) -> bool:
        """Asks a job's driver to end, as Ctrl-C does; returns whether it was running."""
        with self._translated():
            return bool(self._client.stop_job(name))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Every failure of Ray's client in one line."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            if "Missing" in str(error):
                how = "set RAY_AUTH_TOKEN_PATH to the file that holds it, or RAY_AUTH_TOKEN"
                raise ClusterUnusable.about(
                    "--address", f"{self.address} asks for a token: {how}", self.address
                ) from None
            rule = f"{self.address} does not accept this token; put the cluster's into RAY_AUTH_TOKEN_PATH's file"
            raise ClusterUnusable.about("--address", rule, self.address) from None
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            rule = f"no Ray jobs API at {self.address}: {_line(error)}; give the head's dashboard, http://HEAD:8265"
            raise ClusterUnusable.about("--address", rule, self.address) from None


def _run(tail: Coroutine[Any, Any, None]) -> bool:
    """Whether the log came to its end, rather than to a silence."""
    try:
        asyncio.run(tail)
    except TimeoutError:
        return False
    return True


def _reach(address: str) -> None:
    parts = urlsplit(address)
    try:
        default = {"http": 80, "https": 443}[parts.scheme]
        port = parts.port or default
        if not parts.hostname:
            raise ValueError
    except (ValueError, KeyError):
        rule = "must be the head's dashboard, http://HEAD:8265"
        raise ClusterUnusable.about("--address", rule, redact(repr(address)), got=True) from None
    if parts.username or parts.password:
        raise ClusterUnusable.about(
            "--address", "must hold no password; a cluster's token goes into RAY_AUTH_TOKEN_PATH"
        )
    try:
        socket.create_connection((parts.hostname, port), CONNECT_TIMEOUT).close()
    except OSError as error:
        rule = f"nothing answers at {address}: {error.strerror or error}; start the cluster, or correct the address"
        raise ClusterUnusable.about("--address", rule, address) from None


def _find_token() -> None:
    """Turns Ray's authentication on where a token is named; must come before Ray is imported."""
    if path := expand(os.environ.get("RAY_AUTH_TOKEN_PATH", "")):
        os.environ["RAY_AUTH_TOKEN_PATH"] = path
    if path and not os.environ.get("RAY_AUTH_TOKEN"):
        try:
            if not Path(path).read_text().strip():
                rule = f"{path} is empty; write the cluster's token into it"
                raise ClusterUnusable.about("RAY_AUTH_TOKEN_PATH", rule, path)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            rule = f"{path} cannot be read: {why}; name the file that holds the cluster's token"
            raise ClusterUnusable.about("RAY_AUTH_TOKEN_PATH", rule, path) from None
    if path or os.environ.get("RAY_AUTH_TOKEN"):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _read(details: Any) -> StudyJob:
    return StudyJob(
        name=str(details.submission_id),
        study=details.metadata[STUDY_KEY],
        state=str(details.status.value).lower(),
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
        exit_code=details.driver_exit_code,
        message=details.message or "",
    )


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^Request failed with status code", "status", text)[:300]
