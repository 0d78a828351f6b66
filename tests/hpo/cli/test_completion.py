"""The version, and what a shell completes: commands, options, and the names of studies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CommandLine

import hpo as package


def test_the_version(hpo: CommandLine) -> None:
    assert hpo("--version").out == f"hpo {package.__version__}\n"


def completed(hpo: CommandLine, *words: str) -> list[str]:
    """What bash is offered for the last word."""
    environment = os.environ | {
        "_HPO_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["hpo", *words]),
        "COMP_CWORD": str(len(words)),
    }
    program = "import sys; sys.argv = ['hpo']; from hpo.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=hpo.folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.stderr == ""
    return ended.stdout.split()


def test_a_shell_is_offered_commands_options_and_names_of_studies(hpo: CommandLine) -> None:
    for name in ("small", "smart", "other"):
        hpo.run("--set", f"name={name}", "--trials", "1")
    assert completed(hpo, "sho") == ["show"]
    assert "--trials" in completed(hpo, "run", "--tri")
    assert completed(hpo, "show", "sm") == ["small", "smart"]
    assert completed(hpo, "delete", "other", "sm") == ["small", "smart"]
    hpo.run("--set", "name=smooth", "--trials", "1", "--storage", "b.journal")
    assert completed(hpo, "best", "--storage", "b.journal", "sm") == ["smooth"]


def test_without_a_ledger_nothing_is_offered_and_nothing_is_said(hpo: CommandLine) -> None:
    assert completed(hpo, "show", "sm") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str, tmp_path: Path) -> None:
    hpo = Path(sys.executable).parent / "hpo"
    environment = os.environ | {"_HPO_COMPLETE": f"source_{shell}"}
    ended = subprocess.run([hpo], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert f"_HPO_COMPLETE=complete_{shell}" in ended.stdout
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(ended.stdout)
        subprocess.run([shell, "-n", script], check=True, timeout=60)
