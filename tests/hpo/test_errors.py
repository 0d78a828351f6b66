"""The error tree: exit codes derive from the class, and bad input can be told apart by program."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import hpo
from hpo import errors, requests
from hpo.cli import init as cli_init
from hpo.compare.entries import Entry, check_comparable
from hpo.errors import ClusterError, HpoError, InputError, Interrupted, MissingExtra, StorageError, StudyNotFound
from hpo.ledger import lock, snapshots
from hpo.ledger.address import parse as parse_address
from hpo.ledger.address import probe
from hpo.ledger.ledger import Ledger
from hpo.study import load, parse
from hpo.submit.launch import check_public
from hpo.submit.package import choose

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, HpoError)]
STUDY = {
    "name": "small",
    "objective": "math:sin",
    "metric": "loss",
    "direction": "minimize",
    "space": {"lr": {"low": 0.1, "high": 1.0}},
    "budget": {"trials": 3},
}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_exit_code_derives_from_the_class(cls: type[HpoError]) -> None:
    expected = 2 if issubclass(cls, InputError) else 130 if issubclass(cls, Interrupted) else 1
    assert cls("message").exit_code == expected
    assert "exit_code" not in vars(cls) or cls in (HpoError, InputError, Interrupted)


def test_the_drawn_tree_names_every_class() -> None:
    assert errors.__doc__ is not None
    for cls in CLASSES:
        assert f" {cls.__name__} " in errors.__doc__.replace("\n", " ")


def test_a_wrong_study_names_file_key_rule_and_value_as_attributes() -> None:
    with pytest.raises(InputError) as caught:
        parse(STUDY | {"budget": {"trials": 0}}, file="study.toml")
    error = caught.value
    assert (error.file, error.key, error.value) == ("study.toml", "budget.trials", 0)
    assert str(error) == f"{error.file}: {error.key}: {error.rule}, got 0"


LR = {"low": 0.1, "high": 1.0}
CONDITIONAL = {"a": {"choice": [1, 2]}, "b": LR | {"when": {"a": 2}}}
FIGURE = {"kind": "sweep", "x": "lr", "y": "loss"}
FUNCTION = 'must be one of curves, sweep, or "package.module:function"'
# What replaces a key of the study above; the key, the value and the start of the rule that the error names.
WRONG: list[tuple[dict[str, Any], str, Any, str]] = [
    ({"metric": None}, "metric", None, "must be 1 to 100 letters"),
    ({"serach": 1}, "serach", 1, "unknown key"),
    ({"fixed": 3}, "fixed", 3, "must be a table"),
    ({"fixed": {"lr": 3}}, "space.lr", 3, "is in [fixed] too"),
    ({"space": {}}, "space", {}, "must be a table with at least one parameter"),
    ({"space": {"lr": 3}}, "space.lr", 3, "must be a table such as"),
    ({"space": {"a": {"lr": LR}}}, "space.a.lr", {"lr": LR}, "a name with a dot needs quotes"),
    *[
        ({"space": {"lr": spec}}, "space.lr", spec, rule)
        for spec, rule in [
            ({"low": 2.0, "high": 1.0}, "low must be below high"),
            ({"low": -1.7e308, "high": 1.7e308}, "high - low must be finite"),
            ({"low": 0.0, "high": 1.0, "log": True}, "low must be above 0"),
            ({"low": 1.0, "high": 9.0, "log": True, "step": 1.0}, "a logarithmic range has no step"),
            ({"low": 0.0, "high": 1.0, "step": 1e-30}, "must have at most 2**53 steps"),
            ({"low": 1e16, "high": 1e16 + 4, "step": 0.5}, "step is too small"),
            ({"low": 0.0, "high": 1.0, "step": 0.3}, "high - low must be a multiple of step"),
            ({"low": 0.0, "high": 5e-324}, "low and high must be further apart"),
        ]
    ],
    ({"space": {"b": LR | {"when": {"a": 2}}}}, "space.b.when", "a", "must name a parameter that stands before"),
    ({"space": CONDITIONAL | {"b": LR | {"when": {"a": 3}}}}, "space.b.when.a", 3, "must be a value that a can have"),
    ({"enqueue": [3]}, "enqueue[0]", 3, "must be a table of parameters"),
    ({"enqueue": [{"rl": 3}]}, "enqueue[0].rl", 3, "is no parameter of the space"),
    ({"enqueue": [{"lr": 3}]}, "enqueue[0].lr", 3, "must be a number in [0.1, 1]"),
    ({"space": CONDITIONAL, "enqueue": [{"b": 0.5}]}, "enqueue[0].b", 0.5, 'must come with {"a": 2}'),
    ({"sampler": {"name": "tpee"}}, "sampler.name", "tpee", "must be one of random"),
    ({"pruner": {"name": 3}}, "pruner.name", 3, "must be one of none"),
    *[
        ({table: options}, table, options, rule)
        for table, options, rule in [
            ("sampler", {"name": "narrowing", "round": 4, "keep": 0.1}, "round * keep must be at least 2"),
            ("sampler", {"name": "narrowing", "widen": ["x"]}, "widen must name float or integer"),
            ("sampler", {"name": "tpe", "group": True, "multivariate": False}, "group = true needs"),
            ("sampler", {"name": "grid"}, "points must say how many values lr has"),
            ("sampler", {"name": "listed", "points": [{"lr": 7}]}, "points[0].lr: must be a number in"),
            ("pruner", {"name": "asha", "min_resource": 5, "max_resource": 3}, "min_resource must be below"),
            ("pruner", {"name": "threshold"}, "lower or upper must be given"),
        ]
    ],
    ({"figure": [FIGURE | {"kind": "curve"}]}, "figure[0].kind", "curve", FUNCTION),
    ({"figure": [FIGURE | {"x": "rl"}]}, "figure[0].x", "rl", "must be a parameter of the space"),
    ({"figure": [FIGURE, FIGURE]}, "figure[1].name", "small", "must be a name of its own"),
    ({"figure": [FIGURE | {"when": {"rl": 1}}]}, "figure[0].when.rl", 1, "is no parameter of the space"),
    ({"budget": {}}, "budget", {}, "must set trials, time or worker_time"),
    ({"budget": {"trials": 3, "no_improvement": 3}}, "budget.no_improvement", 3, "must be below trials"),
    ({"budget": {"trials": 0}}, "budget.trials", 0, "must be at least 1"),
    ({"arguments": {"rl": "--lr={}"}}, "arguments.rl", "--lr={}", "must be a parameter of [space] or [fixed]: lr"),
    ({"reports": {"csv": "a", "jsonl": "b"}}, "reports", {"csv": "a", "jsonl": "b"}, "must have exactly one of"),
]


@pytest.mark.parametrize(("change", "key", "value", "rule"), WRONG)
def test_every_wrong_study_names_file_key_rule_and_value(
    change: dict[str, Any], key: str, value: Any, rule: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse(STUDY | change, file="study.toml")
    error = caught.value
    assert (error.file, error.key, error.value) == ("study.toml", key, value)
    assert error.rule is not None
    assert error.rule.startswith(rule)
    assert ", got " not in error.rule
    assert re.fullmatch(f"study.toml: {re.escape(f'{key}: {error.rule}')}(, got .+)?", str(error))


TEXT = 'name = "small"\n[fixed]\naugment = true\n'


@pytest.mark.parametrize(
    ("text", "overrides", "file", "key", "value", "rule"),
    [
        ("name = ", [], "study.toml", None, None, "is not valid TOML: "),
        (None, [], "study.toml", None, None, "cannot be read: No such file or directory"),
        (TEXT, ["fixed.augment"], "--set", None, "fixed.augment", "must be key=value"),
        (TEXT, ["name.of=1"], "--set", "name.of", "small", "name must be a table"),
        (TEXT, ["fixed.augment=False"], "--set", "fixed.augment", "False", "the file has true"),
    ],
)
def test_unreadable_files_and_wrong_overrides_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    overrides: list[str],
    file: str,
    key: str | None,
    value: Any,
    rule: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("study.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        load("study.toml", overrides)
    error = caught.value
    assert (error.file, error.key, error.value) == (file, key, value)
    assert error.rule is not None
    assert error.rule.startswith(rule)
    assert str(error).startswith(": ".join(part for part in (file, key, error.rule) if part))


def test_a_missing_key_has_no_value() -> None:
    with pytest.raises(InputError) as caught:
        parse({key: value for key, value in STUDY.items() if key != "metric"}, file="study.toml")
    assert (caught.value.key, caught.value.value) == ("metric", None)


def test_a_file_can_be_added_and_all_else_stays() -> None:
    error = MissingExtra.of("sampler.name", "gp", "torch", "gp")
    located = error.within("study.toml")
    assert str(error) == "sampler.name: gp needs torch, which is not installed: pip install 'hpo-service[gp]'"
    assert str(located) == f"study.toml: {error}"
    assert (type(located), located.file, located.key, located.value) == (
        MissingExtra,
        "study.toml",
        "sampler.name",
        "gp",
    )
    assert error.file is None


def test_an_error_survives_the_way_between_processes() -> None:
    error = InputError("a.toml: x: must be 1, got 2", file="a.toml", key="x", rule="must be 1", value=2)
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), vars(back)) == (str(error), vars(error))


def test_a_storage_that_cannot_be_used_is_bad_input_and_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        probe(parse_address(str(tmp_path / "none" / "hpo.journal")), create=True)
    assert isinstance(caught.value, InputError)
    assert issubclass(errors.ClusterUnusable, ClusterError)


def test_a_second_driver_gets_an_error_of_its_own(tmp_path: Path) -> None:
    where = parse_address(str(tmp_path / "hpo.journal"))
    held = lock.acquire(where, "small")
    try:
        with pytest.raises(errors.StudyLocked, match="being run by pid"):
            lock.acquire(where, "small")
    finally:
        held.release()


# Errors that are not about a study file ------------------------------------------------------------------------------


def refused(call: Callable[[], object]) -> InputError:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value


def test_errors_outside_a_study_file_name_what_they_are_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.toml").touch()
    (tmp_path / "train.ipynb").touch()
    init = partial(cli_init.init, metric="loss", direction=None)
    error = refused(lambda: init(tmp_path / "there.toml", objective="train.py"))
    assert error.file == str(tmp_path / "there.toml")
    error = refused(lambda: init(tmp_path / "new.toml", objective="missing.py"))
    assert (error.file, error.key) == ("missing.py", "--objective")
    error = refused(lambda: init(tmp_path / "new.toml", objective="train.ipynb"))
    assert (error.file, error.key) == ("train.ipynb", "--objective")

    error = refused(lambda: hpo.run(STUDY, workers=0, metric="loss"))
    assert (error.key, error.rule) == ("metric", "keys of a study go beside a function, not beside a file or a mapping")
    error = refused(lambda: hpo.run(lambda params, seed: 0.0, workers=0, metric="loss", space=STUDY["space"]))
    assert error.key == "objective"

    studies = [parse(STUDY, file="one.toml"), parse(STUDY | {"name": "two", "direction": "maximize"}, file="two.toml")]
    entries = [Entry(study, study.name) for study in studies]
    error = refused(lambda: check_comparable(entries, pytest.fail))
    assert (error.file, error.key, error.value) == ("two.toml", "direction", "maximize")
    error = refused(lambda: check_comparable(entries[:1] * 2, pytest.fail))
    assert (error.key, error.value) == ("name", ["small", "small"])

    (tmp_path / "link").symlink_to("/etc/hostname")
    error = refused(lambda: choose(tmp_path))
    assert (error.file, error.value) == ("link", "/etc/hostname")
    error = refused(lambda: check_public("--storage", "postgresql://me:secret@host/db"))
    assert (error.key, error.value) == ("--storage", None)  # a secret is no attribute either


def test_what_a_ledger_refuses_names_key_rule_and_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def storage(url: str) -> None:
        probe(parse_address(url), create=True)

    Path("text").write_text("Dear diary\n")
    for url, rule in (("text", "text is not an Optuna journal file"), ("no/x.db", "cannot make no/x.db: there is no")):
        error = refused(partial(storage, url))
        assert (error.key, error.value) == ("storage", url)
        assert error.rule is not None
        assert error.rule.startswith(rule)
        assert str(error) == f"storage: {error.rule}"
    error = refused(lambda: parse_address("mysql://me:secret@host/db"))
    assert (error.key, error.value) == ("storage", "mysql://me:***@host/db")

    connection = hpo.connect(STUDY)
    where = parse_address("hpo.journal")
    calls: list[Callable[[], object]] = [
        lambda: hpo.read("smal"),
        lambda: Ledger.reopen(where, "smal"),
        lambda: requests.ask(where, "smal", "ask", {}),
        lambda: snapshots.delete(where, "smal"),
    ]
    for call in calls:
        error = refused(call)
        rule = "there is no study 'smal' in hpo.journal; did you mean 'small'?"
        assert (type(error), error.key, error.rule, error.value) == (StudyNotFound, "name", rule, "smal")
        assert str(error) == rule

    error = refused(lambda: connection.tell(7, 0.5))
    assert (error.key, error.value) == ("trial", 7)
    assert error.rule is not None
    assert error.rule.startswith("there is no trial 7; ")
    assert str(error) == f"hpo tell small 7: {error.rule}"
    asked = connection.ask()
    assert asked is not None
    error = refused(lambda: connection.request("tell", trial=asked.number, value="many"))
    assert (error.key, error.value) == ("value.loss", "many")
