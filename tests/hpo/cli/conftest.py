"""The command line in a folder of its own, with nothing set that a person may have set."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine


@pytest.fixture
def hpo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    for name in ("HPO_STORAGE", "HPO_DATA_DIR", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield CommandLine(tmp_path, capsys, monkeypatch)
    sys.modules.pop("small_objectives", None)


@pytest.fixture
def quick_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report without figures, for tests of other things: drawing takes seconds."""

    def write(study: object, trials: object, folder: Path) -> None:
        (folder / "report.html").write_text("<p>a report</p>")

    monkeypatch.setattr("hpo.report.files.write", write)
