"""Edits of a study by ``hpo set``: the ledger keeps them, and they override the study's file.

An edit holds until the file changes the same key. All keys of the sampler count as one here, because its options depend
on its name: when the file changes any of them, the edits of all of them end. The same is true of the pruner.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpo.errors import InputError
from hpo.study.fields import Place, show
from hpo.study.file import parse
from hpo.study.overrides import drop_options, keys_of, names_algorithm, override
from hpo.study.study import IDENTITY, Study
from hpo.study.values import as_stored

# The edit that belongs to no key of the file: how many trials run at once.
WORKERS = "workers"
# More on one machine, or of one driver, are a slip of the finger.
MOST_WORKERS = 10_000
# What a running search takes up at once; anything else holds from the study's next run on.
LIVE = ("budget", "sampler", "pruner")
LIVE_KEYS = (WORKERS, "trial.retries", "trial.timeout", "trial.stop_after_failures")


@dataclass(frozen=True)
class Edit:
    """One edit, as the ledger keeps it.

    Attributes:
        request: The request that asked for it.
        key: The key, dotted.
        text: Its new value, as it was typed.
        was: The study's value of the key, or its whole sampler or pruner; the edit holds until the file changes it.
        file: The file's value, where ``hpo run`` was told another one; the edit holds with it too.
        before: The value that it replaced, in words.
        time: Seconds since the epoch.
        by: Who asked for it.
        ended: Why it no longer holds; None while it does.
        undone: The request that ended it, where somebody wanted the study file's value again.
    """

    request: str
    key: str
    text: str
    was: Any
    file: Any
    before: str
    time: float
    by: str
    ended: str | None = None
    undone: str | None = None

    @property
    def path(self) -> list[str]:
        return keys_of(self.key)

    @property
    def live(self) -> bool:
        """Whether a running search takes it up."""
        return self.path[0] in LIVE or self.key in LIVE_KEYS

    def to_dict(self) -> dict[str, Any]:
        """The edit as ``hpo show --json`` prints it."""
        keys = ("key", "before", "time", "by", "ended")
        return {"value": self.text, **{key: getattr(self, key) for key in keys}}


def from_json(stored: Iterable[Mapping[str, Any]]) -> list[Edit]:
    """The edits of an attribute of the ledger."""
    return [Edit(**edit) for edit in stored]


def workers(edits: Sequence[Edit]) -> str | None:
    """How many workers the edits ask for: a number, or ``"auto"``; None where they do not say."""
    return next((edit.text for edit in reversed(edits) if edit.key == WORKERS and not edit.ended), None)


def edited(
    study: Study,
    edits: Sequence[Edit],
    wanted: Sequence[str],
    file: Mapping[str, Any],
    *,
    request: str,
    time: float,
    by: str,
) -> tuple[Study, list[Edit]]:
    """A study with further edits.

    Args:
        study: The study as it is, with the edits before.
        edits: Those.
        wanted: ``"key=value"`` texts.
        file: The study as its file is.
        request: The request that asks for them.
        time: When it was made.
        by: Who made it.

    Returns:
        The study, and all edits.

    Raises:
        InputError: With study, key, rule and value of the first thing that is wrong.
    """
    raw, made = copy.deepcopy(dict(study.resolved)), list(edits)
    for text in wanted:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not all(keys_of(key)):
            raise Place(f"hpo set {study.name}").error("must be KEY=VALUE", text)
        new = Edit(request, key, value, None, None, _in_words(_at(raw, keys_of(key))), time, by)
        _check(study.name, new)
        earlier = next((edit for edit in made if _unit(edit) == _unit(new) and not edit.ended), None)
        if earlier is None:
            was, filed = (as_stored(_at(table, _unit(new))) for table in (study.resolved, file))
            new = replace(new, was=was, file=filed)
        else:
            new = replace(new, was=earlier.was, file=earlier.file)
        if new.key == WORKERS:
            new = replace(new, before=workers(made) or "as hpo run was told")
        made = [replace(edit, ended="edited again") if edit.key == key and not edit.ended else edit for edit in made]
        made.append(new)
        _apply(raw, new)
    words = ", ".join(wanted)
    return _parsed(study, raw, f"hpo set {study.name} {words}"), made


def overlaid(study: Study, edits: Sequence[Edit]) -> tuple[Study, list[Edit]]:
    """A study's file with the edits that hold; and all edits, with those marked as ended that the file has overtaken.

    Raises:
        InputError: When the file and an edit contradict each other.
    """
    raw, kept = copy.deepcopy(dict(study.resolved)), []
    for edit in edits:
        if not edit.ended and as_stored(_at(study.resolved, _unit(edit))) not in (edit.was, edit.file):
            edit = replace(edit, ended="the study file has changed")
        if not edit.ended:
            _apply(raw, edit)
        kept.append(edit)
    holding = [f"{edit.key}={edit.text}" for edit in kept if not edit.ended]
    return (_parsed(study, raw, f"{study.file} with hpo set {', '.join(holding)}") if holding else study), kept


def holding(study: Study, edits: Sequence[Edit], request: str) -> Study:
    """A study with all edits that hold, and without those that a request ended; what is so already stays."""
    raw = copy.deepcopy(dict(study.resolved))
    for edit in edits:
        if edit.undone == request and edit.key != WORKERS:
            _put(raw, _unit(edit), edit.file)
    for edit in edits:
        if not edit.ended:
            _apply(raw, edit)
    return _parsed(study, raw, f"hpo set {study.name}")


def undone(
    study: Study, edits: Sequence[Edit], keys: Sequence[str], *, request: str, by: str
) -> tuple[Study, list[Edit]]:
    """A study with the values of its file again.

    Args:
        study: The study as it is, with the edits.
        edits: Those.
        keys: Whose edits are to end: keys, or tables of keys.
        request: The request that asks for it.
        by: Who made it.

    Returns:
        The study, and all edits.

    Raises:
        InputError: When a key has no edit that holds, or what remains cannot be.
    """
    made = list(edits)
    for key in keys:
        path = keys_of(key)
        unit = _unit_of(path)
        ending = [edit for edit in made if not edit.ended and (edit.path[: len(path)] == path or _unit(edit) == unit)]
        if not ending:
            known = ", ".join(dict.fromkeys(edit.key for edit in edits if not edit.ended)) or "no key"
            raise Place(f"hpo set {study.name} --reset").error(f"{key} is not edited; edited: {known}", key, got="")
        made = [replace(edit, ended=f"reset by {by}", undone=request) if edit in ending else edit for edit in made]
    return holding(study, made, request), made


def _in_words(value: Any) -> str:
    return "absent" if value is None else show(value)


def _check(name: str, edit: Edit) -> None:
    place, path = Place(f"hpo set {name}", edit.key), edit.path
    if path[0] in IDENTITY or path[0] in ("name", "enqueue", "from"):
        rule = (
            f"a study's points are added by: hpo add {name} PARAMETER=VALUE ..."
            if path[0] == "enqueue"
            else "cannot be edited, or its trials could not be compared with each other; make another study with what "
            f"this one has learned: hpo fork {name} NEW.toml"
        )
        raise place.error(rule, edit.text, got="")
    if edit.key == WORKERS and edit.text != "auto" and not (edit.text.isdecimal() and int(edit.text) > 0):
        raise place.error("must be a whole number from 1, or auto", edit.text)
    if edit.key == WORKERS and edit.text != "auto" and int(edit.text) > MOST_WORKERS:
        raise place.error(f"must be at most {MOST_WORKERS}", edit.text)


def _apply(raw: dict[str, Any], edit: Edit) -> None:
    path = edit.path
    if path == [WORKERS]:
        return
    if names_algorithm(path):  # also where the name stays: an edit that is typed again begins anew
        drop_options(raw.setdefault(path[0], {}))
    override(raw, f"{edit.key}={edit.text}", Place("hpo set"))


def _parsed(study: Study, raw: dict[str, Any], file: str) -> Study:
    try:
        parsed = parse(raw, file=file, source=study.source, folder=study.folder)
    except InputError as error:
        if file.startswith("hpo set"):
            raise
        message = f"{error}\nthe edit holds until the file changes this key, or until: hpo set {study.name} KEY=VALUE"
        raise InputError(message, file=error.file, key=error.key, rule=error.rule, value=error.value) from None
    return replace(parsed, file=study.file)


def _unit(edit: Edit) -> tuple[str, ...]:
    """The keys whose values in the file an edit depends on."""
    return _unit_of(edit.path)


def _unit_of(path: Sequence[str]) -> tuple[str, ...]:
    return (
        tuple(path[:1]) if path[0] in ("sampler", "pruner") else ("workers count",) if path == [WORKERS] else (*path,)
    )


def _put(raw: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        raw = raw.setdefault(part, {})
    if value is None:
        raw.pop(path[-1], None)
    else:
        raw[path[-1]] = copy.deepcopy(value)


def _at(raw: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = raw
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
