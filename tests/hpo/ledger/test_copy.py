"""``hpo copy``: a study in another ledger is the same study."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from histories import drawn, finished, record, study_of, suggestions
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from hpo import requests
from hpo.errors import InputError, StudyConflict, StudyLocked, StudyNotFound
from hpo.ledger import lock, snapshots
from hpo.ledger.address import Address, parse
from hpo.ledger.copy import Copied, copy
from hpo.ledger.ledger import Ledger
from hpo.ledger.sql import WRITER_ATTR, Sql
from hpo.trial import Report, State, Trial

SPACE = {
    "lr": {"low": 1e-7, "high": 0.9, "log": True},
    "net": {"choice": [[8, 8], "wide", True]},
    "n": {"low": 1, "high": 9},
}
STUDY = study_of("small", space=SPACE, sampler={"name": "tpe"})
PAIRS = [
    ("journal", "sqlite"),
    ("sqlite", "journal"),
    ("journal", "journal"),
    pytest.param(("sqlite", "sqlite"), marks=pytest.mark.slow),
    pytest.param(("journal", "postgresql"), marks=pytest.mark.servers),
    pytest.param(("postgresql", "sqlite"), marks=[pytest.mark.servers, pytest.mark.slow]),
    pytest.param(("postgresql", "journal"), marks=pytest.mark.servers),
]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, str], Address]:
    """Makes an empty place for a ledger of a kind."""

    def make(kind: str, name: str) -> Address:
        if kind == "postgresql":
            return parse(request.getfixturevalue("postgresql_url"))
        path = tmp_path / name
        return parse(f"sqlite:///{path}" if kind == "sqlite" else str(path))

    return make


@pytest.fixture
def two(tmp_path: Path) -> tuple[Address, Address]:
    return parse(str(tmp_path / "one")), parse(f"sqlite:///{tmp_path / 'two'}")


def history() -> list[Trial]:
    """Trials in all states, with what is hard to keep: NaN, tiny numbers, other characters, a lost attempt."""
    trials = drawn(STUDY, 12, lambda params: params["lr"] * params["n"])
    trials[3] = replace(
        trials[3], reports=(Report(1, 1.25, {"loss": math.nan, "größe": -math.inf}),), notes={"a": [1, "ü"]}
    )
    trials[4] = Trial(4, trials[4].params, 9, State.FAILED, started=1.5, ended=2.5, attempt=3, error="Zeile\n\t“x”")
    trials[11] = Trial(11, trials[11].params, 11)  # a driver died while it ran
    return trials


@pytest.fixture
def optunas() -> Iterator[Callable[[Address], BaseStorage]]:
    """Opens a ledger as Optuna does, without hpo."""
    opened: list[RDBStorage] = []

    def connect(address: Address) -> BaseStorage:
        if address.kind == "journal":
            return JournalStorage(JournalFileBackend(str(address.path)))
        opened.append(RDBStorage(address.url.replace("postgresql://", "postgresql+psycopg://")))
        return opened[-1]

    yield connect
    for storage in opened:
        storage.engine.dispose()


def content(storage: BaseStorage, name: str) -> dict[str, Any]:
    """All that Optuna knows of a study, but the numbers that its storage gives to studies and trials."""
    study_id = storage.get_study_id_from_name(name)
    trials = [
        {k: sorted(v.items()) if isinstance(v, dict) else v for k, v in vars(trial).items() if k != "_trial_id"}
        for trial in storage.get_all_trials(study_id)
    ]
    user = {k: v for k, v in storage.get_study_user_attrs(study_id).items() if k != WRITER_ATTR}
    return {
        "directions": storage.get_study_directions(study_id),
        "user": user,
        "system": storage.get_study_system_attrs(study_id),
        "trials": repr(trials),  # NaN equals NaN as text
    }


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_copy_is_the_same_study_for_hpo_and_for_optuna(
    pair: tuple[str, str], place: Callable[[str, str], Address], optunas: Callable[[Address], BaseStorage]
) -> None:
    one, two = (place(kind, f"{kind}-{index}") for index, kind in enumerate(pair))
    record(one, STUDY, history())
    with snapshots.note_evaluation(one, "small", 3) as entry:
        entry["metrics"]["acc"] = 0.25

    assert copy(one, "small", two) == Copied(trials=12, written=12)

    mine, theirs = (snapshots.read(where, "small") for where in (one, two))
    assert repr(theirs.trials) == repr(mine.trials)
    assert (theirs.uid, theirs.created, theirs.evaluations) == (mine.uid, mine.created, mine.evaluations)
    assert theirs.study.resolved == mine.study.resolved
    assert content(optunas(two), "small") == content(optunas(one), "small")
    assert suggestions(STUDY, theirs.trials[:11], 5) == suggestions(STUDY, mine.trials[:11], 5)
    with closing(Ledger.open(two, STUDY)) as ledger:  # and it goes on there
        ledger.finish(
            replace(ledger.loaded[11], state=State.COMPLETE, values=(1.0,), reports=(Report(1, 2.0, {"loss": 1.0}),))
        )
        ledger.begin(finished(12, mine.trials[0].params, 2.0))
    assert [trial.value for trial in snapshots.read(two, "small").trials[11:]] == [1.0, 2.0]


def test_ledgers_are_merged(two: tuple[Address, Address]) -> None:
    one, other = two
    for name in ("a", "b"):
        record(one, study_of(name), [finished(0, {"lr": 0.5}, 1.0)])
    record(other, study_of("c"), [finished(0, {"lr": 0.25}, 2.0), finished(1, {"lr": 0.5}, 2.5)])
    before = snapshots.read(other, "c")
    for name in ("a", "b"):
        copy(one, name, other)
    assert snapshots.names(other) == ["a", "b", "c"]
    assert snapshots.read(other, "c") == before


@pytest.mark.parametrize("reverse", [False, True])
def test_a_copy_is_brought_up_to_the_original_and_never_the_other_way(
    two: tuple[Address, Address], reverse: bool, optunas: Callable[[Address], BaseStorage]
) -> None:
    one, other = reversed(two) if reverse else two
    trials = history()
    record(one, STUDY, trials)
    copy(one, "small", other)
    assert copy(one, "small", other) == Copied(trials=12, written=0)
    with closing(Ledger.open(one, STUDY)) as ledger:
        ledger.begin(finished(12, trials[0].params, 1.5))
        with pytest.raises(StudyLocked):
            copy(one, "small", other)
    assert copy(one, "small", other) == Copied(trials=13, written=1)
    with closing(Ledger.open(one, STUDY)) as ledger:  # the trial that was left unfinished is not any more
        ledger.finish(replace(trials[11], state=State.COMPLETE, values=(1.0,)))
    assert copy(one, "small", other).trials == 13
    assert content(optunas(other), "small") == content(optunas(one), "small")

    with closing(Ledger.open(other, STUDY)) as ledger:
        ledger.begin(finished(13, trials[0].params, 1.5))
    with pytest.raises(StudyConflict, match="with 14 trials, and only 13 are here; copy it the other way"):
        copy(one, "small", other)
    with closing(Ledger.open(one, STUDY)) as ledger:
        ledger.begin(finished(13, trials[0].params, 2.5))
    with pytest.raises(StudyConflict, match="that has diverged: trial 13 differs; delete one of the two"):
        copy(one, "small", other)


def test_what_would_lose_something_is_refused(two: tuple[Address, Address]) -> None:
    one, other = two
    record(one, STUDY, history())
    record(other, STUDY, history())
    before = snapshots.read(other, "small")
    with pytest.raises(StudyConflict, match="has a study 'small' that is another one; delete it there first"):
        copy(one, "small", other)
    assert repr(snapshots.read(other, "small")) == repr(before)
    snapshots.delete(other, "small")
    copy(one, "small", other)
    with snapshots.note_evaluation(other, "small", 3):
        pass
    with pytest.raises(StudyConflict, match="was evaluated on its test set, which is not recorded here"):
        copy(one, "small", other)
    assert one.path is not None
    one.path.with_name("link").symlink_to(one.path)
    for same in (one, parse(str(one.path.with_name("link")))):
        with pytest.raises(InputError, match="--to: must be another ledger"):
            copy(one, "small", same)
    with pytest.raises(StudyNotFound, match="there is no study 'smal'"):
        copy(one, "smal", other)
    held = lock.acquire(other, "small")
    with pytest.raises(StudyLocked):
        copy(one, "small", other)
    held.release()


def test_what_people_did_to_the_copy_alone_is_not_lost(two: tuple[Address, Address]) -> None:
    one, other = two
    record(one, STUDY, history())
    copy(one, "small", other)
    requests.ask(other, "small", "discard", {"trial": 3, "why": "a wrong disk"})
    with pytest.raises(
        StudyConflict,
        match="a study 'small' that has a newer change: trial 3 was discarded there but not here; make the same",
    ):
        copy(one, "small", other)
    requests.ask(one, "small", "discard", {"trial": 3, "why": "a wrong disk"})
    copy(one, "small", other)
    requests.ask(other, "small", "discard", {"trial": 3, "undo": True})
    with pytest.raises(
        StudyConflict,
        match="that has a newer change: trial 3 was made to count again there but not here; make the same change",
    ):
        copy(one, "small", other)
    copy(other, "small", one)
    assert snapshots.read(one, "small").trials[3].state is not State.DISCARDED
    requests.ask(other, "small", "set", {"edits": ["budget.trials=60"]})
    with pytest.raises(StudyConflict, match=r"that has a newer change: budget\.trials = 60 was set there but not here"):
        copy(one, "small", other)
    requests.ask(one, "small", "set", {"edits": ["budget.trials=60"]})
    requests.ask(one, "small", "set", {"edits": ["budget.trials=70"]})
    copy(one, "small", other)
    assert snapshots.read(other, "small").study.budget.trials == 70


@pytest.mark.parametrize("dies_in", ["create_trials", "set_study_user_attr"])
def test_a_copy_that_dies_is_no_study_and_the_next_one_is_whole(
    two: tuple[Address, Address],
    dies_in: str,
    monkeypatch: pytest.MonkeyPatch,
    optunas: Callable[[Address], BaseStorage],
) -> None:
    one, other = two
    record(one, STUDY, history())
    real, count = getattr(Sql, dies_in), iter(range(100))

    def dying(*arguments: Any) -> Any:
        if next(count) == (2 if dies_in == "set_study_user_attr" else 0):
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(Sql, dies_in, dying)
    with pytest.raises(KeyboardInterrupt):
        copy(one, "small", other)
    monkeypatch.setattr(Sql, dies_in, real)
    assert snapshots.names(other) == []

    copy(one, "small", other)
    assert content(optunas(other), "small") == content(optunas(one), "small")


def test_trials_are_written_as_a_whole_or_not_at_all(two: tuple[Address, Address]) -> None:
    _, other = two
    assert other.path is not None
    with closing(Ledger.open(other, STUDY)) as ledger:
        with sqlite3.connect(other.path) as connection:
            connection.execute(
                "CREATE TRIGGER full BEFORE INSERT ON trials WHEN NEW.number = 5 BEGIN SELECT RAISE(ABORT, 'x'); END"
            )
        with pytest.raises(Exception, match="x"):
            ledger.take(history())
    assert snapshots.read(other, "small").trials == []
