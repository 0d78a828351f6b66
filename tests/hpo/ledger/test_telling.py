"""What programs tell of the trials that they run themselves, in a ledger of each kind."""

from __future__ import annotations

import numpy as np
import pytest

from hpo.errors import InputError
from hpo.ledger import snapshots
from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger
from hpo.requests import Connection
from hpo.testing import small_study
from hpo.trial import State


@pytest.fixture
def study(address: Address) -> Connection:
    """A study of four trials that nobody runs."""
    Ledger.open(address, small_study(budget={"trials": 4})).close()
    return Connection("small", address)


def test_steps_are_as_large_as_every_ledger_takes(study: Connection) -> None:
    """A larger one would end the driver that writes to PostgreSQL."""
    asked = study.ask()
    assert asked is not None
    with pytest.raises(InputError, match=r"report\.step: must be at most 1000000000, got 3000000000"):
        study.report(asked, step=3 * 10**9, score=0.5)
    assert not study.report(asked, step=10**9, score=0.5)
    study.tell(asked, 0.75)
    (trial,) = snapshots.read(study.where, "small").trials
    assert [report.step for report in trial.reports] == [10**9, 10**9 + 1]


def test_numbers_of_numpy_are_numbers(study: Connection) -> None:
    number = study.add(lr=np.float32(0.0078125))
    asked = study.ask()
    assert asked is not None
    assert (asked.number, asked.params["lr"]) == (number, 0.0078125)
    assert not study.report(np.int64(number), step=np.int32(1), score=np.float32(np.nan), loss=np.array(2.0))  # type: ignore[arg-type]
    study.tell(asked, {"score": np.float32(0.25)})  # type: ignore[dict-item]
    second = study.ask()
    assert second is not None
    study.fail(second, ValueError("no memory"))  # type: ignore[arg-type]
    first, failed = snapshots.read(study.where, "small").trials
    assert (first.value, first.reports[0].metrics["loss"]) == (0.25, 2.0)
    assert failed.error == "ValueError('no memory')"
    with pytest.raises(InputError, match="must be a number"):
        study.tell(study.ask() or 0, object())  # type: ignore[arg-type]


def test_what_does_not_work_is_infeasible_and_not_run_again(study: Connection) -> None:
    asked = study.ask()
    assert asked is not None
    study.report(asked, score=0.5)
    for _ in range(2):
        study.infeasible(asked, "it diverged")
    with pytest.raises(InputError, match=r"trial 0 has already ended as infeasible; .* is refused because it differs"):
        study.fail(asked, "it diverged")
    (trial,) = snapshots.read(study.where, "small").trials
    assert (trial.state, trial.values, trial.error) == (State.INFEASIBLE, (), "it diverged")
    assert study.request("retry", trials=[])["trials"] == {}
