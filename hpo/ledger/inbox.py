"""What other processes ask of a study's writer, and its answers: attributes of the study in the ledger itself.

A request is one attribute, ``hpo:request:ID``. Any process may add one without the writer's lock, on any host that
reaches the ledger: both kinds of storage take single attributes from several processes. The writer answers by writing
the same attribute again, and the process that asked removes it. So a request survives the death of
either process, and is never written in part.
"""

from __future__ import annotations

import getpass
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from hpo.errors import StorageUnusable, StudyNotFound
from hpo.ledger import REQUEST, STUDY_ATTR, entry
from hpo.ledger.address import Address, not_found
from hpo.text import reason

if TYPE_CHECKING:
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql

# Seconds between two looks of a writer.
POLL_SECONDS = 0.5
# Seconds after which an answer that nobody has fetched is removed.
ANSWER_EXPIRY_SECONDS = 3600.0


def user_and_host() -> str:
    """Who asks: user and host, as they name themselves."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        user = str(os.getuid())
    return f"{user}@{platform.node()}"


class RequestQueue:
    """One process's requests to the writer of a study.

    Args:
        address: The ledger.
        name: The study.

    Raises:
        StudyNotFound: When there is no such study.
        StorageUnusable: When the storage cannot be used.
    """

    def __init__(self, address: Address, name: str) -> None:
        from hpo.ledger.ledger import connect

        self._address, self._name = address, name
        self._store = connect(address)
        if STUDY_ATTR not in entry.attributes(self._store, name):
            known = [study.study_name for study in self._store.get_all_studies()]
            self._store.close()
            raise not_found(address, name, known)
        self._study_id = self._store.get_study_id_from_name(name)

    def send(self, do: str, arguments: Mapping[str, Any]) -> str:
        """Writes a request; it is durable when this returns its id.

        Raises:
            StorageUnusable: When the ledger cannot be written.
        """
        request_id = uuid.uuid4().hex
        request = {"do": do, "with": dict(arguments), "time": time.time(), "by": user_and_host()}
        with self._reached("written"):
            self._store.set_study_user_attr(self._study_id, REQUEST + request_id, request)
        return request_id

    @contextmanager
    def _reached(self, how: str) -> Iterator[None]:
        try:
            yield
        except self._store.failures as error:
            why = reason(error.__cause__ or error)
            rule = f"{self._address} cannot be {how}: {why}; run the same command again"
            raise StorageUnusable.about("storage", rule, str(self._address)) from error

    def answer(self, request_id: str) -> dict[str, Any] | None:
        """The writer's answer; None as long as there is none.

        Raises:
            StudyNotFound: When the study, and the request with it, is gone.
            StorageUnusable: When the ledger cannot be read.
        """
        request = None
        with self._reached("read"), suppress(KeyError):
            request = self._store.requests(self._study_id).get(REQUEST + request_id)
        if not isinstance(request, dict):
            raise StudyNotFound(f"study {self._name!r} was deleted from {self._address}, or made anew, meanwhile")
        answer: dict[str, Any] | None = request.get("answer")
        return answer

    def cancel(self, request_id: str) -> None:
        """Removes a request, answered or not."""
        with self._reached("written"):
            self._store.forget(self._study_id, REQUEST + request_id)

    def close(self) -> None:
        self._store.close()


class Inbox:
    """The requests to a study, as its writer sees them; a look costs it almost nothing, and never waits.

    A journal is read again when its size has changed. A database, which may be slow or away, is asked by a thread.

    Args:
        address: The ledger.
        store: The writer's own storage.
        study_id: The study's id there.
    """

    def __init__(self, address: Address, store: Journal | Sql, study_id: int) -> None:
        self._address, self._store, self._study_id = address, store, study_id
        self._next, self._size = 0.0, -1
        self._found: dict[str, Any] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def fresh(self) -> dict[str, Any]:
        """All requests, by their attributes' names, as the storage has them now."""
        return self._store.requests(self._study_id)

    def look(self) -> dict[str, Any]:
        """As :meth:`fresh`, at most :data:`POLL_SECONDS` seconds old."""
        if self._address.kind != "journal":
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="inbox", daemon=True)
                self._thread.start()
        elif time.monotonic() >= self._next:
            assert self._address.path is not None
            self._next = time.monotonic() + POLL_SECONDS
            with suppress(OSError, KeyError):  # the writer notices when it writes
                if (size := self._address.path.stat().st_size) != self._size:
                    self._size, self._found = size, self.fresh()
        return self._found

    def _follow(self) -> None:
        from hpo.ledger.ledger import connect

        store: Any = None
        failures: tuple[type[Exception], ...] = (StorageUnusable, *self._store.failures)
        while not self._closed.wait(POLL_SECONDS):
            try:
                store = store or connect(self._address)
                self._found = store.requests(self._study_id)
            except failures:  # the writer notices when it writes
                store = store and store.close()
        if store is not None:
            store.close()

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join(4 * POLL_SECONDS)
