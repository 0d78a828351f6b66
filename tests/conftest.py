"""What tests need from the machine they run on, and how deep they look."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from depth import FULL
from hypothesis import settings

from trainer import data

# A test run in the background may have been told to ignore Ctrl-C, which every process started here would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a test starts ends with it: `hpo run` waits for its report, except where a test says otherwise.
os.environ["HPO_WAIT"] = "1"

settings.register_profile("few", max_examples=12, deadline=None)
settings.register_profile("many", deadline=None)
settings.load_profile("many" if FULL else "few")

# A test that takes one of these fixtures has the marker beside it.
MARKED = {
    "browser": "browser",
    "machine": "containers",
    "mlflow_starter": "servers",
    "secured": "servers",
    "ray_here": "servers",
    "mlflow_server": "servers",
    "postgresql_server": "servers",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest chooses by markers."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARKED:
                item.add_marker(MARKED[fixture])
        if "ray_here" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("ray"))  # one process of pytest starts Ray, not all of them
        if (call := getattr(item, "callspec", None)) and call.params.get("sampler") == "gp":
            item.add_marker("torch")


def pytest_collection_finish() -> None:
    """What lives until the end is not searched for garbage again and again: that took a twelfth of a run."""
    gc.collect()
    gc.freeze()


def _mnist() -> str | None:
    try:
        data.check("mnist")
    except data.DataError as error:
        return str(error)
    return None


# What a marked test needs: why it cannot run here, or None.
NEEDS: dict[str, Callable[[], str | None]] = {
    "mnist": _mnist,
    "torch": lambda: None if find_spec("torch") else "PyTorch is not installed",
    "browser": lambda: None if shutil.which("chromium") else "Chromium is not installed",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marked test is skipped where what it needs is missing, and fails where it must be there: in CI."""
    for marker, lacking in NEEDS.items():
        if item.get_closest_marker(marker) and (reason := lacking()):
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI must have what tests marked {marker!r} need: {reason}", pytrace=False)
            pytest.skip(reason)


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without runs, to be copied: making one takes MLflow seconds, so all workers share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    template = folder / "empty-mlflow.db"
    with (folder / "empty-mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            from mlflow import MlflowClient

            MlflowClient(f"sqlite:///{folder}/empty-mlflow.draft").search_experiments()
            (folder / "empty-mlflow.draft").rename(template)
    return template
