"""Objectives that do to a worker of Ray what objectives do: everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpo.testing import executors as contract


def play(params: Mapping[str, Any], seed: int) -> Any:
    """Does what ``params["act"]`` names: one of the functions below, or of the contract's."""
    own = globals().get(params["act"])
    return own(params, seed) if own else contract.play(params, seed)


def interrupt(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    yield 1.0
    raise KeyboardInterrupt


def vanish(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    yield 1.0
    os._exit(0)


def kill_self(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    yield 1.0
    os.kill(os.getpid(), signal.SIGKILL)


def hang(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    yield 1.0
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    while True:
        time.sleep(3600)


def chatter(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    for _ in range(20):
        print("0123456789abcdef" * 10_000)
        print("0123456789abcdef" * 10_000, file=sys.stderr)
        os.write(1, b"\x00\xff\xfe" * 1000)
    yield 1.0


def fork(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    child = subprocess.Popen(["sleep", "600"])
    grandchild = os.fork()
    if grandchild == 0:
        time.sleep(600)
        os._exit(0)
    yield {"score": 1.0, "child": child.pid, "forked": grandchild}
    if params["then"] == "hang":
        time.sleep(600)
    for pid in (child.pid, grandchild):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def threads(params: Mapping[str, Any], seed: int) -> dict[str, float]:
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    pools = threadpool_info()
    return {"score": 1.0, "pools": len(pools), "threads": max(pool["num_threads"] for pool in pools)}


def finish_then_say(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    yield 1.0
    (Path(params["folder"]) / "finished").touch()


def write_much(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    for step in range(200):
        yield {f"layer {layer}/norm": float(step * layer) for layer in range(500)} | {"score": float(step)}


def garbage(params: Mapping[str, Any], seed: int) -> Any:
    values: tuple[object, ...] = (
        None,
        "0.5",
        {"score": "high"},
        {1: 0.5},
        {},
        {"score": [1.0]},
        object(),
        {"score": True},
        10**400,
        1j,
    )
    yield {"score": 1.0}
    yield values[seed]


class Stubborn(Exception):
    """Cannot be pickled, and not even printed."""

    def __init__(self) -> None:
        super().__init__("stubborn")
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        raise TypeError("never")

    def __str__(self) -> str:
        raise ValueError("no words")


def stubborn(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    yield 1.0
    raise Stubborn


def exit_(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    yield 1.0
    sys.exit(3)
