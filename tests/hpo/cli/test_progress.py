"""A search's progress: lines where there is no terminal, a live bar where there is one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from command_line import QUICK, CommandLine
from pseudo_terminal import drain
from small_study import small_study

from hpo.progress import Progress
from hpo.trial import RETRY_OF, State, Trial


def ended(number: int, value: float | None, state: str = State.COMPLETE) -> Trial:
    return Trial(number, {}, 0, state=state, values=() if value is None else (value,))


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_the_beginning_and_the_first_and_the_last_finished_trial_have_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(small_study(budget={"trials": 3}), [])
    for number in range(3):
        trial = Trial(number, {}, 0)
        progress.update(trial)
        progress.update(replace(trial, state=State.COMPLETE, values=(number / 10,)))
    progress.close()
    begun, first, last = said(capsys)
    assert begun == "small: 0/3 trials, starting"
    assert first.startswith("small: 1/3 trials, best 0 (trial 0), 1 complete, ")
    assert last.startswith("small: 3/3 trials, best 0.2 (trial 2), 3 complete, ")
    assert " left" in first
    assert " left" not in last


@pytest.mark.parametrize(("direction", "best"), [("maximize", "best 3 (trial 1)"), ("minimize", "best 1 (trial 0)")])
def test_the_best_so_far_is_the_best_of_all_runs(direction: str, best: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = [ended(0, 1.0), ended(1, 3.0), ended(2, None, State.FAILED)]
    progress = Progress(small_study(direction=direction, budget={"trials": 4}), before)
    progress.update(ended(3, 2.0))
    begun, line = said(capsys)
    assert begun == "small: 3/4 trials, starting"
    assert line.startswith(f"small: 4/4 trials, {best}, 3 complete, 1 failed, ")


def at(number: int, *values: float, state: State = State.COMPLETE) -> Trial:
    return Trial(number, {}, 0, state=state, values=values)


def test_a_trial_on_the_front_that_is_discarded_gives_its_place_back_to_those_that_it_beat(
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = small_study(objectives={"score": "maximize", "size": "minimize"}, budget={"trials": 9})
    front = [at(0, 1.0, 1.0), at(1, 2.0, 2.0), at(2, 2.0, 2.0), at(3, 2.0, 3.0)]
    progress = Progress(study, [*front, at(4, 3.0, 1.0)])  # the last one beats all

    shown = []
    for trial in (at(4, 3.0, 1.0, state=State.DISCARDED), at(2, 2.0, 2.0, state=State.DISCARDED), at(4, 3.0, 1.0)):
        progress.update(trial)
        shown.append(progress._text().partition(",")[0])  # a line comes every ten seconds

    assert shown == ["3 on the front", "2 on the front", "1 on the front"]  # trials of equal values are all on it


def test_the_best_trial_that_is_discarded_gives_its_place_to_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(small_study(budget={"trials": 3}), [ended(0, 1.0), ended(1, 3.0)])
    progress.update(ended(1, 3.0, State.DISCARDED))
    progress.update(ended(2, 0.5))
    assert "small: 3/3 trials, best 1 (trial 0), 2 complete, 1 discarded, " in said(capsys)[-1]


def test_states_are_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(small_study(budget={"trials": 2}), [ended(0, None, State.RUNNING)])
    trial = Trial(0, {}, 0)
    for _ in range(3):
        progress.update(trial)
    progress.update(ended(1, 0.5, State.PRUNED))
    progress.update(replace(trial, state=State.FAILED))
    assert "small: 2/2 trials, 1 pruned, 1 failed, " in said(capsys)[-1]


def test_a_trial_that_is_run_again_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = [ended(0, None, State.FAILED), replace(ended(1, 1.0), notes={RETRY_OF: 0})]
    progress = Progress(small_study(budget={"trials": 3}), before)
    progress.update(ended(2, None, State.FAILED))
    progress.update(replace(ended(3, 0.5), notes={RETRY_OF: 2}))
    progress.update(ended(4, 0.1))
    lines = said(capsys)
    assert lines[0] == "small: 1/3 trials, starting"
    assert lines[-1].startswith("small: 3/3 trials, best 1 (trial 1), 3 complete, 2 failed, ")


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(small_study(budget={"trials": 1}), [], quiet=True)
    progress.update(ended(0, 1.0))
    progress.close()
    assert said(capsys) == []


def test_a_terminal_gets_a_bar_and_standard_output_stays_clean(hpo: CommandLine) -> None:
    terminal, end = pty.openpty()
    words: list[Any] = [sys.executable, "-m", "hpo", "run", "s.toml", *QUICK, "--json"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "150"}
    process = subprocess.Popen(words, cwd=hpo.folder, env=environment, stdout=subprocess.PIPE, stderr=end, text=True)
    os.close(end)
    try:
        shown = drain(terminal)
    finally:
        out, _ = process.communicate(timeout=60)
        os.close(terminal)
    assert process.returncode == 0
    assert "\x1b" not in out
    assert out.startswith("{")
    text = shown.decode()
    assert "\x1b[" in text
    assert "5/5" in text
    assert "5 complete" in text
    assert "Traceback" not in text
