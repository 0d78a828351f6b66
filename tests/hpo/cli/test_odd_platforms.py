"""Whole searches, with Ray and MLflow, on machines that lack something: a home that can be written, memory to share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import STUDY
from mirrored import exactly_once

from hpo.ledger import snapshots
from hpo.ledger.address import parse

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.xdist_group("ray"), pytest.mark.timeout(200)]

OBJECTIVE = """
import os
from pathlib import Path

def objective(params, seed):
    try:
        (Path.home() / "mine").mkdir()
    except OSError:
        pass
    Path("here").touch()
    yield {"loss": params["lr"]}
"""


def _can_mount() -> bool:
    words = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not _can_mount(), reason="only root can mount")


@pytest.mark.parametrize(
    ("before", "home"),
    [
        pytest.param('mount -t tmpfs -o ro tmpfs "$PLACES/home"', "home", marks=needs_mounts),
        ('chmod 0 "$PLACES/home"', "home"),
        ("true", "nowhere/at/all"),
        ("true", "file"),
        pytest.param("mount -t tmpfs -o size=8m tmpfs /dev/shm", "home", marks=needs_mounts),
        pytest.param('mount --bind "$PLACES/work" "$PLACES/bound"; cd "$PLACES/bound"', "home", marks=needs_mounts),
        ('ln -s work "$PLACES/link"; cd "$PLACES/link"', "home"),
    ],
    ids=["read-only-home", "closed-home", "no-home", "home-is-a-file", "little-shm", "bind-mount", "link"],
)
def test_a_search_with_ray_and_mlflow_needs_no_more_than_its_own_folder(
    tmp_path: Path, empty_mlflow_database: Path, before: str, home: str
) -> None:
    for name in ("home", "work", "bound"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    work = tmp_path / "work"
    shutil.copy(empty_mlflow_database, work / "mlflow.db")
    (work / "placed.py").write_text(OBJECTIVE)
    text = STUDY.replace("small_objectives:curve", "placed:objective").replace("trials = 5", "trials = 3")
    (work / "s.toml").write_text(text.replace("\n    ", "\n"))
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("RAY_", "HPO_", "MLFLOW_", "XDG_")) and name != "TMPDIR"
    }
    kept |= {"HOME": str(tmp_path / home), "PLACES": str(tmp_path), "HPO_WAIT": "1"}
    line = f'{before} && exec "{sys.executable}" -m hpo run s.toml --workers 1 --quiet'
    apart = ["unshare", "-m"] if "mount" in before else []

    ended = subprocess.run([*apart, "sh", "-c", line], cwd=work, env=kept, capture_output=True, text=True, timeout=180)

    (tmp_path / "home").chmod(0o700)
    assert ended.returncode == 0, ended.stderr
    # Matplotlib says where its cache is; a slow machine says that it waits for MLflow.
    expected = ("atplotlib", "writing the remaining trials to MLflow")
    assert [line for line in ended.stderr.splitlines() if not any(text in line for text in expected)] == []
    book = snapshots.read(parse(str(work / "hpo.journal")), "small")
    assert [trial.state for trial in book.trials] == ["complete"] * 3
    assert {"here", "hpo.journal", ".hpo", "mlflow.db"} <= {path.name for path in work.iterdir()}
    assert not any((tmp_path / "bound").iterdir())  # all went to the folder itself
    exactly_once(f"sqlite:///{work}/mlflow.db", book)


GREEDY = """
def objective(params, seed):
    if params["n"] == 2:
        filled = bytearray(4 << 30)
        filled[::4096] = bytes([1]) * (len(filled) // 4096)
    yield {"loss": params["n"]}
"""


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group with little memory; the file to which a process writes its number to join."""
    group = Path("/sys/fs/cgroup/memory") / f"hpo-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(1200 << 20))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield group / "cgroup.procs"
    deadline = time.monotonic() + 30
    while True:
        try:
            group.rmdir()
            return
        except OSError:  # helpers of the search are just ending
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_in_a_container_with_little_memory_only_the_greedy_trial_is_lost(
    tmp_path: Path, little_memory: Path, workers: str
) -> None:
    (tmp_path / "greedy.py").write_text(GREEDY)
    text = STUDY.replace("small_objectives:curve", "greedy:objective").replace("trials = 5", "trials = 4")
    text = text.replace("lr = { low = 1e-4, high = 1.0, log = true }", "n = { low = 1, high = 4 }")
    text = text.replace("[space]", 'sampler.name = "grid"\n    trial.retries = 0\n    [space]')
    (tmp_path / "s.toml").write_text(text.replace("\n    ", "\n"))
    line = f'echo $$ > {little_memory} && exec "{sys.executable}" -m hpo run s.toml --tracking none --workers {workers}'

    ended = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=180)

    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    trials = snapshots.read(parse(str(tmp_path / "hpo.journal")), "small").trials
    assert sorted((trial.params["n"], trial.state) for trial in trials) == [
        (1, "complete"),
        (2, "failed"),
        (3, "complete"),
        (4, "complete"),
    ]
    assert any("was ended by SIGKILL" in (trial.error or "") for trial in trials)
