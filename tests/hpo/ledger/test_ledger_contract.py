"""What every ledger must do, whatever it is kept in: a journal file, sqlite, PostgreSQL."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from hpo.errors import HpoError, StorageError
from hpo.ledger import snapshots
from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger, connect
from hpo.ledger.record import Records
from hpo.testing import LedgerContract, small_study
from hpo.testing.ledgers import TrialWriter
from hpo.trial import State

_LOOK = """
import sys, threading, time
from hpo.ledger import lock
from hpo.ledger.address import parse
address = parse(sys.argv[1])
lock.holder(address, "small")
over = threading.Thread(target=sys.stdin.read)
over.start()
print("looking", flush=True)
while over.is_alive():
    lock.holder(address, "small")
    time.sleep(0.001)
"""


def dashboard(storage: BaseStorage) -> Callable[[str], Any]:
    """Asks optuna-dashboard over a storage; returns what it answers."""
    app = optuna_dashboard.wsgi(storage)

    def ask(path: str) -> Any:
        status = []
        environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": path}
        setup_testing_defaults(environ)
        body = b"".join(app(environ, lambda line, headers, *_: status.append(line)))
        assert status == ["200 OK"], body
        return json.loads(body)

    return ask


class TestLedger(LedgerContract):
    """With every ``address`` of conftest.py; and what hpo's ledger does beyond the contract."""

    def test_a_pruned_trial_that_ended_at_infinity_has_no_value(
        self, address: Address, trial_writer: TrialWriter
    ) -> None:
        trial = trial_writer.begin()
        trial = trial_writer.report(trial, {"score": float("inf")})
        trial_writer.ledger.finish(trial_writer.advisor.tell(replace(trial, state=State.PRUNED)))

        read = snapshots.read(address, "small").trials[0]

        assert (read.state, read.value) == (State.PRUNED, None)
        assert read.reports == trial.reports

    def test_an_infeasible_trial_is_read_back_and_is_the_worst_for_optuna(
        self, address: Address, trial_writer: TrialWriter, optunas_own: BaseStorage
    ) -> None:
        trial = trial_writer.report(trial_writer.begin(), {"score": 0.5})
        trial = trial_writer.finish(trial, State.INFEASIBLE, values=(), error="Diverged: at step 2")
        trial_writer.ledger.close()

        for _ in range(2):  # from the ledger, and from its summary
            assert snapshots.read(address, "small").trials == [trial]
        (stored,) = optuna.load_study(study_name="small", storage=optunas_own).trials
        assert (stored.state, stored.value, stored.intermediate_values) == (TrialState.PRUNED, None, {})
        assert stored.user_attrs["infeasible"] is True

    def test_a_trial_of_somebody_else_in_between_is_noticed(
        self, address: Address, trial_writer: TrialWriter, optunas_own: BaseStorage
    ) -> None:
        optuna.load_study(study_name="small", storage=optunas_own).ask()

        with pytest.raises(HpoError, match="trial 0 got the number 1: something else writes to this study"):
            trial_writer.begin()

    def test_optuna_itself_reads_the_study(
        self, address: Address, trial_writer: TrialWriter, optunas_own: BaseStorage
    ) -> None:
        trial_writer.one_of_each()

        study = optuna.load_study(study_name="small", storage=optunas_own)

        assert study.direction.name == "MAXIMIZE"
        assert study.best_value == 0.5
        assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
        complete, pruned, failed = study.trials
        assert complete.intermediate_values == {1: 0.25, 3: 0.5}
        assert (pruned.value, pruned.intermediate_values) == (0.125, {1: 0.125})
        assert repr(failed.intermediate_values) == "{1: nan, 2: -inf}"
        assert complete.user_attrs.items() >= {"seed": 1, "attempt": 3, "worker": "host/1"}.items()
        assert json.dumps(complete.system_attrs["hpo:reports"]["metrics"]["loss"]) == "[1.5, 1.25, null]"
        assert study.user_attrs["hpo:study"]["metric"] == "score"

    def test_optuna_dashboard_shows_metric_and_note_and_no_wall_of_reports(
        self, address: Address, trial_writer: TrialWriter, optunas_own: BaseStorage
    ) -> None:
        trial_writer.one_of_each()
        ask = dashboard(optunas_own)

        (listed,) = ask("/api/studies")["study_summaries"]
        shown = ask(f"/api/studies/{listed['study_id']}")
        assert shown["objective_names"] == ["score"]
        assert shown["note"]["body"].startswith("`score` of `")
        assert "| lr |" in shown["note"]["body"]
        attributes = [{attr["key"] for attr in trial["user_attrs"]} for trial in shown["trials"]]
        assert set.union(*attributes) <= {"seed", "worker", "attempt", "started", "ended", "error"}

        study_id = optunas_own.get_study_id_from_name("small")
        optunas_own.set_study_system_attr(study_id, "dashboard:note_str:0", "mine")
        trial_writer.ledger.close()
        Ledger.open(address, small_study()).close()
        assert ask(f"/api/studies/{listed['study_id']}")["note"]["body"] == "mine"

    def test_optuna_dashboard_shows_all_objectives_and_the_front(
        self, address: Address, optunas_own: BaseStorage
    ) -> None:
        study = small_study(name="both", objectives={"score": "maximize", "size": "minimize"})
        trial_writer = TrialWriter(address, study)
        for score, size in ((0.5, 2.0), (0.25, 1.0), (0.125, 3.0)):
            trial = trial_writer.report(
                trial_writer.begin(), {"score": score / 2, "size": size}, {"score": score, "size": size}
            )
            trial_writer.finish(trial, State.COMPLETE)
        trial_writer.ledger.close()
        ask = dashboard(optunas_own)

        (listed,) = [one for one in ask("/api/studies")["study_summaries"] if one["study_name"] == "both"]
        shown = ask(f"/api/studies/{listed['study_id']}")

        assert shown["objective_names"] == ["score", "size"]
        assert listed["directions"] == ["maximize", "minimize"]
        assert [trial["values"] for trial in shown["trials"]] == [[0.5, 2.0], [0.25, 1.0], [0.125, 3.0]]
        assert sorted(trial["number"] for trial in shown["best_trials"]) == [0, 1]

    def test_reports_where_earlier_versions_of_hpo_kept_them_are_read(self, trial_writer: TrialWriter) -> None:
        trial = trial_writer.report(trial_writer.begin(), {"score": 0.5, "loss": 1.25})
        records = Records(small_study())
        stored = records.to_optuna(trial)
        stored.user_attrs["reports"] = stored.system_attrs.pop("hpo:reports")
        assert records.to_trial(stored).reports == trial.reports
        assert records.to_trial(records.to_optuna(trial)) == records.to_trial(stored)

    def test_another_study_of_the_same_ledger_is_free(self, address: Address, trial_writer: TrialWriter) -> None:
        other = TrialWriter(address, small_study(name="other"))
        other.fill([0.25])
        trial_writer.fill([0.5])

        assert [t.value for t in snapshots.read(address, "other").trials] == [0.25]
        assert [t.value for t in snapshots.read(address, "small").trials] == [0.5]
        other.ledger.close()

    def test_looking_at_a_study_never_keeps_a_writer_out(self, address: Address) -> None:
        TrialWriter(address, small_study()).ledger.close()
        looker = subprocess.Popen(
            [sys.executable, "-c", _LOOK, address.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert looker.stdout is not None
        assert looker.stdout.readline() == "looking\n"

        for _ in range(15):
            Ledger.open(address, small_study()).close()

        looker.communicate("")
        assert looker.returncode == 0

    def test_finishing_twice_is_refused(self, trial_writer: TrialWriter) -> None:
        trial = trial_writer.begin()
        trial = trial_writer.report(trial, {"score": 1.0})
        trial = trial_writer.advisor.tell(replace(trial, state=State.COMPLETE, values=(1.0,)))
        trial_writer.ledger.finish(trial)

        with pytest.raises(StorageError, match="has ended a trial of small that was running here"):
            trial_writer.ledger.finish(trial)


class TestAsOptunasStorage(StorageTestCase):
    """What a ledger is kept in passes Optuna's own tests of a storage."""

    @pytest.fixture
    def storage(self, address: Address) -> Iterator[BaseStorage]:
        storage = connect(address)
        yield storage
        storage.close()

    def test_pickle_storage(self, storage: BaseStorage) -> None:
        super().test_pickle_storage(storage)
        with warnings.catch_warnings():  # about connections of the copy, which Optuna's test leaves open
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
