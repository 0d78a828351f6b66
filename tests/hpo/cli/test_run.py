"""``hpo run``: what it prints, how it ends, and what a second run does."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from command_line import QUICK, CommandLine

from hpo.cli import options
from hpo.ledger import lock, snapshots
from hpo.ledger.address import Address, parse
from hpo.machine import absolute_uri
from hpo.tracking import check as check_tracking

# What it prints ----------------------------------------------------------------------------------------------------


def test_a_study_runs_to_its_best_trials(hpo: CommandLine) -> None:
    ended = hpo.run()
    lines = [line.split() for line in ended.out.splitlines()]
    assert lines[0] == ["small:", "5", "complete", "in", "hpo.journal"]
    ranks = [line for line in lines if line and line[0].startswith("Best-")]
    assert [rank[0] for rank in ranks] == ["Best-1", "Best-2", "Best-3", "Best-4", "Best-5"]
    values = [float(rank[2]) for rank in ranks]
    assert values == sorted(values)
    assert sorted(int(rank[1]) for rank in ranks) == [0, 1, 2, 3, 4]
    assert ended.err.splitlines()[-1].startswith("small: 5/5 trials, best ")
    assert hpo.calls == 5


def test_without_a_terminal_nothing_is_coloured_or_redrawn(hpo: CommandLine) -> None:
    ended = hpo.run()
    for text in (ended.out, ended.err):
        assert "\x1b" not in text
        assert "\r" not in text


def test_quiet_means_results_only(hpo: CommandLine) -> None:
    ended = hpo.run("--quiet")
    assert ended.err == ""
    assert "Best-1" in ended.out


def test_json_is_the_head_of_the_study_and_nothing_else(hpo: CommandLine) -> None:
    head = hpo.run("--json").json
    assert list(head) == [
        "name",
        "state",
        "direction",
        "metric",
        "budget",
        "trials",
        "retried",
        "inherited",
        "counted",
        "best",
    ]
    assert head["trials"] == {"complete": 5, "pruned": 0, "failed": 0, "running": 0}
    (listed,) = hpo("list", "--json").json
    assert listed == head | {"created": listed["created"]}


def test_nothing_is_said_twice(hpo: CommandLine) -> None:
    ended = hpo.run()
    lines = [line for line in (ended.out + ended.err).splitlines() if line.strip()]
    assert len(lines) == len(set(lines))


def test_the_number_of_parameters_does_not_break_the_table(hpo: CommandLine) -> None:
    more = [f"--set=space.quite_a_long_name_{i}={{ choice = [[{i}, 100, 100, 100]] }}" for i in range(12)]
    (best,) = [line for line in hpo.run(*more).out.splitlines() if line.startswith("Best-1 ")]
    assert best.count("100, 100, 100]") == 12


def test_mlflow_is_told_how_to_be_browsed(hpo: CommandLine, mlflow_database: str) -> None:
    ended = hpo("run", "s.toml", "--workers", "0", "--tracking", mlflow_database)
    assert ended.out.splitlines()[-1] == f"Browse the runs: hpo ui --tracking {mlflow_database}"


# The second run ----------------------------------------------------------------------------------------------------


def test_a_finished_study_is_not_run_again(hpo: CommandLine) -> None:
    first = hpo.run("--json").json
    second = hpo.run("--json")
    assert second.json == first
    assert second.err == ""
    assert hpo.calls == 5


def test_a_larger_budget_extends_it(hpo: CommandLine) -> None:
    before = hpo.run("--json").json
    after = hpo.run("--json", "--set", "budget.trials=8").json
    assert after["budget"] == {"trials": 8}
    assert after["trials"]["complete"] == 8
    assert hpo.calls == 8
    old = {trial["number"]: trial for trial in before["best"]}
    assert all(trial == old.get(trial["number"], trial) for trial in after["best"])


def test_an_extended_study_is_the_one_that_was_long_from_the_start(hpo: CommandLine) -> None:
    hpo.run("--set", "budget.trials=3")
    extended = hpo.run("--json", "--set", "budget.trials=8").json["best"]
    at_once = hpo.run("--json", "--set", "budget.trials=8", "--storage", "other.journal").json["best"]
    for trial in [*extended, *at_once]:
        del trial["seconds"]
    assert extended == at_once


def test_a_smaller_budget_keeps_what_is_there(hpo: CommandLine) -> None:
    hpo.run()
    head = hpo.run("--json", "--set", "budget.trials=2").json
    assert head["trials"]["complete"] == 5
    assert head["state"] == "complete"


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("direction=maximize", 'direction: "minimize" in the ledger, "maximize" in the file'),
        ("metric=acc", 'metric: "loss" in the ledger, "acc" in the file'),
        (
            "objective=small_objectives:number",
            'objective: "small_objectives:curve" in the ledger, "small_objectives:number" in the file',
        ),
        ("fixed.epochs=3", "fixed.epochs: absent in the ledger, 3 in the file"),
        ("space.lr.low=1e-3", "space.lr.low: 0.0001 in the ledger, 0.001 in the file"),
        ("space.lr.log=false", "space.lr.log: true in the ledger, false in the file"),
        ("space.wd.choice=[1]", 'space.wd: absent in the ledger, {"choice": [1]} in the file'),
    ],
)
def test_a_contradiction_is_spelled_out(hpo: CommandLine, override: str, difference: str) -> None:
    hpo.run("--set", "budget.trials=1")
    refused = hpo.run("--set", override, code=2)
    assert refused.out == ""
    assert refused.err.splitlines()[-2:] == [
        "hpo: s.toml with --set: contradicts the ledger's study 'small'; give it another name (and begin it with these "
        "trials: `hpo fork small NEW.toml`), or `hpo delete small`:",
        f"  {difference}",
    ]
    assert hpo.calls == 1


def test_what_does_not_make_trials_incomparable_may_change(hpo: CommandLine) -> None:
    hpo.run()
    hpo.run(
        "--set", "sampler.name=tpe", "--set", "sampler.seed=3", "--set", "budget.trials=6", "--set", "trial.retries=0"
    )
    assert hpo.calls == 6


def test_a_study_that_runs_is_not_run_twice(hpo: CommandLine) -> None:
    held = lock.acquire(parse("hpo.journal"), "small")
    try:
        refused = hpo.run(code=2)
    finally:
        held.release()
    assert refused.err.startswith("hpo: study 'small' is being run by pid ")
    assert refused.err.endswith("; follow it with: hpo show small --watch\n")
    hpo.run()


# Trials that fail --------------------------------------------------------------------------------------------------


def test_ten_failures_at_first_stop_the_study_with_the_last_ones_traceback(hpo: CommandLine) -> None:
    ended = hpo.run("--set", "objective=small_objectives:failing", "--set", "budget.trials=50", "-q", code=1)
    lines = ended.err.splitlines()
    assert lines[:2] == [
        "hpo: the first 10 trials all failed; run the study again to retry them. The last error:",
        "Traceback (most recent call last):",
    ]
    assert lines[-1] == "RuntimeError: out of luck"
    assert "small_objectives.py" in ended.err
    assert "hpo/" not in ended.err.replace(str(hpo.folder), "")
    assert hpo("list", "--json").json[0]["trials"]["failed"] == 10


def test_fewer_than_ten_trials_that_all_fail_end_with_a_traceback_too(hpo: CommandLine) -> None:
    ended = hpo.run("--set", "objective=small_objectives:failing", "-q", code=1)
    assert ended.out.strip() == "small: 5 failed in hpo.journal"
    assert ended.err.startswith(
        "hpo: no trial of small is complete: 5 of 5 trials failed: RuntimeError: out of luck (5); to run them again: "
        "hpo run STUDY.toml --retry-failed; to see a traceback: hpo show small --trial 4. The last one ended with:\n"
        "Traceback "
    )
    assert ended.err.endswith("RuntimeError: out of luck\n")


def test_infeasible_trials_are_counted_shown_and_do_not_stop_the_study(hpo: CommandLine) -> None:
    infeasible = ["--set", "trial.infeasible=['small_objectives.Diverged']"]
    ended = hpo.run("--set", "objective=small_objectives:mostly_diverging", "--set", "budget.trials=14", *infeasible)
    head = hpo("show", "small", "--json").json
    assert head["trials"] == {"complete": 1, "pruned": 0, "failed": 0, "running": 0, "infeasible": 13}
    assert "small: 1 complete, 13 infeasible in hpo.journal" in ended.out
    assert "1 complete, 13 infeasible" in ended.err.splitlines()[-1]
    shown = hpo("show", "small", "--trial", "0").out
    assert shown.startswith("small, trial 0: infeasible")
    assert "Diverged: the loss became nan" in shown
    assert "infeasible" in hpo("show", "small").out


def test_a_study_without_a_feasible_trial_says_so_and_names_the_nearest(hpo: CommandLine) -> None:
    ended = hpo.run("--set", "constraints.metrics={ acc = { min = 2.0 } }")
    head = hpo("show", "small", "--json").json
    assert head["best"] == []
    nearest = head["nearest"]
    assert nearest["feasible"] is False
    assert nearest["violations"]["acc"] == pytest.approx(1 + nearest["params"]["lr"])
    assert nearest["params"]["lr"] == min(row["params.lr"] for row in hpo("export", "small", "--json").json)
    words = f"no trial satisfies acc >= 2; the nearest is trial {nearest['number']}: acc is "
    assert words in ended.out
    assert words in hpo("show", "small").out
    assert words in hpo("best", "small", code=1).err
    assert (
        f"violates  acc, by {1 + nearest['params']['lr']:.6g}"
        in hpo("show", "small", "--trial", str(nearest["number"])).out
    )


def test_a_trial_beyond_its_bounds_is_not_among_the_best(hpo: CommandLine) -> None:
    free = hpo.run("--json").json["best"]
    bound = 1 - free[1]["params"]["lr"] - 1e-9
    hpo("delete", "small", "--yes")
    bounded = hpo.run("--set", f"constraints.metrics={{ acc = {{ max = {bound!r} }} }}", "--json").json
    assert [trial["number"] for trial in bounded["best"]] == [trial["number"] for trial in free[2:]]
    assert all(trial["feasible"] for trial in bounded["best"])
    assert bounded["trials"]["complete"] == 5


def test_nine_failures_at_first_do_not_stop_it(hpo: CommandLine) -> None:
    head = hpo.run("--set", "objective=small_objectives:failing_at_first", "--set", "budget.trials=12", "--json").json
    assert head["trials"] == {"complete": 3, "pruned": 0, "failed": 9, "running": 0}
    shown = hpo("show", "small").out
    assert "9 of 12 trials failed: RuntimeError: out of luck (9); to run them again: hpo run STUDY.toml " in shown
    assert " --retry-failed; to see a traceback: hpo show small --trial 8\n" in shown


@pytest.mark.parametrize(
    ("objective", "error"),
    [
        ("diverging", "reported loss = "),
        ("silent", "ended without reporting 'loss'"),
        ("forgetful", "TypeError: a report must be a mapping of metric names to numbers, or a number, got None"),
    ],
)
def test_a_trial_without_a_finite_value_has_failed(hpo: CommandLine, objective: str, error: str) -> None:
    hpo.run("--set", f"objective=small_objectives:{objective}", code=1)
    (head,) = hpo("list", "--json").json
    assert (head["trials"]["failed"], head["best"]) == (5, [])
    assert error in hpo("show", "small").out


def test_a_study_without_a_result_starts_over_when_its_objective_or_space_changes(hpo: CommandLine) -> None:
    choice = "space.kind.choice=[1, [2]]"
    hpo.run("--set", "objective=small_objectives:failing", "--set", choice, code=1)
    head = hpo.run("--set", "space.kind.choice=['a', 'b']", "--json").json
    assert head["trials"] == {"complete": 5, "pruned": 0, "failed": 0, "running": 0}


def test_a_metric_that_is_never_reported_ends_it_at_the_first_report(hpo: CommandLine) -> None:
    ended = hpo.run("--set", "metric=lost", "--quiet", code=2)
    assert ended.out == ""
    assert ended.err == "hpo: s.toml with --set: metric: the objective reports loss, acc, but not 'lost'\n"
    assert hpo.calls == 1


# What an objective may be ------------------------------------------------------------------------------------------


def test_a_plain_function_is_an_objective(hpo: CommandLine) -> None:
    head = hpo.run("--set", "objective=small_objectives:number", "--json").json
    assert all(trial["value"] == trial["params"]["lr"] for trial in head["best"])


def test_a_command_is_an_objective(hpo: CommandLine) -> None:
    command = ["/bin/sh", "-c", 'echo training; echo "{{\\"loss\\": {lr}}}"']
    head = hpo.run("--set", f"objective={json.dumps(command)}", "--json").json
    assert head["trials"]["complete"] == 5
    assert all(trial["value"] == trial["params"]["lr"] for trial in head["best"])


def test_what_an_objective_refuses_is_said_before_any_work(hpo: CommandLine) -> None:
    ended = hpo.run("--set", "objective=small_objectives:picky", code=2)
    assert ended.err == "hpo: s.toml with --set: objective: lr must be at most 0.9, got 1.0\n"
    assert not (hpo.folder / "hpo.journal").exists()


# Ledgers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["trials.journal", "sqlite:///trials.db"])
def test_a_storage_is_kept_and_shown(hpo: CommandLine, storage: str) -> None:
    assert f"5 complete in {storage}\n" in hpo.run("--storage", storage).out
    assert hpo("list", "--storage", storage, "--json").json[0]["trials"]["complete"] == 5
    assert not (hpo.folder / "hpo.journal").exists()


def test_the_storage_can_be_set_in_the_environment(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_STORAGE", "elsewhere.journal")
    hpo.run()
    assert (hpo.folder / "elsewhere.journal").exists()
    assert hpo("best", "small", "--json").json["number"] >= 0


def test_two_studies_share_a_ledger(hpo: CommandLine) -> None:
    hpo.run()
    hpo.run("--set", "name=other", "--set", "direction=maximize")
    assert [head["name"] for head in hpo("list", "--json").json] == ["other", "small"]


def test_a_ledger_is_read_once_for_all_its_studies(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        hpo.run("--set", f"name={name}", "--set", "budget.trials=1")
    read: list[Address] = []
    stored = snapshots._stored

    def counted(address: Address) -> Iterator[snapshots.Stored]:
        read.append(address)
        return stored(address)

    monkeypatch.setattr(snapshots, "_stored", counted)

    assert len(hpo("list", "--json").json) == 3
    assert len(read) == 1


def test_a_database_that_cannot_be_reached_says_so_at_once_and_keeps_its_password(hpo: CommandLine) -> None:
    began = time.monotonic()
    ended = hpo.run("--storage", "postgresql://me:s3cret@127.0.0.1:1/trials", code=2)
    assert time.monotonic() - began < 30  # it is refused, not waited for
    assert ended.err.startswith("hpo: storage: cannot reach postgresql://me:***@127.0.0.1:1/trials: ")
    assert "s3cret" not in ended.out + ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("mysql://me:s3cret@host/x", "storage: must be the path of a journal file, sqlite:///PATH or postgresql://"),
        ("sqlite://", "storage: must be the path of a journal file, sqlite:///PATH or postgresql://"),
        (
            "no/such/folder/x.journal",
            "storage: cannot make no/such/folder/x.journal: there is no folder no/such/folder",
        ),
        (
            "sqlite:///no/such/folder/x.db",
            "storage: cannot make no/such/folder/x.db: there is no folder no/such/folder",
        ),
        ("folder", "storage: folder is not a file"),
        ("text", "storage: text is not an Optuna journal file"),
        ("sqlite:///text", "storage: text is not a SQLite database"),
        (
            "database.db",
            "storage: database.db is not an Optuna journal file; it is a SQLite file: write sqlite:///database.db",
        ),
        ("sqlite:///hpo.journal", "storage: hpo.journal is not a SQLite database"),
        ("/proc/x.journal", "storage: "),
        ("sqlite:////proc/x.db", "storage: "),
    ],
)
def test_a_storage_that_cannot_be_used_says_why(hpo: CommandLine, storage: str, said: str) -> None:
    (hpo.folder / "folder").mkdir()
    (hpo.folder / "text").write_text("Dear diary\n")
    hpo.run("--storage", "sqlite:///database.db", "--set", "budget.trials=1")
    hpo.run("--set", "budget.trials=1")
    ended = hpo.run("--storage", storage, "--set", "budget.trials=2", code=2)
    assert ended.err.startswith(f"hpo: {said}")
    assert ended.err.count("\n") == 1
    assert "s3cret" not in ended.err
    assert (hpo.folder / "text").read_text() == "Dear diary\n"
    assert hpo.calls == 2


def test_a_json_file_that_is_no_journal_is_not_touched(hpo: CommandLine) -> None:
    foreign = hpo.folder / "settings.json"
    foreign.write_text('{"theme": "dark"}\n')
    ended = hpo.run("--storage", "settings.json", code=2)
    assert ended.err.startswith(f"hpo: storage: {foreign}, line 1: is no record of Optuna's")
    assert foreign.read_text() == '{"theme": "dark"}\n'


# Options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["-1", "1.5", "many", "", "²"])
def test_workers_are_a_whole_number_or_auto(hpo: CommandLine, workers: str) -> None:
    ended = hpo("run", "s.toml", f"--workers={workers}", code=2)
    assert ended.err == f"hpo: --workers: must be a whole number, 0 or more, or auto, got {workers!r}\n"


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is not connected to a Ray, as another test's may be, which would be used as it is."""
    monkeypatch.delitem(sys.modules, "ray", raising=False)


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1: "),
        ("ray://127.0.0.1:10001", "a search must run inside its cluster, and ray://127.0.0.1:10001 is outside"),
    ],
)
def test_a_cluster_that_is_not_there_is_refused_before_anything_is_written(
    hpo: CommandLine, address: str, why: str
) -> None:
    words = ["--address", address, "--storage", "fresh.journal", "--tracking", "sqlite:///fresh.db"]
    ended = hpo("run", "s.toml", *words, code=2)
    assert ended.err.startswith(f"hpo: --address: {why}")
    assert (ended.out, ended.err.count("\n")) == ("", 1)
    assert not list(hpo.folder.glob("fresh*"))


@pytest.mark.parametrize(
    ("tracking", "hint"),
    [
        ("foo://me:s3cret@bar", "foo://; known are sqlite, postgresql, mysql, mssql, http, https, databricks, got"),
        ("uc://x", "uc://; known are"),
        ("http+unix://x", "http+unix://; did you mean"),
        ("postgres://me@host/db", "postgres://; did you mean 'postgresql'?, got postgres://me@host/db"),
    ],
)
def test_a_store_that_mlflow_cannot_have_is_refused_before_anything_is_written(
    hpo: CommandLine, tracking: str, hint: str
) -> None:
    ended = hpo("run", "s.toml", "--workers", "0", "--tracking", tracking, code=2)
    assert ended.err.startswith(f"hpo: --tracking: MLflow has no store for {hint}")
    assert "s3cret" not in ended.err
    assert not list(hpo.folder.glob("*.journal"))


def test_a_variable_that_is_wrong_gets_one_message(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_WAIT", "banana")
    ended = hpo("run", "s.toml", *QUICK, code=2)
    assert (ended.out, ended.err) == ("", "hpo: HPO_WAIT: must be 1 or 0, got banana\n")
    for value in ("", "0", "False", "yes", "1"):
        monkeypatch.setenv("HPO_WAIT", value)
        assert options.waits(False) is (value in ("yes", "1"))
        assert options.waits(True)


@pytest.mark.parametrize(
    "tracking",
    ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true", "sqlite+pysqlite://"],
)
def test_a_tracking_store_in_memory_is_refused_before_anything_is_written(hpo: CommandLine, tracking: str) -> None:
    before = {path.name for path in hpo.folder.iterdir()}
    ended = hpo("run", "s.toml", "--workers", "0", "--tracking", tracking, code=2)
    assert ended.err.startswith("hpo: --tracking: must be a file, such as sqlite:///mlflow.db: no other process can")
    assert (ended.out, ended.err.count("\n")) == ("", 1)
    assert {path.name for path in hpo.folder.iterdir()} - {"__pycache__"} == before


def test_a_store_of_a_plugin_or_with_a_driver_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = EntryPoint("foo", "plugin:Store", "mlflow.tracking_store")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [plugin] * (group == plugin.group))
    assert absolute_uri("foo:bar:x") == "foo:bar:x"
    for tracking in (
        "foo://bar",
        "foo:bar:x",
        "mysql+pymysql://me@host/db",
        "databricks://profile",
        "HTTP://host",
        "none",
    ):
        check_tracking(tracking)


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("address", ["head", "10.0.0.1", "127.0.0.1:port"])
def test_an_address_that_is_none_of_a_cluster_is_refused_before_the_ledger_has_the_study(
    hpo: CommandLine, address: str
) -> None:
    words = [*QUICK[QUICK.index("--tracking") :], "--address", address]
    said = f"hpo: --address: no Ray cluster answers at {address}: an address is HOST:PORT, auto or local; start one"
    assert hpo("run", "s.toml", *words, code=2).err.startswith(said)
    assert not list(hpo.folder.glob("*.journal"))


@pytest.mark.usefixtures("unconnected")
def test_a_finished_study_needs_no_cluster(hpo: CommandLine) -> None:
    hpo.run()
    words = [*QUICK[QUICK.index("--tracking") :], "--address", "127.0.0.1:1"]
    assert "5 complete" in hpo("run", "s.toml", *words).out
    more = hpo("run", "s.toml", *words, "--trials", "6", code=2)
    assert "no Ray cluster answers at 127.0.0.1:1" in more.err
    assert len(snapshots.read(parse("hpo.journal"), "small").trials) == 5


def test_a_study_file_that_is_not_there_is_named(hpo: CommandLine) -> None:
    said = "cannot be read: No such file or directory; to write one: hpo init studies/none.toml\n"
    assert hpo("run", "studies/none", *QUICK, code=2).err == f"hpo: studies/none: {said}"
    said = "cannot be read: No such file or directory; to write one: hpo init none.toml\n"
    assert hpo("run", "none.toml", *QUICK, code=2).err == f"hpo: none.toml: {said}"
    for typed in ("s", "s.tml", "s.json"):
        ended = hpo("run", typed, *QUICK, code=2)
        assert ended.err == f"hpo: {typed}: cannot be read: No such file or directory; did you mean s.toml?\n"


def test_the_study_file_may_stand_elsewhere(hpo: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "s.toml").rename(tmp_path / "studies" / "s.toml")
    hpo("run", "studies/s.toml", *QUICK)
    assert (tmp_path / "hpo.journal").exists()


def test_a_condition_on_a_stepped_number_holds_for_the_number_as_it_is_written(hpo: CommandLine) -> None:
    steps = ["--set", "space.depth.low=0.1", "--set", "space.depth.high=0.5", "--set", "space.depth.step=0.1"]
    rate = ["--set", "space.rate.low=0.0", "--set", "space.rate.high=1.0", "--set", "space.rate.when.depth=0.3"]
    hpo.run(*steps, *rate, "--set", "budget.trials=30")
    trials = [trial.params for trial in snapshots.read(parse("hpo.journal"), "small").trials]
    assert {params["depth"] for params in trials} == {0.1, 0.2, 0.3, 0.4, 0.5}
    assert all(("rate" in params) == (params["depth"] == 0.3) for params in trials)


def test_what_user_code_does_to_a_choice_never_reaches_the_ledger(hpo: CommandLine) -> None:
    (hpo.folder / "appending.py").write_text(
        "def objective(params, seed):\n"
        "    params['layers'].append(7)\n"
        "    return len(params['layers']) + params['lr']\n"
        "def spoil(params):\n"
        "    params['layers'].append(7)\n"
        "def evaluate(params, seed):\n"
        "    params['layers'].append(7)\n"
        "    return {'loss': float(len(params['layers']))}\n"
        "objective.check = objective.data = spoil\n"
    )
    hpo.run(
        *("--set", "objective=appending:objective", "--set", "evaluate=appending:evaluate"),
        *("--set", "space.layers.choice=[[16], [32, 32]]", "--set", "sampler.name=random"),
    )
    trials = [trial.params for trial in snapshots.read(parse("hpo.journal"), "small").trials]
    assert {tuple(params["layers"]) for params in trials} == {(16,), (32, 32)}
    best = hpo("best", "small", "--json").json
    assert best["params"]["layers"] == [16]
    assert hpo("evaluate", "small", "--json").json["metrics"]["loss"] == 2.0
    assert hpo("best", "small", "--json").json["params"] == best["params"]
