"""``hpo ui``: the MLflow UI on the runs, open at a study."""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.request
import webbrowser
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from hpo.cli.options import Tracking
from hpo.cli.text import browsed
from hpo.errors import HpoError, InputError
from hpo.ledger.address import redact
from hpo.tracking import DEFAULT_TRACKING


def ui(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The study to open at.", show_default="the last one")
    ] = None,
    tracking: Tracking = DEFAULT_TRACKING,
    host: Annotated[
        str, typer.Option(help="Where to listen; anything but this machine lets strangers in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    browser: Annotated[bool, typer.Option(help="Open a browser, where there is a display.")] = True,
) -> None:
    """Start the MLflow UI on the runs, on this machine only and open at a study, until Ctrl-C."""
    remote = tracking.startswith(("http://", "https://"))
    if tracking == "none":
        raise InputError("--tracking: must be where the runs are, got 'none'")
    if tracking.startswith("sqlite:///") and not Path(tracking.removeprefix("sqlite:///")).exists():
        raise InputError(f"ui: there are no runs in {tracking}; `hpo run STUDY.toml` makes some")
    if not remote:
        _check_free(host, port)
    links = _links(tracking, browsed(tracking) if remote else f"http://{_reachable(host)}:{port}", name)
    if remote:  # it runs already
        _announce(links, browser=browser)
        return
    server = f"http://{_reachable(host)}:{port}"
    waiting = Thread(target=_when_it_answers, args=(server, links), kwargs={"browser": browser}, daemon=True)
    waiting.start()
    from hpo.tracking.mlflow.server import serve

    serve(tracking, host, port)


def _links(tracking: str, server: str, name: str | None) -> list[tuple[str, str]]:
    """What to look at, and where: the study's trials and its charts, or all there is where there is no study."""
    from hpo.tracking.mlflow import views

    try:
        found = views.find(tracking, name)
    except Exception as error:  # whatever MLflow raises about a store
        raise HpoError(f"MLflow at {redact(tracking)} cannot be read: {redact(str(error))[:300]}") from error
    if found is None and name is not None:
        raise InputError(
            f"ui: there is no study {name!r} in {redact(tracking)}; `hpo run` or `hpo sync` writes it there"
        )
    if found is None:
        return [("MLflow", server)]
    return [
        (found.name, views.link(server, found)),
        ("charts", views.link(server, found, charts=True)),
        ("the study", views.link(server, found, views.STUDY, charts=True)),
    ]


def _announce(links: list[tuple[str, str]], *, browser: bool) -> None:
    width = max(len(title) for title, _ in links) + 1
    sys.stdout.writelines(f"{title + ':':{width}} {address}\n" for title, address in links)
    sys.stdout.flush()
    if browser and _has_display():
        webbrowser.open(links[0][1])


def _when_it_answers(server: str, links: list[tuple[str, str]], *, browser: bool) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"{server}/health", timeout=5):
                break
        except OSError:
            time.sleep(0.2)
    _announce(links, browser=browser)
    sys.stdout.write("Ctrl-C ends it\n")
    sys.stdout.flush()


def _check_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise InputError(f"--port: cannot listen on {host}:{port}: {error.strerror or error}") from None


def _reachable(host: str) -> str:
    """A listening host as a browser on this machine calls it."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
