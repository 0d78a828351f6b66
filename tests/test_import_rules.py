"""Who may import whom: read from the source, and seen in a process that only answers a question."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Whoever else wants one of these goes through the seam that owns it.
OWNERS = {
    "ray": ("hpo/execution/",),
    "mlflow": ("hpo/tracking/",),
    "matplotlib": ("hpo/report/",),
    "typer": ("hpo/cli/",),
    "rich": ("hpo/cli/",),
    "psycopg": ("hpo/ledger/",),
    "sqlalchemy": ("hpo/ledger/",),
}
HEAVY = ("ray", "mlflow", "matplotlib", "optuna", "sqlalchemy", "sklearn", "scipy", "pandas")


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def imports(path: Path) -> Iterator[str]:
    """The top-level names of everything a file imports, wherever in it; relative imports are forbidden elsewhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module.split(".")[0]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sources("trainer"), ids=name)
def test_the_trainer_knows_nothing_of_the_service(path: Path) -> None:
    assert not {"hpo", "optuna", "ray", "mlflow", "matplotlib"} & set(imports(path))


@pytest.mark.parametrize("path", sources("hpo"), ids=name)
def test_the_service_knows_nothing_of_the_trainer_and_a_vendor_has_one_place(path: Path) -> None:
    imported = set(imports(path))
    assert "trainer" not in imported
    for vendor, owners in OWNERS.items():
        if not name(path).startswith(owners):
            assert vendor not in imported


def test_the_rules_see_imports_inside_functions() -> None:
    assert "mlflow" in set(imports(ROOT / "hpo/tracking/mlflow/client.py"))
    assert "ray" in set(imports(ROOT / "hpo/execution/ray.py"))
    assert "optuna" in set(imports(ROOT / "hpo/space.py"))


# What a quick answer must not wait for ----------------------------------------------------------------------------

STUDY = """
    name = "small"
    objective = "small_objectives:curve"
    metric = "loss"
    direction = "minimize"
    space.lr = { low = 1e-4, high = 1.0, log = true }
    budget.trials = 5
"""
OBJECTIVES = """
    LIMIT = 3
    def curve(params, seed):
        return params["lr"]
    def one(params):
        return 1.0
    def picky(params, seed):
        return 1.0
    def check(params):
        raise ValueError("no data; get it")
    picky.check = check
"""
QUESTIONS = [
    (0, "--help"),
    (0, "run --help"),
    (2, "run"),
    (2, "rnu s.toml"),
    (2, "run none.toml"),
    (2, "run text"),
    (2, "run s.toml --set metrik=loss"),
    (2, "run s.toml --set metric="),
    (2, "run s.toml --set budget={}"),
    (2, "run s.toml --set budget.trials=0"),
    (2, "run s.toml --set space.lr.low=2"),
    (2, "run s.toml --set space.lr.low=0"),
    (2, "run s.toml --set space.lr.low=nan"),
    (2, "run s.toml --set space.lr.high=inf"),
    (2, "run s.toml --set sampler.name=tep"),
    (2, "run s.toml --set sampler.seed=-1"),
    (2, "run s.toml --set pruner.name=medain"),
    (2, "run s.toml --set fixed.lr=1"),
    (2, "run s.toml --set objective=absent:f"),
    (2, "run s.toml --set objective=small_objectives:crve"),
    (2, "run s.toml --set objective=small_objectives:LIMIT"),
    (2, "run s.toml --set objective=small_objectives:one"),
    (2, "run s.toml --set objective=small_objectives:picky"),
    (2, "run s.toml --set objective=['no-such-program']"),
    (2, "run s.toml --set x"),
    (2, "run s.toml --workers many"),
    (2, "run s.toml --storage text"),
    (2, "run s.toml --storage no/folder/x"),
    (2, "run s.toml --storage mysql://x/y"),
    (2, "run s.toml --storage postgresql://me:secret@127.0.0.1:1/x"),
    (2, "list"),
    (2, "show small"),
    (2, "best small"),
    (2, "delete small --yes"),
    (2, "fetch minst"),
]
# Asks every question in one process, and tells after each what has been imported by then.
ASK = """
    import io, json, sys
    from contextlib import redirect_stderr, redirect_stdout
    questions, heavy = json.loads(sys.argv[1])
    from hpo.cli import main
    answers = []
    for question in questions:
        out, err = io.StringIO(), io.StringIO()
        sys.argv = ["hpo", *question.split()]
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code or 0
        answers.append([code, err.getvalue(), [name for name in heavy if name in sys.modules]])
    print(json.dumps(answers))
"""


def test_help_and_bad_input_are_answered_without_what_is_slow_to_import(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(textwrap.dedent(STUDY))
    (tmp_path / "small_objectives.py").write_text(textwrap.dedent(OBJECTIVES))
    (tmp_path / "text").write_text("Dear diary\n")
    questions = [question for _, question in QUESTIONS]
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ASK), json.dumps([questions, HEAVY])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    for (code, question), (ended_with, said, imported) in zip(QUESTIONS, json.loads(ended.stdout), strict=True):
        assert (question, ended_with, imported) == (question, code, [])
        assert "Traceback" not in said
        assert "secret" not in said
        if said.startswith("hpo: "):
            assert said.count("\n") == 1, said
        else:
            assert question in ("--help", "run --help", "run", "rnu s.toml")
