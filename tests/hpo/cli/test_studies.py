"""``hpo list``, ``show``, ``best`` and ``delete``: the promised shapes, and what is said when there is nothing."""

from __future__ import annotations

import io
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from command_line import QUICK, CommandLine

from hpo.ledger import lock, snapshots
from hpo.ledger.address import parse

HEAD = {"name", "state", "direction", "metric", "budget", "trials", "retried", "inherited", "counted", "best"}
TRIAL = {"number", "value", "params", "state", "seconds"}


def check_head(head: dict[str, Any]) -> None:
    """What issue and documentation promise of a study's head."""
    assert head.keys() >= HEAD
    assert head["state"] in ("running", "complete", "stopped", "failed")
    assert head["direction"] in ("minimize", "maximize")
    assert isinstance(head["budget"]["trials"], int)
    assert list(head["trials"]) == ["complete", "pruned", "failed", "running"]
    for trial in head["best"]:
        assert trial.keys() == TRIAL
        assert isinstance(trial["number"], int)
        assert isinstance(trial["value"], float)
        assert trial["state"] == "complete"
        assert trial["seconds"] >= 0


# list --------------------------------------------------------------------------------------------------------------


def test_list_shows_one_line_per_study(hpo: CommandLine) -> None:
    hpo.run()
    hpo.run("--set", "name=other", "--set", "objective=small_objectives:failing", "-q", code=1)
    lines = [line.split() for line in hpo("list").out.splitlines()]
    assert lines[0] == ["study", "state", "trials", "best", "created"]
    assert lines[2][:4] == ["other", "failed", "5/5", "-"]
    assert lines[3][:4] == ["small", "complete", "5/5", "loss"]
    assert len(lines) == 4


def test_list_and_show_count_a_failed_trial_that_ran_again_once(hpo: CommandLine) -> None:
    failing = ("--set", "objective=small_objectives:failing", "-q")
    hpo.run(*failing, code=1)
    hpo.run(*failing, "--retry-failed", code=1)

    assert hpo("list").out.splitlines()[2].split()[:3] == ["small", "failed", "5/5"]
    assert "5 of 5 trials" in hpo("show", "small").out
    (head,) = hpo("list", "--json").json
    assert (head["trials"]["failed"], head["retried"]) == (10, 5)


def test_list_as_json_is_a_list_of_heads(hpo: CommandLine) -> None:
    hpo.run()
    hpo.run("--set", "name=other")
    heads = hpo("list", "--json").json
    assert [head["name"] for head in heads] == ["other", "small"]
    for head in heads:
        check_head(head)
        assert head.keys() == {*HEAD, "created"}


def test_list_has_the_newest_first_and_can_be_sorted(hpo: CommandLine) -> None:
    for name, trials in (("b", 1), ("c", 3), ("a", 2)):
        hpo.run("--set", f"name={name}", "--trials", str(trials))

    def order(*words: str) -> list[str]:
        return [line.split()[0] for line in hpo("list", *words).out.splitlines()[2:]]

    assert order() == order("--sort", "created") == ["a", "c", "b"]
    assert order("--sort", "name") == ["a", "b", "c"]
    assert order("--sort", "trials") == ["c", "a", "b"]
    names = [head["name"] for head in hpo("list", "--json").json]
    assert names == ["a", "b", "c"]
    heads = hpo("list", "--json", "--sort", "created").json
    assert [head["name"] for head in heads] == ["a", "c", "b"]
    moments = [head["created"] for head in heads]
    assert moments == sorted(moments, reverse=True)


def test_more_trials_than_the_budget_are_stated_as_such(hpo: CommandLine) -> None:
    hpo.run("--trials", "7")
    hpo.run("--trials", "5")
    assert hpo("show", "small").out.startswith(
        "small: complete, 7 trials, 2 more than the budget of 5 in the study as last run (7 complete,"
    )
    assert "7 (budget 5)" in hpo("list").out


def test_trials_that_ran_again_are_not_counted_twice(hpo: CommandLine) -> None:
    hpo.run("--set", "objective=small_objectives:failing", code=1)
    hpo.run("--set", "objective=small_objectives:failing", code=1)
    assert hpo("show", "small").out.startswith(
        "small: failed, 5 of 5 trials, 5 failed ones run again (0 complete, 0 pruned, 10 failed, 0 running)"
    )


@pytest.mark.parametrize("command", ["show", "best"])
def test_a_study_file_stands_for_the_name_in_it(hpo: CommandLine, command: str) -> None:
    hpo.run()
    assert hpo(command, "s.toml", "--json").json == hpo(command, "small", "--json").json
    said = "hpo: none.toml: cannot be read: No such file or directory; to write one: hpo init none.toml\n"
    assert hpo(command, "./none.toml", code=2).err == said


def test_a_ledger_without_studies_says_how_to_make_one(hpo: CommandLine) -> None:
    hpo.run()
    hpo("delete", "small", "--yes", "--tracking", "none")
    assert hpo("list").out == "no studies in hpo.journal; create one with: hpo run STUDY.toml\n"
    assert hpo("list", "--json").json == []


@pytest.mark.parametrize("words", [("list",), ("show", "small"), ("best", "small"), ("delete", "small", "--yes")])
def test_a_ledger_that_is_not_there_says_how_to_make_one(hpo: CommandLine, words: tuple[str, ...]) -> None:
    ended = hpo(*words, code=2)
    assert ended.err == "hpo: storage: there is no ledger at hpo.journal; create one with: hpo run STUDY.toml\n"
    assert not any(path.name.startswith((".hpo", "hpo.")) for path in hpo.folder.iterdir())


@pytest.mark.parametrize("words", [("show",), ("best",), ("delete", "--yes")])
def test_a_study_that_is_not_there_is_told_its_nearest_name(hpo: CommandLine, words: tuple[str, ...]) -> None:
    hpo.run()
    said = hpo(words[0], "smal", *words[1:], code=2).err
    assert said == "hpo: there is no study 'smal' in hpo.journal; did you mean 'small'?\n"
    assert hpo(words[0], "zzz", *words[1:], code=2).err.endswith("'zzz' in hpo.journal; known are small\n")


# show --------------------------------------------------------------------------------------------------------------


def test_show_says_progress_states_and_the_best(hpo: CommandLine) -> None:
    hpo.run()
    out = hpo("show", "small").out
    lines = out.splitlines()
    assert lines[0] == "small: complete, 5 of 5 trials (5 complete, 0 pruned, 0 failed, 0 running)"
    assert lines[1] == "minimize loss of small_objectives:curve, sampler random, pruner none, seed 0"
    assert sum(line.startswith("Best-") for line in lines) == 5
    assert sum(line.startswith("Best-") for line in hpo("show", "small", "--top", "2").out.splitlines()) == 2


def test_show_as_json_has_the_promised_shape(hpo: CommandLine) -> None:
    hpo.run()
    head = hpo("show", "small", "--json").json
    check_head(head)
    assert head["name"] == "small"
    assert (head["direction"], head["metric"], head["budget"]) == ("minimize", "loss", {"trials": 5})
    values = [trial["value"] for trial in head["best"]]
    assert values == sorted(values)
    assert len(values) == 5
    assert all(trial["params"].keys() == {"lr"} for trial in head["best"])
    assert len(hpo("show", "small", "--json", "--top", "2").json["best"]) == 2


def test_show_follows_a_study_that_runs(hpo: CommandLine) -> None:
    hpo.run()
    held = lock.acquire(parse("hpo.journal"), "small")
    try:
        assert hpo("show", "small", "--json").json["state"] == "running"
        assert hpo("show", "small").out.startswith(f"small: running by pid {os.getpid()} on ")
    finally:
        held.release()
    assert hpo("show", "small", "--json").json["state"] == "complete"


def test_show_of_a_study_without_a_result(hpo: CommandLine) -> None:
    hpo.run("--set", "objective=small_objectives:failing", code=1)
    out = hpo("show", "small").out
    assert "no trial is complete yet\n" in out
    assert "5 of 5 trials failed: RuntimeError: out of luck (5); to run them again: hpo run STUDY.toml " in out
    assert " --retry-failed; to see a traceback: hpo show small --trial 4\n" in out
    assert out.startswith("small: failed, 5 of 5 trials ")
    head = hpo("show", "small", "--json").json
    check_head(head)
    assert head["best"] == []


def test_a_study_of_another_optuna_program_is_not_ours(hpo: CommandLine) -> None:
    hpo.run()
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend("hpo.journal"))
    optuna.create_study(study_name="foreign", storage=storage).ask()
    assert [head["name"] for head in hpo("list", "--json").json] == ["small"]
    hpo("show", "foreign", code=2)
    assert hpo.run("--set", "name=foreign", code=2).err == (
        "hpo: the ledger holds a study 'foreign' that hpo did not make; choose another name\n"
    )


# best --------------------------------------------------------------------------------------------------------------


def test_best_is_the_first_of_show(hpo: CommandLine) -> None:
    hpo.run()
    first = hpo("show", "small", "--json").json["best"][0]
    best = hpo("best", "small", "--json").json
    assert best == {key: first[key] for key in ("number", "value", "params")}
    lines = hpo("best", "small").out.splitlines()
    assert lines[0].startswith(f"trial {first['number']}: loss ")
    assert lines[1].startswith("  lr = ")


def test_best_of_a_maximized_metric_is_the_largest(hpo: CommandLine) -> None:
    hpo.run("--set", "direction=maximize")
    values = [trial["value"] for trial in hpo("show", "small", "--json").json["best"]]
    assert hpo("best", "small", "--json").json["value"] == max(values)


def test_best_as_toml_fixes_everything_for_another_study(hpo: CommandLine) -> None:
    hpo.run(
        "--set", "fixed.epochs=3", "--set", 'fixed.note="größer ☃ \\"quoted\\" 😀"', "--set", "space.w.choice=[[1, 2]]"
    )
    table = tomllib.loads(hpo("best", "small", "--toml").out)
    params = hpo("best", "small", "--json").json["params"]
    assert table == {"fixed": {"epochs": 3, "note": 'größer ☃ "quoted" 😀', **params}}
    assert params["w"] == [1, 2]


def test_best_without_a_complete_trial_is_a_failure(hpo: CommandLine) -> None:
    hpo.run("--set", "objective=small_objectives:failing", code=1)
    ended = hpo("best", "small", code=1)
    assert ended.err == "hpo: no trial of small is complete; to see why: hpo show small\n"
    assert ended.out == ""


# delete ------------------------------------------------------------------------------------------------------------


def test_delete_asks_first(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    hpo.run()
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    ended = hpo("delete", "small", "--tracking", "none", code=1)
    assert "Delete small with 5 trials?" in ended.err
    assert hpo("list", "--json").json != []
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert hpo("delete", "small", "--tracking", "none").out.strip() == "deleted small with 5 trials from hpo.journal"
    assert hpo("list", "--json").json == []


def test_delete_without_anybody_to_ask_deletes_nothing(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    hpo.run()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    ended = hpo("delete", "small", "--tracking", "none", code=2)
    assert ended.err.endswith(
        "hpo: nothing was deleted: nobody answered the confirmation (no terminal?); add --yes to delete without it\n"
    )
    assert hpo("list", "--json").json != []


def test_delete_takes_several_names_patterns_and_files(hpo: CommandLine) -> None:
    for name in ("small", "compare-a", "compare-b", "kept"):
        hpo.run("--set", f"name={name}", "--trials", "1")
    ended = hpo("delete", "s.toml", "compare-*", "compare-a", "--yes", "--tracking", "none")
    assert [line.split()[1] for line in ended.out.splitlines()] == ["small", "compare-a", "compare-b"]
    assert [head["name"] for head in hpo("list", "--json").json] == ["kept"]


def test_delete_deletes_nothing_where_one_of_the_names_is_wrong(hpo: CommandLine) -> None:
    hpo.run()
    for word, said in (
        ("smal", "there is no study 'smal' in hpo.journal; did you mean 'small'?"),
        ("x*", "delete: no study in hpo.journal matches 'x*'; known are small"),
    ):
        assert hpo("delete", "small", word, "--yes", code=2).err == f"hpo: {said}\n"
    assert [head["name"] for head in hpo("list", "--json").json] == ["small"]


def test_delete_leaves_other_studies_and_the_name_free(hpo: CommandLine) -> None:
    hpo.run()
    hpo.run("--set", "name=other")
    hpo("delete", "small", "--yes", "--tracking", "none")
    assert [head["name"] for head in hpo("list", "--json").json] == ["other"]
    hpo.run("--set", "direction=maximize")


def test_delete_removes_the_checkpoints_of_trials_that_have_not_finished(hpo: CommandLine) -> None:
    hpo.run()
    checkpoint = Path(".hpo/checkpoints", snapshots.uid(parse("hpo.journal"), "small"), "3")
    checkpoint.mkdir(parents=True)
    hpo("delete", "small", "--yes", "--tracking", "none")
    assert not checkpoint.parent.exists()


def test_a_study_that_starts_over_has_the_folders_of_its_name(hpo: CommandLine) -> None:
    hpo.run("--set", "objective=small_objectives:failing", "--verbose", code=1)
    old = Path(".hpo/checkpoints", snapshots.uid(parse("hpo.journal"), "small"))
    old.mkdir(parents=True)
    hpo.run("--set", "objective=small_objectives:curve")
    assert [path.name for path in Path(".hpo/trials").iterdir()] == ["small"]
    assert not old.exists()


def test_delete_makes_no_mlflow_store(hpo: CommandLine) -> None:
    hpo.run()
    assert hpo("delete", "small", "--yes").out == "deleted small with 5 trials from hpo.journal\n"
    assert not Path("mlflow.db").exists()


def test_delete_refuses_a_tracking_store_that_cannot_be_before_anything_is_deleted(hpo: CommandLine) -> None:
    hpo.run()
    assert "MLflow has no store for s3:" in hpo("delete", "small", "--yes", "--tracking", "s3://b/x", code=2).err
    assert [study["name"] for study in hpo("list", "--json").json] == ["small"]


def test_a_study_that_runs_is_not_deleted(hpo: CommandLine) -> None:
    hpo.run()
    held = lock.acquire(parse("hpo.journal"), "small")
    try:
        assert "is being run by pid" in hpo("delete", "small", "--yes", "--tracking", "none", code=2).err
    finally:
        held.release()
    assert hpo("list", "--json").json != []


def test_delete_moves_the_mlflow_experiment_to_the_trash(hpo: CommandLine, mlflow_database: str) -> None:
    hpo("run", "s.toml", *QUICK[:2], "--tracking", mlflow_database)
    ended = hpo("delete", "small", "--yes", "--tracking", mlflow_database)
    assert ended.out.splitlines() == [
        "deleted small with 5 trials from hpo.journal",
        "moved its runs in MLflow to the trash",
    ]
    assert hpo("list", "--json").json == []


# the evidence of a narrowing search --------------------------------------------------------------------------------


def test_show_says_what_each_round_of_a_narrowing_search_concluded(hpo: CommandLine) -> None:
    hpo.run("--set=sampler.name=narrowing", "--set=sampler.round=12", "--set=budget.trials=24")
    rounds = json.loads(hpo("show", "small", "--json").out)["rounds"]
    assert [(one["round"], one["parameter"]) for one in rounds] == [(0, "lr"), (1, "lr")]
    assert rounds[0]["effect"]
    assert rounds[0]["new"][1] < rounds[0]["old"][1]
    assert rounds[1]["old"] == rounds[0]["new"]
    text = hpo("show", "small").out
    assert "drawn from" in text
    assert "rank correlation +" in text
