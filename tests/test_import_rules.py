"""Who may import whom: read from the source, and seen in a process that only answers a question."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from hpo.study.algorithms import PRUNERS, SAMPLERS

ROOT = Path(__file__).parents[1]
# From top to bottom: a module imports from its own layer and from those below it, wherever the import stands, and also
# where it is only for types (to know a name is to depend on it). hpo/__init__.py and __main__.py are the front door.
LAYERS = (
    ("hpo.cli", "hpo.api", "hpo.testing", "hpo.__main__", "hpo.callbacks", "hpo.sklearn"),
    (
        "hpo.service",
        "hpo.requests",
        "hpo.transfers",
        "hpo.serve",
        "hpo.checks",
        "hpo.executors",
        "hpo.interrupts",
        "hpo.mirroring",
        "hpo.background",
        "hpo.publish",
        "hpo.evaluation",
        "hpo.progress",
        "hpo.diagnosis",
        "hpo.datasets",
    ),
    ("hpo.compare", "hpo.submit"),
    ("hpo.search",),
    ("hpo.moving",),
    ("hpo.tracking", "hpo.report"),
    ("hpo.insight",),
    ("hpo.execution",),
    ("hpo.objective",),
    ("hpo.ledger",),
    ("hpo.samplers", "hpo.pruners"),
    ("hpo.study",),
    (
        "hpo.trial",
        "hpo.best",
        "hpo.so_far",
        "hpo.fronts",
        "hpo.statistics",
        "hpo.text",
        "hpo.imports",
        "hpo.machine",
        "hpo.errors",
    ),
)
# All other code goes through the package that owns the vendor.
OWNERS = {
    "ray": ("hpo/execution/", "hpo/submit/"),
    "mlflow": ("hpo/tracking/",),
    "matplotlib": ("hpo/report/", "hpo/compare/"),
    "typer": ("hpo/cli/",),
    "rich": ("hpo/cli/", "hpo/progress.py"),
    "psycopg": ("hpo/ledger/",),
    "sqlalchemy": ("hpo/ledger/",),
    "pytest": ("hpo/testing/",),
    "hypothesis": ("hpo/testing/",),
}
# Where a trial may be Optuna's own record; everywhere else it is hpo.trial.Trial.
FROZEN_TRIAL = (
    "hpo/ledger/",
    "hpo/samplers/",
    "hpo/pruners/",
    "hpo/search/advisor.py",
    "hpo/insight/importance.py",
)
# Where samplers and pruners are known by name: their table, they themselves, and a contract that tries them together.
# (What lies behind the curves of a figure is a grid, too.)
NAMING = ("hpo/study/algorithms.py", "hpo/samplers/", "hpo/pruners/", "hpo/testing/", "hpo/report/figures/style.py")
# The words of the trainer and of the chapter; the service knows neither.
FOREIGN = re.compile(r"chapter|trainer|mnist|validation_rate|fig[ _.-]?6", re.IGNORECASE)
HEAVY = ("ray", "mlflow", "matplotlib", "optuna", "sqlalchemy", "sklearn", "scipy", "pandas")


def test_the_architecture_page_draws_the_same_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| layer |")[2].partition("\n\n")[0]
    drawn = [set(re.findall(r"`([\w/]+?)(?:/|\.py)`", row.split("|")[1])) for row in table.splitlines()[2:]]
    assert drawn == [{part.removeprefix("hpo.") for part in layer} - {"__main__"} for layer in LAYERS]


def test_the_architecture_page_names_every_vendor_that_has_a_place() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert not [vendor for vendor in OWNERS if f"`{vendor}`" not in page]


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    return name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module(path): path for folder in ("hpo", "trainer", "chapter") for path in sources(folder)}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(nodes: Iterable[ast.AST], path: Path) -> Iterator[str]:
    """The modules that these nodes import, by their full names; relative imports are forbidden."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


@cache
def all_imports(path: Path) -> frozenset[str]:
    """What a file imports, anywhere in it."""
    return frozenset(imports(ast.walk(tree(path)), path))


def packages(path: Path) -> set[str]:
    """The top-level names of what a file imports, anywhere in it."""
    return {imported.split(".")[0] for imported in all_imports(path)}


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: not the bodies of functions, and not what is there for types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from executed(child)


def layer(imported: str) -> int | None:
    """The row of the table in which a module stands; None for a module that has no row."""
    for row, members in enumerate(LAYERS):
        if any(imported == member or imported.startswith(member + ".") for member in members):
            return row
    return None


def test_the_trainer_knows_nothing_of_the_service() -> None:
    foreign = {"hpo", "optuna", "ray", "mlflow", "matplotlib"}
    assert not [f"{name(path)}: {found}" for path in sources("trainer") for found in foreign & packages(path)]


def test_the_service_knows_nothing_of_the_trainer_and_the_chapter() -> None:
    assert not [name(path) for path in sources("hpo") if {"trainer", "chapter"} & packages(path)]


@pytest.mark.parametrize("vendor", OWNERS)
def test_a_vendor_has_one_place(vendor: str) -> None:
    places = [name(path) for path in sources("hpo") if vendor in packages(path)]
    assert not [place for place in places if not place.startswith(OWNERS[vendor])]


def test_a_layer_imports_only_from_itself_and_from_those_below() -> None:
    upwards = []
    for path in sources("hpo"):
        if (importer := module(path)) == "hpo":
            continue
        own = layer(importer)
        if own is None:
            upwards.append(f"{importer} has no layer")
            continue
        for imported in sorted(all_imports(path)):
            # `import hpo` itself reads the version: the package is imported before any of its modules anyway.
            if imported.startswith("hpo.") and ((found := layer(imported)) is None or found < own):
                upwards.append(f"{importer} imports {imported}")
    assert not upwards


def test_nobody_imports_the_command_line() -> None:
    own = ("hpo/cli/", "hpo/__main__.py")
    others = [path for folder in ("hpo", "chapter", "benchmarks") for path in sources(folder)]
    found = [
        f"{name(path)}: {imported}"
        for path in others
        if not name(path).startswith(own)
        for imported in sorted(all_imports(path))
        if imported.startswith("hpo.cli")
    ]
    assert not found


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Each module can be imported first, whatever the others do."""
    ahead = {start: set(imports(executed(tree(path)), path)) & set(MODULES) for start, path in MODULES.items()}
    cycles = []
    for start in MODULES:
        reached: set[str] = set()
        waiting = [start]
        while waiting:
            new = ahead[waiting.pop()] - reached
            reached |= new
            waiting += new
        if start in reached:
            cycles.append(start)
    assert not cycles


def test_optunas_own_record_of_a_trial_stays_where_optuna_is() -> None:
    places = [name(path) for path in sources("hpo") if "FrozenTrial" in path.read_text(encoding="utf-8")]
    assert not [place for place in places if not place.startswith(FROZEN_TRIAL)]
    assert not [allowed for allowed in FROZEN_TRIAL if not any(place.startswith(allowed) for place in places)]


def test_only_the_space_asks_what_kind_a_parameter_is() -> None:
    ladders = []
    for path in sources("hpo"):
        if name(path).startswith("hpo/study/"):
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                kinds = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
                kinds |= {part.attr for part in ast.walk(node.args[1]) if isinstance(part, ast.Attribute)}
                if kinds & {"Float", "Int", "Choice"}:
                    ladders.append(f"{name(path)}:{node.lineno}")
    assert not ladders


def test_nothing_but_their_table_knows_a_sampler_or_pruner_by_its_name() -> None:
    """What is special about one is said in its row: a new one needs no change elsewhere."""
    rows = SAMPLERS | PRUNERS
    names = rows.keys() - {"none"}  # which other keys may say, too
    modules = {row.path.partition(":")[0] for row in rows.values()}
    found = []
    for path in sources("hpo"):
        if name(path).startswith(NAMING):
            continue
        found += [f"{name(path)} imports {imported}" for imported in sorted(all_imports(path) & modules)]
        for node in ast.walk(tree(path)):
            compared = isinstance(node, ast.Compare) and re.search(r"\b(sampler|pruner)\.name\b", ast.unparse(node))
            if compared or (isinstance(node, ast.Constant) and node.value in names):
                found.append(f"{name(path)}: {ast.unparse(node)}")
    assert not found


def test_the_service_uses_no_word_of_the_trainer_or_the_chapter() -> None:
    # Libraries that callbacks are for have a Trainer of their own.
    own = [path for path in sources("hpo") if "callbacks" not in path.parts]
    files = [*own, *sorted((ROOT / "hpo").rglob("*.html")), *sorted((ROOT / "hpo").rglob("*.toml"))]
    found = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert not found


def test_the_rules_see_imports_inside_functions() -> None:
    assert "mlflow" in packages(ROOT / "hpo/tracking/mlflow/client.py")
    assert "ray" in packages(ROOT / "hpo/execution/ray/pool.py")
    assert "optuna" in packages(ROOT / "hpo/study/space.py")


def test_the_rules_see_which_module_of_a_package_is_imported(tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text("from hpo import service\nfrom hpo.study import Study\nimport hpo.cli.text\n")
    assert all_imports(source) == {"hpo.service", "hpo.study", "hpo.cli.text"}


def test_every_row_of_the_table_stands_for_something_that_is_there() -> None:
    assert not [member for members in LAYERS for member in members if member not in MODULES]


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
    # While another process imports the objective, this one imports what a search needs.
    (2, "run s.toml --set objective=absent:f"),
    (2, "run s.toml --set objective=small_objectives:crve"),
    (2, "run s.toml --set objective=small_objectives:LIMIT"),
    (2, "run s.toml --set objective=small_objectives:one"),
    (2, "run s.toml --set objective=small_objectives:picky"),
    (2, "run s.toml --set objective=['no-such-program']"),
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
        assert (question, ended_with) == (question, code)
        assert "objective=" in question or imported == [], question
        assert "Traceback" not in said
        assert "secret" not in said
        if said.startswith("hpo: "):
            assert said.count("\n") == 1, said
        else:
            assert question in ("--help", "run --help", "run", "rnu s.toml")
