"""Cores, paths and variables of this machine."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from hpo import machine


def control_group(root: Path, line: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(line)
    for name, text in files.items():
        (root / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys/fs/cgroup" / name).write_text(text)
    return root


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("line", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ("0::/a\n", {"a/cpu.max": "50000 100000\n"}, 1),
        ("0::/a\n", {"a/cpu.max": "250000 100000\n"}, 2),
        ("0::/host/path/of/container\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
        ("0::/\n", {}, 8),
        (
            "5:memory:/m\n4:cpu,cpuacct:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"},
            2,
        ),
        (
            "4:cpu,cpuacct:/a\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("4:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 8),
        ("4:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "0"}, 8),
        ("", {}, 8),
    ],
)
def test_a_quota_limits_the_cores(line: str, files: dict[str, str], cores: int, tmp_path: Path) -> None:
    assert machine.usable_cores(control_group(tmp_path, line, files)) == cores


def test_without_an_affinity_mask_all_cores_are_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert machine.usable_cores(tmp_path) == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.usable_cores(tmp_path) == 1


def test_paths_are_expanded_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATA", "data")
    monkeypatch.chdir(tmp_path)
    assert machine.absolute("~/x") == tmp_path / "home/x"
    assert machine.absolute("$HOME/x") == tmp_path / "home/x"
    assert machine.absolute("${DATA}/x") == tmp_path / "data/x"
    assert machine.absolute("/a/b") == Path("/a/b")


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{here}/mlflow.db"),
        ("sqlite:///~/mlflow.db", "sqlite:///{here}/mlflow.db"),
        ("sqlite:////a/b.db?timeout=3", "sqlite:////a/b.db?timeout=3"),
        ("sqlite:////a%25/b%3F.db?timeout=3", "sqlite:////a%25/b%3F.db?timeout=3"),
        ("mlruns", "{here}/mlruns"),
        ("none", "none"),
        ("http://host:5000/x", "http://host:5000/x"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("file:///a/b", "file:///a/b"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
    ],
)
def test_a_tracking_store_stays_where_it_is(
    uri: str, absolute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert machine.absolute_uri(uri) == absolute.format(here=tmp_path)


@pytest.mark.parametrize(
    ("proxy", "before", "after"),
    [
        ("http_proxy", None, "localhost,127.0.0.1,::1"),
        ("HTTPS_PROXY", "corp.example, 127.0.0.1", "corp.example,127.0.0.1,localhost,::1"),
        ("all_proxy", "*", "*"),
        (None, "corp.example", "corp.example"),
    ],
)
def test_this_machine_is_reached_without_a_proxy(
    proxy: str | None, before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in machine.PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", before or "")
    monkeypatch.setenv("NO_PROXY", before or "")
    if proxy is not None:
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    machine.normalize_environment()
    assert os.environ["no_proxy"] == after


def test_the_data_folder_means_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HPO_DATA_DIR", "~/data")
    machine.normalize_environment()
    assert os.environ["HPO_DATA_DIR"] == str(tmp_path / "data")


def test_a_signal_may_print_while_the_same_stream_is_written_to() -> None:
    """A Ctrl-C while a line is on its way to a slow terminal."""
    reading, writing = os.pipe()
    stream, got = machine.lenient(writing, sys.stderr), bytearray()

    def handle(*_: object) -> None:
        got.extend(os.read(reading, 1 << 20))
        stream.write("interrupted\n")

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2, 0.05)
        stream.write("x" * 200_000 + "\n")  # more than a pipe holds, so that it waits
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    os.close(writing)
    with os.fdopen(reading, "rb") as rest:
        got.extend(rest.read())
    assert (got.count(b"x"), b"interrupted" in got) == (200_000, True)


def test_the_working_folder_is_the_same_after_a_block_that_changed_moved_or_made_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    monkeypatch.chdir(work)
    with machine.working_folder():
        os.chdir(tmp_path)
    assert Path.cwd() == work
    with machine.working_folder():
        os.chdir(tmp_path)
        work.rename(elsewhere)
    assert Path.cwd() == elsewhere
    with machine.working_folder():
        elsewhere.rmdir()
        elsewhere.mkdir()
    assert Path.cwd() == elsewhere
    with machine.working_folder():
        elsewhere.rmdir()  # no error
    elsewhere.mkdir()
    os.chdir(elsewhere)
