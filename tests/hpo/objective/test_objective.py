"""The objective contract: what a study may name, what it may report, and what is said when it is neither."""

from __future__ import annotations

import fractions
import sys
from collections.abc import Generator, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.errors import InputError
from hpo.objective import contract as objective

MODULES = {
    "good.py": """
        import math
        LIMIT = 3
        def curve(params, seed):
            yield {"loss": params["lr"]}
        def number(params, seed=0):
            return 1.0
        def one(params):
            return 1.0
        def many(params, seed, width):
            return 1.0
        class Family:
            def method(params, seed):
                return 2.0
        class Callable:
            def __call__(self, params, seed):
                return 3.0
        instance = Callable()
    """,
    "pkg/__init__.py": "",
    "pkg/inner.py": "def objective(params, seed): return 1.0",
    "needy.py": "import numpy\nimport not_installed_anywhere",
    "raising.py": "x = 1\nraise ValueError('no licence')",
    "leaving.py": "import sys\nsys.exit('usage: leaving.py DATA')",
    "unfinished.py": "def f(:\n    pass",
    "self_named.py": "import self_named.part",
}

# The end of a message about a module that is not there.
NOWHERE = " in the working folder, the study file's folder or the environment"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working folder holds a few importable modules; afterwards they are forgotten."""
    import textwrap

    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    tops = {name.split("/")[0].removesuffix(".py") for name in MODULES}
    for name in [name for name in sys.modules if name.split(".")[0] in tops]:
        del sys.modules[name]


def refusal(reference: str | tuple[str, ...]) -> str:
    with pytest.raises(InputError) as raised:
        objective.resolve(reference)
    return str(raised.value)


# Resolving ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    "reference",
    ["good:curve", "good:number", "pkg.inner:objective", "good:Family.method", "good:instance"],
)
def test_what_can_be_called_with_params_and_seed_is_an_objective(reference: str) -> None:
    assert callable(objective.resolve(reference))


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (
            "absent:f",
            "cannot import 'absent:f': there is no module 'absent'" + NOWHERE,
        ),
        (
            "absent.deep.er:f",
            "cannot import 'absent.deep.er:f': there is no module 'absent'" + NOWHERE,
        ),
        (
            "pkg.outer:f",
            "cannot import 'pkg.outer:f': there is no module 'pkg.outer'" + NOWHERE,
        ),
        (
            "good.part:f",
            "cannot import 'good.part:f': there is no module 'good.part'" + NOWHERE,
        ),
        ("good:curv", "good:curv: there is no 'curv' in good; did you mean 'curve'?"),
        ("good:Family.nothing", "good:Family.nothing: there is no 'nothing' in good; known are method"),
        ("good:LIMIT", "good:LIMIT is not callable, it is of type int"),
        ("good:math", "good:math is not callable, it is of type module"),
        ("good:one", "good:one must accept (params, seed): too many positional arguments"),
        ("good:many", "good:many must accept (params, seed): missing a required argument: 'width'"),
    ],
)
def test_what_cannot_be_one_is_told_which_part_failed(reference: str, said: str) -> None:
    assert refusal(reference) == f"objective: {said}"


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("module", "what", "line"),
    [
        ("needy", "ModuleNotFoundError: No module named 'not_installed_anywhere'", 2),
        ("raising", "ValueError: no licence", 2),
        ("leaving", "SystemExit: usage: leaving.py DATA", 2),
        ("self_named", "ModuleNotFoundError: No module named 'self_named.part'; 'self_named' is not a package", 1),
    ],
)
def test_a_module_whose_own_import_fails_says_what_and_where(module: str, what: str, line: int, tmp_path: Path) -> None:
    assert refusal(f"{module}:f") == (
        f"objective: {module} was found, but importing it failed at {tmp_path / module}.py, line {line}: {what}"
    )


@pytest.mark.usefixtures("modules")
def test_a_syntax_error_says_its_place() -> None:
    said = refusal("unfinished:f")
    assert said.startswith("objective: unfinished was found, but importing it failed: SyntaxError: ")
    assert said.endswith("(unfinished.py, line 1)")


def test_a_builtin_without_a_signature_is_refused() -> None:
    assert refusal("builtins:max").startswith("objective: builtins:max must accept (params, seed): ")


# Checking ----------------------------------------------------------------------------------------------------------


def with_check(error: BaseException | None) -> Any:
    def run(params: Mapping[str, Any], seed: int) -> float:
        return 1.0

    def check(params: Mapping[str, Any]) -> None:
        seen.append(params)
        if error is not None:
            raise error

    seen: list[Mapping[str, Any]] = []
    run.check = check
    run.seen = seen
    return run


def test_an_objective_sees_every_corner_before_any_work_starts() -> None:
    run = with_check(None)
    objective.check(run, [{"lr": 1}, {"lr": 2}])
    assert run.seen == [{"lr": 1}, {"lr": 2}]
    objective.check(lambda params, seed: 1.0, [{"lr": 1}])


@pytest.mark.parametrize("error", [ValueError("lr must be positive"), FileNotFoundError(2, "No such file", "x.npz")])
def test_what_an_objective_refuses_is_said_in_its_own_words(error: Exception) -> None:
    with pytest.raises(InputError) as raised:
        objective.check(with_check(error), [{}])
    assert str(raised.value) == f"objective: {error}"


@pytest.mark.parametrize("error", [KeyError("dataset"), AttributeError("no such"), ZeroDivisionError()])
def test_a_check_that_is_itself_broken_says_where(error: Exception) -> None:
    with pytest.raises(InputError) as raised:
        objective.check(with_check(error), [{}])
    said = str(raised.value)
    assert said.startswith(f"objective: its own check of the parameters failed at {__file__}, line ")
    assert said.endswith(f"{type(error).__name__}: {error}")


# Reports -----------------------------------------------------------------------------------------------------------


def reported(result: Any) -> list[dict[str, float]]:
    return list(objective.reports(lambda params, seed: result, {}, 0, "loss"))


@pytest.mark.parametrize(
    "number",
    [
        2,
        2.0,
        np.float32(2),
        np.float64(2),
        np.int64(2),
        np.uint8(2),
        np.array(2.0),
        np.array(2, dtype=np.int32),
        fractions.Fraction(2),
    ],
)
def test_a_plain_number_is_one_report_of_the_studys_metric(number: Any) -> None:
    (report,) = reported(number)
    assert report == {"loss": 2.0}
    assert type(report["loss"]) is float


def test_a_mapping_is_one_report_and_an_iterator_several() -> None:
    assert reported({"loss": 1, "acc": np.float32(0.5)}) == [{"loss": 1.0, "acc": 0.5}]
    assert reported(iter([3, {"loss": 2}])) == [{"loss": 3.0}, {"loss": 2.0}]
    assert reported(value for value in (3, 2)) == [{"loss": 3.0}, {"loss": 2.0}]
    assert reported(iter([])) == []


class Name(str):
    """A name that is equal to nothing."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return False


class Loss(float):
    """A number of a class of the study's own."""


def test_names_and_numbers_of_the_studys_own_classes_become_plain_ones() -> None:
    (report,) = objective.reports(lambda params, seed: {Name("loss"): Loss(0.5)}, {}, 0, "loss")

    assert report == {"loss": 0.5}
    assert [(type(name), type(value)) for name, value in report.items()] == [(str, float)]


@pytest.mark.parametrize(
    "result",
    [(0.2, 0.8), [0.2, 0.8], [{"loss": 0.2}], np.array([0.2, 0.8]), np.array([0.2]), {0.2}, [], {"loss": 0.2}.values()],
)
def test_several_numbers_without_names_are_refused(result: Any) -> None:
    with pytest.raises(
        TypeError, match=r"must return a mapping of metric names to numbers, or a number, got .*give each number a name"
    ):
        reported(result)


def test_nothing_that_user_code_gets_is_shared_with_another_trial() -> None:
    params = {"layers": [16]}

    def run(params: dict[str, Any], seed: int) -> float:
        params["layers"].append(8)
        return float(len(params["layers"]))

    run.check = lambda params: params["layers"].append(4)  # type: ignore[attr-defined]
    run.data = lambda params: params.clear() or []  # type: ignore[attr-defined]
    objective.check(run, [params])
    assert objective.data(run, params) == []
    assert [list(objective.reports(run, params, 0, "loss")) for _ in range(2)] == [[{"loss": 2.0}]] * 2
    assert params == {"layers": [16]}


def test_an_objective_gets_params_and_seed() -> None:
    seen: list[Any] = []

    def run(params: Mapping[str, Any], seed: int) -> Generator[float, None, None]:
        seen.append((params, seed))
        yield 1.0
        yield 0.5

    assert list(objective.reports(run, {"lr": 0.1}, 7, "loss")) == [{"loss": 1.0}, {"loss": 0.5}]
    assert seen == [({"lr": 0.1}, 7)]


@pytest.mark.parametrize(
    ("garbage", "shown"),
    [
        (None, "None"),
        ("0.5", "'0.5'"),
        (b"0.5", "b'0.5'"),
        ({}, "{}"),
        (True, "True"),
        (np.True_, "np.True_"),
        (1j, "1j"),
        (np.complex64(1), "np.complex64(1+0j)"),
        (np.str_("a"), "np.str_('a')"),
        (Decimal(1), "Decimal('1')"),
        (iter([None]), "None"),
        (iter([[0.5]]), "[0.5]"),
        (iter([(0.5,)]), "(0.5,)"),
        (iter([np.ones(2)]), "array([1., 1.])"),
    ],
)
def test_what_is_no_report_is_shown(garbage: Any, shown: str) -> None:
    with pytest.raises(TypeError) as raised:
        reported(garbage)
    assert str(raised.value) == f"a report must be a mapping of metric names to numbers, or a number, got {shown}"


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({"loss": "0.5"}, "'loss': '0.5'"),
        ({"loss": None}, "'loss': None"),
        ({"loss": 1.0, "done": True}, "'done': True"),
        ({3: 1.0}, "3: 1.0"),
        ({"loss": np.ones(1)}, "'loss': array([1.])"),
    ],
)
def test_a_metric_that_is_no_number_is_named(metrics: Any, shown: str) -> None:
    with pytest.raises(TypeError) as raised:
        reported(metrics)
    assert str(raised.value) == f"a report must be a mapping of metric names to numbers, got {shown}"


def test_a_huge_report_is_shortened_in_its_message() -> None:
    with pytest.raises(TypeError) as raised:
        reported("x" * 10_000)
    assert len(str(raised.value)) < 200


def test_closing_the_reports_runs_what_the_objective_does_at_its_end() -> None:
    done: list[str] = []

    def run(params: Mapping[str, Any], seed: int) -> Generator[float, None, None]:
        try:
            while True:
                yield 1.0
        finally:
            done.append("closed")

    running = objective.reports(run, {}, 0, "loss")
    next(running)
    next(running)
    assert done == []
    running.close()
    assert done == ["closed"]


def test_a_bad_report_closes_the_objective_too() -> None:
    done: list[str] = []

    def run(params: Mapping[str, Any], seed: int) -> Generator[Any, None, None]:
        try:
            yield 1.0
            yield "nonsense"
        finally:
            done.append("closed")

    with pytest.raises(TypeError, match="a report must be"):
        list(objective.reports(run, {}, 0, "loss"))
    assert done == ["closed"]


def test_what_an_objective_raises_is_raised() -> None:
    def run(params: Mapping[str, Any], seed: int) -> Generator[float, None, None]:
        yield 1.0
        raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        list(objective.reports(run, {}, 0, "loss"))


# Checkpoints -------------------------------------------------------------------------------------------------------


def test_only_an_objective_that_names_a_checkpoint_gets_a_folder(tmp_path: Path) -> None:
    def plain(params: Mapping[str, Any], seed: int) -> float:
        return 1.0

    def saving(params: Mapping[str, Any], seed: int, checkpoint: str | None = None) -> float:
        return float(checkpoint is not None and Path(checkpoint).is_dir())

    assert list(objective.reports(plain, {}, 0, "x", checkpoint=str(tmp_path / "a"))) == [{"x": 1.0}]
    assert not (tmp_path / "a").exists()
    assert list(objective.reports(saving, {}, 0, "x", checkpoint=str(tmp_path / "b" / "c"))) == [{"x": 1.0}]
    assert list(objective.reports(saving, {}, 0, "x")) == [{"x": 0.0}]
