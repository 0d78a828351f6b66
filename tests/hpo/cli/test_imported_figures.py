"""The user's own functions, from the installed command: when they are there, and when they are not."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

STUDY = """
    name = "small"
    objective = "mine:square"
    metric = "loss"
    direction = "minimize"
    space.x = { low = 0.0, high = 1.0 }
    space.y = { low = 0.0, high = 1.0 }
    budget.trials = 12

    [[figure]]
    kind = "drawn.by_me:bars"
    name = "mine"
    width = 0.5
"""
DRAWN = """
    from matplotlib.figure import Figure


    def bars(study, trials, options):
        figure = Figure()
        figure.subplots().bar(range(len(trials)), [trial.value for trial in trials], options["width"])
        return figure


    bars.keys = {"width": 0.8}
"""
RUN = ("run", "s.toml", "--workers", "0", "--tracking", "none", "--quiet")


def hpo(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The installed command, whose search path does not have the working folder by itself."""
    command = [str(Path(sys.executable).with_name("hpo")), *words]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    return ended


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HPO_STORAGE", "MLFLOW_TRACKING_URI", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn/by_me.py").write_text(textwrap.dedent(DRAWN))
    (tmp_path / "mine.py").write_text("def square(params, seed):\n    return params['x'] ** 2\n")
    (tmp_path / "s.toml").write_text("\n".join(line.strip() for line in STUDY.splitlines()))
    return tmp_path


@pytest.mark.slow
def test_a_function_in_the_working_folder_draws_and_without_it_all_else_is_still_there(folder: Path) -> None:
    hpo(folder, *RUN)
    assert hpo(folder, "report", "small").stderr == ""
    page = (folder / "reports/small/report.html").read_text(encoding="utf-8")
    assert page.index('id="figure-mine"') < page.index('id="figure-slices"')
    assert (folder / "reports/small/mine.png").read_bytes().startswith(b"\x89PNG")

    (folder / "drawn/by_me.py").unlink()
    for words in (("list",), ("show", "small"), ("best", "small")):
        assert hpo(folder, *words).stderr == ""
    remark = hpo(folder, "report", "small", "--out", "again").stderr
    assert remark.startswith("hpo: figure mine is left out: hpo.journal, study small: figure[0].kind: cannot import ")
    assert len(remark.splitlines()) == 1
    assert not (folder / "again/mine.png").exists()
    assert (folder / "again/slices.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("bars", "barz"), "kind: drawn.by_me:barz: there is no 'barz' in drawn.by_me; did you mean 'bars'?"),
        (
            ("drawn.by_me", "absent"),
            "kind: cannot import 'absent:bars': there is no module 'absent' in the working folder",
        ),
        (("width", "widht"), "widht: unknown key; did you mean 'width'?"),
        (("0.5", '"wide"'), 'width: must be a number, got "wide"'),
        (('"drawn.by_me:bars"', '"paths"'), 'kind: "paths" is no longer built in; name the function that draws it'),
    ],
)
def test_a_figure_that_cannot_be_drawn_stops_the_study_before_it_starts(
    folder: Path, change: tuple[str, str], message: str
) -> None:
    path = folder / "s.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(*change))

    (line,) = hpo(folder, *RUN, code=2).stderr.splitlines()

    assert line.startswith(f"hpo: s.toml: figure[0].{message}")
    assert not (folder / "hpo.journal").exists()


@pytest.mark.slow
def test_the_code_beside_the_study_file_is_found_after_the_search_too(folder: Path) -> None:
    """The folder is no part of what must not change: it may move, and may be gone."""
    project = folder / "project"
    project.mkdir()
    for name in ("drawn", "mine.py", "s.toml"):
        (folder / name).rename(project / name)
    with (project / "mine.py").open("a") as module:
        module.write("def scored(params, seed):\n    return {'score': 7}\n")
    study = (project / "s.toml").read_text()
    (project / "s.toml").write_text(f'evaluate = "mine:scored"\n{study}')
    hpo(folder, "run", "project/s.toml", *RUN[2:])

    assert hpo(folder, "report", "small").stderr == ""
    assert hpo(folder, "sync", "small", "--tracking", f"sqlite:///{folder}/mlflow.db").stderr.count("left out") == 0
    assert "score 7" in hpo(folder, "evaluate", "small", "--tracking", "none").stdout

    project.rename(folder / "moved")
    lost = hpo(folder, "evaluate", "small", "--tracking", "none", "--again", code=2)
    assert "there is no module 'mine'" in lost.stderr
    hpo(folder, "run", "moved/s.toml", *RUN[2:])
    assert "score 7" in hpo(folder, "evaluate", "small", "--tracking", "none", "--again").stdout
