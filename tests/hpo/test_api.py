"""Studies from Python: the page about it in a real kernel, and what a function returns."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import threading
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import hpo
from hpo.errors import FigureNotFound, InputError
from hpo.testing import small_study
from hpo.text import printable
from hpo.trial import State, Trial

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
    monkeypatch.delitem(sys.modules, "quadratic", raising=False)  # of another test; and this one's ends with it
    for variable in ("HPO_STORAGE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def run(**changes: Any) -> hpo.Result:
    return hpo.run(STUDY | changes, workers=0, tracking="none", quiet=True)


def test_a_study_is_run_and_gone_on_with(folder: Path) -> None:
    first = run()
    assert (first.state, len(first.trials)) == ("complete", 3), first.trials[0].error
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
    result = hpo.run("study.toml", overrides=iter(["budget.trials=2"]), workers=0, tracking="none", quiet=True)
    assert len(result.trials) == 2
    assert result.report(folder / "report").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(result.figure("best_so_far").axes) == 1


def test_a_function_of_a_module_is_run_by_its_name_with_keys_and_overrides(folder: Path) -> None:
    objective = importlib.import_module("quadratic").objective
    keys: dict[str, Any] = {key: STUDY[key] for key in ("metric", "direction", "space", "budget")}
    result = hpo.run(objective, **keys, overrides=["budget.trials=2"], workers=0, tracking="none", quiet=True)

    assert (result.study.name, result.study.objective) == ("objective", "quadratic:objective")
    assert len(result.trials) == 2
    more = hpo.run(STUDY | {"name": "objective"}, overrides=["budget.trials=4"], workers=0, tracking="none", quiet=True)
    assert [trial.params for trial in more.trials[:2]] == [trial.params for trial in result.trials]
    assert len(more.trials) == 4
    assert STUDY["budget"] == {"trials": 3}  # the caller's own mapping stays as it is


@pytest.mark.parametrize("before", [None, "3"])
def test_variables_of_the_study_are_there_while_it_runs_in_this_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.delenv("OF_THE_STUDY", raising=False)
    if before is not None:
        monkeypatch.setenv("OF_THE_STUDY", before)
    (folder / "with_variables.py").write_text(
        "import os\nAT_IMPORT = float(os.environ['OF_THE_STUDY'])\n"
        "def objective(params, seed):\n    return AT_IMPORT + float(os.environ['OF_THE_STUDY'])\n"
    )
    try:
        result = run(objective="with_variables:objective", trial={"env": {"OF_THE_STUDY": "7"}})
    finally:
        sys.modules.pop("with_variables", None)

    assert [trial.value for trial in result.trials] == [14.0, 14.0, 14.0]
    assert os.environ.get("OF_THE_STUDY") == before


def test_a_function_that_no_resumed_study_could_find_is_refused(folder: Path) -> None:
    keys = {key: STUDY[key] for key in ("metric", "direction", "space", "budget")}
    with pytest.raises(InputError, match=r"<lambda> is not at the top level of a module, script or notebook"):
        hpo.run(lambda params, seed: 1.0, **keys)
    with pytest.raises(InputError, match="metric: keys of a study go beside a function"):
        hpo.run(STUDY, metric="loss")
    with pytest.raises(InputError, match="study: direction: "):
        hpo.run(hpo.read, metric="loss", space=STUDY["space"], budget={"trials": 1})


SCRIPT = """
import os, threading
import hpo

SCALE = 3

def helper(x):
    return SCALE * x

def train(params, seed):
    yield {"loss": helper(params["lr"])}

train.check = lambda params: None
LOCK

if __name__ == "__main__":
    result = hpo.run(
        train, space={"lr": {"low": 0.1, "high": 1.0}}, metric="loss", direction="minimize", budget={"trials": 2},
        workers=1, tracking="none", quiet=True,
    )
    trial = result.trials[0]
    print(trial.value == 3 * trial.params["lr"], not trial.worker.endswith(f"/{os.getpid()}"), result.study.objective)
"""


@pytest.mark.parametrize(
    ("lock", "code", "told"),
    [
        ("", 0, "True True __main__:train"),
        ("SCALE = threading.Lock()", 1, "objective: __main__:train cannot be sent to workers (TypeError: "),
    ],
)
def test_a_script_s_own_function_runs_in_ray_s_workers_or_says_why_not(
    folder: Path, lock: str, code: int, told: str
) -> None:
    (folder / "script.py").write_text(SCRIPT.replace("LOCK", lock))
    words = [sys.executable, "script.py"]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=200)
    assert (ended.returncode, told in ended.stdout + ended.stderr) == (code, True), ended.stderr


def test_a_result_as_a_table_has_everything_but_the_curves(folder: Path) -> None:
    (folder / "quadratic.py").write_text(
        "def objective(params, seed):\n    if params['seed'] > 0.5:\n        raise ValueError('large')\n"
        "    yield {'loss': 9.0, 'state': 1.0}\n    yield {'loss': params['seed'], 'accuracy': 0.5}\n"
    )
    sys.modules.pop("quadratic", None)
    result = run(name="table", space={"seed": {"low": 0.1, "high": 1.0}}, budget={"trials": 8})

    table = result.dataframe()

    sys.modules.pop("quadratic")
    assert list(table.index) == list(range(8))
    assert {trial.state for trial in result.trials} == {State.COMPLETE, State.FAILED}
    for trial, (_, row) in zip(result.trials, table.iterrows(), strict=True):
        assert (row["state"], row["params.seed"], row["seed"]) == (trial.state, trial.params["seed"], trial.seed)
        assert (row["worker"], row["attempt"], row["reports"]) == (trial.worker, 1, len(trial.reports))
        assert row["started"].timestamp() == pytest.approx(trial.started, abs=1e-3)
        assert (row["ended"] - row["started"]).total_seconds() == pytest.approx(trial.seconds, abs=1e-3)
        if trial.state == State.COMPLETE:
            assert (row["loss"], row["metrics.state"], row["accuracy"]) == (trial.value, 1.0, 0.5)
        else:
            assert "ValueError: large" in row["error"]


def test_objectives_may_have_the_names_of_other_columns() -> None:
    objectives = {"seconds": "minimize", "error": "minimize", "size": "minimize"}
    study = small_study(objectives=objectives)
    trials = [
        Trial(0, {"lr": 0.1}, 7, State.COMPLETE, (0.5, 0.25, 3.0), 10.0, 12.0),
        Trial(1, {"lr": 0.2}, 8, State.FAILED, (), 10.0, 11.0, error="KeyError"),
    ]
    result = hpo.Result(study, trials, "complete")

    first, second = result.rows()
    assert (first["values.seconds"], first["seconds"], first["error"], first["size"]) == (0.5, 2.0, 0.25, 3.0)
    assert (second["values.seconds"], second["seconds"], second["error"]) == (None, 1.0, None)
    table = result.dataframe()
    assert table["values.seconds"].iloc[0] == 0.5
    assert list(table["seconds"]) == [2.0, 1.0]
    assert table["values.error"].iloc[0] == 0.25
    assert list(table["error"])[1] == "KeyError"
    assert table["size"].iloc[0] == 3.0


def test_completion_shows_what_there_is() -> None:
    assert {"Result", "read", "run", "watch", "__version__"} <= set(dir(hpo))


def test_a_search_in_a_thread_hears_no_signals_and_ends_all_the_same(folder: Path) -> None:
    results: list[hpo.Result] = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join(60)
    assert [trial.state for trial in results[0].trials] == [State.COMPLETE] * 3


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


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        *[("workers", value, "must be a whole number, 0 or more, or None") for value in ("many", 1.5, -2, True)],
        ("storage", 3, "must be text, or None"),
        ("tracking", 3, "must be text, or None"),
        ("address", 3, "must be text, or None"),
        *[("study", value, "must be a study file's path, a mapping or a function") for value in (None, 5)],
        *[("overrides", value, 'must be a list of "key=value" texts') for value in ({"budget.trials": 2}, "a=1", 3)],
        ("overrides", [3], 'must hold "key=value" texts'),
        ("overrides", ["budget.trials"], "must be key=value"),
        ("name", 3, "must be a study's name"),
        *[("quiet", value, "must be True or False") for value in ("x", 1, None)],
        ("storage", "a\0b", "must not hold a NUL character or half a character"),
        ("storage", "sqlite:///a\ud800", "must not hold a NUL character or half a character"),
        *[
            ("every", value, "must be a number of seconds, 0.1 to 86,400")
            for value in ("x", float("nan"), float("inf"), -1, 0, 1e20, True, None)
        ],
    ],
)
def test_an_argument_of_the_wrong_type_is_named_and_nothing_is_written(
    folder: Path, key: str, value: Any, rule: str
) -> None:
    before = sorted(folder.iterdir())
    given: dict[str, Any] = {"study": STUDY, "workers": 0, "tracking": "none", key: value}
    calls = {"name": partial(hpo.read, value), "every": partial(hpo.watch, "quadratic", every=value)}
    with pytest.raises(InputError) as caught:
        calls.get(key, partial(hpo.run, **given))()
    error = caught.value
    wrong = value[0] if isinstance(value, list) else printable(value) if key == "storage" and value != 3 else value
    assert (error.key or error.file, error.rule, error.value) == (key, rule, wrong)
    assert str(error).startswith(f"{key}: {rule}, got ")
    with pytest.raises(InputError, match="storage: must be text, or None, got 3"):
        hpo.read("x", storage=3)  # type: ignore[arg-type]
    assert sorted(folder.iterdir()) == before


def test_a_file_whose_name_no_system_takes_cannot_be_read() -> None:
    for name in ("a\0.toml", "a\ud800.toml"):
        with pytest.raises(InputError, match=r"toml: cannot be read: "):
            hpo.run(name)


def looped() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


KEY = "every key of a table must be text"
ENDLESS = "must not contain itself, nor be nested more than 100 levels deep"
PLAIN = "must hold text, numbers, true, false, lists and tables only (a date: as text)"


@pytest.mark.parametrize(
    ("changes", "key", "rule"),
    [
        ({1: 2}, "1", KEY),
        ({None: 2}, "None", KEY),
        ({(1, 2): 2}, "(1, 2)", KEY),
        ({"sampler": {"name": "tpe", 1: 2}}, "sampler.1", KEY),
        ({"enqueue": [{1: 2}]}, "enqueue.1", KEY),
        ({"trial": {"env": {1: "2"}}}, "trial.env.1", KEY),
        ({"workers": {"resources": {1: 2}}}, "workers.resources.1", KEY),
        ({"space": {3: {"low": 0.1, "high": 1.0}}}, "space.3", KEY),
        ({"objectives": {1: "minimize"}}, "objectives.1", KEY),
        ({"fixed": {"a": {1: 2, "1": 3}}}, "fixed.a.1", KEY),
        ({"fixed": {"a": [{"b": {(1, 2): 3}}]}}, "fixed.a.b.(1, 2)", KEY),
        ({"space": {"c": {"choice": [{1: 2}, {2: 3}]}}}, "space.c.choice.1", KEY),
        ({"fixed": {"a": looped()}}, "fixed.a", ENDLESS),
        ({"enqueue": looped()}, "enqueue", ENDLESS),
        ({"fixed": {"a": deep(3000)}}, "fixed.a", ENDLESS),
        ({"fixed": {"a": deep(99)}}, "fixed.a", ENDLESS),
        ({"fixed": {"a": iter(())}}, "fixed.a", PLAIN),
        ({"fixed": {"a": threading.Lock()}}, "fixed.a", PLAIN),
        ({"enqueue": iter(())}, "enqueue", "must be a list of tables"),
    ],
)
def test_what_no_study_file_can_have_is_refused(folder: Path, changes: dict[Any, Any], key: str, rule: str) -> None:
    with pytest.raises(InputError) as caught:
        hpo.run({**STUDY, **changes}, workers=0, tracking="none", quiet=True)
    assert (caught.value.file, caught.value.key, caught.value.rule) == ("study", key, rule)
    assert str(caught.value).startswith(f"study: {key}: {rule}")


def test_a_nesting_that_a_ledger_keeps_well_is_searched(folder: Path) -> None:
    assert run(fixed={"a": deep(98)}).study.fixed == {"a": deep(98)}


def test_a_table_that_contains_itself_is_refused_with_a_key_of_bearable_length(folder: Path) -> None:
    study: dict[str, Any] = {**STUDY}
    study["fixed"] = study
    with pytest.raises(InputError, match=ENDLESS) as caught:
        hpo.run(study, workers=0, tracking="none", quiet=True)
    assert len(str(caught.value)) < 200


def test_numpy_s_numbers_tuples_and_arrays_are_as_if_a_file_had_them(folder: Path) -> None:
    import numpy as np

    made = run(
        space={"lr": {"low": np.float32(0.5), "high": np.int64(1)}, "on": {"choice": (np.True_, "no", np.arange(2))}},
        fixed=MappingProxyType({"sizes": (np.int64(1), (2, np.float64(0.5)))}),
        budget={"trials": np.int64(2)},
    )
    assert made.study.resolved["budget"]["trials"] == 2
    assert made.study.resolved["space"]["on"]["choice"] == [True, "no", [0, 1]]
    assert json.dumps(made.study.fixed) == '{"sizes": [1, [2, 0.5]]}'
    assert made.trials[0].params["lr"] >= 0.5
    plain = run(
        space={"lr": {"low": 0.5, "high": 1}, "on": {"choice": [True, "no", [0, 1]]}},
        fixed={"sizes": [1, [2, 0.5]]},
        budget={"trials": 2},
    )
    assert plain.study.resolved == made.study.resolved


def test_a_refusal_shows_the_type_that_was_wrong(folder: Path) -> None:
    with pytest.raises(InputError, match=r"""budget.trials: must be a whole number, got "Decimal\('2'\)"$"""):
        run(budget={"trials": Decimal(2)})
    with pytest.raises(InputError, match=r'budget.trials: must be a whole number, got "2026-01-02"$'):
        run(budget={"trials": date(2026, 1, 2)})


def test_a_tracking_store_is_refused_by_the_name_that_the_caller_knows_before_anything_is_written(
    folder: Path,
) -> None:
    before = sorted(folder.iterdir())
    for tracking in ("", Path("x"), "redis://x"):
        with pytest.raises(InputError, match=r"^tracking: MLflow ") as caught:
            hpo.run(STUDY, workers=0, tracking=tracking)  # type: ignore[arg-type]
        assert caught.value.key == "tracking"
        assert caught.value.rule
    assert sorted(folder.iterdir()) == before


def test_an_unknown_figure_is_refused_with_the_known_ones() -> None:
    result = hpo.Result(small_study(), [], "running")
    for name in ("nope", ["best_trials"], None):
        with pytest.raises(FigureNotFound, match=r"^name: must be one of .*best_trials.*, got ") as caught:
            result.figure(name)  # type: ignore[arg-type]
        assert isinstance(caught.value, KeyError)
        assert (caught.value.key, caught.value.value) == ("name", name)


HUGE = 10**5000  # Python writes no number of more than 4,300 digits


@pytest.mark.parametrize(
    "given",
    [
        {"study": {HUGE: 1}},
        {"study": STUDY | {"budget": {"trials": {HUGE}}}},
        {"study": STUDY | {"sampler": {"name": HUGE}}},
        {"study": STUDY | {"figure": [{"kind": HUGE}]}},
        {"study": deep(3000)},
        {"study": STUDY, "workers": -HUGE},
    ],
)
def test_a_value_that_python_cannot_show_is_refused_like_any_other(folder: Path, given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r", got a (value of type (int|list)|number of thousands of digits)|type set"):
        hpo.run(**{"workers": 0, **given})


def test_importing_hpo_is_cheap_and_names_what_it_has_not() -> None:
    code = "import sys, hpo; print('hpo.api' in sys.modules, hasattr(hpo, 'rnu'), callable(hpo.run))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.split() == ["False", "False", "True"]


@pytest.mark.slow
def test_the_page_about_python_runs_in_a_notebook(folder: Path) -> None:
    import nbformat
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    notebook = new_notebook(cells=[new_code_cell(block) for block in blocks])
    kernel = {"name": "python3", "display_name": "Python", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.validate(notebook)
    ran, asked, table, read = (cell.outputs for cell in notebook.cells)
    html = [output.data["text/html"] for output in ran if "data" in output and "text/html" in output.data]
    progress, result = html  # the bar was updated in place
    assert 'value="12" max="12"' in progress
    assert "12 complete" in progress
    assert "<table>" in result
    assert [output.text for output in ran if output.get("name") == "stderr"] == []
    assert "image/png" in asked[-1].data
    assert "lr: " in asked[0].text
    assert "<th>loss</th>" in table[0].data["text/html"]
    assert "<bowl: complete, 12 complete, best " in read[0].text


def test_a_parameter_with_the_name_of_a_column_gets_a_column_of_its_own(folder: Path) -> None:
    (folder / "quadratic.py").write_text("def objective(params, seed):\n    yield {'loss': params['value'] ** 2}\n")
    sys.modules.pop("quadratic", None)
    space = {"value": {"low": 0.1, "high": 1.0}, "state": {"choice": ["a"]}}

    result = run(name="columns", space=space)

    for row, trial in zip(result.rows(), result.trials, strict=True):
        assert (row["value"], row["state"]) == (trial.value, State.COMPLETE)
        assert (row["params.value"], row["params.state"]) == (trial.params["value"], "a")
    sys.modules.pop("quadratic")
