"""What a study takes over from another one of its ledger: trials that its sampler knows, or points to try first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from hpo.best import ranked
from hpo.errors import InputError, StudyConflict, StudyNotFound
from hpo.ledger import FROM_ATTR, snapshots
from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger
from hpo.study import Study, parse
from hpo.study.constraints import judged, judged_again
from hpo.study.from_table import ENQUEUE, OBSERVATIONS, changes, fitted, to_table
from hpo.study.values import same
from hpo.trial import CONSTRAINTS, COUNTED, FROM, VIOLATIONS, Origin, State, Trial

# How many of another study's best trials are tried first.
BEST = 5
# The states of trials that tell a sampler something.
INFORMATIVE_STATES = (State.COMPLETE, State.PRUNED, State.INFEASIBLE)


@dataclass(frozen=True)
class Plan:
    """What a study is to take over.

    Attributes:
        name: The other study's name.
        uid: Its identity.
        how: :data:`OBSERVATIONS` or :data:`ENQUEUE`.
        changed: The keys by which its trials would have other values in this study.
        trials: Its trials that are valid in the space, as the study sees them; to enqueue, the best of them.
        left: The numbers of the others, each with the reason.
        again: Whether the study had taken over what it does before.
    """

    name: str
    uid: str
    how: str
    changed: Sequence[str]
    trials: Sequence[Trial]
    left: Sequence[tuple[int, str]]
    again: bool = False

    def note(self) -> dict[str, Any]:
        """What the ledger keeps of it."""
        points = {"points": [dict(trial.params) for trial in self.trials]} if self.how == ENQUEUE else {}
        of = {"study": self.name, "uid": self.uid, "as": self.how, "changed": list(self.changed)}
        return {**of, "trials": len(self.trials), "left": len(self.left), **points}


def plan(study: Study, where: Address, name: str) -> Plan:
    """Finds out what a study is to take over from the study ``name`` of its ledger.

    Raises:
        StudyNotFound: When there is no such study.
        InputError: When nothing can be taken over, or not in the way that the study's file asks for.
    """
    if name == study.name:
        raise InputError(f"{study.file}: from.study: must be another study, got {name!r}", key="from.study", value=name)
    old = snapshots.read(where, name)
    changed = changes(old.study, study)
    how = study.inherits.trials or (ENQUEUE if changed else OBSERVATIONS)
    if how == OBSERVATIONS and (other := [key for key in changed if key in ("metric", "direction", "objectives")]):
        rule = f'must be "enqueue", because {" and ".join(other)} changed'
        raise InputError(f"{study.file}: from.trials: {rule}, got {how!r}", key="from.trials", rule=rule, value=how)
    fit, left = _fitting(study, old, how)
    chosen = ranked(fit, old.study.objectives)[:BEST] if how == ENQUEUE else fit
    if not chosen:
        reason = "it has no complete trial"
        if left:
            reason = f"none of its trials is valid in the space; trial {left[0][0]}: {left[0][1]}"
        raise InputError(f"{study.file}: from.study: nothing can be taken over from {name}: {reason}", key="from.study")
    return Plan(name, old.uid, how, changed, chosen, left)


def take_over(
    study: Study,
    where: Address,
    ledger: Ledger,
    name: str | None = None,
    notify: Callable[[str], object] = lambda text: None,
) -> Study:
    """Lets a study take over what its ``[from]`` table, or ``name``, asks for, unless that was done before.

    The ledger gets a note of it first, and then all trials at once. When a process dies in between, the next one does
    the rest, before it writes any trial. The note of a study that ``hpo fork`` makes is begun with the study itself.

    Args:
        study: The study.
        where: Its ledger.
        ledger: The same, open for this study.
        name: The other study.
        notify: Receives a remark on what was taken over.

    Returns:
        The study as it is to be run: with the points that it tries first.

    Raises:
        InputError: When nothing can be taken over.
        StudyConflict: When the study has trials of its own, or took over those of another one.
    """
    taken: dict[str, Any] | None = ledger.get(FROM_ATTR)
    name = name or study.inherits.study or (taken or {}).get("study")
    if name is None:
        return study
    if taken is None and ledger.loaded:
        raise StudyConflict(
            f"{study.file}: from.study: {study.name} has {len(ledger.loaded)} trials already, and takes over those of "
            f"{name} only before its first; choose another name"
        )
    if taken is not None and taken["study"] != name:
        raise StudyConflict(
            f"{study.file}: from.study: {study.name} took over trials of {taken['study']} at its beginning, "
            f"got {name}; choose another name"
        )
    if taken is None or "as" not in taken or (taken["as"] == OBSERVATIONS and not ledger.loaded):
        planned = _planned(study, where, name, begun=taken is not None)
        taken = planned.note()
        ledger.set(FROM_ATTR, taken)
        if planned.how == OBSERVATIONS:
            ledger.take(_adopted(planned, counted=study.inherits.count))
        notify(in_words(study.name, planned))
    study = _as_run(study, taken.get("points", ()), name)
    if study.resolved != ledger.study.resolved:
        ledger.adopt(study)
    return study


def _planned(study: Study, where: Address, name: str, *, begun: bool) -> Plan:
    try:
        return plan(study, where, name)
    except StudyNotFound as error:
        if not begun and name == study.inherits.study:
            raise StudyNotFound(
                f"{study.file}: from.study: {error}", file=study.file, key="from.study", value=name
            ) from None
        if not begun:
            raise
        raise StudyNotFound(
            f"{study.name} was to begin with the trials of {name}, which were not taken over before the process ended, "
            f"and now {error}; to begin without them: hpo delete {study.name}"
        ) from None


def _adopted(planned: Plan, *, counted: bool) -> list[Trial]:
    """The trials as those of the new study, without the notes of the other sampler."""
    more = {COUNTED: True} if counted else {}
    return [
        replace(
            trial,
            number=number,
            notes={
                FROM: list(trial.origin or Origin(planned.uid, planned.name, trial.number)),
                **more,
                **{key: trial.notes[key] for key in (CONSTRAINTS, VIOLATIONS) if key in trial.notes},
            },
        )
        for number, trial in enumerate(planned.trials)
    ]


def _fitting(study: Study, old: snapshots.Snapshot, how: str) -> tuple[list[Trial], list[tuple[int, str]]]:
    """The other study's trials that are valid, as the study sees them; number and reason of those that are not.

    Of trials that are only to be tried again, it does not matter whether they reported all metrics that have bounds.
    """
    implied = {key: value for key, value in old.study.fixed.items() if key in study.space.names}
    fit: list[Trial] = []
    left: list[tuple[int, str]] = []
    for trial in old.trials:
        if trial.state not in INFORMATIVE_STATES:
            continue
        try:
            params = fitted(study, {**implied, **trial.params})
            came = {key: note for key, note in trial.notes.items() if key == FROM}
            if how == OBSERVATIONS:
                came |= judged_again(study.bounds, trial, old.study.objectives)
            else:
                came |= judged(study.bounds, trial.last)
            fit.append(replace(trial, params=params, notes=came))
        except ValueError as reason:
            left.append((trial.number, str(reason)))
    return fit, left


def _as_run(study: Study, points: Sequence[Mapping[str, Any]], name: str) -> Study:
    """The study with its origin, and with points at the head of its queue."""
    came = to_table(replace(study.inherits, study=name))
    return _first_trying(study, points, f"{study.file} with points of {name}", {"from": came})


def _first_trying(
    study: Study, points: Sequence[Mapping[str, Any]], file: str, keys: Mapping[str, Any] = MappingProxyType({})
) -> Study:
    """The study with points at the head of its queue, and with further ``keys``; ``file`` names it in messages."""
    queue = [*points, *(point for point in study.enqueue if not any(same(point, other) for other in points))]
    parsed = parse({**study.resolved, "enqueue": queue, **keys}, file=file, folder=study.folder)
    return replace(parsed, file=study.file, source=study.source)


def warm_start(study: Study, other: Study, trials: Sequence[Trial]) -> Study:
    """The study with the best trials of another one at the head of its queue.

    Args:
        study: What is to be run.
        other: Where the trials come from; only the parameters that both search are taken over.
        trials: The other study's trials.

    Raises:
        InputError: When there is nothing to take over, or a value lies outside the study's space.
    """
    names = {parameter.name for parameter in study.space.parameters}
    points = [
        {name: value for name, value in trial.params.items() if name in names}
        for trial in ranked(trials, other.objectives)[:BEST]
    ]
    if not any(points):
        reason = "it has no complete trial" if not points else "the two studies have no parameter in common"
        raise InputError(f"--enqueue-from: nothing to take from {other.name}: {reason}", key="--enqueue-from")
    return _first_trying(study, points, f"{study.file} with --enqueue-from {other.name}")


def in_words(name: str, planned: Plan) -> str:
    """What a study takes over, in one line."""
    if planned.again:
        return f"{name} already has the trials of {planned.name}; nothing was changed"
    count, other, left = len(planned.trials), planned.name, planned.left
    if planned.how == ENQUEUE:
        why = f", because {', '.join(planned.changed)} changed" if planned.changed else ""
        return f"{name} tries the best {count} points of {other} first{why}"
    first = f"; {len(left)} others are not valid in its space, such as trial {left[0][0]}: {left[0][1]}" if left else ""
    return f"{name} starts with {count} finished trials of {other}; they are not run again{first}"
