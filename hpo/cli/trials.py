"""One trial in full, with its curve; and what went wrong with those that failed."""

from __future__ import annotations

import codecs
import io
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from hpo.cli.options import at_storage
from hpo.cli.table import print_pairs
from hpo.cli.text import line_length, write, write_lines
from hpo.errors import InputError
from hpo.ledger import DISCARDED_ATTR
from hpo.ledger.address import Address
from hpo.machine import absolute
from hpo.progress import to_stderr
from hpo.search.folders import LOG, found_folder
from hpo.study import Study
from hpo.study.budget import BudgetMeter
from hpo.text import clock, duration, error_line, number, value
from hpo.trial import BY_HAND, RETRY_OF, State, Trial, known_numbers, numbered

# Seconds between two looks at a log that is followed.
POLL_SECONDS = 0.2
# The plot of a curve: lines and, where there is room, columns.
HEIGHT, WIDTH = 8, 60
# Kinds of failures that are told apart in one line, and how much of each message is shown.
KINDS, SHOWN = 3, 200
# What such trials did, or are.
WORDS = {State.FAILED: "failed", State.INFEASIBLE: "are infeasible"}


def failures(trials: Sequence[Trial], name: str, where: Address, state: State = State.FAILED) -> str | None:
    """What went wrong, in a line; None where no trial has failed, or those that did were run again.

    With ``State.INFEASIBLE`` in place of a failure, why parameters did not work.

    Errors that differ in numbers only are counted together.
    """
    again = {trial.notes.get(RETRY_OF) for trial in trials}
    failed = [trial for trial in trials if trial.state is state and trial.number not in again]
    if not failed:
        return None
    kinds: dict[str, list[str]] = {}
    for trial in failed:
        line = error_line(trial.error or "")
        kinds.setdefault(re.sub(r"\d[\d.]*(e[+-]?\d+)?", "#", line), []).append(line)
    ranked = sorted(kinds.values(), key=len, reverse=True)
    words = [f"{lines[-1][:SHOWN]} ({len(lines)})" for lines in ranked[:KINDS]]
    if rest := sum(map(len, ranked[KINDS:])):
        words.append(f"others ({rest})")
    total = BudgetMeter.counted(trial for trial in trials if trial.finished)
    retry = "to run them again: hpo run STUDY.toml --retry-failed; " if state is State.FAILED else ""
    return (
        f"{len(failed)} of {total} trials {WORDS[state]}: {', '.join(words)}; {retry}to see a traceback: "
        f"hpo show {name} --trial {failed[-1].number}{at_storage(where)}"
    )


def find(trials: Sequence[Trial], name: str, wanted: int) -> Trial:
    """The trial of this number.

    Raises:
        InputError: When there is none.
    """
    if (found := numbered(trials, wanted)) is None:
        rule = f"{name} has no trial {wanted}; {known_numbers(trials)}"
        raise InputError(f"--trial: {rule}", key="--trial", value=wanted)
    return found


def to_dict(study: Study, trial: Trial, folder: Path | None) -> dict[str, Any]:
    """Everything about a trial, for ``hpo show NAME --trial N --json``.

    Args:
        study: Its study.
        trial: The trial.
        folder: What :func:`hpo.search.folders.found_folder` found.
    """
    return trial.head(study.objectives) | {
        "name": study.name,
        **({"metric": study.metric} if len(study.objectives) == 1 else {}),
        "fixed": dict(study.fixed),
        "seed": trial.seed,
        "attempt": trial.attempt,
        "worker": trial.worker,
        "started": trial.started,
        "ended": trial.ended,
        "retry_of": trial.notes.get(RETRY_OF),
        "by_hand": trial.notes.get(BY_HAND),
        "discarded": trial.notes.get(DISCARDED_ATTR),
        "error": trial.error,
        "reports": [report._asdict() for report in trial.reports],
        "log": _kept(folder, LOG),
        "files": _kept(folder, "files"),
    }


def print_trial(study: Study, trial: Trial, folder: Path | None) -> None:
    """Everything about a trial, for people; arguments as for :func:`to_dict`."""
    write_lines([f"{study.name}, trial {trial.number}: {trial.state}"])
    scores = [(name, number(item)) for name, item in trial.named(study.objectives).items()]
    facts = {
        "started": clock(trial.started),
        "ended": clock(trial.ended),
        "time": duration(trial.seconds),
        "from": trial.place if trial.origin else "",
        "worker": trial.worker or "-",
        "attempt": str(trial.attempt),
        "seed": str(trial.seed),
        "runs again": f"trial {trial.notes[RETRY_OF]}" if RETRY_OF in trial.notes else "",
        "by hand": f"{hand['do']}, by {hand['by']}" if (hand := trial.notes.get(BY_HAND)) else "",
        "does not count": trial.notes.get(DISCARDED_ATTR, {}).get("why", ""),
        "violates": ", ".join(f"{metric}, by {number(excess)}" for metric, excess in trial.violations.items()),
        "output": _kept(folder, LOG) or "no log on this machine: it printed nothing, or it ran elsewhere",
        "files": _kept(folder, "files") or "",
    }
    # An objective may have the name of a fact, "time" for example.
    print_pairs([*scores, *(pair for pair in facts.items() if pair[1])], beside=1)
    _print_values("parameters", {name: value(item) for name, item in trial.params.items()})
    _print_values("fixed parameters", {name: value(item) for name, item in study.fixed.items()})
    if trial.reports:
        last = {name: number(item) for name, item in trial.reports[-1].metrics.items()}
        _print_values(f"last report, of {len(trial.reports)}", last)
    for metric in study.objectives:
        curve = [(report.step, report.metrics[metric]) for report in trial.reports if metric in report.metrics]
        finite = [(step, item) for step, item in curve if math.isfinite(item)]
        if len(finite) > 1:
            write(f"\n{metric} over {len(curve)} reports\n")
            write("".join(f"{line}\n" for line in plot(finite)))
    if trial.error:
        write("\nerror\n" + "".join(f"  {line}\n" for line in trial.error.splitlines()))


def _print_values(title: str, values: Mapping[str, str]) -> None:
    if values:
        write(f"\n{title}\n")
        print_pairs(list(values.items()), beside=1)


def _kept(folder: Path | None, what: str) -> str | None:
    return str(folder / what) if folder is not None and (folder / what).exists() else None


def print_log(name: str, trial: Trial, folder: Path | None) -> None:
    """All that a trial printed.

    Raises:
        InputError: When nothing is kept of it.
    """
    log = _kept(folder, LOG)
    if log is None:
        raise _no_log(name, trial)
    write(Path(log).read_text(encoding="utf-8", errors="replace"))


def follow_log(where: Address, name: str, wanted: int, interval: float) -> None:
    """What a trial has printed, and what it prints until it ends or no process runs the study any more.

    Args:
        where: The ledger.
        name: The study.
        wanted: The trial's number.
        interval: Seconds between two looks at the ledger; the log is looked at more often.

    Raises:
        InputError: When there is no such trial, or it ends and nothing is kept of what it printed.
    """
    from hpo.ledger import snapshots

    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    lines = io.IncrementalNewlineDecoder(decoder, translate=True)  # a bar that is drawn anew is a line, as in print_log
    with ExitStack() as opened:
        log: BinaryIO | None = None
        over = False
        while not over:
            snapshot = snapshots.read(where, name)
            trial = find(snapshot.trials, name, wanted)
            over = trial.finished or not snapshot.holder  # before the log is read: it is complete then
            until = time.monotonic() + interval
            while True:
                folder = found_folder(absolute(where.folder), name, snapshot.uid, wanted)
                with suppress(FileNotFoundError):  # a search that runs the trial again begins another file
                    if folder and not (log and os.path.samestat(os.fstat(log.fileno()), (folder / LOG).stat())):
                        log = opened.enter_context((folder / LOG).open("rb"))
                write(lines.decode(log.read()) if log else "")
                if over or time.monotonic() > until:
                    break
                time.sleep(min(POLL_SECONDS, interval))
    if log is None:
        raise _no_log(name, trial)
    if not trial.finished:
        to_stderr(f"trial {wanted} has not ended, and no process runs {name}; `hpo run` resumes it")


def _no_log(name: str, trial: Trial) -> InputError:
    why = "has no log on this machine: it printed nothing, or it ran elsewhere"
    return InputError(f"--log: trial {trial.number} of {name} {why}", key="--log")


def plot(curve: Sequence[tuple[int, float]]) -> list[str]:
    """A curve as lines of text: finite values over steps, the highest and the lowest value beside the axis."""
    first, last = curve[0][0], curve[-1][0]
    values = [item for _, item in curve]
    low, high = min(values), max(values)
    labels = [""] * HEIGHT
    if high > low:
        labels[0], labels[-1] = f"{high:.4g}", f"{low:.4g}"
    else:
        labels[HEIGHT // 2] = f"{high:.4g}"
    margin = max(map(len, labels)) + 2
    width = max(10, min(WIDTH, line_length() - margin - 2))
    cells = [[" "] * width for _ in range(HEIGHT)]
    for step, item in curve:
        column = round((step - first) / (last - first) * (width - 1))
        row = round((high - item) / (high - low) * (HEIGHT - 1)) if high > low else HEIGHT // 2
        cells[row][column] = "*"
    lines = [f"{label:>{margin}} |{''.join(row)}".rstrip() for label, row in zip(labels, cells, strict=True)]
    return [*lines, f"{'':{margin}}  {first}{last:>{width - len(str(first))}}"]
