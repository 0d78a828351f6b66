"""Everything that the README shows is run: here, or by the program that the line above a block names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Block(NamedTuple):
    """One fenced block: who runs it (None: this test), its language and its text."""

    run_by: str | None
    language: str
    text: str


BLOCKS = [
    Block(*found)
    for found in re.findall(
        r"(?:^<!-- run by: (\S+) -->\n)?^```(\w+)\n(.*?)^```$",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
]


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_newcomer_can_type_the_readme_from_top_to_bottom(tmp_path: Path) -> None:
    ran = 0
    for block in BLOCKS:
        if block.run_by or block.language == "text":
            continue
        if name := re.match(r"# (\w+\.(?:toml|py))\n", block.text):
            (tmp_path / name[1]).write_text(block.text, encoding="utf-8")
            continue
        _run(block, tmp_path)
        ran += 1
    assert ran >= 3
    assert (tmp_path / "reports" / "digits-tpe" / "report.html").exists()


def _run(block: Block, folder: Path) -> None:
    command = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[block.language]
    environment = {name: value for name, value in os.environ.items() if name not in ("HPO_STORAGE", "RAY_ADDRESS")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    ended = subprocess.run(
        [*command, block.text], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert ended.returncode == 0, f"{block.text}\n{ended.stdout}\n{ended.stderr}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.run_by], ids=lambda block: block.run_by)
def test_what_another_program_runs_is_in_that_program(block: Block) -> None:
    assert block.run_by is not None
    program = ROOT / block.run_by
    assert program.exists()
    files = [program] if program.is_file() else sorted(program.rglob("*.py"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    for word in re.findall(r"make \w+|studies/\w+\.toml|HPO_STORAGE|RAY_ADDRESS|MLFLOW_TRACKING_URI", block.text):
        assert word in text or word.split("/")[-1] in text, f"{block.run_by} does not run {word}"


def test_every_link_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / target).exists(), target
