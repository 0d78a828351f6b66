"""The study's own code is a guest: the driver never imports it, and survives what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hpo import service
from hpo.errors import InputError
from hpo.execution.guest import Guest, GuestFailed
from hpo.executors import Executors
from hpo.ledger.address import parse
from hpo.publish import data_of
from hpo.study import Study, load

HOSTILE = """
    import atexit, decimal, logging, multiprocessing, os, random, signal, sys, threading, warnings
    import numpy as np
    print("{not JSON")
    np.seterr(all="raise")
    warnings.simplefilter("error")
    logging.basicConfig(level="DEBUG", force=True)
    random.seed(0)
    np.random.seed(0)
    decimal.getcontext().prec = 2
    multiprocessing.set_start_method("spawn")
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(name, signal.SIG_IGN)
    os.environ.update(TMPDIR="/nowhere", HPO_STORAGE="/nowhere", OMP_NUM_THREADS="x", HOME="/nowhere")
    os.environ.pop("PATH", None)
    os.chdir("/")
    sys.path.clear()
    sys.setrecursionlimit(100)
    sys.stdout = sys.stderr = None
    os.umask(0o777)
    threading.Thread(target=threading.Event().wait).start()
    atexit.register(os._exit, 7)
"""
OBJECTIVE = """
    def objective(params, seed):
        yield {"loss": params["x"], "pid": float(os.getpid())}
    objective.data = lambda params: [{"name": "d", "digest": "1", "split": "validation", "rows": os.getpid()}]
    objective.check = lambda params: os.chdir("/")
    def final(params, seed):
        return {"pid": float(os.getpid())}
"""
STUDY = """
    name = "guest"
    objective = "guest_code:objective"
    evaluate = "guest_code:final"
    metric = "loss"
    direction = "minimize"
    space.x = { low = 0.1, high = 2.0 }
    budget.trials = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "s.toml").write_text(textwrap.dedent(STUDY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bring(folder: Path, code: str) -> Study:
    (folder / "guest_code.py").write_text(textwrap.dedent(code))
    return load("s.toml")


def command(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpo", *words.split()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


def test_a_module_that_changes_all_it_can_changes_nothing_of_the_driver(folder: Path) -> None:
    bring(folder, HOSTILE + textwrap.indent(textwrap.dedent(OBJECTIVE), "    "))

    done = command("run s.toml --workers 0 --tracking none --json --quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"]["complete"] == 3

    done = command("evaluate guest --tracking none --json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["metrics"]) == {"pid"}
    assert {path.name for path in folder.iterdir() if path.suffix} >= {"hpo.journal", "s.toml"}


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os; os.kill(os.getpid(), 11)", "its process was ended by SIGSEGV"),
        ("import os; os._exit(0)", "its process ended with exit code 0"),
        ("import os; os.closerange(3, 100)", "its process"),
        ("import sys; sys.exit(0)", "guest_code was found, but importing it failed at"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import time; time.sleep(600)", "it took longer than 1 s"),
        ("while True: pass", "it took longer than 1 s"),
        ("import signal; signal.alarm(1); signal.pause()", "its process was ended by SIGALRM"),
    ],
)
def test_an_import_that_does_not_end_well_is_one_message(folder: Path, code: str, why: str) -> None:
    bring(folder, code)

    done = command("run s.toml --workers 0 --tracking none --json", HPO_CHECK_TIMEOUT="1s" if "1 s" in why else "1m")

    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("hpo: s.toml: objective: ")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "hpo.journal").exists()


def test_a_debugger_works_where_the_calling_process_runs_the_trials(folder: Path) -> None:
    """As docs/objectives.md shows it; elsewhere nobody types, and the trial fails."""
    bring(folder, "def objective(params, seed):\n    breakpoint()\n    return params['x']\n")
    code = "import hpo; hpo.run('s.toml', workers=0, tracking='none')"

    done = subprocess.run(
        [sys.executable, "-c", code], input="p len(params)\nc\n" * 3, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("(Pdb) 1\n") == 3, command("show guest --trial 0").stdout

    done = command("run s.toml --workers 0 --tracking none --storage other.journal")
    assert "3 of 3 trials failed: bdb.BdbQuit (3)" in done.stderr


@pytest.fixture
def study(folder: Path) -> Iterator[Study]:
    yield bring(folder, "import os\n" + textwrap.dedent(OBJECTIVE))
    assert "guest_code" not in sys.modules


def test_the_driver_never_imports_what_a_study_names(study: Study) -> None:
    where = parse("hpo.journal")
    with closing(Executors(study.workers, 0)) as executors:
        service.check(study, where, executors)
        result = service.run(study, where, executors, tracking="none", quiet=True)

    pids = {trial.reports[0].metrics["pid"] for trial in result.trials}
    assert len(pids) == 1
    assert os.getpid() not in pids
    with closing(Guest(study)) as guest:
        assert guest.call(data_of, study.objective, {"x": 1.0})[0].rows not in {os.getpid(), *pids}


def test_the_process_that_has_checked_the_study_runs_its_trials(study: Study) -> None:
    where = parse("hpo.journal")
    with closing(Executors(study.workers, 0)) as executors:
        guest = executors.guest(study)
        (checked,) = guest.call(data_of, study.objective, {"x": 1.0})
        service.check(study, where, executors)
        result = service.run(study, where, executors, tracking="none", quiet=True)

    assert {trial.reports[0].metrics["pid"] for trial in result.trials} == {checked.rows}


def test_a_search_from_python_without_workers_stays_in_this_process(folder: Path) -> None:
    study = bring(folder, "import os\n" + textwrap.dedent(OBJECTIVE))
    where = parse("hpo.journal")
    with closing(Executors(study.workers, 0, here=True)) as executors:
        service.check(study, where, executors)
        result = service.run(study, where, executors, tracking="none", quiet=True)

    assert {trial.reports[0].metrics["pid"] for trial in result.trials} == {os.getpid()}
    sys.modules.pop("guest_code")


def test_a_guest_that_dies_in_a_call_is_an_error_with_the_reason(folder: Path) -> None:
    study = bring(folder, "import os\ndef objective(params, seed): ...\nobjective.data = lambda params: os._exit(3)")
    with closing(Guest(study)) as guest, pytest.raises(GuestFailed, match="its process ended with exit code 3"):
        guest.call(data_of, study.objective, {})


def test_a_limit_that_is_none_is_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_CHECK_TIMEOUT", "soon")
    with pytest.raises(InputError, match=r"HPO_CHECK_TIMEOUT: must be a duration such as .*, got 'soon'"):
        service.check(study, parse("hpo.journal"))
