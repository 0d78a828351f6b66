"""A Ray of the driver's own on this machine: with what a search needs, and without what Ray starts beside it.

Ray has no option against these parts; ``benchmarks/startup.py`` measures what each of them costs.
"""

from __future__ import annotations

import os
import signal
import sys
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

from hpo.errors import HpoError
from hpo.execution import reaper

# What Ray imports to find out whether its dashboard's dependencies are there. Without them its agent on every node
# imports half as much; what it leaves out serves metrics and jobs, and nobody asks this Ray for either.
_DASHBOARD = "ray.dashboard.optional_deps"
# How often Ray's start is tried.
TRIES = 3
# Seconds after which the log monitor has sent what workers printed last.
LOGS_LAG = 1.0

# With what Ray was started here; empty while it is not.
_options: dict[str, Any] = {}


def start(cores: int, **options: Any) -> None:
    """Starts Ray with ``cores`` to give away, and lets nothing of it outlive this process.

    Args:
        cores: What actors may ask for together; more than the machine has is allowed.
        options: Further ones of ``ray.init``.

    Raises:
        HpoError: When Ray does not start.
    """
    reaper.watch()
    _keep_token_private()
    umask = os.umask(0o077)  # Ray writes a token file and logs that are nobody else's business
    try:
        _persist(lambda: ray.init(address="local", num_cpus=cores, include_dashboard=False, **options), options)
    finally:
        os.umask(umask)
    _options.update(options, cores=cores)


def _keep_token_private() -> None:
    """Who reads the token can run code as this user; Ray itself leaves it readable by everybody."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    with suppress(OSError):  # there is none yet, or it is another user's
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _persist(init: Callable[[], object], options: dict[str, Any]) -> None:
    for tries_left in reversed(range(TRIES)):
        try:
            with _lean(logs=bool(options.get("log_to_driver"))), keeping_sigterm():
                init()
            return
        except Exception as error:  # Ray raises no narrower one where a busy machine is too slow for it
            with keeping_sigterm():
                ray.shutdown()
            if not tries_left:
                raise HpoError(f"Ray does not start on this machine: {' '.join(str(error).split())}") from error


def lost() -> str | None:
    """Which part of the Ray that was started here has died; None while all is well, or when Ray runs elsewhere."""
    node = ray._private.worker._global_node
    dead: list[Any] = node.dead_processes() if _options and node is not None else []
    return str(dead[0][0]).replace("_", " ") if dead else None


def restart() -> None:
    """Starts Ray once more as it was started before."""
    options = dict(_options)
    stop()
    start(**options)


def stop() -> None:
    """Ends the Ray that was started here, and leaves one that runs elsewhere."""
    if _options.get("log_to_driver"):
        time.sleep(LOGS_LAG)
    node = ray._private.worker._global_node
    logs = node.get_logs_dir_path() if _options and node is not None else None
    _options.clear()
    with keeping_sigterm():
        ray.shutdown()
    if logs is not None:
        for pid in reaper.writing_to(logs):  # the agents of a raylet that was killed, which wait for it for a while
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """Leaves SIGTERM to whoever has it, while Ray starts or ends and after that.

    A starting Ray would take it, and end the process at once; an ending one resets it, and Python is not told.
    """
    before = signal.getsignal(signal.SIGTERM)
    theirs = ray._private.utils.set_sigterm_handler
    ray._private.utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        ray._private.utils.set_sigterm_handler = theirs
        _give_sigterm_to(before)


def _give_sigterm_to(handler: Any) -> None:
    """What only the main thread may do, and only with a handler that Python knows of."""
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _lean(*, logs: bool) -> Iterator[None]:
    """Ray's node without an API server and an autoscaler, and without a log monitor when nobody reads logs."""
    whole: Any = ray._private.node.Node

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
            # Ray's part in C++ has just reset SIGTERM; whoever has it shall not wait for it until all are dead.
            _give_sigterm_to(signal.getsignal(signal.SIGTERM))
            # All that the raylet does with its grace of a second is to keep everybody waiting.
            super().kill_all_processes(check_alive, allow_graceful and not reaper.watching(), **other)

    known = sys.modules.get(_DASHBOARD)
    sys.modules[_DASHBOARD] = None  # type: ignore[assignment]
    ray._private.node.Node = Node  # type: ignore[misc]
    try:
        yield
    finally:
        ray._private.node.Node = whole  # type: ignore[misc]
        del sys.modules[_DASHBOARD]
        if known is not None:
            sys.modules[_DASHBOARD] = known
