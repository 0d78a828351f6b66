"""Study files: what is read, and one clear message for everything that is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import InputError
from hpo.study import Named, TrialSettings, load, parse
from hpo.study.algorithms import PRUNERS, SAMPLERS
from hpo.study.budget import Budget
from hpo.study.command import Command
from hpo.study.workers import Resources

SAMPLER_NAMES, PRUNER_NAMES = ", ".join(SAMPLERS), ", ".join(PRUNERS)

MINIMAL = """\
name = "small"
objective = "pkg.mod:objective"
metric = "loss"
direction = "minimize"

[space]
lr = { low = 1e-6, high = 1e-2, log = true }

[budget]
trials = 10
"""

FULL = (
    MINIMAL
    + """
[fixed]
hidden = [100, 100]
dataset = "digits"
schedule = { kind = "step", every = 3 }

[sampler]
name = "tpe"
seed = 7
n_startup_trials = 3

[pruner]
name = "median"
n_warmup_steps = 4

[trial]
retries = 1
timeout = "1h30m"

[workers]
cpus = 0.5
gpus = 1
memory = 2e9
resources = { TPU = 1, "node_type:big" = 0.5 }
"""
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.toml"
    path.write_text(MINIMAL)
    return path


def refusal(path: Path, *overrides: str) -> str:
    """The message, without the file that it begins with."""
    with pytest.raises(InputError) as raised:
        load(path, overrides)
    message = str(raised.value)
    start = f"{path} with --set: " if overrides else f"{path}: "
    assert message.startswith(start)
    assert "\n" not in message
    return message.removeprefix(start)


def changed(**keys: Any) -> dict[str, Any]:
    """The minimal study with keys replaced, or removed by ``...``."""
    raw = tomllib.loads(MINIMAL) | keys
    return {key: value for key, value in raw.items() if value is not ...}


def said(raw: Any) -> str:
    with pytest.raises(InputError) as raised:
        parse(raw, file="s.toml")
    return str(raised.value)


# What is read ------------------------------------------------------------------------------------------------------


def test_a_minimal_study_gets_the_documented_defaults(file: Path) -> None:
    study = load(file)
    assert (study.name, study.objective, study.metric, study.direction) == (
        "small",
        "pkg.mod:objective",
        "loss",
        "minimize",
    )
    assert study.fixed == {}
    assert (study.sampler, study.seed, study.pruner) == (Named("random", {}), 0, Named("none", {}))
    assert study.budget == Budget(10)
    assert study.trial == TrialSettings(retries=2, timeout=None)
    assert study.workers == Resources(cpus=1.0, gpus=0.0, memory=0.0)
    assert (study.file, study.source) == (str(file), MINIMAL)


def test_every_table_is_read(file: Path) -> None:
    file.write_text(FULL)
    study = load(file)
    assert study.fixed == {"hidden": [100, 100], "dataset": "digits", "schedule": {"kind": "step", "every": 3}}
    assert study.sampler.name == "tpe"
    assert study.sampler.options["n_startup_trials"] == 3
    assert study.seed == 7
    assert study.pruner.options["n_warmup_steps"] == 4
    assert study.trial == TrialSettings(1, 5400.0)
    assert study.workers == Resources(0.5, 1.0, 2e9, {"TPU": 1.0, "node_type:big": 0.5})


def test_a_command_is_an_objective_too() -> None:
    objective = parse(changed(objective=["./train", "--lr={lr}"]), file="s").objective
    assert isinstance(objective, Command)
    assert objective.words == ("./train", "--lr={lr}")


def test_the_byte_order_mark_of_some_editors_is_no_error(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(file).name == "small"


def test_windows_line_ends_are_no_error(file: Path) -> None:
    file.write_bytes(MINIMAL.replace("\n", "\r\n").encode())
    assert load(file).name == "small"


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[3].glob("studies/*.toml")), ids=lambda path: path.name)
def test_every_study_of_the_repository_is_valid(path: Path) -> None:
    assert load(path).budget.trials > 0


def test_identity_is_what_makes_trials_comparable() -> None:
    study = parse(changed(), file="s")
    same = parse(changed(budget={"trials": 99}, sampler={"name": "tpe", "seed": 3}, trial={"retries": 0}), file="t")
    assert same.identity() == study.identity()
    for change in (
        {"metric": "acc"},
        {"direction": "maximize"},
        {"objective": "a:b"},
        {"fixed": {"x": 1}},
        {"space": {"lr": {"low": 1e-7, "high": 1e-2, "log": True}}},
    ):
        assert parse(changed(**change), file="s").identity() != study.identity()


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"metrik": 1}, "metrik: unknown key; did you mean 'metric'?"),
        ({"name": ...}, "name: is missing; it must be 1 to 100 letters, digits, dots, dashes or underscores, "),
        (
            {"objective": ...},
            'objective: is missing; it must be "package.module:name", or a command as a list of words',
        ),
        ({"space": ...}, "space: is missing; it must be a table"),
        ({"budget": ...}, "budget: is missing; it must be a table"),
        ({"budget": {}}, "budget: must set trials, time or worker_time"),
        ({"budget": {"trials": 0}}, "budget.trials: must be at least 1, got 0"),
        ({"budget": {"trials": 1.5}}, "budget.trials: must be a whole number, got 1.5"),
        ({"budget": {"trial": 3}}, "budget.trial: unknown key; did you mean 'trials'?"),
        ({"name": "a b"}, "name: must be 1 to 100 letters, digits, dots, dashes or underscores, a letter or digit "),
        ({"name": "../x"}, "name: must be 1 to 100 letters, digits, dots, dashes or underscores, a letter or digit "),
        ({"direction": "max"}, 'direction: must be one of minimize, maximize, got "max"'),
        ({"metric": "a(b)"}, "metric: must be 1 to 100 letters, digits, spaces or _ . : - /, a letter or digit at "),
        ({"objective": "train.py"}, 'objective: must be "package.module:name", or a command as a list of words, got "'),
        ({"objective": "a..b:c"}, 'objective: must be "package.module:name", or a command as a list of words, got "'),
        ({"objective": "a:b.:c"}, 'objective: must be "package.module:name", or a command as a list of words, got "'),
        ({"objective": []}, 'objective: must be "package.module:name", or a command as a list of words, got []'),
        ({"objective": ["a", 1]}, 'objective: must be "package.module:name", or a command as a list of words, got ["'),
        ({"fixed": 3}, "fixed: must be a table, got 3"),
        ({"fixed": {"x": float("nan")}}, "fixed.x: must hold finite numbers only, got NaN"),
        ({"fixed": {"lr": 1}}, "space.lr: is in [fixed] too; a parameter is either searched or fixed"),
        ({"fixed": {"a=b": 1}}, "fixed.a=b: must be 1 to 100 letters, digits, spaces or _ . : - /"),
        ({"sampler": {"name": "tpee"}}, f"sampler.name: must be one of {SAMPLER_NAMES}"),
        ({"sampler": {"name": 3}}, f"sampler.name: must be one of {SAMPLER_NAMES}"),
        ({"sampler": {"sed": 3}}, "sampler.sed: unknown key; did you mean 'seed'?"),
        ({"sampler": {"seed": -1}}, "sampler.seed: must be at least 0, got -1"),
        ({"sampler": {"seed": 2**32}}, f"sampler.seed: must be at most {2**32 - 1}, got {2**32}"),
        ({"sampler": {"name": "tpe", "n_startup_trials": "3"}}, 'sampler.n_startup_trials: must be a whole '),
        ({"sampler": "tpe"}, 'sampler: must be a table, got "tpe"'),
        ({"pruner": {"name": "medain"}}, f"pruner.name: must be one of {PRUNER_NAMES}"),
        ({"pruner": {"name": "median", "n_warmup": 3}}, "pruner.n_warmup: unknown key; did you mean 'n_warmup_steps'?"),
        ({"trial": {"timeout": "soon"}}, 'trial.timeout: must be a duration such as "90s", "30m" or "1h30m"'),
        ({"trial": {"retries": -1}}, "trial.retries: must be at least 0, got -1"),
        ({"workers": {"cpus": 0}}, "workers.cpus: must be above 0, got 0"),
        ({"workers": {"gpus": float("inf")}}, "workers.gpus: must be finite, got Infinity"),
        ({"workers": {"resources": 1}}, "workers.resources: must be a table, got 1"),
        ({"workers": {"resources": {"CPU": 1}}}, "workers.resources: must hold custom resources only; CPU is "),
        ({"workers": {"resources": {"": 1}}}, "workers.resources: must hold names of resources, a letter first, "),
        ({"workers": {"resources": {"TPU": "1"}}}, 'workers.resources: each amount must be a number, got {"TPU": "1"}'),
        ({"workers": {"resources": {"TPU": 0}}}, "workers.resources: each amount must be at least 0.0001, got "),
        ({"space": {}}, "space: must be a table with at least one parameter, got {}"),
    ],
)  # fmt: skip
def test_wrong_input_names_file_key_rule_and_value(keys: dict[str, Any], message: str) -> None:
    assert said(changed(**keys)).startswith(f"s.toml: {message}")


def test_a_name_that_is_nearly_right_is_corrected() -> None:
    assert said(changed(sampler={"name": "tpee"})).endswith(", got \"tpee\"; did you mean 'tpe'?")
    assert said(changed(pruner={"name": "medain"})).endswith(", got \"medain\"; did you mean 'median'?")


def test_an_option_belongs_to_its_own_sampler() -> None:
    assert said(changed(sampler={"name": "random", "n_startup_trials": 3})).startswith(
        "s.toml: sampler.n_startup_trials: unknown key; "
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name == 3", "is not valid TOML: Invalid value (at line 1, column 7)"),
        (b'name = "a"\nname = "b"', "is not valid TOML: Cannot overwrite a value"),
        (b"[space", "is not valid TOML: Expected ']' at the end of a table declaration"),
        (b"\xff\xfe", "is not valid TOML: 'utf-8' codec can't decode"),
        (b"seed = " + b"1" * 5000, "is not valid TOML: Exceeds the limit"),
        (b"x = " + b"[" * 5000, "is nested too deeply"),
        (b".".join([b"fixed"] + [b"a"] * 1500) + b" = 1\n" + MINIMAL.encode(), "is nested too deeply"),
        (b"", "name: is missing; it "),
    ],
    ids=["syntax", "twice", "open", "bytes", "digits", "brackets", "dots", "empty"],
)
def test_a_file_that_is_no_study_is_refused(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    assert refusal(file).startswith(message)


def test_a_date_is_refused_where_json_has_none(file: Path) -> None:
    file.write_text(MINIMAL + "[fixed]\nsince = 1979-05-27\n")
    assert refusal(file).startswith("fixed.since: must hold text, numbers, ")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert refusal(path) == f"cannot be read: No such file or directory; to write one: hpo init {path}"
    assert refusal(tmp_path) == "cannot be read: Is a directory"


# --set -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("budget.trials=200", ["budget", "trials"], 200),
        ("budget.trials = 200 ", ["budget", "trials"], 200),
        ("name=other", ["name"], "other"),
        ('name="other"', ["name"], "other"),
        ("sampler.name=tpe", ["sampler", "name"], "tpe"),
        ("fixed.hidden=[1, 2]", ["fixed", "hidden"], [1, 2]),
        ("fixed.text=a = b", ["fixed", "text"], "a = b"),
        ("fixed.deep.er=true", ["fixed", "deep"], {"er": True}),
        ("space.lr.low=1e-5", ["space", "lr", "low"], 1e-5),
        ("space.lr={ low = 1, high = 2 }", ["space", "lr", "high"], 2),
        ("fixed.two=1\nlines = 2", ["fixed", "two"], "1\nlines = 2"),
    ],
)
def test_an_override_replaces_one_key(file: Path, override: str, path: list[str], value: Any) -> None:
    found: Any = load(file, [override]).resolved
    for key in path:
        found = found[key]
    assert found == value


def test_the_last_of_two_overrides_counts(file: Path) -> None:
    assert load(file, ["budget.trials=3", "budget.trials=4"]).budget.trials == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget", "--set: must be key=value, got 'budget'"),
        ("=3", "--set: must be key=value, got '=3'"),
        ("budget..trials=3", "--set: must be key=value, got 'budget..trials=3'"),
        ("name.first=3", '--set: name.first: name must be a table, got "small"'),
        ("space.lr.low.x=3", "--set: space.lr.low.x: space.lr.low must be a table, got 1e-06"),
    ],
)
def test_an_override_that_cannot_be_one_is_refused(file: Path, override: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load(file, [override])
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.trials=many", 'budget.trials: must be a whole number, got "many"'),
        ("budget.trials=", 'budget.trials: must be a whole number, got ""'),
        ("budget.trails=3", "budget.trails: unknown key; did you mean 'trials'?"),
        ("sampler.name=3", f"sampler.name: must be one of {SAMPLER_NAMES}"),
        ("space.lr.low=1", "space.lr: low must be below high, got low = 1, high = 0.01"),
        ("space.lr.low=" + "[" * 5000, "is nested too deeply"),
    ],
)
def test_an_overridden_value_keeps_the_rules_of_its_key(file: Path, override: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load(file, [override])
    assert message in str(raised.value)
