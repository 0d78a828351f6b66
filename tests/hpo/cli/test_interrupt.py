"""Ctrl-C: the first lets running trials finish, the second stops at once, and a study always goes on afterwards."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import QUICK, CommandLine, hear

WAITING = ("run", "s.toml", *QUICK, "--set", "objective=small_objectives:waiting", "--quiet")
GOES_ON = f"hpo: interrupted; run the same command to resume: hpo {' '.join(WAITING)}\n"


@contextmanager
def searching(hpo: CommandLine, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A search in a process of its own whose first trial waits for a file called ``go``."""
    process = hpo.start(*WAITING, *words)
    try:
        wait_for((hpo.folder / "started").exists)
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_lets_the_running_trial_finish(hpo: CommandLine, sign: signal.Signals) -> None:
    with searching(hpo) as process:
        process.send_signal(sign)
        hear(process, "hpo: interrupted: no new trials start. Press Ctrl-C (or send SIGTERM) again to stop now")
        (hpo.folder / "go").touch()
        code, out, err = finish(process)
    assert code == 130
    assert out.startswith("small: 1 complete in hpo.journal\n")
    assert err == GOES_ON
    (head,) = hpo("list", "--json").json
    assert head["state"] == "stopped"
    assert head["trials"] == {"complete": 1, "pruned": 0, "failed": 0, "running": 0}


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_there_is_a_search_ends_the_command(hpo: CommandLine, sign: signal.Signals) -> None:
    (hpo.folder / "slow.py").write_text("import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(60)\n")
    process = hpo.start("run", "s.toml", *QUICK, "--set", "objective=slow:objective")
    try:
        wait_for((hpo.folder / "importing").exists)
        process.send_signal(sign)
        assert finish(process) == (130, "", "")
    finally:
        process.kill()
        process.communicate()


def test_the_command_that_resumes_is_the_one_that_was_typed_quoted_for_a_shell(hpo: CommandLine) -> None:
    with searching(hpo, "--set", "name=other", "--set", "fixed.note=two words", "--storage", "a.journal") as process:
        process.send_signal(signal.SIGINT)
        hear(process, "no new trials")
        (hpo.folder / "go").touch()
        code, _, err = finish(process)
    assert code == 130
    typed = err.partition("to resume: ")[2]
    assert typed.endswith("--set name=other --set 'fixed.note=two words' --storage a.journal\n")
    assert hpo(*shlex.split(typed)[1:], "--json").json["trials"]["complete"] == 5


def test_an_interrupted_study_goes_on_where_it_was(hpo: CommandLine) -> None:
    with searching(hpo) as process:
        process.send_signal(signal.SIGINT)
        hear(process, "no new trials")
        (hpo.folder / "go").touch()
        assert finish(process)[0] == 130
    first = hpo("show", "small", "--json").json["best"]
    head = hpo(*WAITING, "--json").json
    assert head["trials"] == {"complete": 5, "pruned": 0, "failed": 0, "running": 0}
    assert [trial for trial in head["best"] if trial["number"] == 0] == first


def test_one_signal_stops_the_running_trial_at_its_next_report_when_told_so(hpo: CommandLine) -> None:
    words = ("--set", "objective=small_objectives:ticking")
    with searching(hpo, *words, "--on-interrupt", "stop") as process:
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
    assert (code, f"{GOES_ON[:-1]} {' '.join(words)} --on-interrupt stop\n" in err) == (130, True)
    (head,) = hpo("list", "--json").json
    assert head["trials"] == {"complete": 0, "pruned": 0, "failed": 0, "running": 1}
    (hpo.folder / "go").touch()
    head = hpo(*WAITING, *words, "--json").json
    assert head["trials"] == {"complete": 5, "pruned": 0, "failed": 0, "running": 0}


def test_two_signals_stop_at_once_and_the_cut_trial_is_run_again(hpo: CommandLine) -> None:
    with searching(hpo) as process:
        process.send_signal(signal.SIGINT)
        hear(process, "no new trials")
        process.send_signal(signal.SIGINT)
        code, out, err = finish(process)
    assert code == 130
    assert out == ""
    # The second signal may come while the line is being written, and Python then writes it twice.
    assert (
        err.replace("\nhpo: interrupted: no new trials start. Press Ctrl-C (or send SIGTERM) again to stop now\n", "")
        == GOES_ON
    )
    assert not (hpo.folder / "ended").exists()
    (head,) = hpo("list", "--json").json
    assert (head["state"], head["trials"]["running"], head["trials"]["complete"]) == ("stopped", 1, 0)
    (hpo.folder / "go").touch()
    head = hpo(*WAITING, "--json").json
    assert head["trials"] == {"complete": 5, "pruned": 0, "failed": 0, "running": 0}
    assert sorted(trial["number"] for trial in head["best"]) == [0, 1, 2, 3, 4]


def test_a_driver_that_is_killed_loses_only_what_was_running(hpo: CommandLine) -> None:
    with searching(hpo) as process:
        os.kill(process.pid, signal.SIGKILL)
        assert finish(process)[0] == -signal.SIGKILL
    (hpo.folder / "go").touch()
    head = hpo(*WAITING, "--json").json
    assert head["trials"]["complete"] == 5


def test_a_second_driver_is_refused_while_the_first_runs(hpo: CommandLine) -> None:
    with searching(hpo) as process:
        refused = hpo(*WAITING, code=2).err
        assert refused.startswith(f"hpo: study 'small' is being run by pid {process.pid} on ")
        assert hpo("show", "small", "--json").json["state"] == "running"
        (hpo.folder / "go").touch()
        assert finish(process)[0] == 0


def test_a_closed_pipe_is_no_traceback(hpo: CommandLine) -> None:
    hpo.run()
    process = hpo.start("list", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    process.wait(60)
    assert "Traceback" not in said
    assert "Exception" not in said


def test_python_m_hpo_is_hpo(hpo: CommandLine, tmp_path: Path) -> None:
    process = hpo.start("--help")
    code, out, err = finish(process)
    assert (code, err) == (0, "")
    for command in ("run", "list", "show", "best", "fetch", "doctor", "delete"):
        assert re.search(f"^  {command} ", out, re.MULTILINE)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("entry", ["module", "script"])
def test_a_signal_while_the_command_is_still_importing_ends_it_quietly(sign: signal.Signals, entry: str) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["hpo"].partition(":")
    start = f"from {module} import {function} as main; main()"
    code = f"""
import os, runpy, sys
class Told:
    def find_spec(self, name, *rest):
        if name == "typer":
            os.kill(os.getpid(), {int(sign)})
sys.meta_path.insert(0, Told())
{"runpy.run_module('hpo', run_name='__main__')" if entry == "module" else start}
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, "list"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
