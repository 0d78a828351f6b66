"""Editing, trials by hand, asking and telling: the commands of the page about studies that evolve, as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.search.request import REQUESTS
from hpo.trial import State

DOCS = Path(__file__).parents[2] / "docs"
QUADRATIC = "def objective(params, seed):\n    yield {'loss': params['lr'] ** 2}\n"
PAGE = (DOCS / "evolving-studies.md").read_text(encoding="utf-8")


def blocks(heading: str, language: str) -> list[str]:
    """All blocks of a language in the part of the page below a heading."""
    part = PAGE.partition(f"\n{heading}\n")[2]
    end = re.search(r"^#{2,3} ", part, re.MULTILINE)
    part = part[: end.start()] if end else part
    return re.findall(rf"^```{language}\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.processes
def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "quadratic.py").write_text(QUADRATIC)
    smallest = re.findall(r"^```toml\n(.*?)^```$", (DOCS / "study-file.md").read_text(), re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "study.toml").write_text(smallest)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"MLFLOW_TRACKING_URI": "none", "PATH": path}

    def run(*words: str) -> str:
        ended = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def shell(script: str) -> str:
        return run("sh", "-e", "-c", script)

    shell("hpo run -q study.toml --workers 0")
    (edits,) = blocks("## Live edits", "sh")
    assert "budget.trials = 24 (before: 20); takes effect at the next hpo run" in shell(edits)
    shell("hpo run -q study.toml --workers 0 && hpo set quadratic budget.trials=27")
    (by_hand,) = blocks("## By hand", "sh")
    said = shell(by_hand)
    assert "trial 24 waits to be run, with lr = 0.3" in said
    assert "trial 3 is discarded" in said
    assert "no trial is left to be retried" in said
    ask, tell = blocks("## Ask and tell", "sh")
    (shape,) = map(json.loads, blocks("## Ask and tell", "json"))
    asked = json.loads(shell(ask))
    assert {key: type(value) for key, value in asked.items()} == {key: type(value) for key, value in shape.items()}
    assert (asked["number"], asked["params"]) == (24, {"lr": 0.3})
    shell(tell)
    (code,) = blocks("## Ask and tell", "python")
    run(sys.executable, "-c", code)

    snapshot = snapshots.read(parse(str(tmp_path / "hpo.journal")), "quadratic")
    assert [trial.state for trial in snapshot.trials] == [State.COMPLETE] * 27
    assert snapshot.trials[24].value == 0.01
    assert [len(trial.reports) for trial in snapshot.trials[25:]] == [4, 4]
    assert snapshot.state == "complete"


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_lines_with_curl_do_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "quadratic.py").write_text(QUADRATIC)
    smallest = re.findall(r"^```toml\n(.*?)^```$", (DOCS / "study-file.md").read_text(), re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "study.toml").write_text(smallest)
    command, curls = blocks("### Over HTTP", "sh")
    words = command.replace("quadratic --port 8266", "study.toml --port 0").split()[1:]
    serving = subprocess.Popen(
        [sys.executable, "-m", "hpo", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert serving.stdout is not None
        port = serving.stdout.readline().rpartition(":")[2].strip(" /\n")
        token = (tmp_path / ".hpo" / "quadratic.token").read_text().strip()
        lines = curls.replace(":8266", f":{port}").replace('"trial": 24', '"trial": 0').splitlines()
        assert lines.pop(0).startswith("ssh ")  # the tunnel
        environment = os.environ | {"TOKEN": token, "no_proxy": "127.0.0.1"}
        answers = [
            json.loads(subprocess.check_output(["sh", "-c", line], env=environment, text=True, timeout=100))
            for line in lines
        ]
    finally:
        serving.terminate()
        serving.communicate()
    assert [(answer["number"], answer.get("state")) for answer in answers] == [
        (0, None),
        (0, "running"),
        (0, "complete"),
    ]
    assert serving.returncode == 130
    snapshot = snapshots.read(parse(str(tmp_path / "hpo.journal")), "quadratic")
    assert snapshot.trials[0].value == 0.01


def test_the_page_names_every_request_of_the_server() -> None:
    assert all(f"/{do}`" in PAGE or f"`POST /{do}" in PAGE for do in REQUESTS)
