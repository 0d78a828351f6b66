"""Trials for programs that run them themselves: ``hpo ask``, ``hpo tell`` and ``hpo serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hpo import requests, service
from hpo.cli.live import once, read_pair, split_pair
from hpo.cli.options import AsJson, Name, Storage, complete_name, read_duration, read_name
from hpo.cli.text import print_json, values_in_words, write
from hpo.errors import HpoError, InputError
from hpo.ledger.address import DEFAULT_STORAGE, Address
from hpo.machine import expand
from hpo.search.request import LEASE_SECONDS
from hpo.study import load
from hpo.text import clock, value

Study = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The study's name, or its file; a file's study is recorded where it is not known yet.",
        show_default=False,
        parser=expand,
        autocompletion=complete_name,
    ),
]
Lease = Annotated[str, typer.Option(metavar="TIME", help="How long the trial is yours, such as 90s or 2h.")]


def _open(text: str, storage: str) -> tuple[str, Address]:
    """A study's name and its ledger; the study of a file is recorded there."""
    name = read_name(text)
    where = service.open_ledger(storage, create=name != text)
    if name != text:
        requests.begin(where, load(text))
    return name, where


def ask(
    study: Study,
    lease: Lease = f"{LEASE_SECONDS / 60:g}m",
    renew: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Keep trial N for --lease from now on instead.", show_default=False),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Lease a trial to run yourself; tell what became of it with `hpo tell`."""
    seconds = read_duration("--lease", lease)
    name, where = _open(study, storage)
    if renew is not None:
        answer = requests.ask(where, name, "renew", {"trial": renew, "seconds": seconds})
    else:
        answer = requests.ask(where, name, "ask", {"seconds": seconds})
    if answer["number"] is None:
        raise HpoError(f"{name}: no trial was leased: {answer['why']}")
    if as_json:
        print_json({"name": name, **answer})
        return
    until, lease = clock(answer["until"]), answer["lease"]
    write(f"{name}: trial {answer['number']}, seed {answer['seed']}, yours until {until}, lease {lease}\n")
    write("".join(f"  {key} = {value(item)}\n" for key, item in {**answer["fixed"], **answer["params"]}.items()))


def tell(
    name: Name,
    trial: Annotated[int, typer.Argument(metavar="N", min=0, help="The trial's number.", show_default=False)],
    values: Annotated[
        list[str] | None,
        typer.Option("--value", metavar="[NAME=]VALUE", help="End the trial with this value.", show_default=False),
    ] = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Report a metric (repeat the option, or put several in one text); step=N sets the step.",
            show_default=False,
        ),
    ] = None,
    failed: Annotated[
        str | None, typer.Option(metavar="TEXT", help="End it as failed, with this reason.", show_default=False)
    ] = None,
    infeasible: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="End it as infeasible, with this reason.", show_default=False),
    ] = None,
    lease: Annotated[
        str | None, typer.Option(metavar="ID", help="Do nothing unless this is the current lease.", show_default=False)
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Tell what became of a leased trial. Telling the same twice is harmless."""
    given: dict[str, Any] = {"trial": trial, "failed": failed, "infeasible": infeasible, "lease": lease}
    if report:
        given["report"] = once("--report", (_metric("--report", word) for text in report for word in text.split()))
    if values:
        given["value"] = (
            _number("--value", values[0])
            if len(values) == 1 and "=" not in values[0]
            else once("--value", (_metric("--value", text) for text in values))
        )
    answer = requests.ask(service.open_ledger(storage), name, "tell", given)
    if as_json:
        print_json({"name": name, **answer})
    elif answer["state"] == "running":
        write(f"{name}: trial {trial} continues\n")
    else:
        known = f" with {words}" if (words := values_in_words(answer)) else ""
        write(f"{name}: trial {trial} is {answer['state']}{known}{'; stop it' * answer['stop']}\n")


def _metric(option: str, text: str) -> tuple[str, Any]:
    key, typed = split_pair(option, text, option)
    return (key, read_pair("tell", text)[1]) if key == "step" else (key.strip(), _number(option, typed))


def _number(option: str, text: str) -> Any:
    try:
        found = float(text)
    except ValueError:
        raise InputError(f"{option}: must be a number, got {text!r}", key=option, value=text) from None
    return found if abs(found) < float("inf") else str(found)


def serve(
    study: Study,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port to listen on; 0 takes a free one.")
    ] = 8266,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the token is kept.", show_default=".hpo/NAME.token"),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Offer ask, tell and the other requests over HTTP on this machine alone, until Ctrl-C."""
    name, where = _open(study, storage)
    from hpo import serve as http
    from hpo.ledger import snapshots

    snapshots.head(where, name)  # StudyNotFound
    file = token_file or where.folder / f"{name}.token"
    token = http.keep_token(file)
    with http.server(where, name, token, port) as server:
        write(f"{name}: http://127.0.0.1:{server.server_port}/\nThe token is in {file}. Press Ctrl-C to stop.\n")
        server.serve_forever()
