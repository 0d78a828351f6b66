"""Objectives whose every number follows from parameters and seed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def curve(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Three noisy steps towards a value that is best at lr = 1e-3."""
    rng = np.random.default_rng(seed)
    best = -abs(math.log10(params["lr"]) + 3) - len(params.get("hidden", ()))
    for step in range(1, 4):
        yield {"score": best * (1 + 1 / step) + rng.normal(), "loss": float(rng.random())}


def slow_curve(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """The same, 0.1 s per step; leaves a mark in ``params["marks"]`` each time a trial starts and ends."""
    marks = Path(params["marks"])
    for report in curve(params, seed):
        with (marks / f"{seed}.started").open("a") as file:
            file.write("x")
        time.sleep(params.get("pause", 0.1))
        yield report
    with (marks / f"{seed}.ended").open("a") as file:
        file.write("x")


def unlucky(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Every third seed raises after its first report."""
    for report in curve(params, seed):
        yield report
        if seed % 3 == 0:
            raise ArithmeticError(f"seed {seed} is divisible by three")
