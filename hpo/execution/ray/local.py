"""A Ray of the driver's own on this machine: with what a search needs, and without what Ray starts beside it.

Ray has no option against these parts; ``benchmarks/startup.py`` measures what each of them costs.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
import ray._private.node
import ray._private.utils
import ray._private.worker

from hpo.errors import ClusterError
from hpo.execution import CREDENTIALS, WARNINGS
from hpo.execution.ray import reaper
from hpo.machine import variables

# What Ray imports to find out whether its dashboard's dependencies are there. Without them its agent on every node
# imports half as much; what it leaves out serves metrics and jobs, which this Ray does not need.
_DASHBOARD = "ray.dashboard.optional_deps"
# How often Ray's start is tried.
TRIES = 3
# Seconds after which the log monitor has sent what workers printed last.
LOGS_LAG = 1.0

# Ray puts sockets into its folder, and a socket's path has at most 107 characters, of which Ray uses 84.
LONGEST_BASE = 23

# The resource of Ray's that says how many of the cores are for workers.
WORKERS_CORES = "hpo_cores"

# With what Ray was started here; empty while it is not.
_options: dict[str, Any] = {}
# Holds all that this process's Ray writes; private to this user.
_folder: Path | None = None


def start(cores: int, **options: Any) -> None:
    """Starts Ray with ``cores`` for workers, and lets nothing of it outlive this process.

    It has as many cores more as the machine has, for Ray tasks that objectives start themselves: the workers hold
    theirs, and such tasks would wait for them for ever.

    Args:
        cores: What the workers may ask for together; more than the machine has is allowed.
        options: Further ones of ``ray.init``.

    Raises:
        ClusterError: When Ray does not start.
    """
    global _folder
    if _folder is None or not reaper.watching():
        _folder = _private_folder()
        reaper.watch(str(_folder))
    umask = os.umask(0o077)  # Ray's logs are private
    capacity = {"num_cpus": cores + (os.cpu_count() or 1), "resources": {WORKERS_CORES: cores}}
    options = {**options, **capacity, "_temp_dir": str(_folder / "r")}
    try:
        with _own_variables(_folder), reaper.marking():
            _persist(lambda: ray.init(address="local", include_dashboard=False, **options), options)
    finally:
        os.umask(umask)
    _options.update(options, cores=cores)


def grow(cores: int) -> None:
    """Adds cores for workers to the Ray that was started here, while it runs; one elsewhere stays as it is.

    Args:
        cores: What the workers may ask for together from now on; less than before changes nothing.
    """
    if cores <= _options.get("cores", math.inf):
        return
    worker: Any = ray._private.worker.global_worker
    capacity = {"CPU": float(cores + (os.cpu_count() or 1)), WORKERS_CORES: float(cores)}
    worker.gcs_client.resize_raylet_resource_instances(ray.get_runtime_context().get_node_id(), capacity)
    _options["cores"] = cores


def cores() -> int | None:
    """For how many cores of workers Ray was started here; None while it is not, or runs elsewhere."""
    return _options.get("cores")


def _private_folder() -> Path:
    """A new folder that no other user may enter, with a path that is short enough for sockets.

    Ray makes its own folder in there, open to everybody.
    """
    bases = [os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"]
    short = [base for base in bases if base and len(base) <= LONGEST_BASE and os.access(base, os.W_OK)]
    if not short:
        raise ClusterError(
            f"Ray needs a writable folder whose path has at most {LONGEST_BASE} characters; set RAY_TMPDIR to one"
        )
    return Path(tempfile.mkdtemp(prefix="hpo-", dir=short[0]))


@contextmanager
def _own_variables(folder: Path) -> Iterator[None]:
    """Has Ray ask for a token that only this user can read; without one, any user of the machine could run code.

    Warnings as errors are for the study's own code, which gets them from its job; Ray's processes would end by them.
    """
    path = folder / "auth_token"
    if not path.exists():
        path.write_text(secrets.token_hex(32))
    others = dict.fromkeys(("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", WARNINGS))
    with variables(others | {"RAY_AUTH_TOKEN_PATH": str(path)}):  # with no mode set, Ray asks for the token there
        yield


def _persist(init: Callable[[], object], options: dict[str, Any]) -> None:
    for tries_left in reversed(range(TRIES)):
        try:
            with _minimal_node(logs=bool(options.get("log_to_driver"))), keeping_sigterm():
                init()
            return
        except Exception as error:  # Ray raises no narrower one where a busy machine is too slow for it
            with keeping_sigterm():
                ray.shutdown()
            if not tries_left:
                raise ClusterError(f"Ray does not start on this machine: {' '.join(str(error).split())}") from error


def lost() -> str | None:
    """Which part of the Ray that was started here has died; None while all is well, or when Ray runs elsewhere."""
    node = ray._private.worker._global_node
    dead: list[Any] = node.dead_processes() if _options and node is not None else []
    return str(dead[0][0]).replace("_", " ") if dead else None


def restart() -> None:
    """Starts Ray once more as it was started before."""
    options = {name: _options[name] for name in ("log_to_driver", "logging_level") if name in _options}
    before = _options["cores"]
    stop()
    start(before, **options)


def stop() -> None:
    """Ends the Ray that was started here, and leaves one that runs elsewhere."""
    if _options.get("log_to_driver"):
        time.sleep(LOGS_LAG)
    node = ray._private.worker._global_node
    logs = node.get_logs_dir_path() if _options and node is not None else None
    session = node.get_session_dir_path() if _options and node is not None else None
    _options.clear()
    with keeping_sigterm():
        ray.shutdown()
    if logs is not None:
        for pid in reaper.writing_to(logs):  # the agents of a raylet that was killed, which wait for it for a while
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if session is not None:
        shutil.rmtree(session, ignore_errors=True)


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """Keeps this process's handler of SIGTERM while Ray starts or ends, and after that; and its debugger.

    A starting Ray would take the signal, and end the process at once; an ending one resets it, and Python is not told.
    Ray's own debugger works in its workers only.
    """
    before, debugger = signal.getsignal(signal.SIGTERM), os.environ.get("PYTHONBREAKPOINT")
    theirs = ray._private.utils.set_sigterm_handler
    ray._private.utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = theirs
        _give_sigterm_to(before)
        os.environ.pop("PYTHONBREAKPOINT", None)
        os.environ.update({} if debugger is None else {"PYTHONBREAKPOINT": debugger})


def _give_sigterm_to(handler: Any) -> None:
    """What only the main thread may do, and only with a handler that Python knows of."""
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _minimal_node(*, logs: bool) -> Iterator[None]:
    """Ray's node without an API server and an autoscaler, and without a log monitor when nobody reads logs.

    Its processes have no credentials: an objective could read the variables of those that it was started by.
    """
    whole: Any = ray._private.node.Node
    start_process: Any = ray._private.services.start_ray_process

    def start_without(*words: Any, env_updates: dict[str, str] | None = None, **options: Any) -> Any:
        hidden = {name: "" for name in CREDENTIALS if name in os.environ}  # Ray can add variables, not remove them
        return start_process(*words, env_updates={**(env_updates or {}), **hidden}, **options)

    class Node(whole):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            try:
                super().__init__(*args, **options)
            except BaseException:
                self.kill_all_processes(check_alive=False)
                raise

        def start_api_server(self, **_: Any) -> None:
            self._webui_url = ""

        def start_monitor(self) -> None:
            """The autoscaler's."""

        def start_log_monitor(self) -> None:
            if logs:
                super().start_log_monitor()

        def kill_all_processes(self, check_alive: bool = True, allow_graceful: bool = False, **other: Any) -> None:
            # Ray's part in C++ has just reset SIGTERM; a signal must not wait until all processes are dead.
            _give_sigterm_to(signal.getsignal(signal.SIGTERM))
            # All that the raylet does with its grace of a second is to keep everybody waiting.
            super().kill_all_processes(check_alive, allow_graceful and not reaper.watching(), **other)

    known = sys.modules.get(_DASHBOARD)
    sys.modules[_DASHBOARD] = None  # type: ignore[assignment]
    ray._private.node.Node = Node  # type: ignore[misc]
    ray._private.services.start_ray_process = start_without
    try:
        yield
    finally:
        ray._private.services.start_ray_process = start_process
        ray._private.node.Node = whole  # type: ignore[misc]
        del sys.modules[_DASHBOARD]
        if known is not None:
            sys.modules[_DASHBOARD] = known
