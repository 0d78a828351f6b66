"""A working folder with a small study in it, and ``hpo`` called in it as a person would."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

OBJECTIVES = """
    import math
    import time
    from pathlib import Path


    def curve(params, seed):
        with open("calls", "a") as calls:
            calls.write("x")
        for step in range(3):
            yield {"loss": params["lr"] / (step + 1), "acc": 1 - params["lr"]}


    def number(params, seed):
        return params["lr"]


    def failing(params, seed):
        yield {"loss": 1.0}
        raise RuntimeError("out of luck")


    class Diverged(Exception):
        pass


    def mostly_diverging(params, seed):
        tries = Path("tries")
        count = int(tries.read_text()) if tries.exists() else 0
        tries.write_text(str(count + 1))
        yield {"loss": 1.0}
        if count < 13:
            raise Diverged("the loss became nan")


    def failing_at_first(params, seed):
        tries = Path("tries")
        count = int(tries.read_text()) if tries.exists() else 0
        tries.write_text(str(count + 1))
        if count < 9:
            raise RuntimeError("out of luck")
        return 0.5


    def diverging(params, seed):
        yield {"loss": 1.0}
        yield {"loss": math.nan if params["lr"] < 0.5 else math.inf}


    def silent(params, seed):
        return iter([])


    def forgetful(params, seed):
        pass


    def picky(params, seed):
        return 1.0


    def refuse(params):
        if params["lr"] > 0.9:
            raise ValueError(f"lr must be at most 0.9, got {params['lr']}")


    picky.check = refuse


    def ticking(params, seed):
        Path("started").touch()
        while not Path("go").exists():
            yield {"loss": 1.0}
            time.sleep(0.01)
        yield {"loss": params["lr"]}


    def waiting(params, seed):
        Path("started").touch()
        yield {"loss": 1.0}
        while not Path("go").exists():
            time.sleep(0.01)
        Path("ended").touch()
        yield {"loss": params["lr"]}
"""

STUDY = """
    name = "small"
    objective = "small_objectives:curve"
    metric = "loss"
    direction = "minimize"

    [space]
    lr = { low = 1e-4, high = 1.0, log = true }

    [budget]
    trials = 5
"""

# For quick tests: in this process, and without MLflow.
QUICK = ("--workers", "0", "--tracking", "none")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


class CommandLine:
    """``hpo`` in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        (folder / "small_objectives.py").write_text(textwrap.dedent(OBJECTIVES))
        (folder / "s.toml").write_text(textwrap.dedent(STUDY))

    def __call__(self, *words: str, code: int | None = 0) -> Outcome:
        """Runs a command in this process, and checks its exit code unless it may be any."""
        from hpo.cli import main

        self._monkeypatch.setattr(sys, "argv", ["hpo", *words])
        self._capsys.readouterr()
        try:
            main()
            ended: Any = 0
        except SystemExit as end:
            ended = end.code or 0
        captured = self._capsys.readouterr()
        outcome = Outcome(ended, captured.out, captured.err)
        assert code in (None, outcome.code), outcome
        return outcome

    def run(self, *words: str, code: int = 0) -> Outcome:
        """``hpo run s.toml``, quickly."""
        return self("run", "s.toml", *QUICK, *words, code=code)

    def start(self, *words: str, at: Path | None = None) -> subprocess.Popen[str]:
        """A command in a process of its own, in this folder or at another place, which the test must end."""
        return subprocess.Popen(
            [sys.executable, "-m", "hpo", *words],
            cwd=at or self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def calls(self) -> int:
        """How often the study's objective was called."""
        path = self.folder / "calls"
        return len(path.read_text()) if path.exists() else 0


def hear(process: subprocess.Popen[str], text: str) -> None:
    """Waits until a line on standard error holds ``text``."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    pytest.fail(f"{text!r} was never said")
