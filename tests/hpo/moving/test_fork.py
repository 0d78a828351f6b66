"""``hpo fork`` and ``[from]``: a study that begins with the trials of another one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from histories import drawn, finished, record, study_of, suggestions

from hpo import requests, transfers
from hpo.compare.comparison import trace
from hpo.errors import HpoError, InputError, StudyConflict, StudyNotFound
from hpo.insight.usage import usage
from hpo.ledger import snapshots
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.moving.take_over import take_over
from hpo.search.advisor import Advisor
from hpo.search.opening import open_edited
from hpo.study import Study, load
from hpo.study import parse as parse_study
from hpo.study.budget import BudgetMeter
from hpo.study.from_table import changes, fitted
from hpo.trial import FROM, Direction, State, Trial, has_failed, own

WIDE = {"lr": {"low": 0.1, "high": 2.0}, "drop": {"low": 0.0, "high": 0.5, "was": 0.0}}


@pytest.fixture
def where(tmp_path: Path) -> Address:
    return parse(str(tmp_path / "hpo.journal"))


def read(where: Address, name: str) -> list[Trial]:
    return snapshots.read(where, name).trials


# Which trials are valid ---------------------------------------------------------------------------------------------

CONDITIONAL = {"opt": {"choice": ["sgd", "adam"]}, "beta": {"low": 0.1, "high": 0.9, "when": {"opt": "adam"}}}


@pytest.mark.parametrize(
    ("keys", "given", "found"),
    [
        ({}, {"lr": 0.5}, {"lr": 0.5}),
        ({"space": WIDE}, {"lr": 0.5}, {"lr": 0.5, "drop": 0.0}),
        ({"space": WIDE}, {"lr": 0.5, "drop": 0.25}, {"lr": 0.5, "drop": 0.25}),
        ({"from": {"was": {"lr": 0.2}}}, {}, {"lr": 0.2}),
        ({"fixed": {"depth": 3}}, {"lr": 0.5, "depth": 3}, {"lr": 0.5}),
        ({"space": CONDITIONAL}, {"opt": "sgd"}, {"opt": "sgd"}),
        ({"space": {"lr": {"low": 1, "high": 9}}}, {"lr": 3.0}, {"lr": 3}),
        ({"space": {"lr": {"low": 0.0, "high": 0.9, "step": 0.3}}}, {"lr": 0.1 + 0.2}, {"lr": 0.3}),
    ],
)
def test_a_trial_that_is_valid_in_the_new_space(
    keys: dict[str, Any], given: dict[str, Any], found: dict[str, Any]
) -> None:
    fit = fitted(study_of("new", **keys), given)
    assert fit == found
    assert [type(value) for value in fit.values()] == [type(value) for value in found.values()]


@pytest.mark.parametrize(
    ("keys", "given", "reason"),
    [
        ({}, {"lr": 0.95}, "lr: must be a number in [0.1, 0.9], got 0.95"),
        ({"space": {"lr": {"low": 1, "high": 9}}}, {"lr": 3.5}, "lr: must be a whole number in [1, 9], got 3.5"),
        ({}, {}, "lr: is missing; if it implicitly had a value, write that as `was` in [space]"),
        ({"fixed": {"depth": 3}}, {"lr": 0.5, "depth": 4}, "depth: must be 3, as in [fixed], got 4"),
        ({"fixed": {"flag": True}}, {"lr": 0.5, "flag": 1}, "flag: must be true, as in [fixed], got 1"),
        ({}, {"lr": 0.5, "depth": 4}, "depth: is neither searched nor fixed in new, got 4"),
        ({"space": CONDITIONAL}, {"opt": "sgd", "beta": 0.5}, 'beta: must come with {"opt": "adam"}, got 0.5'),
        (
            {"constraints": {"parameters": ["lr < 0.6"]}},
            {"lr": 0.7},
            'constraints.parameters: must hold: lr < 0.6, got {"lr": 0.7}',
        ),
        ({"space": CONDITIONAL}, {"opt": "rms"}, 'opt: must be one of ["sgd", "adam"], got "rms"'),
    ],
)
def test_a_trial_that_is_not_with_the_parameter_and_the_rule(
    keys: dict[str, Any], given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(reason) + "$"):
        fitted(study_of("new", **keys), given)


def test_what_makes_the_objective_another_one() -> None:
    old = study_of("old", fixed={"depth": 3, "rate": 1, "seen": 5}, objective=["a", "{args}"], arguments={"lr": "--r"})
    assert changes(old, old) == []
    space = {"lr": {"low": 0.0, "high": 1.0}, "depth": {"low": 1, "high": 3}}
    new = study_of(
        "new", space=space, fixed={"rate": 2, "more": 1}, objective=["a", "{args}"], arguments={"depth": "-d"}
    )
    assert changes(old, new) == ["fixed.more", "fixed.rate", "fixed.seen"]
    assert changes(study_of("old"), study_of("new", metric="acc", direction="maximize")) == ["metric", "direction"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"from": {"study": ""}}, "from.study: must be a non-empty string"),
        ({"from": {"trials": "all"}}, 'from.trials: must be one of observations, enqueue, got "all"'),
        ({"from": {"count": 1}}, "from.count: must be true or false, got 1"),
        ({"from": {"name": "old"}}, "from.name: unknown key"),
        ({"from": {"was": {"depth": 1}}}, "from.was.depth: is no parameter of the space"),
        ({"space": {"lr": {"low": 1, "high": 2, "was": 3}}}, "space.lr.was: must be a whole number in [1, 2], or no"),
    ],
)
def test_a_wrong_table_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        study_of("new", **keys)
    assert f"new.toml: {said}" in str(refused.value)


def test_was_changes_neither_the_space_nor_the_identity() -> None:
    plain = {name: {key: v for key, v in spec.items() if key != "was"} for name, spec in WIDE.items()}
    assert study_of("new", space=WIDE).identity() == study_of("new", space=plain).identity()


# What the new study knows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "narrowing", "cmaes", "qmc", pytest.param("gp", marks=pytest.mark.torch)])
def test_the_sampler_goes_on_as_if_the_trials_were_its_own(where: Address, sampler: str) -> None:
    named = {"name": sampler} | ({"round": 8} if sampler == "narrowing" else {})
    space = {"lr": {"low": 0.01, "high": 0.9, "log": True}, "size": {"low": 1, "high": 9}}
    old = study_of("old", space=space)
    trials = drawn(old, 30, lambda params: params["lr"] * params["size"])
    record(where, old, trials)
    new = study_of("new", space=space, sampler=named)
    assert transfers.fork(new, where, "old").left == []

    asked = suggestions(new, read(where, "new"))

    native = study_of("native", space=space, sampler=named)
    record(where, native, trials)
    assert asked == suggestions(native, read(where, "native"))
    if sampler in ("tpe", "gp", "narrowing"):  # cmaes learns from its own trials only, and qmc not at all
        assert asked != suggestions(new, [])


def test_trials_are_taken_with_all_they_have_and_know_where_they_come_from(where: Address) -> None:
    old = study_of("old")
    trials = [finished(n, {"lr": lr}, lr, pruned=n == 2) for n, lr in enumerate((0.2, 0.1, 0.4, 0.8))]
    failed = Trial(4, {"lr": 0.3}, 9, State.FAILED, error="out of luck")
    record(where, old, [*trials, failed])
    planned = transfers.fork(study_of("new", space={"lr": {"low": 0.15, "high": 0.9}}), where, "old")
    assert planned.left == [(1, "lr: must be a number in [0.15, 0.9], got 0.1")]

    taken = read(where, "new")

    uid = snapshots.uid(where, "old")
    assert [trial.origin for trial in taken] == [(uid, "old", number) for number in (0, 2, 3)]
    assert [trial.number for trial in taken] == [0, 1, 2]
    for mine, theirs in zip(taken, [trials[0], trials[2], trials[3]], strict=True):
        for name in ("params", "seed", "state", "value", "started", "ended", "worker", "attempt"):
            assert getattr(mine, name) == getattr(theirs, name)
        assert tuple(mine.reports) == tuple(theirs.reports)
    transfers.fork(study_of("third"), where, "new")  # the origin of a trial stays where it ran
    assert [trial.origin for trial in read(where, "third")] == [trial.origin for trial in taken]


def test_the_budget_counts_own_trials_only_unless_told_otherwise(where: Address) -> None:
    record(where, study_of("old"), [finished(n, {"lr": 0.5}, 1.0) for n in range(6)])
    for count, used in ((False, 0), (True, 6)):
        new = study_of(f"new-{count}".lower(), budget={"trials": 10, "target": 2.0}, **{"from": {"count": count}})
        transfers.fork(new, where, "old")
        meter = BudgetMeter(new.budget, new.objectives, read(where, new.name))
        assert meter.finished == used
        assert (meter.spent() is not None) == count  # the target is reached by trials that count
        head = snapshots.head(where, new.name)
        assert (head["counted"], head["inherited"], head["state"]) == (used, 6, "complete" if count else "stopped")


def test_a_point_of_a_grid_that_was_taken_over_is_not_tried_again(where: Address) -> None:
    record(where, study_of("old", space={"n": {"low": 1, "high": 3}}), [finished(0, {"n": 2}, 1.0)])
    new = study_of("new", space={"n": {"low": 1, "high": 4}}, sampler={"name": "grid"})
    transfers.fork(new, where, "old")
    trials = read(where, "new")
    assert new.budget_beside(trials).most == 3
    assert sorted(params["n"] for params in suggestions(new, trials, 3)) == [1, 3, 4]


def test_inherited_trials_are_no_evidence_and_no_running_time_of_the_new_study(where: Address) -> None:
    record(where, study_of("old"), [finished(n, {"lr": 0.5}, 1.0) for n in range(6)])
    transfers.fork(study_of("new"), where, "old")
    trials = [*read(where, "new"), finished(6, {"lr": 0.6}, 3.0)]
    assert trace(trials, Direction.MINIMIZE).best.tolist() == [3.0]
    used = usage(trials)
    assert used is not None
    assert used.busy == 3.0
    assert not has_failed(trials[:6])
    assert has_failed([*trials[:6], Trial(6, {}, 1, State.FAILED)])
    assert own(trials) == trials[6:]


# Several objectives --------------------------------------------------------------------------------------------------

TWO = {"metric": None, "direction": None, "objectives": {"loss": "minimize", "acc": "maximize"}}


def two_objectives(name: str, **keys: Any) -> Study:
    raw = {**study_of(name).resolved, **TWO, **keys}
    return parse_study({key: value for key, value in raw.items() if value is not None}, file=f"{name}.toml")


def test_a_study_of_several_objectives_takes_over_all_values(where: Address) -> None:
    old = two_objectives("old", sampler={"name": "tpe"})
    trials = [
        replace(t, values=(t.params["lr"], 1 - t.params["lr"])) for t in drawn(old, 20, lambda p: p["lr"], pruned=99)
    ]
    record(where, old, trials)
    new = two_objectives("new", sampler={"name": "tpe"}, space={"lr": {"low": 0.2, "high": 0.9}})
    planned = transfers.fork(new, where, "old")
    taken = read(where, "new")
    assert len(planned.left) == sum(trial.params["lr"] < 0.2 for trial in trials) > 0
    assert [trial.values for trial in taken] == [t.values for t in trials if t.params["lr"] >= 0.2]
    native = two_objectives("native", sampler={"name": "tpe"}, space={"lr": {"low": 0.2, "high": 0.9}})
    record(where, native, [replace(trial, notes={}) for trial in taken])
    assert asked(new, taken) == asked(native, read(where, "native"))
    fewer = transfers.fork(study_of("fewer"), where, "old")
    assert (fewer.how, fewer.changed) == ("enqueue", ["metric", "direction", "objectives"])
    other = two_objectives(
        "other", objectives={"acc": "maximize", "loss": "minimize"}, **{"from": {"trials": "observations"}}
    )
    with pytest.raises(InputError, match='must be "enqueue", because objectives changed'):
        transfers.fork(other, where, "old")


def asked(study: Study, trials: Sequence[Trial]) -> list[Any]:
    """The next parameters of 20 trials that are asked for at once."""
    advisor = Advisor(study, trials)
    return [advisor.ask().params for _ in range(20)]


# Another objective ---------------------------------------------------------------------------------------------------


def test_another_objective_tries_the_best_points_first(where: Address) -> None:
    record(where, study_of("old"), [finished(n, {"lr": 0.9 - n / 10}, 0.9 - n / 10) for n in range(8)])
    new = study_of("new", objective="a:c", enqueue=[{"lr": 0.45}], space={"lr": {"low": 0.3, "high": 0.9}})
    planned = transfers.fork(new, where, "old")
    assert (planned.how, planned.changed) == ("enqueue", ["objective"])
    stored = snapshots.read(where, "new")
    assert stored.trials == []
    tried = [round(point["lr"], 3) for point in stored.study.enqueue]
    assert tried == [0.3, 0.4, 0.5, 0.6, 0.7, 0.45]
    with closing(Ledger.open(where, new)) as ledger:  # a later run of the file, which names no study
        assert take_over(new, where, ledger).enqueue == stored.study.enqueue


def test_a_file_may_say_what_becomes_of_the_trials(where: Address) -> None:
    record(where, study_of("old"), [finished(0, {"lr": 0.5}, 1.0)])
    same = study_of("moved", objective="moved:b", **{"from": {"trials": "observations"}})
    assert transfers.fork(same, where, "old").how == "observations"
    again = study_of("again", **{"from": {"trials": "enqueue"}})
    assert transfers.fork(again, where, "old").how == "enqueue"
    other = study_of("other", metric="acc", **{"from": {"trials": "observations"}})
    with pytest.raises(InputError, match=r'other.toml: from.trials: must be "enqueue", because metric changed'):
        transfers.fork(other, where, "old")


# What can go wrong ---------------------------------------------------------------------------------------------------


def test_what_cannot_be_forked_is_refused_and_leaves_nothing(where: Address) -> None:
    record(where, study_of("old"), [finished(0, {"lr": 0.5}, 1.0)])
    record(where, study_of("empty"), [])
    record(where, study_of("used"), [finished(0, {"lr": 0.5}, 1.0)])
    high = study_of("high", space={"lr": {"low": 0.8, "high": 0.9}})
    cases: list[tuple[Any, str, type[HpoError], str]] = [
        (study_of("old"), "old", InputError, "from.study: must be another study, got 'old'"),
        (study_of("new"), "odl", InputError, "there is no study 'odl' in .*; did you mean 'old'"),
        (study_of("new"), "empty", InputError, "nothing can be taken over from empty: it has no complete trial"),
        (high, "old", InputError, r"trial 0: lr: must be a number in \[0.8, 0.9\], got 0.5"),
        (study_of("used"), "old", StudyConflict, "used has 1 trials already, and takes over those of old only before"),
        (
            study_of("new", **{"from": {"study": "x"}}),
            "old",
            InputError,
            "must be old, the study that is forked, got x",
        ),
    ]
    for study, name, kind, said in cases:
        with pytest.raises(kind, match=said):
            transfers.fork(study, where, name)
    assert snapshots.names(where) == ["empty", "old", "used"]
    transfers.fork(study_of("new"), where, "old")
    with pytest.raises(StudyConflict, match="new took over trials of old at its beginning, got used"):
        transfers.fork(study_of("new"), where, "used")


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_fork_that_dies_is_completed_by_the_next_process(
    where: Address, dies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(where, study_of("old"), [finished(n, {"lr": 0.5}, float(n)) for n in range(4)])
    new, take = study_of("new"), Ledger.take

    def dying(ledger: Ledger, trials: Sequence[Trial]) -> None:
        if dies == "after":
            take(ledger, trials)
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "take", dying)
    with pytest.raises(KeyboardInterrupt):
        transfers.fork(new, where, "old")
    monkeypatch.setattr(Ledger, "take", take)
    assert len(read(where, "new")) == (4 if dies == "after" else 0)

    with closing(Ledger.open(where, new)) as ledger:  # as `hpo run` does
        take_over(new, where, ledger)
    transfers.fork(new, where, "old")  # and nothing is taken twice

    assert [trial.origin and trial.origin.number for trial in read(where, "new")] == [0, 1, 2, 3]


def forked_and_killed(where: Address, file: Path, patch: str) -> None:
    """``hpo fork old new.toml`` in a process that kills itself where the patch says."""
    file.write_text(NEW_FILE)
    code = f"import os, signal, sys\nfrom hpo.ledger.ledger import Ledger\n{patch}\nfrom hpo.cli import main\nmain()"
    words = ["fork", "old", str(file), "--storage", where.url]
    ended = subprocess.run([sys.executable, "-c", code, *words], timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL


NEW_FILE = """
name = "new"
objective = "a:b"
metric = "loss"
direction = "minimize"
space.lr = { low = 0.1, high = 0.9 }
budget.trials = 50
"""
# The fork is killed when it has made the study, or when it has noted what it takes over.
KILL = "lambda *given: os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize("patch", [f"Ledger.set = {KILL}", f"Ledger.take = {KILL}"])
@pytest.mark.parametrize("by", ["add", "import", "copy", "run", "fork"])
def test_whoever_comes_first_completes_a_fork_that_was_killed(
    where: Address, tmp_path: Path, by: str, patch: str
) -> None:
    record(where, study_of("old"), [finished(n, {"lr": 0.5}, float(n)) for n in range(4)])
    file, other = tmp_path / "new.toml", parse(f"sqlite:///{tmp_path / 'other'}")
    forked_and_killed(where, file, patch)
    assert read(where, "new") == []

    if by == "add":
        assert requests.ask(where, "new", "add", {"point": {"lr": 0.25}})["number"] == 4
    elif by == "import":
        mine = replace(finished(7, {"lr": 0.25}, 1.0), notes={FROM: ["row", "table", 7]})
        transfers.import_trials(snapshots.read(where, "new").study, where, [mine], {}, word="row", strict=True)
    elif by == "copy":
        assert transfers.copy(where, "new", other).trials == 4
        assert [trial.origin for trial in read(other, "new")] == [trial.origin for trial in read(where, "new")]
    elif by == "run":
        open_edited(where, load(file), lambda remark: None)[0].close()
    else:
        assert not transfers.fork(load(file), where, "old").again

    taken = read(where, "new")
    uid = snapshots.uid(where, "old")
    assert [trial.origin for trial in taken[:4]] == [(uid, "old", number) for number in range(4)]
    assert [trial.params["lr"] for trial in taken[4:]] == ([0.25] if by in ("add", "import") else [])
    assert transfers.fork(load(file), where, "old").again
    assert len(read(where, "new")) == len(taken)


def test_a_killed_fork_whose_old_study_is_gone_says_so(where: Address, tmp_path: Path) -> None:
    record(where, study_of("old"), [finished(0, {"lr": 0.5}, 1.0)])
    forked_and_killed(where, tmp_path / "new.toml", f"Ledger.take = {KILL}")
    snapshots.delete(where, "old")
    with pytest.raises(StudyNotFound, match=r"new was to begin with .* of old, .* to begin without them: hpo d"):
        requests.ask(where, "new", "add", {"point": {"lr": 0.25}})


def test_an_old_study_that_is_not_there_is_said_with_the_file_that_names_it(where: Address) -> None:
    record(where, study_of("old"), [])
    with pytest.raises(
        StudyNotFound, match=r"new\.toml: from\.study: there is no study 'odl' in .*; did you mean 'old'"
    ):
        open_edited(where, study_of("new", **{"from": {"study": "odl"}}), lambda remark: None)


def test_a_fork_that_begins_anew_without_the_old_study_says_so(where: Address) -> None:
    record(where, study_of("old"), [finished(0, {"lr": 0.5}, 1.0)])
    transfers.fork(study_of("new", objective="a:c"), where, "old")
    remarks: list[str] = []
    open_edited(where, study_of("new", objective="a:d"), remarks.append)[0].close()
    assert [remark for remark in remarks if "hpo fork old new.toml" in remark]
    transfers.fork(study_of("new", objective="a:e"), where, "old")
    open_edited(where, study_of("new", objective="a:e"), remarks.append)[0].close()
    assert len(remarks) == 1


# Where it is shown ---------------------------------------------------------------------------------------------------


def test_the_report_says_where_trials_come_from(where: Address) -> None:
    from hpo.insight.parameters import study_insight
    from hpo.report.page import render

    record(where, study_of("old"), [finished(n, {"lr": 0.5}, 1.0) for n in range(6)])
    new = study_of("new")
    transfers.fork(new, where, "old")
    trials = [*read(where, "new"), finished(6, {"lr": 0.6}, 3.0)]
    page = render(new, trials, {}, study_insight(new, trials, resamples=0))
    assert "7 complete, 6 from old" in page
    assert "old, trial 3" in page
    assert json.dumps("old, trial 0") in page
