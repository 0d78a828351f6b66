"""The page about existing programs: what it shows is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "programs.md"


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_program_is_searched_as_the_page_says(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for body in re.findall(r"^```(?:python|toml)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if name := re.match(r"# (\w+\.(?:toml|py))\n", body):
            (tmp_path / name[1]).write_text(body, encoding="utf-8")
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    environment = {name: value for name, value in os.environ.items() if name not in ("HPO_STORAGE", "RAY_ADDRESS")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr
    kept = [float(file.read_text()) for file in tmp_path.glob(".hpo/trials/train/*/files/model.txt")]
    assert len(kept) == 2
    best, second = sorted(kept)
    assert f"{best:.4g}" in ended.stdout
    assert second < 1
