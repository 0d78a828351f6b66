"""``--set``: text is no value where the file has one, and keys may be quoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo.errors import InputError
from hpo.study import load

STUDY = """
name = "s"
objective = ["./train"]
metric = "loss"
direction = "minimize"
[space]
"optimizer.lr" = { low = 1e-4, high = 1.0, log = true }
x = { low = 0.0, high = 1.0 }
[fixed]
augment = true
scale = 1.0
epochs = 3
layers = [16]
tag = "a"
"a.b" = 1
[budget]
trials = 3
time = 60
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.toml"
    path.write_text(STUDY)
    return path


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("fixed.augment=False", "did you mean false?"),
        ("fixed.augment=no", "did you mean false?"),
        ("fixed.augment=None", "did you mean false?"),
        ("fixed.augment=Yes", "did you mean true?"),
        ("fixed.scale=.5", "did you mean 0.5?"),
        ("fixed.scale=1.", "did you mean 1.0?"),
        ("fixed.scale=None", "the file has 1.0, got None"),
        ("fixed.epochs=five", "the file has 3, got five"),
        ("fixed.layers=16,32", "the file has [16], got 16,32"),
        ("fixed.new=True", "did you mean true?"),
        ("fixed.new=-.5e3", "did you mean -500.0?"),
        ("fixed.new=None", "has no such key, got None"),
        ("fixed.new=FALSE", "did you mean false?"),
        ("fixed.new=null", "has no such key, got null"),
        ("space.x.high=.5", "did you mean 0.5?"),
        ("workers.cpus=.5", "must be a number"),
    ],
)
def test_text_where_a_value_belongs_is_refused_with_what_was_meant(file: Path, override: str, hint: str) -> None:
    with pytest.raises(InputError) as raised:
        load(file, [override])

    assert hint in str(raised.value)
    assert override.partition("=")[0] in str(raised.value)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("fixed.augment=false", "augment", False),
        ("fixed.scale=0.5", "scale", 0.5),
        ("fixed.scale=2", "scale", 2),
        ("fixed.tag=False", "tag", "False"),  # a text stands where the file has one
        ("fixed.tag=.5", "tag", ".5"),
        ('fixed.augment="False"', "augment", "False"),
        ("fixed.new=adam", "new", "adam"),
        ("fixed.new=1.2.3", "new", "1.2.3"),
        ('fixed."a.b"=2', "a.b", 2),
        ("fixed.'a.b' = 2", "a.b", 2),
    ],
)
def test_values_and_texts_are_taken_as_they_are_written(file: Path, override: str, key: str, value: Any) -> None:
    found = load(file, [override]).fixed[key]

    assert (found, type(found)) == (value, type(value))


def test_a_duration_may_replace_a_number_of_seconds_and_a_name_a_command(file: Path) -> None:
    study = load(file, ["budget.time=1h", "objective=train:objective", "name=other"])

    assert (study.budget.time, study.objective, study.name) == (3600, "train:objective", "other")


def test_a_quoted_name_with_a_dot_is_one_name(file: Path) -> None:
    assert load(file, ['space."optimizer.lr".high=1e-2']).space["optimizer.lr"].ends == (1e-4, 1e-2)


@pytest.mark.parametrize("override", ['space."optimizer.lr.high=1', 'space."x"', '""=1', 'fixed."".b=1', '"a"\n=1'])
def test_a_key_that_is_none_is_refused(file: Path, override: str) -> None:
    with pytest.raises(InputError):
        load(file, [override])


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        (
            "optimizer.lr = { low = 0.1, high = 1.0 }",
            'space.optimizer.lr: a name with a dot needs quotes: "optimizer.lr"',
        ),
        ("a.b.c = { choice = [1] }", 'a name with a dot needs quotes: "a.b.c"'),
        ("y = { low = 0, high = 1, when = { optimizer.lr = 0.1 } }", "a name with a dot needs quotes"),
    ],
)
def test_a_name_with_a_dot_and_no_quotes_is_refused_with_the_quotes(file: Path, written: str, hint: str) -> None:
    file.write_text(STUDY.replace("[fixed]", f"{written}\n[fixed]"))

    with pytest.raises(InputError) as raised:
        load(file)

    assert hint in str(raised.value)


def test_another_sampler_or_pruner_drops_the_options_of_the_old_one(file: Path) -> None:
    file.write_text(
        f'{STUDY}[sampler]\nname = "narrowing"\nseed = 7\nround = 8\n[pruner]\nname = "asha"\nmin_resource = 1\n'
    )

    other = load(file, ["sampler.name=tpe", "pruner.name=median", "pruner.n_startup_trials=2"])
    same = load(file, ["sampler.name=narrowing", "pruner.name=asha"])

    assert (other.sampler.name, other.seed, "round" in other.sampler.options) == ("tpe", 7, False)
    assert (other.pruner.name, other.pruner.options["n_startup_trials"]) == ("median", 2)
    assert (same.sampler.options["round"], same.pruner.options["min_resource"]) == (8, 1)
