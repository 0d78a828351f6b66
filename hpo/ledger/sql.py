"""The sqlite and PostgreSQL ledgers: Optuna's tables, with a whole trial's end in one transaction.

Optuna's own calls cost one transaction per report and per attribute, 90 ms for a trial of 50 reports. The tables stay
Optuna's, so that its own tools read them.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import delete, event, func, select
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from hpo.errors import StorageUnusable, StudyLocked
from hpo.ledger import REQUEST, lock
from hpo.ledger.address import CONNECT_TIMEOUT, Address
from hpo.ledger.cells import insert_rows, tables
from hpo.ledger.record import Records
from hpo.ledger.replay import distribution
from hpo.ledger.sqlite_file import SqliteFile, opening, use_write_ahead_log, writable
from hpo.text import reason
from hpo.trial import Trial

# The study attribute that names its last writer; a new one in a database overwrites it.
WRITER_ATTR = "hpo:writer"
_READ_WRITER = "SELECT value_json FROM study_user_attributes WHERE study_id = %s AND key = %s FOR SHARE"


class Sql(RDBStorage):
    """Optuna's relational storage with a whole trial's end in one transaction.

    Args:
        url: The address of a server; None for a file.
        path: The sqlite file; None for a server.
        mode: As for :func:`opening`.
        options: Of ``RDBStorage``.
    """

    #: What it raises when it cannot be written.
    failures: ClassVar[tuple[type[Exception], ...]] = (StorageInternalError, SQLAlchemyError, OSError)

    def __init__(self, url: str | None, path: Path | None = None, mode: str | None = None, **options: Any) -> None:
        self._connections: WeakSet[Any] = WeakSet()
        self._path, self._counted = path, path is not None
        self._file: SqliteFile | None = None
        if path is not None:  # not as a part of the URL, where some characters mean something else
            options["engine_kwargs"] = {"creator": opening(path, mode)}
            lock.sqlite_connected(+1)
        try:
            super().__init__(url or "sqlite:///file", **options)
        except BaseException:
            if hasattr(self, "engine"):
                self.engine.dispose()
            lock.sqlite_connected(-self._counted)
            raise
        if path is None:
            event.listen(self.engine, "connect", lambda connection, _: self._connections.add(connection))
            self.engine.dispose()  # the next connection is noted

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"_connections": None, "_file": None}  # a copy has its own

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state | {"_connections": WeakSet(), "_counted": False})

    @staticmethod
    def is_passing(error: BaseException) -> bool:
        """Whether waiting may help: a database that restarts, not a full disk or a broken record."""
        if isinstance(error, StorageInternalError) and error.__cause__ is not None:
            error = error.__cause__
        if isinstance(error, ConnectionError):
            return True
        if not isinstance(error, DBAPIError):
            return False
        if isinstance(error.orig, sqlite3.Error):
            return "locked" in str(error.orig)
        return error.connection_invalidated or isinstance(error, OperationalError)

    def claim(self, study_id: int) -> None:
        """Makes this the study's only writer: transactions that an earlier writer begins after this are refused.

        A session of PostgreSQL, and its lock, can be lost while its driver lives on. So every transaction of a writer
        first reads its own mark, and keeps it from being changed until it ends. A file's lock cannot be lost.
        """
        mark = uuid.uuid4().hex
        self.set_study_user_attr(study_id, WRITER_ATTR, mark)
        if self._path is not None:
            self._file = SqliteFile(self._path, study_id, WRITER_ATTR, json.dumps(mark))
            return

        @event.listens_for(self.engine, "begin")
        def check(connection: Any) -> None:
            lost = (connection.dialect.dbapi.OperationalError, connection.dialect.dbapi.InterfaceError)
            try:
                with connection.connection.cursor() as cursor:
                    # A transaction whose driver is stopped in the middle must not block the next driver for ever.
                    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '20s'")
                    row = cursor.execute(_READ_WRITER, (study_id, WRITER_ATTR)).fetchone()
            except lost as error:  # past SQLAlchemy, which would take the connection for a good one
                connection.invalidate(error)
                raise OperationalError(_READ_WRITER, None, error, connection_invalidated=True) from error
            if row is None or json.loads(row[0]) != mark:
                raise StudyLocked(
                    "another process took over or deleted the study while this one was paused or disconnected. This "
                    "process stops; trials that it had not saved will run again there"
                )

    def study_ids(self) -> dict[str, int]:
        """All studies, by name."""
        with Session(self.engine) as session:
            rows = session.execute(select(models.StudyModel.study_name, models.StudyModel.study_id))
            return {str(name): int(study_id) for name, study_id in rows}

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """The attributes of a study; None for a damaged one, which its reader reports."""
        return self._attributes(models.StudyUserAttributeModel, study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """As :meth:`get_study_user_attrs`."""
        return self._attributes(models.StudySystemAttributeModel, study_id)

    def _attributes(self, model: Any, study_id: int) -> dict[str, Any]:
        with Session(self.engine) as session:
            rows = session.execute(select(model.key, model.value_json).where(model.study_id == study_id))
            found = {key: _loaded(text) for key, text in rows}
        if not found:
            self.get_study_name_from_id(study_id)  # KeyError when there is none
        return found

    def get_n_trials(self, study_id: int, state: Any = None) -> int:
        """Counts without reading the trials, which perhaps cannot be read."""
        if state is not None:
            return int(super().get_n_trials(study_id, state))
        self.get_study_name_from_id(study_id)  # KeyError when there is none
        with Session(self.engine) as session:
            count = select(func.count()).select_from(models.TrialModel).where(models.TrialModel.study_id == study_id)
            return int(session.scalar(count) or 0)

    def trials(self, study_id: int, records: Records) -> list[Trial]:
        """The trials of a study as hpo sees them, by one query per table.

        Optuna makes an object of every row. The table of reports is left out: an attribute has them, with all metrics.
        """
        with Session(self.engine) as session:
            of_study = models.TrialModel.study_id == study_id
            found: dict[int, FrozenTrial] = {}
            trial = models.TrialModel
            for trial_id, number, state in session.execute(
                select(trial.trial_id, trial.number, trial.state).where(of_study).order_by(trial.number)
            ):
                found[trial_id] = FrozenTrial(number, state, None, None, None, {}, {}, {}, {}, {}, trial_id)

            def rows(model: Any, *columns: Any) -> Any:
                ordered = model.__table__.primary_key
                return session.execute(select(model.trial_id, *columns).join(trial).where(of_study).order_by(*ordered))

            param = models.TrialParamModel
            for trial_id, name, value, text in rows(
                param, param.param_name, param.param_value, param.distribution_json
            ):
                found[trial_id].params[name] = distribution(text).to_external_repr(value)
            value_ = models.TrialValueModel
            values: defaultdict[int, dict[int, float]] = defaultdict(dict)
            for trial_id, objective, value, kind in rows(value_, value_.objective, value_.value, value_.value_type):
                values[trial_id][objective] = value_.stored_repr_to_value(value, kind)
            for trial_id, by_objective in values.items():
                found[trial_id].values = [by_objective[objective] for objective in sorted(by_objective)]
            user, system = models.TrialUserAttributeModel, models.TrialSystemAttributeModel
            for trial_id, key, text in rows(user, user.key, user.value_json):
                found[trial_id].user_attrs[key] = json.loads(text)
            for trial_id, key, text in rows(system, system.key, system.value_json):
                found[trial_id].system_attrs[key] = json.loads(text)
        return [records.to_trial(trial) for trial in found.values()]

    def check(self) -> None:
        """Checks, before a write, that the ledger is still what it was after the last one.

        Raises:
            StorageError: When another program has cut or overwritten the file.
        """
        if self._file is not None:
            self._file.check()

    def after_write(self) -> None:
        """Completes a write."""
        if self._file is not None:
            self._file.truncate_log()

    def summarize(self) -> None:
        """Nothing is needed: a database answers without being read as a whole."""

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Writes a trial under the next number; returns its id.

        Optuna's own method tries again by itself when a server goes away. If only its answer was lost, the trial would
        then be there twice.
        """
        if template_trial is None:
            return super().create_new_trial(study_id)
        with Session(self.engine) as session, session.begin():
            models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
            of_study = models.TrialModel.study_id == study_id
            number = session.scalar(select(func.count()).select_from(models.TrialModel).where(of_study)) or 0
            (trial_id,) = self._create(session, study_id, [template_trial], number)
        return trial_id

    def create_trials(self, study_id: int, trials: Sequence[FrozenTrial]) -> None:
        """Writes trials, whatever their state, in order of their numbers: all of them or none."""
        if trials:
            with Session(self.engine) as session, session.begin():
                self._create(session, study_id, trials, trials[0].number)

    def _create(self, session: Session, study_id: int, trials: Sequence[FrozenTrial], first: int) -> list[int]:
        rows: list[Any] = [
            models.TrialModel(
                study_id=study_id,
                number=number,
                state=trial.state,
                datetime_start=trial.datetime_start,
                datetime_complete=trial.datetime_complete,
            )
            for number, trial in enumerate(trials, start=first)
        ]
        cells: dict[Any, list[dict[str, Any]]] = {}
        session.add_all(rows)
        session.flush()
        for row, trial in zip(rows, trials, strict=True):
            for model, its in tables(trial).items():
                cells.setdefault(model, []).extend({"trial_id": row.trial_id, **cell} for cell in its)
        for model, all_cells in cells.items():
            insert_rows(session, model, all_cells)
        return [int(row.trial_id) for row in rows]

    def finish_trial(self, trial_id: int, trial: FrozenTrial) -> None:
        """Writes reports, attributes, state and value of a finished trial, all of them or none."""
        key = {"trial_id": trial_id}
        with Session(self.engine) as session, session.begin():
            for model, rows in tables(trial).items():
                if model is not models.TrialParamModel:
                    session.execute(delete(model).where(model.trial_id == trial_id))
                    insert_rows(session, model, [key | row for row in rows])
            row: Any = session.get_one(models.TrialModel, trial_id)
            self.check_trial_is_updatable(trial_id, row.state)
            row.state = trial.state
            row.datetime_complete = datetime.now()

    def forget(self, study_id: int, key: str) -> None:
        """Removes a study's attribute with a request."""
        model = models.StudyUserAttributeModel
        with Session(self.engine) as session, session.begin():
            session.execute(delete(model).where(model.study_id == study_id, model.key == key))

    def requests(self, study_id: int) -> dict[str, Any]:
        """Those of a study's attributes that hold requests."""
        model = models.StudyUserAttributeModel
        wanted = select(model.key, model.value_json).where(model.study_id == study_id, model.key.startswith(REQUEST))
        with Session(self.engine) as session:
            return {key: _loaded(text) for key, text in session.execute(wanted)}

    def save(self, file: FileIO, into: Path) -> None:
        """Copies a sqlite database, which may have lost its name; arguments as for ``Journal.save``."""
        connection: Any = self.engine.raw_connection()
        try:
            with closing(sqlite3.connect(into)) as copy:
                connection.driver_connection.backup(copy)
        except sqlite3.Error as error:
            raise OSError(f"{into}: {error}") from error
        finally:
            connection.close()

    def disconnect(self) -> None:
        """Ends the connections to a server that does not answer, so that the call that waits for it fails."""
        for connection in list(self._connections):
            lock.disconnect(connection)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self.engine.dispose()
        lock.sqlite_connected(-self._counted)
        self._counted = False


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def connect(address: Address, tries: int = 20) -> Sql:
    """Opens the database; makes its tables when absent.

    Args:
        address: Where it is.
        tries: How often again, while another process makes the same tables.

    Raises:
        StorageUnusable: When it cannot be reached or its tables are not Optuna's.
    """
    lock.sqlite_connected(+1)
    try:
        if address.path is None:
            url = address.url.replace("postgresql://", "postgresql+psycopg://", 1)
            patience = {"connect_timeout": CONNECT_TIMEOUT}
            return Sql(url, engine_kwargs={"pool_pre_ping": True, "connect_args": patience})
        if writable(address.path):
            use_write_ahead_log(address.path)
            return Sql(None, address.path)
        # A reader without write permission; the log is there exactly while somebody writes.
        being_written = address.path.with_name(address.path.name + "-wal").exists()
        return Sql(None, address.path, "mode=ro" if being_written else "immutable=1")
    except (SQLAlchemyError, StorageInternalError, RuntimeError, sqlite3.Error) as error:
        # Optuna makes each table, and the one row of two of them, after a look whether it is there.
        if tries and re.search("already exists|UNIQUE constraint failed", str(error)):
            time.sleep(0.1)
            return connect(address, tries - 1)
        rule = f"{address} cannot be opened: {reason(error.__cause__ or error)}"
        raise StorageUnusable.about("storage", rule, str(address)) from error
    finally:
        lock.sqlite_connected(-1)
