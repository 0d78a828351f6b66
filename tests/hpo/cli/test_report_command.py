import json
import os
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hpo.cli import app
from hpo.errors import InputError

STUDY = """
name = "small"
objective = "objective:square"
metric = "loss"
direction = "minimize"
[space]
x = { low = 0.0, high = 1.0 }
[budget]
trials = 3
"""


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a finished study of three trials."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "objective.py").write_text("def square(params, seed):\n    yield {'loss': params['x'] ** 2}\n")
    (folder / "small.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.delenv("HPO_STORAGE", raising=False)
        done = invoke("run", "small.toml", "--workers", "0", "--tracking", "none", "--quiet")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HPO_STORAGE", raising=False)


def test_report_writes_a_page_and_two_files_per_figure_and_says_where(folder: Path) -> None:
    done = invoke("report", "small")
    assert done.exit_code == 0
    assert done.output.splitlines()[0] == "reports/small/report.html"
    page = (folder / "reports/small/report.html").read_text(encoding="utf-8")
    assert "small" in page
    drawn = {file.stem for file in (folder / "reports/small").glob("*.svg")}
    assert drawn == {"slices", "best_so_far", "timeline"}
    assert "<b>The best trials</b>: Every trial reported loss only once." in page
    assert "<b>Pairs of parameters</b>: A single parameter has no pairs." in page


def test_report_goes_where_it_is_told_and_lists_its_files_as_json(tmp_path: Path) -> None:
    done = json.loads(invoke("report", "small", "--out", str(tmp_path / "a/b"), "--json").output)
    assert done["name"] == "small"
    assert done["page"] == str(tmp_path / "a/b/report.html")
    assert {Path(file) for file in done["files"]} == set((tmp_path / "a/b").iterdir())


def test_report_into_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"--out: cannot create the folder .*taken"):
        invoke("report", "small", "--out", str(tmp_path / "taken"))


def test_the_page_links_logs_and_kept_folders_that_are_there(folder: Path, tmp_path: Path) -> None:
    own = folder / ".hpo/trials/small"
    (own / "1/files").mkdir(parents=True)
    (own / "1/output.log").write_text("hello")
    (own / "2").mkdir()
    try:
        invoke("report", "small", "--out", str(tmp_path))
    finally:
        shutil.rmtree(own / "1")
        shutil.rmtree(own / "2")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    to = os.path.relpath(own, tmp_path)
    links = f'1 <a href="{to}/1/output.log">log</a> <a href="{to}/1/files">files</a></td>'
    assert page.count(links) == 2  # among the best, and in the table of all
    assert page.count("<a href=") == page.count('<a href="#') + 4
    data = re.search(r'<script[^>]* id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["links"] == {"1": {"log": f"{to}/1/output.log", "files": f"{to}/1/files"}}


def test_report_of_an_unknown_study_names_it() -> None:
    with pytest.raises(InputError, match="there is no study 'smal'"):
        invoke("report", "smal")


def test_show_says_a_line_per_parameter_and_keeps_its_keys_as_json() -> None:
    assert "x: too few trials to say" in invoke("show", "small").output.splitlines()
    shown = json.loads(invoke("show", "small", "--json").output)
    assert {"name", "state", "direction", "metric", "budget", "trials", "best", "parameters"} <= set(shown)
    assert [parameter["name"] for parameter in shown["parameters"]] == ["x"]
    assert shown["parameters"][0]["verdict"] == "too few trials to say"
