"""What this machine has, what a study would connect to, and what slows it down: for ``hpo doctor``."""

from __future__ import annotations

import os
import platform
import socket
import threading
from collections.abc import Callable
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import hpo
from hpo import datasets
from hpo.background import unfinished
from hpo.errors import InputError
from hpo.ledger.address import parse, probe
from hpo.machine import usable_cores
from hpo.service import open_ledger
from hpo.text import redact
from hpo.tracking import check as check_tracking

PACKAGES = ("numpy", "optuna", "ray", "mlflow", "psycopg")
# Settings that make OpenBLAS use an older kernel than the processor has.
FORCING = ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES")


def facts(storage: str, tracking: str) -> dict[str, Any]:
    """Everything that a bug report needs, without any password.

    Args:
        storage: The ledger's address.
        tracking: The MLflow tracking store.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "cores": usable_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "versions": {"hpo": hpo.__version__, **{package: _version(package) for package in PACKAGES}},
        "blas": _blas(),
        "ray_address": _bounded(_ray, os.environ.get("RAY_ADDRESS", "")),
        "storage": _bounded(_storage, storage),
        "tracking": _bounded(_tracking, tracking),
        **datasets.states(),
    }
    return found | {"warnings": [*_warnings(found), *_pages(storage)]}


def _pages(storage: str) -> list[str]:
    """The studies whose page in MLflow was to be completed after their search, and was not."""
    try:
        found = unfinished(parse(storage))
    except InputError:  # reported elsewhere
        return []
    return [f"the report of {name} is not in MLflow: {redact(why)}; to retry: hpo sync {name}" for name, why in found]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _blas() -> list[dict[str, Any]]:
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))  # loads the library
    return [
        {key: pool.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]


# What a study would connect to ---------------------------------------------------------------------------------------

# Seconds for one answer over the network, and for a check as a whole: names that no server resolves, folders that hang.
ANSWER, WAIT = 5.0, 10.0


def _bounded(check: Callable[[str], str], address: str) -> str:
    """What a check found, or that it took too long; a check that hangs is left behind."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(check(address)), daemon=True)
    thread.start()
    thread.join(WAIT)
    return found[0] if found else f"{redact(address)}: no answer within {WAIT:g} s"


def _storage(storage: str) -> str:
    try:
        open_ledger(storage, create=True)
    except InputError as error:
        return str(error)
    return f"{redact(storage)}: reachable"


def _tracking(tracking: str) -> str:
    shown = redact(tracking)
    if tracking.startswith(("http://", "https://")):
        return f"{shown}: {_asked(tracking.rstrip('/') + '/health')}"
    try:
        check_tracking(tracking)
        if tracking.startswith("sqlite:///"):
            probe(parse(tracking), create=True)
    except InputError as error:
        return f"{shown}: {str(error).removeprefix('storage: ').removeprefix('--tracking: ')}"
    return f"{shown}: usable" if tracking.startswith("sqlite:///") else f"{shown}: not tested"


def _ray(address: str) -> str:
    if not address or address == "local":
        return "none set: Ray starts on this machine"
    if address == "auto":
        return "auto: not tested; a search looks for a Ray that runs on this machine"
    if address.startswith(("http://", "https://")):
        return f"{redact(address)}: {_asked(address)}; for hpo submit only, a search runs inside its cluster"
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        return f"{address}: cannot be reached: {error}; start Ray there (ray start --head), or correct RAY_ADDRESS"
    return f"{address}: reachable"


def _asked(url: str) -> str:
    """Whether a server answers; an answer that asks for a password is one."""
    parts = urlsplit(url)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        urlopen(plain, timeout=ANSWER).close()
    except HTTPError as error:
        return "reachable" if error.code in (401, 403) else f"answers with status {error.code}"
    except (OSError, ValueError, HTTPException) as error:
        return f"cannot be reached: {redact(str(getattr(error, 'reason', error)))}"
    return "reachable"


def _warnings(found: dict[str, Any]) -> list[str]:
    warnings = [
        f"{name}={os.environ[name]} is set: NumPy may use an older kernel than this processor has "
        f"(in use: {', '.join(str(pool['architecture']) for pool in found['blas'])})"
        for name in FORCING
        if os.environ.get(name)
    ]
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        warnings.append("PYTHONDONTWRITEBYTECODE is set: packages installed without byte code are imported more slowly")
    return warnings
