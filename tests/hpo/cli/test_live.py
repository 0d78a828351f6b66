"""`hpo set`, `add`, `stop-trial`, `discard`, `retry`, `ask` and `tell`: beside a driver, and without one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from command_line import QUICK, CommandLine

from hpo.cli.live import complete_key

STEPS = """
import time
from pathlib import Path


def steps(params, seed):
    step = 0
    while not Path("go").exists() and not Path(f"go.{params['lr']:.6f}").exists():
        step += 1
        yield {"loss": 1.0 + params["lr"] + 1 / step}
        time.sleep(0.02)
    yield {"loss": params["lr"]}
"""


@pytest.fixture
def driven(hpo: CommandLine) -> Iterator[subprocess.Popen[str]]:
    """A driver whose first trial reports until a file appears."""
    (hpo.folder / "step_objective.py").write_text(STEPS)
    driver = hpo.start("run", "s.toml", *QUICK, "--set", "objective=step_objective:steps", "--quiet")
    wait_until(lambda: shown(hpo)["trials"]["running"] == 1, driver)
    yield driver
    driver.kill()
    driver.communicate()


def wait_until(condition: Any, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shown(hpo: CommandLine) -> Any:
    found = hpo("show", "small", "--json", code=None)
    return found.json if found.code == 0 else {"trials": {"running": 0}}


def test_a_running_study_is_edited_added_to_stopped_and_asked(hpo: CommandLine, driven: subprocess.Popen[str]) -> None:
    edited = hpo("set", "small", "budget.trials=4", "pruner.name=median", "--json").json["edits"]
    assert [(edit["key"], edit["before"], edit["now"]) for edit in edited] == [
        ("budget.trials", "5", True),
        ("pruner.name", '"none"', True),
    ]
    assert shown(hpo)["budget"] == {"trials": 4}
    assert hpo("add", "small", "lr=0.25", "--json").json["number"] == 1
    asked = hpo("ask", "small", "--json").json  # the one that was added waits first
    assert (asked["number"], asked["params"]) == (1, {"lr": 0.25})
    assert hpo("tell", "small", "1", "--report", "loss=3", "--json").json["state"] == "running"
    for _ in range(2):
        assert hpo("tell", "small", "1", "--value", "0.5", "--json").json["state"] == "complete"
    refused = hpo("tell", "small", "1", "--value", "0.75", code=2)
    assert "trial 1 has already ended as complete with 0.5; 0.75 is refused because it differs" in refused.err
    refused = hpo("tell", "small", "0", "--value", "0.75", code=2)
    assert "trial 0 is run by the study's own workers" in refused.err
    refused = hpo("set", "small", "workers=2", code=2)
    assert "cannot be changed in a run with --workers 0" in refused.err

    stopped = hpo("stop-trial", "small", "0", "--json").json
    assert stopped["state"] == "pruned"
    assert stopped["value"] > 1.0
    hpo("discard", "small", "1", "--why", "a wrong disk")
    (hpo.folder / "go").touch()
    out, err = driven.communicate(timeout=60)

    assert driven.returncode == 0, out + err
    assert "4 of 4" not in out
    final = shown(hpo)
    assert final["trials"] == {"complete": 2, "pruned": 1, "failed": 0, "running": 0, "discarded": 1}
    assert final["state"] == "complete"
    assert 1 not in [trial["number"] for trial in final["best"]]
    hpo("discard", "small", "1", "--undo")
    assert shown(hpo)["trials"]["complete"] == 3


def test_a_request_is_taken_up_once_by_the_next_driver_when_the_first_was_killed(
    hpo: CommandLine, driven: subprocess.Popen[str]
) -> None:
    os.kill(driven.pid, signal.SIGSTOP)
    late = hpo.start("add", "small", "lr=0.125", "--json")
    time.sleep(1.5)
    assert late.poll() is None
    driven.kill()
    driven.communicate()

    out, err = late.communicate(timeout=60)  # the command itself does it now

    assert late.returncode == 0, err
    assert '"number": 1' in out
    (hpo.folder / "go").touch()
    hpo.run("--set", "objective=step_objective:steps")
    final = shown(hpo)
    assert final["trials"] == {"complete": 5, "pruned": 0, "failed": 0, "running": 0}
    trial = hpo("show", "small", "--trial", "1", "--json").json
    assert trial["params"] == {"lr": 0.125}


def test_an_edit_lies_over_the_file_until_the_file_changes_that_key(hpo: CommandLine) -> None:
    hpo.run("--trials", "2")
    hpo.run()
    hpo("set", "small", "budget.trials=7", "sampler.name=tpe")

    again = hpo.run("--json")
    assert again.json["trials"]["complete"] == 7
    assert "budget.trials = 7 (set by " in again.err
    assert " with hpo set; overrides s.toml until s.toml changes this key)" in again.err
    told = hpo.run("--set", "sampler.seed=0")
    assert " with hpo set; overrides s.toml until s.toml changes this key)" in told.err

    file = hpo.folder / "s.toml"
    file.write_text(file.read_text().replace("trials = 5", "trials = 8"))
    changed = hpo.run("--json")
    assert changed.json["trials"]["complete"] == 8
    assert "is no longer in effect: the study file has changed" in changed.err
    assert "sampler.name = tpe" in changed.err
    edits = shown(hpo)["edits"]
    assert [(edit["key"], edit["value"], edit["ended"]) for edit in edits] == [
        ("budget.trials", "7", "the study file has changed"),
        ("sampler.name", "tpe", None),
    ]
    assert "budget.trials = 7" not in hpo("show", "small").out
    assert 'sampler.name = tpe (before: "random"), set by ' in hpo("show", "small").out


def test_an_edit_outlives_what_one_run_was_told(hpo: CommandLine) -> None:
    hpo.run("--trials", "6")
    hpo("set", "small", "budget.trials=7")
    again = hpo.run("--json").json
    assert (again["trials"]["complete"], again["budget"]) == (7, {"trials": 7})  # the file still says 5
    assert hpo.run("--trials", "6", "--json").json["trials"]["complete"] == 7  # the first command again
    assert hpo.run("--trials", "8", "--json").json["trials"]["complete"] == 8
    assert [edit["ended"] for edit in shown(hpo)["edits"]] == ["the study file has changed"]


def test_an_edit_is_undone_and_the_file_holds_again(hpo: CommandLine) -> None:
    hpo.run("--trials", "2")
    hpo.run()
    hpo(
        "set",
        "small",
        "budget.trials=7",
        "budget.time=1h",
        "sampler.name=tpe",
        "sampler.n_startup_trials=3",
        "workers=3",
    )

    one = hpo("set", "small", "--reset", "sampler.name", "--reset", "workers", "budget.trials=9")

    later = "; takes effect at the next hpo run"
    assert one.out.splitlines() == [
        f"small: sampler.name is as in the study file (before: tpe){later}",
        f"small: sampler.n_startup_trials is as in the study file (before: 3){later}",
        f"small: workers is as in the study file (before: 3){later}",
        f"small: budget.trials = 9 (before: 7){later}",
    ]
    hpo("set", "small", "--reset", "budget", "--json")
    edits = shown(hpo)["edits"]
    assert all(edit["ended"] for edit in edits)
    assert shown(hpo)["budget"] == {"trials": 5}
    assert "set by" not in hpo("show", "small").out
    said = hpo.run("--json")
    assert "hpo set" not in said.err
    assert said.json["trials"]["complete"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["set", "small", "budget.trials=0"],
            "hpo set small budget.trials=0: budget.trials: must be at least 1, got 0",
        ),
        (["set", "small", "space.lr.low=1e-5"], "space.lr.low: cannot be edited, or its trials could not be compared"),
        (["set", "small", "name=other"], "hpo fork small NEW.toml"),
        (["set", "small", "budget"], 'must be KEY=VALUE, got "budget"'),
        (["set", "small", "pruner.name=medain"], "did you mean"),
        (["set", "small", "workers=none"], "workers: must be a whole number from 1, or auto"),
        (["add", "small", "lr=7"], "hpo add small: lr: must be a number in [0.0001, 1], got 7"),
        (["add", "small", "lr=0.5", "lr=0.6"], "hpo add: must name lr once, got 0.5 and 0.6"),
        (["tell", "small", "3", "--value", "loss=1", "--value", "loss=2"], "--value: must name loss once, got 1 and 2"),
        (["add", "small", "lrr=0.5"], "lrr: is no parameter of the space; did you mean 'lr'?"),
        (
            ["add", "small", "lr=0.5"],
            "the budget is spent: 5 trials; to raise the budget: hpo set small budget.trials=6",
        ),
        (
            ["stop-trial", "small", "3"],
            "hpo stop-trial small 3: trial 3 has ended already: complete; to leave it out: hpo discard small 3 --why",
        ),
        (["stop-trial", "small", "9"], "there is no trial 9; its trials are 0 to 4"),
        (["discard", "small", "3"], "needs --why TEXT, or --undo"),
        (["discard", "small", "3", "--why", ""], "why: must be a non-empty string"),
        (["retry", "small", "3"], "trial 3 has not failed: complete"),
        (["tell", "small", "3", "--value", "abc"], "--value: must be a number, got 'abc'"),
        (["tell", "small", "3"], "needs one of --value, --report, --failed and --infeasible"),
        (["tell", "small", "3", "--infeasible", "x", "--failed", "x"], "needs one of"),
        (["tell", "small", "3", "--infeasible", "x"], "trial 3 has already ended as complete with"),
        (["set", "small"], "hpo set small: needs KEY=VALUE, or --reset KEY"),
        (["set", "small", "--reset", "budget"], "hpo set small --reset: budget is not edited; edited: no key"),
        (["tell", "small", "3", "--value", "loss=0.5", "--failed", "x"], "needs one of"),
        (["tell", "small", "3", "--infeasible", "x", "--failed", "x"], "got failed and infeasible"),
        (["tell", "small", "3", "--infeasible", "x"], "trial 3 has already ended as complete with "),
        (["tell", "small", "3", "--value", "acc=0.5"], "value: must name loss"),
        (["tell", "small", "3", "--value", "nan"], "must be finite; for a trial without a value: --failed TEXT"),
        (["ask", "small", "--lease", "soon"], "--lease: must be a duration"),
        (["ask", "small", "--renew", "3"], "hpo ask small --renew 3: trial 3 has ended: complete"),
        (["ask", "smal"], "there is no study 'smal'"),
    ],
)
def test_bad_input_is_refused_in_one_message(finished: CommandLine, words: list[str], said: str) -> None:
    refused = finished(*words, code=2)

    assert said in refused.err
    assert "Traceback" not in refused.err
    assert not refused.out


@pytest.fixture
def finished(hpo: CommandLine) -> CommandLine:
    hpo.run()
    return hpo


def test_asking_ends_with_the_budget(finished: CommandLine) -> None:
    said = "no trial was leased: the budget is spent: 5 trials; to raise the budget: hpo set small budget.trials=6"
    assert said in finished("ask", "small", "--json", code=1).err


def test_failed_trials_are_retried_without_a_driver_and_run_by_the_next(hpo: CommandLine) -> None:
    hpo.run("--set", "objective=small_objectives:failing_at_first", "--trials", "12")
    assert shown(hpo)["trials"]["failed"] == 9

    assert hpo("retry", "small", "3", "5", "--json").json["trials"] == {"3": 12, "5": 13}
    assert "was run again already, as trial 12" in hpo("retry", "small", "3", code=2).err
    assert len(hpo("retry", "small", "--json").json["trials"]) == 7
    assert "no trial is left" in hpo("retry", "small").out

    head = hpo.run("--set", "objective=small_objectives:failing_at_first", "--trials", "12", "--json").json
    assert head["trials"] == {"complete": 12, "pruned": 0, "failed": 9, "running": 0}


CROWD = """
import time
from pathlib import Path


def crowd(params, seed):
    Path(f"running.{seed}").touch()
    while not Path("go").exists():
        yield {"loss": params["lr"]}
        time.sleep(0.05)
    yield {"loss": params["lr"]}
"""


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.xdist_group("ray")
def test_a_running_search_gets_more_and_fewer_workers_and_loses_no_trial(hpo: CommandLine) -> None:
    (hpo.folder / "crowd_objective.py").write_text(CROWD)
    words = ("--workers", "1", "--tracking", "none", "--quiet", "--set", "objective=crowd_objective:crowd")
    driver = hpo.start("run", "s.toml", *words, "--set", "workers.cpus=0.25")
    try:
        wait_until(lambda: len(list(hpo.folder.glob("running.*"))) == 1, driver)
        hpo("set", "small", "workers=3")
        wait_until(lambda: len(list(hpo.folder.glob("running.*"))) == 3, driver)
        hpo("set", "small", "workers=1", "budget.trials=4")
        (hpo.folder / "go").touch()
        out, err = driver.communicate(timeout=120)
        assert driver.returncode == 0, out + err
    finally:
        driver.kill()
        driver.communicate()
    assert shown(hpo)["trials"] == {"complete": 4, "pruned": 0, "failed": 0, "running": 0}
    assert {hpo("show", "small", "--trial", str(n), "--json").json["attempt"] for n in range(4)} == {1}


def test_the_shell_completes_the_keys_that_are_edited_most() -> None:
    assert complete_key("budget.t") == ["budget.trials=", "budget.time=", "budget.target="]
    assert complete_key("w") == ["workers="]


def test_several_objectives_and_a_bounded_metric_are_told_by_name(hpo: CommandLine) -> None:
    (hpo.folder / "two.toml").write_text(
        'name = "two"\nobjective = "small_objectives:curve"\n'
        'objectives = { loss = "minimize", cost = "minimize" }\n'
        "constraints.metrics = { mem = { max = 80 } }\nspace.lr = { low = 0.0, high = 1.0 }\nbudget.trials = 2\n"
    )
    hpo("ask", "two.toml")
    known = ["--value", "loss=0.1", "--value", "cost=0.2"]
    refused = hpo("tell", "two", "0", *known, code=2).err
    assert refused.startswith("hpo tell two 0: value: must name loss, cost, mem, got ")
    for _ in range(2):
        told = hpo("tell", "two", "0", *known, "--value", "mem=90", "--json").json
        assert (told["state"], told["values"]) == ("complete", {"loss": 0.1, "cost": 0.2})
    assert "is refused because it differs" in hpo("tell", "two", "0", *known, "--value", "mem=91", code=2).err
    assert hpo("show", "two", "--json").json["best"] == []
    hpo("ask", "two")
    hpo("tell", "two", "1", "--report", "step=1 loss=1 cost=1 mem=70")
    hpo("tell", "two", "1", *known)  # its memory is known
    assert [trial["number"] for trial in hpo("best", "two", "--json").json] == [1]
