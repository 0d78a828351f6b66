"""What makes a study the same one, and many studies in one ledger, whatever it is kept in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage
from small_study import SPACE, small_study

from hpo.errors import InputError, StudyConflict
from hpo.ledger import snapshots as books
from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger
from hpo.testing.ledgers import TrialWriter, holding, wait_until_done
from hpo.trial import State

# A study's identity ------------------------------------------------------------------------------------------------


CONTRADICTIONS: list[tuple[dict[str, object], str]] = [
    ({"direction": "minimize"}, 'direction: "maximize" in the ledger, "minimize" in the file'),
    ({"metric": "loss"}, 'metric: "score" in the ledger, "loss" in the file'),
    ({"objective": "a:b"}, 'objective: "simple_objectives:curve" in the ledger, "a:b" in the file'),
    ({"fixed": {"epochs": 3}}, "fixed.epochs: absent in the ledger, 3 in the file"),
    ({"space": SPACE | {"lr": SPACE["lr"] | {"low": 1e-5}}}, "space.lr.low: 1e-06 in the ledger, 1e-05 in the file"),
    ({"space": {"lr": SPACE["lr"]}}, "space.layers: "),
]


def test_a_file_that_contradicts_the_ledger_is_refused_and_the_difference_spelled_out(
    address: Address, trial_writer: TrialWriter
) -> None:
    trial_writer.fill([0.5])
    trial_writer.ledger.close()

    for change, difference in CONTRADICTIONS:
        with pytest.raises(InputError) as refusal:
            Ledger.open(address, small_study(**change))

        assert difference in str(refusal.value)
        assert "hpo delete small" in str(refusal.value)
    Ledger.open(address, small_study()).close()  # the lock was given back, the study is as it was


FLAGS = {"flag": {"choice": [True, False]}, "n": {"low": 1, "high": 9}}
TYPES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"space": {"x": {"low": 1, "high": 9}}}, {"space": {"x": {"low": 1.0, "high": 9.0}}}, "space.x.low: 1 in the "),
    ({"space": {"x": {"low": 1.0, "high": 9.0}}}, {"space": {"x": {"low": 1, "high": 9}}}, "space.x.low: 1.0 in the "),
    ({"space": FLAGS}, {"space": FLAGS | {"flag": {"choice": [1, 0]}}}, "space.flag.choice: [true, false] in the "),
    ({"space": FLAGS}, {"space": FLAGS | {"flag": {"choice": [True, 0]}}}, "[true, 0] in the file"),
    ({"fixed": {"a": True}}, {"fixed": {"a": 1}}, "fixed.a: true in the ledger, 1 in the file"),
    ({"fixed": {"a": [{"b": 1}]}}, {"fixed": {"a": [{"b": 1.0}]}}, 'fixed.a: [{"b": 1}] in the ledger, [{"b": 1.0}]'),
]


@pytest.mark.parametrize(("before", "after", "difference"), TYPES)
def test_numbers_of_another_type_are_another_study(
    address: Address, before: dict[str, Any], after: dict[str, Any], difference: str
) -> None:
    first = TrialWriter(address, small_study(**before))
    first.fill([0.5])
    first.ledger.close()

    with pytest.raises(StudyConflict) as refusal:
        Ledger.open(address, small_study(**after))

    assert difference in str(refusal.value)
    assert [book.study.name for book in [books.read(address, name) for name in books.names(address)]] == ["small"]


def test_tables_in_another_order_are_the_same_study(address: Address) -> None:
    first = TrialWriter(address, small_study(fixed={"a": {"x": 1, "y": 2}, "b": [{"x": 1, "y": 2}]}))
    first.fill([0.5])
    first.ledger.close()

    Ledger.open(address, small_study(fixed={"b": [{"y": 2, "x": 1}], "a": {"y": 2, "x": 1}})).close()

    assert [trial.value for trial in books.read(address, "small").trials] == [0.5]


def test_what_is_no_identity_may_change(address: Address, trial_writer: TrialWriter) -> None:
    trial_writer.fill([0.5])
    trial_writer.ledger.close()

    changed = small_study(budget={"trials": 9}, sampler={"name": "tpe"}, trial={"retries": 5})
    Ledger.open(address, changed).close()

    book = books.read(address, "small")
    assert book.study.resolved == changed.resolved
    assert len(book.trials) == 1


def test_a_study_without_any_value_starts_over_when_its_file_is_corrected(
    address: Address, trial_writer: TrialWriter, optunas_own: BaseStorage
) -> None:
    uid = trial_writer.ledger.uid
    trial_writer.finish(trial_writer.begin(), State.FAILED, error="no such metric")
    trial_writer.begin()
    trial_writer.ledger.close()

    corrected = TrialWriter(
        address, small_study(metric="loss", direction="minimize", space={"lr": {"low": 1, "high": 9}})
    )

    assert corrected.ledger.loaded == []
    assert corrected.ledger.uid != uid
    assert corrected.begin().number == 0
    study = optuna.load_study(study_name="small", storage=optunas_own)
    assert study.direction.name == "MINIMIZE"
    corrected.ledger.close()


def test_a_study_that_failed_only_is_kept_while_its_file_stays_the_same(
    address: Address, trial_writer: TrialWriter
) -> None:
    failed = trial_writer.finish(trial_writer.begin(), State.FAILED, error="out of luck")
    trial_writer.ledger.close()

    again = Ledger.open(address, small_study())

    assert len(again.loaded) == 1
    assert books.read(address, "small").trials == [failed]
    again.close()


def test_a_study_that_hpo_did_not_make_is_left_alone(address: Address, optunas_own: BaseStorage) -> None:
    study = optuna.create_study(study_name="small", storage=optunas_own)
    study.tell(study.ask(), 1.0)

    with pytest.raises(InputError, match="holds a study 'small' that hpo did not make; choose another name"):
        Ledger.open(address, small_study())

    assert books.names(address) == []
    assert len(optuna.load_study(study_name="small", storage=optunas_own).trials) == 1


def test_a_driver_that_died_while_it_made_the_study_is_no_hindrance(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for attribute in ("hpo:uid", "hpo:created", "hpo:study"):
        with monkeypatch.context() as patch:
            dying_at(patch, attribute, die)
            with pytest.raises(KeyboardInterrupt):
                Ledger.open(address, small_study(name=attribute.replace(":", "-")))

        ledger = Ledger.open(address, small_study(name=attribute.replace(":", "-")))

        assert ledger.uid
        assert ledger.created > 0
        ledger.close()


def dying_at(patch: pytest.MonkeyPatch, attribute: str, die: Callable[..., None]) -> None:
    """The next writer dies just before it sets this attribute of a study."""
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql

    for storage in (Journal, Sql):
        original = storage.set_study_user_attr

        def dying(self, study_id: Any, key: str, value: Any, original: Any = original) -> None:  # type: ignore[no-untyped-def]
            if key == attribute:
                die()
            original(self, study_id, key, value)

        patch.setattr(storage, "set_study_user_attr", dying)


# Many studies ------------------------------------------------------------------------------------------------------


def test_studies_are_listed_and_deleted_by_name(address: Address, trial_writer: TrialWriter) -> None:
    trial_writer.fill([0.5])
    trial_writer.ledger.close()
    TrialWriter(address, small_study(name="other")).ledger.close()
    assert books.names(address) == ["other", "small"]

    assert books.delete(address, "small") == 1

    assert books.names(address) == ["other"]
    with pytest.raises(InputError, match="there is no study 'small'"):
        books.read(address, "small")


def test_a_running_study_is_not_deleted(address: Address, trial_writer: TrialWriter) -> None:
    with pytest.raises(InputError, match="is being run by"):
        books.delete(address, "small")

    assert books.names(address) == ["small"]


def test_deleting_what_is_not_there_is_refused(address: Address, trial_writer: TrialWriter) -> None:
    with pytest.raises(InputError, match=r"there is no study 'smal'.*did you mean 'small'"):
        books.delete(address, "smal")


def test_a_deleted_study_made_again_is_another_one(address: Address, trial_writer: TrialWriter) -> None:
    trial_writer.fill([0.5])
    uid = trial_writer.ledger.uid
    trial_writer.ledger.close()
    books.delete(address, "small")

    again = TrialWriter(address, small_study(direction="minimize"))

    assert again.ledger.loaded == []
    assert again.ledger.uid != uid
    assert again.begin().number == 0
    again.ledger.close()


def test_the_state_of_a_study_follows_its_life(address: Address, trial_writer: TrialWriter) -> None:
    trial_writer.fill([0.5])
    assert books.read(address, "small").state == "running"
    trial_writer.ledger.close()
    assert books.read(address, "small").state == "stopped"
    trial_writer = TrialWriter(address, small_study(budget={"trials": 1}))
    trial_writer.ledger.close()
    assert books.read(address, "small").state == "complete"


def test_two_studies_written_at_once_by_two_processes_do_not_mix(address: Address) -> None:
    TrialWriter(address, small_study(name="both")).ledger.close()  # makes the tables, which no two processes do at once
    with holding(address, "fill", "15", name="a") as one, holding(address, "fill", "15", name="b") as two:
        wait_until_done(one)
        wait_until_done(two)

    for name in ("a", "b"):
        trials = books.read(address, name).trials
        assert [(t.number, t.value, t.state) for t in trials] == [(i, float(i), State.COMPLETE) for i in range(15)]
        assert all([r.metrics["score"] for r in t.reports] == [t.number / 2, t.number] for t in trials)
