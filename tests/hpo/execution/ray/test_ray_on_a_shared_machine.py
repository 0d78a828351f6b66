"""Ray as other users of the machine, the user's own program and the objective see it, by whole commands."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import STUDY

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("ray")]

OBJECTIVE = """
import asyncio, json, os, signal, sqlite3, stat, threading
from pathlib import Path

import psutil

connection = []


def facts(params, seed):
    found = {"main": threading.current_thread() is threading.main_thread()}
    if not connection:  # bound to the thread that made it
        connection.append(sqlite3.connect(":memory:"))
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    connection[0].execute("select 1")
    found["handler"] = signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    asyncio.run(asyncio.sleep(0))
    Path("made").write_text("")
    found["made"] = stat.S_IMODE(Path("made").stat().st_mode)
    driver = next(process for process in psutil.Process().parents() if "s.toml" in process.cmdline())
    started = {process: process.environ() for process in driver.children(recursive=True)}
    found["processes"] = [process.name() for process in started]
    found["secrets"] = [process.cmdline() for process, has in started.items() if "a-secret" in has.values()]
    found["folders"] = {
        str(path.relative_to(os.environ["RAY_TMPDIR"])): stat.S_IMODE(path.stat().st_mode)
        for pattern in ("*", "*/auth_token")
        for path in Path(os.environ["RAY_TMPDIR"]).glob(pattern)
    }
    with open("facts", "a") as file:
        file.write(json.dumps(found) + "\\n")
    return params["lr"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "facts_of.py").write_text(OBJECTIVE)
    text = STUDY.replace("small_objectives:curve", "facts_of:facts").replace("trials = 5", "trials = 3")
    (tmp_path / "s.toml").write_text(text.replace("\n    ", "\n"))
    return tmp_path


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder for temporary files whose path is short."""
    with tempfile.TemporaryDirectory(prefix="hpo-base-", dir="/tmp") as name:
        yield Path(name)


def hpo(folder: Path, *words: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "HPO_STORAGE")}
    environment |= {name: value for name, value in variables.items() if value is not None}
    for name, value in variables.items():
        if value is None:
            environment.pop(name, None)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False)


RUN = (sys.executable, "-m", "hpo", "run", "s.toml", "--workers", "1", "--tracking", "none")


@pytest.mark.slow
def test_trials_run_in_one_main_thread_and_ray_is_private_and_leaves_nothing(folder: Path, base: Path) -> None:
    ended = hpo(
        folder, *RUN, RAY_TMPDIR=str(base), RAY_AUTH_MODE="disabled", HPO_STORAGE="hpo.journal", PGPASSWORD="a-secret"
    )

    assert ended.returncode == 0, ended.stderr
    found = [json.loads(line) for line in (folder / "facts").read_text().splitlines()]
    assert len(found) == 3
    umask = os.umask(0)
    os.umask(umask)
    for facts in found:
        assert facts["main"]
        assert facts["handler"], "the second trial does not have what the first one set"
        assert facts["made"] == 0o666 & ~umask
        assert {"raylet", "gcs_server"} <= {*facts["processes"]}
        assert facts["secrets"] == []  # of all processes, the driver alone has what opens the ledger
        folders = facts["folders"]
        (own,) = [name for name in folders if "/" not in name]
        # A token is asked for, whatever RAY_AUTH_MODE says.
        assert folders == {own: 0o700, f"{own}/auth_token": folders[f"{own}/auth_token"]}
        assert stat.S_IRWXG & folders[f"{own}/auth_token"] == stat.S_IRWXO & folders[f"{own}/auth_token"] == 0
    deadline = time.monotonic() + 60
    while left := list(base.iterdir()):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.slow
def test_a_temporary_folder_whose_path_is_too_long_for_sockets_and_no_home_do_no_harm(folder: Path) -> None:
    long = folder / ("long-" * 30)
    long.mkdir()
    text = (folder / "facts_of.py").read_text().replace('os.environ["RAY_TMPDIR"]', '"."')
    (folder / "facts_of.py").write_text(text)

    ended = hpo(folder, *RUN, TMPDIR=str(long), RAY_TMPDIR=None, HOME=None)

    assert ended.returncode == 0, ended.stderr
    assert len((folder / "facts").read_text().splitlines()) == 3


@pytest.mark.slow
def test_two_searches_at_once_with_a_ray_each_do_not_end_each_other(folder: Path) -> None:
    (folder / "facts_of.py").write_text(
        "import time\nfrom pathlib import Path\n"
        "def facts(params, seed):\n"
        "    Path(params['own']).touch()\n"
        "    while not Path(params['others']).exists():\n"
        "        time.sleep(0.05)\n"
        "    return params['lr']\n"
    )
    searches = []
    for own, others in (("a", "b"), ("b", "a")):
        words = ("--set", f"name={own}", "--set", f"fixed.own='{own}'", "--set", f"fixed.others='{others}'")
        environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "HPO_STORAGE")}
        searches.append(
            subprocess.Popen([*RUN, "-q", *words], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        )
    try:
        for search in searches:
            assert search.communicate(timeout=200)[1] == ""
            assert search.returncode == 0
    finally:
        for search in searches:
            search.kill()


@pytest.mark.slow
def test_a_ray_that_the_users_program_has_started_is_used_and_left_alone(folder: Path, base: Path) -> None:
    (folder / "program.py").write_text(
        "import ray, hpo\n"
        "ray.init(num_cpus=2, include_dashboard=False)\n"
        "print(len(hpo.run('s.toml', workers=1, tracking='none').trials), ray.is_initialized())\n"
        "print(ray.get(ray.remote(lambda: 'alive').remote()))\n"
    )

    ended = hpo(folder, sys.executable, "program.py", RAY_TMPDIR=str(base), RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-2:] == ["3 True", "alive"]
