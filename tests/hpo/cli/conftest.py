"""What tests of the command line may leave out."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def quick_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report without figures, for tests of other things: drawing takes seconds."""

    def write(study: object, trials: object, folder: Path, **_: object) -> None:
        (folder / "report.html").write_text("<p>a report</p>")

    monkeypatch.setattr("hpo.report.files.write", write)
