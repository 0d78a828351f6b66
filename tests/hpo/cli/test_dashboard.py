"""The real ``optuna-dashboard`` beside a search: what a person does there neither breaks nor changes it in silence."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from command_line import QUICK, CommandLine

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.trial import State, Trial

pytestmark = pytest.mark.timeout(300)

LEDGERS = ["hpo.journal", pytest.param("sqlite:///hpo.db", marks=pytest.mark.slow)]
OBJECTIVE = """
import time
from pathlib import Path

def objective(params, seed):
    Path("begun").touch()
    yield {"loss": params["lr"]}
    while not Path("go").exists():
        time.sleep(0.02)

def steady(params, seed):
    Path("begun").touch()
    for step in range(3):
        time.sleep(0.02)
        yield {"loss": params["lr"] / (step + 1)}
"""


class Dashboard:
    """What a browser asks of ``optuna-dashboard``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, method: str, path: str, **body: Any) -> tuple[int, Any]:
        request = urllib.request.Request(f"{self._url}/api/{path}", method=method)
        if method != "GET":
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    @property
    def study(self) -> int:
        _, found = self("GET", "studies")
        return next(int(study["study_id"]) for study in found["study_summaries"] if study["study_name"] == "small")

    def trials(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("GET", f"studies/{self.study}")[1]["trials"]
        return found


@contextmanager
def dashboard(hpo: CommandLine, storage: str) -> Iterator[Dashboard]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    program = "from optuna_dashboard._cli import main; main()"
    words = [sys.executable, "-W", "ignore", "-c", program, storage, "--host", "127.0.0.1", "--port", str(port), "-q"]
    with (hpo.folder / "dashboard.log").open("w") as log:
        process = subprocess.Popen(words, cwd=hpo.folder, stdout=log, stderr=log)
    opened = Dashboard(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                opened("GET", "meta")
                break
            except OSError:
                assert time.monotonic() < deadline, (hpo.folder / "dashboard.log").read_text()
                time.sleep(0.1)
        yield opened
    finally:
        process.kill()
        process.wait()


@contextmanager
def searching(hpo: CommandLine, storage: str, objective: str, trials: int) -> Iterator[subprocess.Popen[str]]:
    (hpo.folder / "beside.py").write_text(OBJECTIVE)
    words = ("--set", f"objective=beside:{objective}", "--trials", str(trials), "--storage", storage)
    process = hpo.start("run", "s.toml", "--workers", "0", "--tracking", "none", *words)
    try:
        wait_for((hpo.folder / "begun").exists, process)
        yield process
    finally:
        process.kill()
        process.communicate()


def trials_of(storage: str) -> list[Trial]:
    return list(snapshots.read(parse(storage), "small").trials)


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("storage", LEDGERS)
def test_notes_attributes_and_studies_of_the_dashboard_lie_beside_the_search(hpo: CommandLine, storage: str) -> None:
    """As fast as it answers, from the first trial to the last."""
    with searching(hpo, storage, "steady", 80) as process, dashboard(hpo, storage) as ask:
        study, done, version, answers = ask.study, 0, 1, []
        while process.poll() is None:
            trials = ask.trials()
            last = trials[-1]["trial_id"]
            answers = [
                ask("PUT", f"studies/{study}/note", version=version, body=f"note {version}\n" * 200)[0],
                ask("PUT", f"studies/{study}/{last}/note", version=1, body=f"of trial {last}")[0],
                ask("POST", f"trials/{last}/user-attrs", user_attrs={"mine": "ü" * 500})[0],
                ask("POST", "studies", study_name=f"other-{version}", directions=["minimize"])[0],
            ]
            version += answers[0] in (204, 409)
            done += answers[0] == 204
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert "Traceback" not in said
        assert done > 3, (answers, (hpo.folder / "dashboard.log").read_text())
    values = {trial.number: trial.value for trial in trials_of(storage)}
    reports = {trial.number: [dict(r.metrics) for r in trial.reports] for trial in trials_of(storage)}
    assert len(values) == 80
    for trial in trials_of(storage):
        assert trial.state is State.COMPLETE
        assert values[trial.number] == trial.params["lr"] / 3
        assert reports[trial.number] == [{"loss": trial.params["lr"] / step} for step in (1, 2, 3)]
    heads = hpo("list", "--storage", storage, "--json").json
    assert [head["trials"]["complete"] for head in heads if head["name"] == "small"] == [80]


@pytest.mark.parametrize("storage", LEDGERS)
@pytest.mark.parametrize(
    "deed", ["delete", *(pytest.param(deed, marks=pytest.mark.slow) for deed in ("tell", "fail", "rename"))]
)
def test_what_a_person_takes_from_the_search_ends_it_with_a_message(hpo: CommandLine, storage: str, deed: str) -> None:
    with searching(hpo, storage, "objective", 4) as process, dashboard(hpo, storage) as ask:
        study = ask.study
        (trial,) = [trial["trial_id"] for trial in ask.trials() if trial["state"] == "Running"]
        status, answer = {
            "tell": lambda: ask("POST", f"trials/{trial}/tell", state="Complete", values=[0.25]),
            "fail": lambda: ask("POST", f"trials/{trial}/tell", state="Fail"),
            "delete": lambda: ask("DELETE", f"studies/{study}"),
            "rename": lambda: ask("POST", f"studies/{study}/rename", study_name="renamed"),
        }[deed]()
        assert status in (201, 204), answer
        (hpo.folder / "go").touch()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1, said
        assert "Traceback" not in said
        what = "has deleted the study small" if deed in ("delete", "rename") else "has ended a trial of small"
        assert f"hpo: another program (optuna-dashboard, say) {what}" in said.splitlines()[-1]
    again = hpo("run", "s.toml", *QUICK, "--set", "objective=beside:objective", "--trials", "4", "--storage", storage)
    assert "small: 3 complete, 1 failed" if deed == "fail" else "small: 4 complete" in again.out
    values = [trial.value for trial in trials_of(storage)]
    assert (values[0] == 0.25) == (deed == "tell")
    names = {head["name"]: head["state"] for head in hpo("list", "--storage", storage, "--json").json}
    assert names.keys() == {"small"} | ({"renamed"} if deed == "rename" else set())
