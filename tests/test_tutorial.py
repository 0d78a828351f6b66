"""The tutorial can be typed from top to bottom; its recording shows the same commands; the FAQ's program runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def load_recorder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", DOCS / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["record"] = module
    spec.loader.exec_module(module)
    return module


RECORD = load_recorder()
BLOCKS = RECORD.blocks(DOCS / "tutorial.md")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("HPO_", "MLFLOW_", "RAY_"))}
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("ray")
def test_the_tutorial_can_be_typed_from_top_to_bottom(tmp_path: Path) -> None:
    printed = {}
    for block in BLOCKS:
        if name := RECORD.file_of(block):
            (tmp_path / name).write_text(block.text)
        elif block.language == "sh" and not block.run_by:
            for command in RECORD.lines(block):
                ended = subprocess.run(
                    ["bash", "-c", command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=250
                )
                assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
                printed[command] = ended.stdout + ended.stderr
    assert "trials failed: ValueError: n_components=" in printed["hpo run study.toml"]
    assert "failed: " not in printed["hpo run study.toml --retry-failed"]
    assert "components = " in printed["hpo best study.toml"]
    assert (tmp_path / "reports" / "neighbours" / "report.html").exists()


def test_the_recording_shows_the_tutorials_commands_and_nothing_of_the_machine() -> None:
    """`python docs/record.py` makes it again."""
    text = (DOCS / "recording.md").read_text(encoding="utf-8")
    typed = [line for block in BLOCKS if block.language == "sh" for line in RECORD.lines(block)]
    shown = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    assert shown == [command for command in typed if not command.startswith("source ")]
    hosts = set(re.findall(r"https?://([^/:\s]+)", text))
    assert hosts <= {"127.0.0.1", "localhost"}
    assert not re.search(r"(^|[\s'\"=])/(?!home/me/)\w+/", text.partition("```text")[2]), "a path of a machine"


def test_a_recording_leaves_out_what_belongs_to_the_machine(tmp_path: Path) -> None:
    recorder = RECORD.Recorder(tmp_path)
    recorder.run(f"echo 'Looking in indexes: https://index.example'; echo {tmp_path}/x {DOCS}; uname -n")
    assert recorder.text[1:-2] == [
        "/home/me/project/x /home/me/hpo/docs",
        "laptop",
        "(left out: lines in which pip names its package index, 1)",
    ]


@pytest.mark.processes
def test_the_command_of_the_faq_copies_a_study_that_can_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "quadratic.py").write_text("def objective(params, seed):\n    return params['lr'] ** 2\n")
    (tmp_path / "study.toml").write_text(
        'name = "quadratic"\nobjective = "quadratic:objective"\nmetric = "loss"\ndirection = "minimize"\n'
        "space.lr = { low = 0.1, high = 1.0 }\nbudget.trials = 3\n"
    )

    def hpo(*words: str) -> str:
        command = [sys.executable, "-m", "hpo", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=100
        ).stdout

    run = ("run", "study.toml", "--workers", "0", "--tracking", "none", "--json")
    first = json.loads(hpo(*run))
    assert "`hpo copy '*' --to OTHER`" in (DOCS / "faq.md").read_text(encoding="utf-8")
    hpo("copy", "*", "--to", "other.journal")
    assert json.loads(hpo("show", "quadratic", "--storage", "other.journal", "--json"))["best"] == first["best"]
    more = json.loads(hpo(*run, "--storage", "other.journal", "--trials", "5"))
    assert more["trials"]["complete"] == 5
