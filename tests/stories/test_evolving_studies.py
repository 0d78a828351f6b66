"""The story on the page about studies that evolve, told by the commands as they stand there."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.trial import State

DOCS = Path(__file__).parents[2] / "docs"
QUADRATIC = """
def objective(params, seed):
    with open("calls", "a") as calls:
        calls.write("x")
    yield {"loss": (params["lr"] - 2.0) ** 2 + params.get("decay", 0.0)}
"""


def block(page: str, heading: str, language: str) -> str:
    """The first block of a language below a heading."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.search(rf"^```{language}\n(.*?)^```$", text[text.index(f"## {heading}\n") :], re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.mark.slow
@pytest.mark.processes
def test_the_story_of_a_study_that_evolves(tmp_path: Path) -> None:
    (tmp_path / "quadratic.py").write_text(QUADRATIC)
    (tmp_path / "quadratic.toml").write_text(block("study-file.md", "The smallest one", "toml"))
    (tmp_path / "wider.toml").write_text(block("evolving-studies.md", "A story", "toml"))
    script = block("evolving-studies.md", "A story", "sh").replace("hpo run", "hpo run -q --workers 0")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"MLFLOW_TRACKING_URI": "none", "PATH": path}
    ended = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr

    assert "wider starts with 40 finished trials of quadratic; they are not run again\n" in ended.stdout
    assert len((tmp_path / "calls").read_text()) == 40 + 40 + 5
    wider = snapshots.read(parse(str(tmp_path / "hpo.journal")), "wider")
    assert [trial.origin is None for trial in wider.trials] == [False] * 40 + [True] * 45
    assert all(trial.params["decay"] == 0.0 for trial in wider.trials[:40])
    assert [trial.number for trial in wider.trials if trial.state is State.DISCARDED] == [47]
    assert wider.state == "complete"
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["from"] for row in rows] == [*(f"quadratic, trial {n}" for n in range(40)), *[""] * 45]
    assert [float(row["params.lr"]) for row in rows] == [trial.params["lr"] for trial in wider.trials]
    assert rows[47]["state"] == "discarded"
    copied = snapshots.read(parse(f"sqlite:///{tmp_path}/archive.db"), "wider")
    assert repr(copied.trials) == repr(wider.trials)
