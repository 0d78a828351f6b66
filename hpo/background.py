"""A study's page in MLflow, completed by a process that outlives its search, so that no user waits for figures.

The process reads the ledger, so that it shows what is finished then. While it works, or where it failed, a log lies
beside the ledger; ``hpo doctor`` names what failed, and ``hpo sync`` does it again.
"""

from __future__ import annotations

import fcntl
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hpo import publish
from hpo.errors import TrackingError
from hpo.execution import in_cluster_job
from hpo.imports import look_in
from hpo.ledger.address import Address, parse
from hpo.machine import absolute_uri
from hpo.mirroring import start_mirror
from hpo.progress import Notify, to_stderr
from hpo.study import Study
from hpo.text import redact
from hpo.tracking import check as check_tracking
from hpo.trial import Trial

# By how much the process is nicer than its parent (`nice`): it gives way to others.
NICENESS = 10
# Where these are set, what a job leaves behind is ended with it.
_JOBS = ("SLURM_JOB_ID", "CI")


def outlives() -> bool:
    """Whether a process that is started here may outlive this one: not in a job, nor where a container ends with it."""
    return 1 not in (os.getpid(), os.getppid()) and not in_cluster_job() and not any(map(os.environ.get, _JOBS))


@dataclass(frozen=True)
class Synced:
    """What :func:`sync` did.

    Attributes:
        trials: How many trials the study has.
        written: How many of their runs were written now.
        failed: The parts of the study's page that failed.
    """

    trials: int
    written: int
    failed: list[str]


def sync(where: Address, name: str, tracking: str, notify: Notify = to_stderr) -> Synced:
    """Updates MLflow from the ledger: one run per trial, the description, the report and the model.

    Raises:
        StudyNotFound: When there is no such study.
        StudyLocked: When it is being run.
        InputError: When MLflow would refuse the kind of store.
        TrackingError: When trials could not be written.
    """
    from hpo.ledger import snapshots

    tracking = absolute_uri(tracking)
    check_tracking(tracking)
    with snapshots.held(where, name) as found:
        mirror: Any = start_mirror(
            found.study, found.uid, found.created, found.trials, tracking, notify, meanwhile="trying again"
        )
        missing = mirror.close(found.state, math.inf)
        if missing:
            raise TrackingError(
                f"{missing} of {len(found.trials)} trials of {name} are not in MLflow at {redact(tracking)}; "
                f"once it is available, run: hpo sync {name}"
            )
        failed = complete(where, found.study, found.uid, found.trials, tracking, notify=notify)
    return Synced(len(found.trials), mirror.written, failed)


def start(where: Address, study: Study, uid: str, tracking: str, notify: Notify = to_stderr) -> None:
    """Starts a process that completes those parts of a study's page that can wait.

    Args:
        where: The ledger.
        study: What was searched; no longer locked.
        uid: The ledger's identity of it.
        tracking: The tracking store.
        notify: Receives a remark.
    """
    log = _log(where, uid)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{study.name}\nthe background process did not finish\n")
            file.flush()
            os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "hpo.background", study.name, uid, study.folder],
                os.environ | {"HPO_STORAGE": where.url, "MLFLOW_TRACKING_URI": tracking},
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
                + [(os.POSIX_SPAWN_DUP2, file.fileno(), descriptor) for descriptor in (1, 2)],
                setsid=True,  # neither Ctrl-C at the terminal nor its end is meant for it
            )
    except OSError as error:
        notify(f"the report of {study.name} is not in MLflow: {error.strerror}; to retry: hpo sync {study.name}")
    else:
        notify(f"drawing the report for MLflow in the background; to wait for it: hpo sync {study.name}")


def complete(
    where: Address,
    study: Study,
    uid: str,
    trials: Sequence[Trial],
    tracking: str,
    parts: Sequence[str] = publish.PARTS,
    notify: Notify = to_stderr,
) -> list[str]:
    """Completes a study's page (:func:`hpo.publish.publish`) when no other process does; what fails is logged as well.

    Returns:
        The parts that failed.
    """
    remarks: list[str] = []

    def hear(text: str) -> None:
        remarks.append(text)
        notify(text)

    log = _log(where, uid)
    log.parent.mkdir(parents=True, exist_ok=True)
    with _locked(log) as file:
        failed = publish.publish(where, study, uid, trials, tracking, parts, notify=hear)
        if failed:
            file.truncate(0)
            file.write("\n".join([study.name, *remarks, ""]))
        else:
            log.unlink(missing_ok=True)
    return failed


@contextmanager
def _locked(log: Path) -> Iterator[IO[str]]:
    while True:
        with log.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == log.stat().st_ino:  # else another process was here, and is done
                    yield file
                    return


def _log(where: Address, uid: str) -> Path:
    return where.folder / "pages" / f"{uid}.log"


def unfinished(where: Address) -> list[tuple[str, str]]:
    """The studies of a ledger whose page failed: their names, and the last message of each."""
    found = []
    for log in sorted((where.folder / "pages").glob("*.log")):
        with suppress(OSError), log.open(encoding="utf-8", errors="replace") as file:  # gone meanwhile, or being filled
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if lines := file.read().split("\n")[:-1]:
                found.append((lines[0], lines[-1]))
    return found


def main(name: str, uid: str, folder: str) -> None:
    """Completes the page of a study that nobody is running; a search that runs does it at its end."""
    from hpo.ledger import snapshots

    os.nice(NICENESS)
    look_in(folder)
    where = parse(os.environ["HPO_STORAGE"])
    found = snapshots.read_all(where, lambda other: other == name).get(name)
    if found is None or found.uid != uid or found.holder is not None:  # deleted, say
        _log(where, uid).unlink(missing_ok=True)
    else:
        tracking = os.environ["MLFLOW_TRACKING_URI"]
        complete(where, found.study, uid, found.trials, tracking, publish.LATER, notify=lambda text: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
