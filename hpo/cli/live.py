"""Changes to a study that runs or rests: ``hpo set``, ``add``, ``stop-trial``, ``discard`` and ``retry``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from hpo import requests, service
from hpo.cli.options import AsJson, Name, Storage
from hpo.cli.text import print_json, values_in_words, write
from hpo.errors import InputError, Unanswered
from hpo.ledger.address import DEFAULT_STORAGE
from hpo.progress import to_stderr
from hpo.study.budget import BUDGET
from hpo.study.edits import LIVE_KEYS
from hpo.text import value

Number = Annotated[int, typer.Argument(metavar="N", min=0, help="The trial's number.", show_default=False)]
# What becomes of a request that a slow driver has not answered.
LATER = "is saved, and the driver will handle it as soon as it responds"


def _ask(storage: str, name: str, do: str, given: dict[str, Any], *, as_json: bool) -> dict[str, Any] | None:
    """The answer to a request; None where it was printed already, or comes later."""
    try:
        answer = requests.ask(service.open_ledger(storage), name, do, given)
    except Unanswered as error:
        to_stderr(f"{error}; the request {LATER}")
        return None
    if as_json:
        print_json({"name": name, **answer})
        return None
    return answer


def complete_key(incomplete: str) -> list[str]:
    """The keys that are edited most, for the shell's completion."""
    keys = [f"budget.{key}" for key in BUDGET] + ["sampler.name", "pruner.name", *LIVE_KEYS]
    return [f"{key}=" for key in keys if key.startswith(incomplete)]


def set_keys(
    name: Name,
    edits: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...",
            help="Keys of the study, or workers=N.",
            show_default=False,
            autocompletion=complete_key,
        ),
    ] = None,
    reset: Annotated[
        list[str] | None,
        typer.Option("--reset", metavar="KEY", help="Use the study file's value again.", show_default=False),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Edit a study, which may be running: its budget, pruner, sampler, number of workers ..."""
    answer = _ask(storage, name, "set", {"edits": edits or [], "reset": reset or []}, as_json=as_json)
    if answer is None:
        return
    for edit in answer["reset"]:
        write(f"{name}: {edit['key']} is as in the study file (before: {edit['before']}){_when(edit)}\n")
    for edit in answer["edits"]:
        write(f"{name}: {edit['key']} = {edit['value']} (before: {edit['before']}){_when(edit)}\n")


def _when(edit: dict[str, Any]) -> str:
    return "" if edit["now"] else "; takes effect at the next hpo run"


def add(
    name: Name,
    params: Annotated[
        list[str],
        typer.Argument(metavar="PARAMETER=VALUE...", help="The rest is left to the sampler.", show_default=False),
    ],
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Add a trial with these parameters to a study, which may be running; it is run before others."""
    answer = _ask(
        storage, name, "add", {"point": once("hpo add", [read_pair("add", text) for text in params])}, as_json=as_json
    )
    if answer:
        words = ", ".join(f"{key} = {value(item)}" for key, item in answer["params"].items())
        write(f"{name}: trial {answer['number']} waits to be run, with {words}\n")


def stop_trial(name: Name, trial: Number, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """End one trial at its next report; it counts as pruned, with the value that it has then."""
    answer = _ask(storage, name, "stop-trial", {"trial": trial}, as_json=as_json)
    if answer:
        write(f"{name}: trial {trial} is {answer['state']}, {_with_value(answer)}\n")


def _with_value(answer: dict[str, Any]) -> str:
    return f"with the value {known}" if (known := values_in_words(answer)) else "without a value"


def discard(
    name: Name,
    trial: Number,
    why: Annotated[str | None, typer.Option(metavar="TEXT", help="Why it does not count.", show_default=False)] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let it count again.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Mark a trial as one that does not count: it is kept, is never the best, and no sampler learns from it."""
    if not undo and why is None:
        raise InputError(f"hpo discard {name} {trial}: needs --why TEXT, or --undo", key="--why")
    answer = _ask(storage, name, "discard", {"trial": trial, "why": why, "undo": undo}, as_json=as_json)
    if answer:
        write(f"{name}: trial {trial} is {answer['state']}, {_with_value(answer)}\n")


def retry(
    name: Name,
    trials: Annotated[
        list[int] | None,
        typer.Argument(metavar="[N...]", min=0, help="The trials' numbers.", show_default="all that have failed"),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Run failed trials again, with the same parameters and seeds; the study may be running."""
    answer = _ask(storage, name, "retry", {"trials": trials or []}, as_json=as_json)
    if answer:
        again = ", ".join(f"{failed} as trial {number}" for failed, number in answer["trials"].items())
        write(f"{name}: waiting to be run again: {again}\n" if again else f"{name}: no trial is left to be retried\n")


def once(place: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Names and their values.

    Raises:
        InputError: When a name is there twice.
    """
    found: dict[str, Any] = {}
    for name, item in pairs:
        if name in found:
            raise InputError(f"{place}: must name {name} once, got {value(found[name])} and {value(item)}", key=name)
        found[name] = item
    return found


def split_pair(place: str, text: str, option: str | None = None) -> tuple[str, str]:
    """The two sides of ``NAME=VALUE``, as they were typed.

    Raises:
        InputError: When it is no such pair.
    """
    key, equals, typed = text.partition("=")
    if not equals or not key.strip():
        rule = "must be NAME=VALUE"
        raise InputError(f"{place}: {rule}, got {text!r}", key=option, rule=rule, value=text)
    return key, typed


def read_pair(command: str, text: str) -> tuple[str, Any]:
    """A name and its value, from ``NAME=VALUE``: the value as TOML, and as text where it is none.

    Raises:
        InputError: When it is no such pair.
    """
    key, typed = (part.strip() for part in split_pair(f"hpo {command}", text))
    try:
        (found,) = tomllib.loads(f"value = {typed}").values()
    except ValueError:
        return key, typed
    return key, found
