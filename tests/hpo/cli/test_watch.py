"""``hpo show --watch`` and ``--follow``: following a study, or a trial, that another process runs."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import QUICK, CommandLine

WAITING = ("run", "s.toml", *QUICK, "--set", "objective=small_objectives:waiting", "--set", "budget.trials=3")
WATCH = ("show", "small", "--watch", "--every", "0.1")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def running(hpo: CommandLine) -> Iterator[subprocess.Popen[str]]:
    """A study that another process runs; its first trial ends when there is a file ``go``, at the latest at the end."""
    with hpo.start(*WAITING) as search:
        try:
            wait_for(hpo.folder / "started")
            yield search
        finally:
            (hpo.folder / "go").touch()
            assert search.wait(120) == 0


def test_a_running_study_is_followed_to_its_end(hpo: CommandLine) -> None:
    with running(hpo), hpo.start(*WATCH) as watching:
        assert watching.stderr is not None
        assert watching.stderr.readline() == "small: 0/3 trials, starting\n"
        assert watching.poll() is None
        (hpo.folder / "go").touch()
        out, err = watching.communicate(timeout=120)
    assert watching.returncode == 0
    assert "small: 3/3 trials, best " in err
    assert out.startswith("small: complete, 3 of 3 trials (3 complete, ")
    assert "Best-3" in out


def test_ctrl_c_ends_the_watching_and_not_the_study(hpo: CommandLine) -> None:
    with running(hpo) as search:
        with hpo.start(*WATCH) as watching:
            assert watching.stderr is not None
            watching.stderr.readline()
            watching.send_signal(signal.SIGINT)
            _, err = watching.communicate(timeout=60)
        assert watching.returncode == 130
        assert "Traceback" not in err
        assert search.poll() is None


def test_a_study_that_nobody_runs_is_shown_at_once(hpo: CommandLine) -> None:
    hpo.run()
    watched = hpo(*WATCH)
    assert watched.out == hpo("show", "small").out
    assert watched.err == ""
    assert json.loads(hpo(*WATCH, "--json").out) == hpo("show", "small", "--json").json


def test_looking_more_often_than_is_good_for_a_ledger_is_refused(hpo: CommandLine) -> None:
    assert "--every" in hpo("show", "small", "--watch", "--every", "0", code=2).err


@pytest.mark.parametrize("words", [("--watch",), ("-w",)])
def test_an_unknown_study_is_said(hpo: CommandLine, words: tuple[str, ...]) -> None:
    hpo.run()
    assert "there is no study 'smal'" in hpo("show", "smal", *words, code=2).err


# hpo show --trial N --log --follow ---------------------------------------------------------------------------------

TALKING = """
import time
from pathlib import Path


def objective(params, seed):
    print("first word", flush=True)
    Path("started").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    print("last", flush=True)
    return params["lr"]
"""
FOLLOW = ("show", "small", "--trial", "0", "--log", "--follow", "--every", "0.1")


@contextmanager
def talking(hpo: CommandLine) -> Iterator[subprocess.Popen[str]]:
    (hpo.folder / "talking.py").write_text(TALKING)
    words = ("--workers", "1", "--tracking", "none", "--set", "objective=talking:objective", "--trials", "1")
    with hpo.start("run", "s.toml", *words) as search:
        try:
            wait_for(hpo.folder / "started")
            yield search
        finally:
            (hpo.folder / "go").touch()
            search.communicate(timeout=120)


def test_a_running_trials_output_is_followed_to_its_end(hpo: CommandLine) -> None:
    with talking(hpo), hpo.start(*FOLLOW) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "first word\n"
        assert following.poll() is None
        (hpo.folder / "go").touch()
        out, err = following.communicate(timeout=120)
    assert (following.returncode, out, err) == (0, "last\n", "")
    assert hpo(*FOLLOW).out == hpo(*FOLLOW[:-3]).out == "first word\nlast\n"  # it has ended


@pytest.mark.slow
def test_output_is_followed_on_a_terminal_until_ctrl_c(hpo: CommandLine) -> None:
    with talking(hpo) as search:
        master, end = pty.openpty()
        words = [sys.executable, "-m", "hpo", *FOLLOW]
        with subprocess.Popen(words, cwd=hpo.folder, stdin=end, stdout=end, stderr=end, start_new_session=True) as ours:
            os.close(end)
            shown = b""
            while b"\n" not in shown:
                shown += os.read(master, 1000)
            ours.send_signal(signal.SIGINT)
            assert ours.wait(60) == 130
            try:
                while part := os.read(master, 1000):
                    shown += part
            except OSError:  # the other end is closed
                os.close(master)
        assert shown.decode().replace("\r\n", "\n") == "first word\n"
        assert search.poll() is None


@pytest.mark.slow
def test_output_is_followed_until_the_search_dies(hpo: CommandLine) -> None:
    with talking(hpo) as search, hpo.start(*FOLLOW) as following:
        assert following.stdout is not None
        following.stdout.readline()
        search.kill()
        search.wait()
        out, err = following.communicate(timeout=120)
    assert (following.returncode, out) == (0, "")
    assert err == "hpo: trial 0 has not ended, and no process runs small; `hpo run` resumes it\n"


def test_following_needs_a_log_to_follow(hpo: CommandLine) -> None:
    hpo.run()
    assert "--follow: needs --trial N and --log" in hpo("show", "small", "--follow", code=2).err
    assert "--log: trial 0 of small has no log on this machine: it printed nothing" in hpo(*FOLLOW, code=2).err
