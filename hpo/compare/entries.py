"""What to compare: study files, which are run several times, and studies that the ledger already has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from hpo.compare import REPEATS
from hpo.compare.comparison import REPORTS, TRIALS, Trace, follow
from hpo.errors import HpoError, InputError, StudyConflict
from hpo.ledger.address import Address, probe
from hpo.study import Study, load
from hpo.trial import State, StudyState, Trial


@dataclass
class Entry:
    """One of the studies to compare.

    Attributes:
        study: From its file; of one in the ledger, from its first repeat.
        name: The study's name, without the number of a repeat.
        repeats: What is to be run, by the number of the repeat; empty for a study in the ledger.
        traces: What has been run, by the number of the repeat.
    """

    study: Study
    name: str
    repeats: dict[int, Study] = field(default_factory=dict)
    traces: dict[int, Trace] = field(default_factory=dict)


def plan(file: str, repeats: int, overrides: Sequence[str] = (), vary: str | None = None) -> Entry:
    """A study file and its repeats; each has a name and a seed of its own.

    Args:
        file: The study file.
        repeats: How many repeats.
        overrides: ``"key=value"`` texts that replace single keys.
        vary: A fixed whole number that grows by 1 with every repeat, as the seed does.

    Raises:
        InputError: When the file is wrong, or ``vary`` names no whole number.
    """
    study = load(file, overrides)
    entry = Entry(study, study.name)
    for repeat in range(repeats):
        own = [f'name="{study.name}-r{repeat}"', f"sampler.seed={study.seed + repeat}"]
        if vary is not None:
            begin = study.fixed.get(vary, 0)
            if not isinstance(begin, int) or isinstance(begin, bool):
                raise InputError(
                    f"--vary: fixed.{vary} must be a whole number, got {begin!r}", key="--vary", value=begin
                )
            own.append(f"fixed.{vary}={begin + repeat}")
        entry.repeats[repeat] = load(file, [*overrides, *own])
    return entry


def take_finished(entries: Iterable[Entry], where: Address, *, keep: bool) -> None:
    """Looks up the repeats that the ledger already has.

    A ledger lets a study resume with another sampler, but a verdict on samplers must not rest on a mixture.

    Args:
        entries: The planned studies; gets the traces of repeats that have finished.
        where: The ledger.
        keep: Take over what has finished. Without it, a finished repeat is opened again, for its runs in MLflow.

    Raises:
        StudyConflict: When a repeat was run with other settings.
    """
    from hpo.ledger import snapshots

    wanted = {study.name: (entry, repeat) for entry in entries for repeat, study in entry.repeats.items()}
    for name, stored in snapshots.read_all(where, wanted.__contains__).items():
        entry, repeat = wanted[name]
        study = entry.repeats[repeat]
        if all(trial.value is None for trial in stored.trials):
            continue
        for key in (*study.identity(), "sampler", "pruner", "enqueue"):
            was, now = (json.dumps(s.resolved.get(key), sort_keys=True) for s in (stored.study, study))
            if was != now:
                raise StudyConflict(
                    f"{study.file}: {key}: {name} was run with {was}, now it is {now}; choose another name, or run: "
                    f"hpo delete {name}"
                )
        at_rest = stored.holder is None and all(trial.finished for trial in stored.trials)
        if keep and at_rest and replace(stored, study=study).spent:
            entry.traces[repeat] = follow(stored.trials, study.objectives)


def recall(name: str, repeats: int | None, where: Address, notify: Callable[[str], None]) -> Entry:
    """A study that the ledger has: ``NAME-r0`` and so on, or ``NAME`` alone.

    Args:
        name: The study's name.
        repeats: How many repeats to take at most; None for all.
        where: The ledger.
        notify: Receives a remark on every repeat that is not complete.

    Raises:
        StudyNotFound: When the ledger has none.
    """
    from hpo.ledger import snapshots

    repeat_of = re.compile(re.escape(name) + r"-r(\d+)")
    known = snapshots.read_all(where, lambda other: bool(repeat_of.fullmatch(other)))
    numbered = sorted((int(other[len(name) + 2 :]), other) for other in known)
    chosen = [(repeat, known[other]) for repeat, other in numbered[:repeats]] or [(0, snapshots.read(where, name))]
    entry = Entry(chosen[0][1].study, name)
    for repeat, stored in chosen:
        if stored.state is not StudyState.COMPLETE:
            notify(f"{stored.study.name} is {stored.state}: only its finished trials count")
        entry.traces[repeat] = follow(stored.trials, stored.study.objectives)
    return entry


def check_comparable(entries: Sequence[Entry], notify: Callable[[str], None]) -> None:
    """Checks that names differ and that metric and direction, or the objectives, agree; remarks on other differences.

    Raises:
        InputError: When they do not.
    """
    first, *others = entries
    if len({entry.name for entry in entries}) < len(entries):
        names = [entry.name for entry in entries]
        raise InputError(f"each study needs its own name, got {', '.join(names)}", key="name", value=names)
    for other in others:
        single = len(first.study.objectives) == len(other.study.objectives) == 1
        for key in ("metric", "direction") if single else ("objectives",):
            one, two = (str(getattr(entry.study, key if single else "goals")) for entry in (first, other))
            if one != two:
                rule = f"must be the same, got {one!r} in {first.name} and {two!r} in {other.name}"
                raise InputError(f"{key} {rule}", file=other.study.file, key=key, rule=rule, value=two)
        both = first.study.resolved, other.study.resolved
        keys = ("objective", "arguments", "reports", "fixed", "space", "constraints")
        different = [key for key in keys if both[0].get(key) != both[1].get(key)]
        if different:
            notify(f"{first.name} and {other.name} also differ in {', '.join(different)}")


def common_axis(entries: Sequence[Entry]) -> str:
    """What makes budgets equal: trials, or the workers' reports where the pruners differ."""
    pruners = {json.dumps(entry.study.resolved["pruner"], sort_keys=True) for entry in entries}
    return TRIALS if len(pruners) == 1 else REPORTS


# Running -------------------------------------------------------------------------------------------------------------


def read_entries(
    words: Sequence[str],
    repeats: int | None,
    overrides: Sequence[str],
    vary: str | None,
    where: Address,
    *,
    keep: bool,
    check: Callable[[Study], None],
    notify: Callable[[str], None],
) -> list[Entry]:
    """Every study to compare: files are checked whole, names are looked up in the ledger.

    Args:
        words: Study files (``.toml``) and names of studies in the ledger.
        repeats: Repeats of each file, :data:`hpo.compare.REPEATS` for None; of a name, the first ones, all for None.
        overrides: ``"key=value"`` texts that replace single keys of every file.
        vary: A fixed whole number that grows by 1 with every repeat.
        where: The ledger.
        keep: Take over finished repeats; see :func:`take_finished`.
        check: Finds out whether the study of a file can run here.
        notify: Receives remarks on differences.

    Raises:
        InputError: When a study is wrong, unknown, or not comparable with the others.
    """
    if len(words) < 2:
        raise InputError.about("compare", "give at least two studies", list(words))
    files = [word for word in words if word.endswith(".toml")]
    for option, given in (("--set", overrides), ("--vary", vary)):
        if given and not files:
            raise InputError.about(option, "applies to study files only, and none is given", given)
    plans = {word: plan(word, repeats or REPEATS, overrides, vary) for word in files}
    for entry in plans.values():
        check(entry.study)
    probe(where, create=bool(files))
    take_finished(plans.values(), where, keep=keep)
    found = [plans[word] if word in plans else recall(word, repeats, where, notify) for word in words]
    check_comparable(found, notify)
    return found


class Searched(Protocol):
    """What a search returns (:class:`hpo.service.SearchResult`)."""

    @property
    def trials(self) -> Sequence[Trial]: ...
    @property
    def interrupted(self) -> bool: ...
    @property
    def unwritten(self) -> int: ...


def run_repeats(
    entries: Sequence[Entry], where: Address, run: Callable[[Study], Searched], notify: Callable[[str], None]
) -> bool:
    """Runs every repeat of every study to compare, repeat by repeat: a comparison that is cut short has whole pairs.

    A search whose trials all failed counts as failed, and the others continue.

    Args:
        entries: What to compare; gets the traces.
        where: The ledger.
        run: Runs one study, or resumes it.
        notify: Receives remarks.

    Returns:
        Whether the user interrupted it.
    """
    from hpo.ledger import snapshots

    unwritten = 0
    for repeat in range(max(len(entry.repeats) for entry in entries)):
        for entry in entries:
            if repeat not in entry.repeats or repeat in entry.traces:
                continue
            study = entry.repeats[repeat]
            try:
                result = run(study)
            except InputError:
                raise
            except HpoError as error:
                trials: Sequence[Trial] = snapshots.read(where, study.name).trials
                states = {trial.state for trial in trials}
                if State.FAILED not in states or State.COMPLETE in states:
                    raise  # it ended for another reason than trials that all failed
                notify(f"{study.name} counts as failed: {error}")
            else:
                if result.interrupted:
                    return True
                unwritten += result.unwritten
                trials = result.trials
            entry.traces[repeat] = follow(trials, study.objectives)
    if unwritten:
        notify(f"{unwritten} trials are not in MLflow yet; run the same command to write them")
    return False
