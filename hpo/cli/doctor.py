"""``hpo doctor``: what this machine has, and what holds it back."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hpo.cli.options import AsJson, Storage, Tracking
from hpo.cli.text import print_json, print_table
from hpo.errors import InputError
from hpo.ledger.address import DEFAULT_STORAGE, parse, redact
from hpo.tracking import DEFAULT_TRACKING

PACKAGES = ("hpo", "numpy", "optuna", "ray", "mlflow", "scikit-learn", "psycopg")
# Settings that make OpenBLAS use an older kernel than the processor has.
FORCING = ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES")


def doctor(storage: Storage = DEFAULT_STORAGE, tracking: Tracking = DEFAULT_TRACKING, as_json: AsJson = False) -> None:
    """Say what this machine has: cores, BLAS kernel, versions, storage, data."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "versions": {package: _version(package) for package in PACKAGES},
        "blas": _blas(),
        "ray_address": os.environ.get("RAY_ADDRESS", "none set: Ray starts on this machine"),
        "storage": _storage(storage),
        "tracking": redact(tracking),
        "mnist": _mnist(),
    }
    facts["warnings"] = _warnings(facts)
    if as_json:
        print_json(facts)
        return
    rows = [[key, _line(value)] for key, value in facts.items() if key != "warnings"]
    print_table(["", "here"], rows, words=True)
    for warning in facts["warnings"]:
        sys.stdout.write(f"warning: {warning}\n")


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


def _storage(storage: str) -> str:
    from hpo.ledger.storage import probe

    try:
        probe(parse(storage), create=True)
    except InputError as error:
        return str(error)
    return f"{redact(storage)}: reachable"


def _mnist() -> str:
    import importlib

    try:
        importlib.import_module("trainer.data").check("mnist")
    except ValueError as error:
        return str(error)
    return "there"


def _warnings(facts: dict[str, Any]) -> list[str]:
    warnings = [
        f"{name}={os.environ[name]} is set: NumPy may use an older kernel than this processor has "
        f"(in use: {', '.join(str(pool['architecture']) for pool in facts['blas'])})"
        for name in FORCING
        if os.environ.get(name)
    ]
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        warnings.append("PYTHONDONTWRITEBYTECODE is set: imports are slower where packages came without byte code")
    return warnings


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_line(part)}" for key, part in value.items())
    if isinstance(value, list):
        return "; ".join(map(_line, value)) or "none found"
    return str(value)
