"""``hpo ui``: the MLflow UI, opened at a study."""

from __future__ import annotations

import html
import os
import socket
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from hpo.cli.options import Tracking, complete_name, read_name
from hpo.cli.text import browsed, write
from hpo.errors import InputError, TrackingError
from hpo.machine import no_port, without_database
from hpo.text import redact
from hpo.tracking import DEFAULT_TRACKING, check

# What the server and the browser write, below the working folder.
LOG = ".hpo/ui.log"


def ui(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="The study to open: its name, or its file.",
            show_default="the last one",
            parser=read_name,
            autocompletion=complete_name,
        ),
    ] = None,
    tracking: Tracking = DEFAULT_TRACKING,
    host: Annotated[
        str, typer.Option(help="Where to listen; any other address opens the UI to other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="The port to listen on.")] = 5000,
    browser: Annotated[bool, typer.Option(help="Open a browser if there is a display.")] = True,
) -> None:
    """Start the MLflow UI on this machine, opened at a study, until Ctrl-C."""
    if tracking == "none":
        raise InputError("--tracking: must be a tracking store, got none", key="--tracking", value="none")
    check(tracking)
    if without_database(tracking):
        raise InputError(
            f"ui: there are no runs in {tracking}; create some with: hpo run STUDY.toml",
            key="--tracking",
            value=tracking,
        )
    if tracking.startswith(("http://", "https://")):  # the server runs already
        found = _links(tracking, browsed(tracking), name)
        _announce(found)
        if browser:
            _open(found[0][1])
        return
    with _listen(host, port) as listener:
        server = f"http://{_reachable(host)}:{port}/"
        found = _links(tracking, server, name)
        from hpo.tracking.mlflow.server import new_token, serve, with_token

        token = new_token()
        links = [(title, with_token(address, token)) for title, address in found]
        place = "#" + found[0][1].partition("#")[2]
        with TemporaryDirectory(prefix="hpo-ui-") as private, ExitStack() as at_the_end:
            log = _log(Path(private))

            def ready() -> None:
                _announce(links)
                write(f"Press Ctrl-C to stop. The server's log: {log}\n")
                at_the_end.enter_context(_output_to(log))
                if browser:
                    _open(links[0][1], Path(private))

            serve(tracking, listener, token, place, ready)


def _links(tracking: str, server: str, name: str | None) -> list[tuple[str, str]]:
    """Titles and addresses: the study's trials, its charts and its page; without any study, the whole UI."""
    from hpo.tracking.mlflow import views

    try:
        found = views.find(tracking, name)
    except Exception as error:  # MLflow raises many kinds
        raise TrackingError(f"MLflow at {redact(tracking)} cannot be read: {redact(str(error))[:300]}") from error
    if found is None and name is not None:
        missing = f"there is no study {name!r} in {redact(tracking)}"
        raise InputError(f"ui: {missing}; to write it there: hpo sync {name}", value=name)
    if found is None:
        return [("MLflow", server)]
    return [
        (found.name, views.link(server, found)),
        ("charts", views.link(server, found, charts=True)),
        ("the study", views.link(server, found, views.STUDY, charts=True)),
    ]


def _announce(links: list[tuple[str, str]]) -> None:
    width = max(len(title) for title, _ in links) + 1
    write("".join(f"{title + ':':{width}} {address}\n" for title, address in links))


def _open(address: str, private: Path | None = None) -> None:
    """Opens a browser where there is a display.

    Args:
        address: What it shows.
        private: A folder of this user alone, for an address with a secret: everybody can read a browser's arguments.
    """
    if not _has_display():
        return
    if private is not None:
        page = private / "open.html"
        page.write_text(f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">')
        address = page.as_uri()
    webbrowser.open(address)


def _log(private: Path) -> Path:
    """Where the server's output goes: :data:`LOG`, or a file of this run alone where that cannot be written."""
    log = Path(LOG)
    try:
        log.parent.mkdir(exist_ok=True)
        log.open("ab").close()
    except OSError:
        return private / "ui.log"
    return log


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Sends all that this process and the browser it starts write to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    with log.open("ab") as file:
        for stream, _ in kept:
            os.dup2(file.fileno(), stream)
    try:
        yield
    finally:
        for stream, before in kept:
            os.dup2(before, stream)
            os.close(before)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise no_port(host, port, error) from None


def _reachable(host: str) -> str:
    """The host part of the address for a browser on this machine."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
