"""``hpo show --watch``: following a study that another process runs."""

from __future__ import annotations

import json
import signal
import subprocess
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
