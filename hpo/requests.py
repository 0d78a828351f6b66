"""Asks something of a study, whether or not a process runs it: edits, trials by hand, leases.

The request goes into the ledger's inbox. A driver that runs takes it up within two seconds. Where none runs, this
process takes the study's lock for a moment and does itself what is asked, with all that was asked before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from hpo.errors import InputError, SearchFailed, StudyLocked, Unanswered
from hpo.ledger.address import Address
from hpo.search.request import LEASE_SECONDS
from hpo.study import Study
from hpo.text import length

# Seconds between two looks for an answer, between two looks for a driver, and until a caller stops waiting.
POLL_SECONDS, DRIVER_POLL_SECONDS, ANSWER_TIMEOUT = 0.1, 0.5, 60.0


def ask(
    where: Address, name: str, do: str, given: Mapping[str, Any], *, patience: float = ANSWER_TIMEOUT
) -> dict[str, Any]:
    """Makes a request, and returns the answer.

    Args:
        where: The ledger.
        name: The study.
        do: What is asked: a command's name; :class:`hpo.search.request_handler.RequestHandler` has them.
        given: With what.
        patience: Seconds to wait for a driver's answer.

    Raises:
        InputError: When it is refused; nothing has changed.
        StudyNotFound: When there is no such study.
        Unanswered: When the driver does not answer; a request for a lease is withdrawn then.
    """
    from hpo.ledger import lock
    from hpo.ledger.inbox import RequestQueue

    with closing(RequestQueue(where, name)) as queue:
        request_id = queue.send(do, given)
        until, driver_at = time.monotonic() + patience, 0.0
        try:
            while (answer := queue.answer(request_id)) is None:
                if time.monotonic() >= driver_at:
                    answered = lock.holder(where, name) is None and answer_without_driver(where, name)
                    driver_at = time.monotonic() + DRIVER_POLL_SECONDS
                    if answered:
                        continue
                if time.monotonic() > until:
                    raise Unanswered(
                        f"{name}: the driver has not answered for {length(patience)}; is its process stopped? To see "
                        f"which it is: hpo show {name}"
                    )
                time.sleep(POLL_SECONDS)
        except (Unanswered, KeyboardInterrupt):
            if do in ("ask", "renew"):  # a trial that is leased to nobody would wait for its lease to end
                queue.cancel(request_id)
            raise
        queue.cancel(request_id)
    if "refused" in answer:
        raise InputError(answer["refused"], **answer.get("about", {}))
    done: dict[str, Any] = answer["done"]
    return done


def answer_without_driver(where: Address, name: str) -> bool:
    """Answers all open requests of a stopped study; False when another process has its lock."""
    from hpo.search.loop import Search
    from hpo.search.opening import reopen_edited

    try:
        ledger = reopen_edited(where, name)
    except StudyLocked:
        return False
    with closing(ledger), suppress(SearchFailed):  # that too many trials in a row have failed, a driver would say
        Search(ledger.study, ledger, retry_failed=None).requests.take_up(fresh=True)
    return True


def begin(where: Address, study: Study) -> None:
    """Records a study that is to be run by asking and telling; as a run of it would, and where it is not run.

    Raises:
        StudyConflict: When the study contradicts the ledger.
        StorageUnusable: When the ledger cannot be used.
    """
    from hpo.search.opening import open_edited

    with suppress(StudyLocked):  # then it is there
        open_edited(where, study, lambda remark: None)[0].close()


@dataclass(frozen=True)
class Asked:
    """A trial to run, leased until ``until``.

    Attributes:
        number: The trial's number.
        params: All parameters: the searched ones and the study's fixed ones.
        seed: The trial's seed.
        until: When the lease runs out, in seconds since the epoch.
        lease: The lease's id.
        attempt: 1, and one more for every time the trial was leased or run before.
    """

    number: int
    params: dict[str, Any]
    seed: int
    until: float
    lease: str
    attempt: int = 1


@dataclass(frozen=True)
class Connection:
    """One study, as programs that run its trials themselves see it; made by :func:`hpo.connect`.

    Every method works beside a running driver, and alone. Any number of programs may ask at once.

    Attributes:
        name: The study.
    """

    name: str
    where: Address = field(repr=False)

    def ask(self, lease: float = LEASE_SECONDS) -> Asked | None:
        """A trial to run; None when the budget allows none now.

        Args:
            lease: Seconds after which somebody else may get the trial, unless it was told of, or renewed.
        """
        found = self.request("ask", seconds=lease)
        return None if found["number"] is None else _asked(found)

    def renew(self, asked: Asked | int, lease: float = LEASE_SECONDS) -> Asked:
        """Has a lease last ``lease`` seconds from now on."""
        return _asked(self.request("renew", seconds=lease, **_named(asked)))

    def report(self, asked: Asked | int, step: int | None = None, **metrics: float) -> bool:
        """Reports metrics of one step, by default the next; returns whether the trial was pruned: it is over then."""
        given = _metrics(metrics) | ({} if step is None else {"step": _plain(step)})
        return bool(self.request("tell", report=given, **_named(asked))["stop"])

    def tell(self, asked: Asked | int, value: float | Mapping[str, float]) -> None:
        """Ends a trial with its value (by name where there are several objectives). Telling it twice is harmless."""
        given = _metrics(value) if isinstance(value, Mapping) else _metrics({"value": value})["value"]
        self.request("tell", value=given, **_named(asked))

    def fail(self, asked: Asked | int, error: str) -> None:
        """Ends a trial as failed."""
        self.request("tell", failed=_plain(error), **_named(asked))

    def infeasible(self, asked: Asked | int, why: str) -> None:
        """Ends a trial whose parameters do not work: no failure, and samplers avoid the region."""
        self.request("tell", infeasible=_plain(why), **_named(asked))

    def add(self, **params: Any) -> int:
        """Adds a trial with these parameters, the rest by the sampler; returns its number."""
        return int(self.request("add", point=_plain(params))["number"])

    def request(self, do: str, **given: Any) -> dict[str, Any]:
        """Any request, as :func:`ask`."""
        return ask(self.where, self.name, do, given)


def _named(asked: Asked | int) -> dict[str, Any]:
    if isinstance(asked, Asked):
        return {"trial": asked.number, "lease": asked.lease}
    return {"trial": _plain(asked)}


def _metrics(found: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as JSON takes them, which has no NaN."""
    plain = {name: _plain(value) for name, value in found.items()}
    return {name: str(v) if isinstance(v, float) and not math.isfinite(v) else v for name, v in plain.items()}


def _plain(value: Any) -> Any:
    """A value as JSON takes it, also NumPy's or a tensor; what is neither is refused where the request is read."""
    found = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(found, list | tuple):
        return [_plain(part) for part in found]
    if isinstance(found, dict):
        return {str(name): _plain(part) for name, part in found.items()}
    return found if isinstance(found, str | int | float | None) else repr(found)


def _asked(found: Mapping[str, Any]) -> Asked:
    params = {**found["fixed"], **found["params"]}
    return Asked(found["number"], params, found["seed"], found["until"], found["lease"], found["attempt"])
