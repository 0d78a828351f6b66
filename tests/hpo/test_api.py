"""Studies from Python: the page about it in a real kernel, and what a function returns."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo.errors import InputError
from hpo.trial import COMPLETE

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
STUDY = {
    "name": "quadratic",
    "objective": "quadratic:objective",
    "metric": "loss",
    "direction": "minimize",
    "space": {"lr": {"low": 0.1, "high": 1.0}},
    "budget": {"trials": 3},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "quadratic.py").write_text("def objective(params, seed):\n    yield {'loss': params['lr'] ** 2}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for variable in ("HPO_STORAGE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def run(**changes: Any) -> hpo.Result:
    return hpo.run(STUDY | changes, workers=0, tracking="none", quiet=True)


def test_a_study_is_run_and_gone_on_with(folder: Path) -> None:
    first = run()
    assert (first.state, len(first.trials)) == ("complete", 3)
    more = run(budget={"trials": 5})
    assert [trial.params for trial in more.trials[:3]] == [trial.params for trial in first.trials]
    assert hpo.read("quadratic").rows() == more.rows()
    assert more.best is not None
    assert more.best.value == min(row["value"] for row in more.rows())
    assert set(more.rows()[0]) == {"number", "state", "value", "seconds", "lr"}
    assert repr(more).startswith("<quadratic: complete, 5 complete, best ")


def test_a_study_file_is_run_with_overrides_and_reported(folder: Path) -> None:
    (folder / "study.toml").write_text(
        'name = "quadratic"\nobjective = "quadratic:objective"\nmetric = "loss"\ndirection = "minimize"\n'
        "budget.trials = 9\nspace.lr = { low = 0.1, high = 1.0 }\n"
    )
    result = hpo.run("study.toml", overrides=["budget.trials=2"], workers=0, tracking="none", quiet=True)
    assert len(result.trials) == 2
    assert result.report(folder / "report").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(result.figure("best_so_far").axes) == 1


def test_a_search_in_a_thread_hears_no_signals_and_ends_all_the_same(folder: Path) -> None:
    results: list[hpo.Result] = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join(60)
    assert [trial.state for trial in results[0].trials] == [COMPLETE] * 3


def test_what_users_wrote_is_text_in_a_notebook(folder: Path) -> None:
    html = run(space={"lr": {"low": 0.1, "high": 1.0}, "kind": {"choice": ["<i>"]}})._repr_html_()
    assert html.count("&lt;i&gt;") == 3
    assert "<i>" not in html


def test_bad_input_is_said_before_anything_starts(folder: Path) -> None:
    with pytest.raises(InputError, match=r"study: budget.trials: must be .* got 0"):
        run(budget={"trials": 0})
    run()
    with pytest.raises(InputError, match="there is no study 'nope'"):
        hpo.read("nope")


def test_importing_hpo_is_cheap_and_names_what_it_has_not() -> None:
    code = "import sys, hpo; print('hpo.api' in sys.modules, hasattr(hpo, 'rnu'), callable(hpo.run))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.split() == ["False", "False", "True"]


def test_the_page_about_python_runs_in_a_notebook(folder: Path) -> None:
    import nbformat
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    notebook = new_notebook(cells=[new_code_cell(block) for block in blocks])
    kernel = {"name": "python3", "display_name": "Python", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.validate(notebook)
    ran, asked, read = (cell.outputs for cell in notebook.cells)
    html = [output.data["text/html"] for output in ran if "data" in output and "text/html" in output.data]
    progress, result = html  # the bar was updated in place
    assert 'value="12" max="12"' in progress
    assert "12 complete" in progress
    assert "<table>" in result
    assert [output.text for output in ran if output.get("name") == "stderr"] == []
    assert "image/png" in asked[-1].data
    assert "lr: " in asked[0].text
    assert "<bowl: complete, 12 complete, best " in read[0].text
