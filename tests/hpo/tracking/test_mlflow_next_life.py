"""What stands in MLflow when a study is run again: after deaths, deletions, and other studies of its name."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from stored import a_store, a_trial, exactly_once, finish, mirror, runs

from hpo.study import Study
from hpo.tracking.mlflow import delete
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING


def test_a_second_run_doubles_nothing(uri: str, study: Study) -> None:
    trials = [a_trial(0), a_trial(1, PRUNED), a_trial(2, FAILED)]
    mirror(uri, study, trials)
    before = {run.info.run_id for run in runs(uri, study, "trial")}

    mirror(uri, study, trials)
    mirror(uri, study, [*trials, a_trial(3)])

    exactly_once(uri, study, [*trials, a_trial(3)])
    assert before < {run.info.run_id for run in runs(uri, study, "trial")}


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
    assert delete(uri, study.name) == 1
    assert delete(uri, study.name) == 0

    mirror(uri, study, trials)

    exactly_once(uri, study, trials)


def test_a_whole_store_is_rebuilt_from_nothing(mlflow_database: str, study: Study, tmp_path: Path) -> None:
    trials = [a_trial(0), a_trial(1, PRUNED), a_trial(2, FAILED), a_trial(3)]
    mirror(mlflow_database, study, trials)

    lost_and_new = f"sqlite:///{tmp_path}/new.db"
    mirror(lost_and_new, study, trials)

    exactly_once(lost_and_new, study, trials)


def test_a_study_deleted_and_made_again_does_not_mix_with_the_old_one(uri: str, study: Study) -> None:
    mirror(uri, study, [a_trial(number) for number in range(3)], uid="old")
    delete(uri, study.name)

    trials = [a_trial(0, PRUNED)]
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
    trials = [a_trial(0), a_trial(1, RUNNING, reports=2), a_trial(2, RUNNING, reports=1)]
    for trial in trials:
        store.write([trial])

    for trial in trials[1:]:
        trial.reports = a_trial(trial.number).reports
        finish(trial, COMPLETE)
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

    trial = a_trial(0, FAILED)
    mirror(uri, study, [trial])

    exactly_once(uri, study, [trial])


def test_what_still_runs_when_a_study_ends_is_no_zombie(uri: str, study: Study) -> None:
    trials = [a_trial(0), a_trial(1, RUNNING)]
    mirror(uri, study, trials, status="KILLED")

    exactly_once(uri, study, trials)
    assert (
        MlflowClient(uri).search_runs(
            [runs(uri, study, "study")[0].info.experiment_id], "attributes.status = 'RUNNING'"
        )
        == []
    )
