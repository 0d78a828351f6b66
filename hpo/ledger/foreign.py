"""Studies of plain Optuna, read as they are: nothing is written, no table is made, and nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from hpo.errors import InputError, StorageUnusable
from hpo.ledger import marked
from hpo.ledger.address import CONNECT_TIMEOUT, Address, not_found, parse, probe
from hpo.ledger.record import DIRECTIONS, FROM_OPTUNA, INFEASIBLE
from hpo.text import reason, redact
from hpo.trial import FROM, Direction, Origin, Report, State, Trial

if TYPE_CHECKING:
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql


def optuna_trials(url: str, name: str, objectives: Mapping[str, Direction]) -> list[Trial]:
    """The trials of a study that Optuna keeps, with their parameters as Optuna has them.

    Args:
        url: A journal file, ``sqlite:///PATH`` or ``postgresql://...``.
        name: The study.
        objectives: Those of the study that takes them. Under the name of the first, intermediate values are reported;
            their steps are counted from 1.

    Raises:
        StorageUnusable: When the storage cannot be read.
        StudyNotFound: When it has no such study.
        InputError: When the study has other directions.
    """
    try:
        where = parse(url)
        probe(where, create=False)
    except InputError as error:
        why = str(error).removeprefix("storage: ").partition("; create one with")[0]
        raise StorageUnusable.about("--optuna", why, redact(url)) from None
    with closing(_open(where)) as store:
        names = {study.study_name: study._study_id for study in store.get_all_studies()}
        if name not in names:
            raise not_found(where, name, names, "--optuna")
        directions = store.get_study_directions(names[name])
        if directions != [DIRECTIONS[direction] for direction in objectives.values()]:
            found, wanted = ", ".join(one.name.lower() for one in directions), ", ".join(objectives.values())
            raise InputError(f"--optuna: {name}: its direction must be {wanted}, got {found}", key="--optuna")
        trials = store.get_all_trials(names[name], deepcopy=False)
        # A study of hpo's own may have trials that do not count; its attributes say which.
        return marked(
            [_read(trial, name, next(iter(objectives))) for trial in trials], store.get_study_user_attrs(names[name])
        )


def _open(where: Address) -> Journal | Sql:
    if where.kind == "journal":
        from hpo.ledger.journal import Journal

        assert where.path is not None
        return Journal(where.path)
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from hpo.ledger.sql import Sql

    try:
        if where.path is not None:
            return Sql(None, where.path, "mode=ro", skip_table_creation=True)
        url = where.url.replace("postgresql://", "postgresql+psycopg://", 1)
        read_only = {"connect_timeout": CONNECT_TIMEOUT, "options": "-c default_transaction_read_only=on"}
        return Sql(url, engine_kwargs={"connect_args": read_only}, skip_table_creation=True)
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        raise StorageUnusable.about("--optuna", f"{where} cannot be read: {reason(error)}", str(where)) from None


def _read(stored: FrozenTrial, study: str, metric: str) -> Trial:
    pruned, values = stored.state is TrialState.PRUNED, stored.values
    infeasible = pruned and stored.user_attrs.get(INFEASIBLE) is True  # in a study of hpo's own
    state = State.INFEASIBLE if infeasible else FROM_OPTUNA[stored.state]
    moments = (stored.datetime_start, stored.datetime_complete)
    started, ended = (None if moment is None else moment.timestamp() for moment in moments)
    curve = sorted(stored.intermediate_values.items())
    return Trial(
        stored.number,
        dict(stored.params),
        stored.user_attrs.get("seed", 0) if isinstance(stored.user_attrs.get("seed", 0), int) else 0,
        state,
        tuple(values) if values and state is not State.FAILED else (),
        started,
        ended,
        reports=tuple(Report(place, ended or 0.0, {metric: v}) for place, (_, v) in enumerate(curve, start=1)),
        notes={FROM: list(Origin(identity("optuna", study, stored.number, stored.params), study, stored.number))},
    )


def identity(*of: Any) -> str:
    """What tells one row of a source from another, also when the source is read again."""
    return hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:32]
