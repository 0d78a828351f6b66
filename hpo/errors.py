"""The errors that callers see; the class decides the exit code.

HpoError                     exit code 1: the study, the ledger, Ray or MLflow failed; or `hpo ask` got no trial
├── SearchFailed             no trial is complete, or the first trials all failed
├── StorageError             the ledger cannot be read or written
├── ClusterError             Ray, or a job of a cluster, failed
├── TrackingError            MLflow cannot be read, or does not have everything
├── Unanswered               the driver has not answered a request
├── Interrupted              exit code 130: the user ended it
└── InputError               exit code 2: the input is wrong; nothing was started
    ├── ObjectiveError       the objective cannot be imported or refuses its parameters, or its first report shows that
    │                        it never reports the metric
    ├── StudyNotFound        the ledger has no study of this name
    ├── FigureNotFound       (a KeyError too) a report has no figure of this name
    ├── StudyLocked          another process is running the study
    ├── StudyConflict        the ledger's study of this name was made from another file
    ├── StorageUnusable      (a StorageError too) found before anything was started
    ├── ClusterUnusable      (a ClusterError too) found before any trial was started: that nothing answers; with `auto`,
    │                        or where no node has what a worker asks for, when the ledger has the study already
    └── MissingExtra         an optional package is not installed
"""

from __future__ import annotations

import copy
from typing import Any, Self

# What `pip install` calls hpo.
DISTRIBUTION = "hpo-service"


class HpoError(Exception):
    """A study, or a command on one, failed. The message is all that a person needs to see."""

    exit_code = 1


class SearchFailed(HpoError):
    """The search ended without any complete trial."""


class StorageError(HpoError):
    """The ledger cannot be read or written."""


class ClusterError(HpoError):
    """Ray, or a job of a cluster, failed."""


class TrackingError(HpoError):
    """MLflow cannot be read, or does not have everything that it should."""


class Unanswered(HpoError):
    """The driver has not answered. The request is saved for it, except one for a lease, which is withdrawn."""


class Interrupted(HpoError):
    """The user ended a search. Running the same command resumes it."""

    exit_code = 130

    @classmethod
    def during(cls, command: str) -> Self:
        """The error for a command that resumes where it was interrupted."""
        return cls(f"interrupted; run the same command to resume: {command}")


class InputError(HpoError):
    """The input is wrong: a study file, an option, an objective, a storage address, missing data.

    Attributes:
        file: The file, or where else the input came from; None where unknown.
        key: The dotted key or the option; None where unknown.
        rule: The rule that was broken; None where unknown.
        value: The value that broke it; None where unknown.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        key: str | None = None,
        rule: str | None = None,
        value: Any = None,
    ) -> None:
        super().__init__(message)
        self.file, self.key, self.rule, self.value = file, key, rule, value

    @classmethod
    def about(cls, key: str, rule: str, value: Any = None, *, got: bool = False) -> Self:
        """The error of a key or an option; with ``got`` the message has the value behind the rule."""
        return cls(f"{key}: {rule}{f', got {value}' * got}", key=key, rule=rule, value=value)

    def within(self, file: str) -> Self:
        """The same error, with the file that it was found in before its message."""
        located = copy.copy(self)
        located.args = (f"{file}: {self}",)
        located.file = file
        return located


class ObjectiveError(InputError):
    """The objective cannot be imported, does not fit the contract, refuses its parameters, or has another metric."""


class StudyNotFound(InputError):
    """The ledger has no study of this name."""


class FigureNotFound(InputError, KeyError):
    """A report has no figure of this name."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes


class StudyLocked(InputError):
    """Another process is running the study."""


class StudyConflict(InputError):
    """The ledger's study of this name was made from a file that contradicts this one."""


class StorageUnusable(StorageError, InputError):
    """The ledger cannot be used; found before anything was started."""


class ClusterUnusable(ClusterError, InputError):
    """The cluster cannot be used; found before any trial was started."""


class MissingExtra(InputError):
    """An optional package is not installed."""

    @classmethod
    def of(cls, key: str, what: str, package: str, extra: str) -> Self:
        """Names the package and the command that installs it.

        Args:
            key: The key or option that asks for it.
            what: What needs the package.
            package: The package's import name.
            extra: The extra of hpo's distribution that has it.
        """
        rule = f"{what} needs {package}, which is not installed: pip install '{DISTRIBUTION}[{extra}]'"
        return cls(f"{key}: {rule}", key=key, rule=rule, value=what)
