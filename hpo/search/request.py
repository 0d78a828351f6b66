"""One request to a search, as it stands in the ledger's inbox."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hpo.errors import InputError
from hpo.study.budget import BudgetMeter
from hpo.study.fields import ABSENT, Place, read_value, show
from hpo.trial import Trial, known_numbers, numbered

if TYPE_CHECKING:
    from hpo.search.loop import Search

T = TypeVar("T")
# What may be asked, with its keys, each with whether it must be there. The same names as the commands have.
REQUESTS: dict[str, dict[str, bool]] = {
    "ask": {"seconds": False},
    "renew": {"trial": True, "seconds": False, "lease": False},
    "tell": {
        **{"trial": True, "value": False, "report": False, "failed": False, "infeasible": False},
        "lease": False,
    },
    "add": {"point": True},
    "set": {"edits": False, "reset": False},
    "stop-trial": {"trial": True},
    "discard": {"trial": True, "why": False, "undo": False},
    "retry": {"trials": False},
}
# The keys of which a request needs one.
ONE_OF = {"tell": ("value", "report", "failed", "infeasible"), "set": ("edits", "reset"), "discard": ("why", "undo")}
# Seconds that a lease lasts unless the request says otherwise.
LEASE_SECONDS = 600.0


@dataclass(frozen=True)
class Request:
    """What somebody asks.

    Attributes:
        id: Its id.
        do: What is to be done: the command's name.
        given: With what.
        time: When it was asked, in seconds since the epoch.
        by: Who asks: user and host.
        study: The study's name, for messages.
    """

    id: str
    do: str
    given: Mapping[str, Any]
    time: float
    by: str
    study: str

    @classmethod
    def read(cls, request_id: str, stored: Mapping[str, Any], study: str) -> Request:
        """A request from its attribute.

        Raises:
            InputError: When it is none, or one that this version does not know.
        """
        do, given = stored.get("do"), stored.get("with")
        moment, by = stored.get("time"), stored.get("by")
        whole = isinstance(given, Mapping) and isinstance(moment, int | float) and isinstance(by, str)
        if not isinstance(do, str) or do not in REQUESTS:
            rule = f"unknown request {do!r}; this version of hpo does not have it"
            raise InputError(f"{study}: {rule}", key="do", rule=rule, value=do)
        if not whole:
            rule = f"the request {do!r} must have with, time and by"
            raise InputError(f"{study}: {rule}", key="do", rule=rule, value=do)
        return cls(request_id, do, given or {}, float(moment or 0), str(by), study)

    @property
    def command(self) -> str:
        """What was typed, as messages name it."""
        trial = self.given.get("trial")
        of = f" {trial}" if isinstance(trial, int) else ""
        return f"hpo ask {self.study} --renew{of}" if self.do == "renew" else f"hpo {self.do} {self.study}{of}"

    def get(self, key: str) -> Any:
        return self.given.get(key)

    def take(self, key: str, read: Callable[[Any], T]) -> T:
        """A value, read by a reader of :mod:`hpo.study.fields`."""
        found: T = read_value(Place(self.command, key), self.given.get(key), read)
        return found

    def error(self, key: str, rule: str, value: Any = ABSENT, got: str | None = None) -> InputError:
        return Place(self.command, key).error(rule, value, got)

    def refusal(self, rule: str, key: str = "trial", value: Any = None) -> InputError:
        """The error that the trial or the study, as it is now, does not allow this request."""
        return InputError(f"{self.command}: {rule}", file=self.command, key=key, rule=rule, value=value)

    def mark(self) -> dict[str, Any]:
        """What is noted with a trial that it makes or ends."""
        return {"do": self.do, "request": self.id, "time": self.time, "by": self.by}

    def trial(self, trials: Sequence[Trial], number: Any = ABSENT) -> Trial:
        """The trial that it names.

        Raises:
            InputError: When there is none.
        """
        number = self.given.get("trial") if number is ABSENT else number
        if (found := numbered(trials, number)) is None:
            raise self.refusal(f"there is no trial {show(number)}; {known_numbers(trials)}", value=number)
        return found

    def check_budget(self, search: Search) -> None:
        """Checks that the budget allows one more trial.

        Raises:
            InputError: When it does not.
        """
        if (rule := self.spent(search)) is not None:
            raise self.refusal(rule, "budget", dict(search.study.resolved["budget"]))

    def spent(self, search: Search) -> str | None:
        """Why no more trials may begin, in words, and what to do; None where they may."""
        if (why := _spent(search)) is None:
            return None
        limit = search.study.resolved["budget"].get("trials", sys.maxsize)
        if search.remaining <= 0 and BudgetMeter.counted(search.trials) < limit:
            return f"{why}, and the {search.study.sampler.algorithm.list_name} has no more points"
        trials = f"trials={(search.study.budget.trials or len(search.trials)) + 1}"
        key = trials if search.remaining <= 0 else "KEY=VALUE"  # another limit than that of trials
        return f"{why}; to raise the budget: hpo set {self.study} budget.{key}"


def _spent(search: Search) -> str | None:
    if (limit := search.spent) is not None:
        return f"the budget is spent: {limit}"
    return None if search.remaining > 0 else "the budget is spent once the trials under way have ended"
