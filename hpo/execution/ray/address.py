"""Where a Ray cluster is, and what can be found wrong with its address without Ray, which takes a second to import."""

from __future__ import annotations

import os
import re
import socket
import sys

from hpo.errors import ClusterUnusable

# Seconds after which Ray's global control server counts as silent. Ray's own `ray.nodes` waits for a minute and then
# ends this process.
ANSWER = 5.0

_HOST_AND_PORT = re.compile(r"\S+:\d+")
# HTTP/2's frame of settings, here with none: its length, its type (4), flags and a stream's number.
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def resolve(address: str | None) -> tuple[str | None, str]:
    """The cluster's address, or None for this machine; and what it comes from, for messages.

    Args:
        address: The given one; None for ``RAY_ADDRESS``.

    Raises:
        ClusterUnusable: When it is that of Ray's client or of a dashboard.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    source = "RAY_ADDRESS" if address == os.environ.get("RAY_ADDRESS") else "--address"
    if address and address.startswith(("ray://", "http://", "https://")):
        rule = (
            f"a search must run inside its cluster, and {address} is outside (Ray's client streams no reports); "
            "submit the study instead: hpo submit STUDY.toml --address http://HEAD:8265"
        )
        raise ClusterUnusable(f"{source}: {rule}", key=source, rule=rule, value=address)
    return (None if address == "local" else address or None), source


def check(address: str | None) -> None:
    """Refuses an address where no cluster can be; one that this process is connected to is not asked.

    Raises:
        ClusterUnusable: When it is of the wrong kind, or no Ray answers there.
    """
    there, source = resolve(address)
    loaded = sys.modules.get("ray")
    if there in (None, "auto") or (loaded is not None and loaded.is_initialized()):
        return
    assert there is not None
    try:
        if "://" not in there and not _HOST_AND_PORT.fullmatch(there):
            raise ValueError("an address is HOST:PORT, auto or local")
        check_reachable(there)
    except (OSError, ValueError, OverflowError) as error:
        raise no_answer(source, there, error) from error


def no_answer(source: str, there: str, error: BaseException) -> ClusterUnusable:
    """The error that no cluster answers."""
    rule = (
        f"no Ray cluster answers at {there}: {' '.join(str(error).split())}; start one (ray start --head), "
        f"correct {source}, or leave it out to use this machine"
    )
    return ClusterUnusable(f"{source}: {rule}", key=source, rule=rule, value=there)


def check_reachable(there: str) -> None:
    """Checks that a server of HTTP/2, as Ray's is, listens at an address: Ray itself would try for ten minutes.

    Args:
        there: ``HOST:PORT``; of anything else, Ray says what is wrong.

    Raises:
        OSError: When nothing, or something else, is there.
    """
    host, _, port = there.rpartition(":")
    if not (host and port.isdecimal()):
        return
    with socket.create_connection((host.strip("[]"), int(port)), ANSWER) as connection:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return  # its first words are others
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS)
        try:
            answer = connection.recv(len(_SETTINGS))
        except TimeoutError:
            raise TimeoutError(f"what listens there has not answered for {ANSWER:g} s") from None
        if answer[3:4] != _SETTINGS[3:4]:
            raise ConnectionError("what listens there is no Ray control server")
