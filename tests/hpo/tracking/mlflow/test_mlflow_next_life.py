"""What stands in MLflow when a study is run again: after deaths, deletions, and other studies of its name."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from stored import BEGAN, a_store, a_trial, exactly_once, mirror, runs

from hpo.study import Study
from hpo.tracking.mlflow import MlflowStore, delete, describe, store
from hpo.trial import State, StudyState


def test_a_second_run_doubles_nothing(uri: str, study: Study) -> None:
    trials = [a_trial(0), a_trial(1, State.PRUNED), a_trial(2, State.FAILED)]
    mirror(uri, study, trials)
    before = {run.info.run_id for run in runs(uri, study, "trial")}

    mirror(uri, study, trials)
    mirror(uri, study, [*trials, a_trial(3)])

    exactly_once(uri, study, [*trials, a_trial(3)])
    assert before < {run.info.run_id for run in runs(uri, study, "trial")}


def test_runs_of_an_earlier_version_of_hpo_are_put_right_and_stay(
    uri: str, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [a_trial(0), a_trial(1, State.PRUNED), a_trial(2, State.FAILED)]
    old = replace(study, fixed={})  # trials had none of them
    with monkeypatch.context() as earlier:
        earlier.setitem(store.STATUS, State.PRUNED, "KILLED")
        earlier.setattr(store, "source_tags", lambda study: dict.fromkeys(describe.SOURCE, ""))
        mirror(uri, old, trials)
    before = runs(uri, study, "trial")
    assert [run.info.status for run in before] == ["FINISHED", "KILLED", "FAILED"]

    mirror(uri, study, trials)

    exactly_once(uri, study, trials)
    after = runs(uri, study, "trial")
    assert [run.info.run_id for run in after] == [run.info.run_id for run in before]
    assert [run.info.end_time for run in after] == [run.info.end_time for run in before]
    assert all(run.data.params["dataset"] == "digits" for run in after)
    assert all(run.data.tags["mlflow.user"] for run in after)


def test_the_best_trial_alone_is_marked(uri: str, study: Study) -> None:
    def marked() -> list[str]:
        return [run.data.tags["hpo.trial"] for run in runs(uri, study, "trial") if "hpo.best" in run.data.tags]

    assert study.direction == "maximize"
    trials = [a_trial(number) for number in range(4)]
    mirror(uri, study, trials[:2])
    assert marked() == ["1"]
    mirror(uri, study, trials)
    assert marked() == ["3"]
    MlflowClient(uri).set_tag(runs(uri, study, "trial")[0].info.run_id, "hpo.best", "best")
    mirror(uri, study, trials)
    assert marked() == ["3"]


def test_trials_of_an_earlier_process_get_no_user_and_no_commit_of_this_one(uri: str, study: Study) -> None:
    tracked = MlflowStore(uri, study, "uid-1", BEGAN, since=BEGAN + 1)
    tracked.open([])
    tracked.write([a_trial(0), a_trial(1)])

    first, second = runs(uri, study, "trial")
    assert "mlflow.user" not in first.data.tags
    assert second.data.tags["mlflow.user"]
    assert first.data.tags["mlflow.source.name"] == second.data.tags["mlflow.source.name"]


def test_runs_that_somebody_deleted_are_made_again(uri: str, study: Study) -> None:
    trials = [a_trial(number) for number in range(4)]
    mirror(uri, study, trials)
    for run in runs(uri, study, "trial")[1:3]:
        MlflowClient(uri).delete_run(run.info.run_id)

    mirror(uri, study, trials)

    exactly_once(uri, study, trials)


def test_a_deleted_parent_is_made_again_and_its_children_follow(uri: str, study: Study) -> None:
    trials = [a_trial(number) for number in range(3)]
    mirror(uri, study, trials)
    (parent,) = runs(uri, study, "study")
    MlflowClient(uri).delete_run(parent.info.run_id)

    mirror(uri, study, trials)

    assert exactly_once(uri, study, trials).info.run_id != parent.info.run_id


def test_a_deleted_experiment_is_made_again(uri: str, study: Study) -> None:
    trials = [a_trial(number) for number in range(3)]
    mirror(uri, study, trials)
    assert delete(uri, "uid-1", study.name) == 1
    assert delete(uri, "uid-1", study.name) == 0

    mirror(uri, study, trials)

    exactly_once(uri, study, trials)


def test_a_whole_store_is_rebuilt_from_nothing(mlflow_database: str, study: Study, tmp_path: Path) -> None:
    trials = [a_trial(0), a_trial(1, State.PRUNED), a_trial(2, State.FAILED), a_trial(3)]
    mirror(mlflow_database, study, trials)

    lost_and_new = f"sqlite:///{tmp_path}/new.db"
    mirror(lost_and_new, study, trials)

    exactly_once(lost_and_new, study, trials)


def test_a_study_deleted_and_made_again_does_not_mix_with_the_old_one(uri: str, study: Study) -> None:
    mirror(uri, study, [a_trial(number) for number in range(3)], uid="old")
    delete(uri, "old", study.name)

    trials = [a_trial(0, State.PRUNED)]
    mirror(uri, study, trials, uid="new")

    assert exactly_once(uri, study, trials).data.tags["hpo.uid"] == "new"


def test_a_study_of_the_same_name_from_another_ledger_is_left_alone(uri: str, study: Study) -> None:
    mirror(uri, study, [a_trial(0)], uid="theirs")
    mirror(uri, study, [a_trial(0), a_trial(1)], uid="ours")

    uids = [run.data.tags["hpo.uid"] for run in runs(uri, study, "trial")]
    assert sorted(uids) == ["ours", "ours", "theirs"]
    assert len(runs(uri, study, "study")) == 2


def test_half_written_runs_of_a_dead_driver_are_replaced(uri: str, study: Study) -> None:
    store = a_store(uri, study)  # its driver dies without a word: it is never ended
    store.open([])
    trials = [a_trial(0), a_trial(1, State.RUNNING, reports=2), a_trial(2, State.RUNNING, reports=1)]
    for trial in trials:
        store.write([trial])

    trials[1:] = [a_trial(trial.number) for trial in trials[1:]]
    mirror(uri, study, trials)

    exactly_once(uri, study, trials)


def test_a_run_that_was_written_but_not_ended_is_replaced(uri: str, study: Study) -> None:
    trial = a_trial(0)
    mirror(uri, study, [trial])
    (child,) = runs(uri, study, "trial")
    MlflowClient(uri).update_run(child.info.run_id, status="RUNNING")

    mirror(uri, study, [trial])

    exactly_once(uri, study, [trial])


def test_a_trial_that_finished_otherwise_than_mlflow_says_is_corrected(uri: str, study: Study) -> None:
    """The driver died between MLflow's word and the ledger's; run again, the trial came out differently."""
    mirror(uri, study, [a_trial(0)])

    trial = a_trial(0, State.FAILED)
    mirror(uri, study, [trial])

    exactly_once(uri, study, [trial])


def test_what_still_runs_when_a_study_ends_is_no_zombie(uri: str, study: Study) -> None:
    trials = [a_trial(0), a_trial(1, State.RUNNING)]
    mirror(uri, study, trials, state=StudyState.STOPPED)

    exactly_once(uri, study, trials)
    assert (
        MlflowClient(uri).search_runs(
            [runs(uri, study, "study")[0].info.experiment_id], "attributes.status = 'RUNNING'"
        )
        == []
    )


def test_nothing_that_is_not_of_the_study_is_deleted_or_brought_back(uri: str, study: Study) -> None:
    client = MlflowClient(uri)
    mirror(uri, study, [a_trial(0)], uid="old")
    (old,) = runs(uri, study, "trial")
    by_hand = [client.create_run(old.info.experiment_id).info.run_id for _ in range(2)]
    client.delete_run(by_hand[1])

    def alive(run_id: str) -> bool:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")

    assert delete(uri, "old", study.name) == 1  # the runs of the study alone
    assert client.get_experiment(old.info.experiment_id).lifecycle_stage == "active"
    assert [alive(run) for run in (*by_hand, old.info.run_id)] == [True, False, False]

    mirror(uri, study, [a_trial(0)], uid="theirs")
    client.delete_experiment(old.info.experiment_id)  # by a person
    mirror(uri, study, [a_trial(0)], uid="new")
    assert alive(by_hand[0])
    assert not alive(old.info.run_id)
    assert sorted(run.data.tags["hpo.uid"] for run in runs(uri, study, "trial")) == ["new", "theirs"]

    delete(uri, "new", study.name)
    assert sorted(run.data.tags["hpo.uid"] for run in runs(uri, study, "trial")) == ["theirs"]


def test_mlflows_own_experiment_is_never_deleted(mlflow_database: str, study: Study) -> None:
    default = replace(study, name="Default")
    mirror(mlflow_database, default, [a_trial(0)])
    assert delete(mlflow_database, "uid-1", "Default") == 1
    assert runs(mlflow_database, default, "trial") == []


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("hpo.trial", "two"),
        ("hpo.trial", ""),
        ("hpo.trial", "99"),
        ("hpo.trial", "1"),
        ("hpo.role", "x"),
        ("hpo.uid", "x"),
    ],
)
def test_an_edited_tag_does_not_stop_the_mirror(mlflow_database: str, study: Study, tag: str, value: str) -> None:
    trials = [a_trial(number) for number in range(3)]
    mirror(mlflow_database, study, trials)
    client = MlflowClient(mlflow_database)
    edited, parent = runs(mlflow_database, study, "trial")[2], runs(mlflow_database, study, "study")[0]
    client.set_tag(edited.info.run_id, tag, value)
    client.log_metric(parent.info.run_id, "trials_finished", math.nan, step=99)
    mirror(mlflow_database, study, trials)
    ours = [run for run in runs(mlflow_database, study, "trial") if run.data.tags["hpo.uid"] == "uid-1"]
    assert [run.data.tags["hpo.trial"] for run in ours] == ["0", "1", "2"]
