"""The MLflow UI in this process, for one person: a token in front of it, and no process beside it.

MLflow's own server asks for no credential. It reads and writes files wherever an experiment says its artifacts are. On
a machine with several users, the others could read and change your files through it. So every request must carry a
random token: the printed link holds it, and the browser keeps it as a cookie.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import re
import secrets
import signal
import socket
import sys
import urllib.parse
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from hpo.errors import HpoError
from hpo.text import redact

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The token's name in the link.
TOKEN = "token"
# Seconds for which an open connection may delay the end.
SHUTDOWN_TIMEOUT = 2
# Where a trace says its files lie.
TRACE_LOCATION = "mlflow.artifactLocation"
# What MLflow's page keeps in a browser's local storage, unless the person has chosen otherwise: model training, without
# which it shows a study's experiment as one of language models, empty; and that its assistant was opened once.
CHOICES = {"mlflow.workflowType_v1": '"machine_learning"', "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true"}
# Before MLflow's own script: the choices, and the place where a visit to the root begins.
START = """<script>
for (const [key, value] of Object.entries(CHOICES)) localStorage.getItem(key) ?? localStorage.setItem(key, value);
if (!location.hash) location.replace(PLACE);
</script>"""


def new_token() -> str:
    """256 random bits, for an address."""
    return secrets.token_urlsafe(32)


def with_token(link: str, token: str) -> str:
    """A link into the UI (without a query before its ``#``) that lets its reader in."""
    base, _, view = link.partition("#")
    return f"{base}?{TOKEN}={token}" + (f"#{view}" if view else "")


class Guard:
    """Refuses every request without the token, under a foreign host name, or from another site's page.

    A link with the token is answered with a cookie and the same address without it. Programs may send the token as
    ``Authorization: Bearer``, which MLflow's client does with ``MLFLOW_TRACKING_TOKEN``.

    Args:
        app: The server behind it.
        token: The secret.
        host: Where the server listens. Beyond loopback its own name and any IP address will do as host names.
        port: The same; it is part of the cookie's name, since browsers send cookies to all ports of a host.
    """

    def __init__(self, app: App, token: str, host: str, port: int) -> None:
        self._app, self._token, self._cookie = app, token.encode(), f"hpo-ui-{port}"
        self._local = _is_address(host, loopback=True) or host == "localhost"
        self._names = {"localhost"} | (set() if self._local else {host, socket.gethostname(), socket.getfqdn()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        query = urllib.parse.parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get(TOKEN, "")
        if scope["type"] != "http":
            if self._is_known(host) and self._is_ours(origin, host) and self._has_cookie(headers):
                return await self._app(scope, receive, send)
            return await send({"type": "websocket.close", "code": 1008})
        if not self._is_known(host) or not self._is_ours(origin, host):
            return await _answer(send, 403, "This address or page may not use the UI.")
        if scope["method"] == "GET" and self._is_token(given):
            rest = urllib.parse.urlencode([pair for pair in query if pair[0] != TOKEN])
            path = "/" + urllib.parse.quote(scope["path"].lstrip("/\\"))
            cookie = f"{self._cookie}={given}; Path=/; HttpOnly; SameSite=Lax"
            return await _answer(send, 303, "", location=path + (f"?{rest}" if rest else ""), set_cookie=cookie)
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self._has_cookie(headers) or self._is_token(bearer):
            return await self._app(scope, receive, send)
        return await _answer(send, 401, "Open the link that hpo ui printed: it holds the token.")

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def _has_cookie(self, headers: dict[str, str]) -> bool:
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return any(name == self._cookie and self._is_token(value) for name, _, value in pairs)

    def _is_known(self, host: str) -> bool:
        """Whether a Host header names this machine; another site's name could be made to point here."""
        try:
            name = urllib.parse.urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._names or _is_address(name, loopback=self._local)

    def _is_ours(self, origin: str | None, host: str) -> bool:
        """Whether a request comes from a page of this server: MLflow would allow those of any port of this machine."""
        return origin is None or origin in (f"http://{host}", f"https://{host}")


class StudyAtRoot:
    """Shows the study at the root address, where MLflow would show its own home page.

    Args:
        app: The server behind it.
        page: MLflow's page.
        place: What follows the address, from ``#`` on.
    """

    def __init__(self, app: App, page: str, place: str) -> None:
        known = {
            name: json.dumps(value).replace("<", "\\u003c") for name, value in (("CHOICES", CHOICES), ("PLACE", place))
        }
        start = re.sub("|".join(known), lambda found: known[found[0]], START)
        self._app, self._page = app, page.replace("<head>", f"<head>{start}", 1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (scope["type"], scope.get("method"), scope.get("path")) == ("http", "GET", "/"):
            kind = {"content_type": "text/html; charset=utf-8", "x_frame_options": "SAMEORIGIN"}
            return await _answer(send, 200, self._page, **kind)
        return await self._app(scope, receive, send)


def _is_address(name: str, *, loopback: bool) -> bool:
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or not loopback


async def _answer(send: Send, status: int, text: str, **headers: str) -> None:
    headers = {
        "content_type": "text/plain; charset=utf-8",
        "x_content_type_options": "nosniff",
        "referrer_policy": "no-referrer",
        "cache_control": "no-store",
    } | headers
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": text.encode()})


def serve(uri: str, listener: socket.socket, token: str, place: str, ready: Callable[[], None]) -> None:
    """Runs the server until Ctrl-C or SIGTERM.

    Args:
        uri: The tracking store, a database or a folder.
        listener: A bound socket.
        token: What every request must carry.
        place: Where a visit to the root begins, from ``#`` on.
        ready: Called when the server answers.

    Raises:
        HpoError: When the store cannot be served.
    """
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_SERVER_REGISTRY_STORE": uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "./mlartifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its runners would be 13 more processes
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",  # the guard is stricter
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    import uvicorn

    with warnings.catch_warnings():  # of MLflow about its own parts
        warnings.simplefilter("ignore")
        from mlflow.server import app as pages
        from mlflow.server import handlers
        from mlflow.server.fastapi_app import app

    try:
        handlers.initialize_backend_stores(uri, uri, "mlflow-artifacts:/")
    except Exception as error:  # MLflow raises many kinds
        raise HpoError(f"ui: MLflow cannot read its store: {redact(str(error))[:300]}") from error
    folder = [] if "://" in uri.removeprefix("file://") else [Path(uri.removeprefix("file://"))]
    confine(handlers._get_tracking_store(), [Path("mlruns"), Path("mlartifacts"), *folder])

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    host, port = listener.getsockname()[:2]
    page = Path(pages.root_path, "js", "build", "index.html").read_text(encoding="utf-8")
    guard = Guard(StudyAtRoot(app, page, place), token, host, port)
    # No access log: it would show the token.
    config = uvicorn.Config(
        guard, log_level="warning", access_log=False, proxy_headers=False, timeout_graceful_shutdown=SHUTDOWN_TIMEOUT
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Server(config).run(sockets=[listener])


def confine(store: Any, roots: list[Path]) -> None:
    """Lets requests place artifacts below the roots only: what MLflow serves is what lies where an experiment says.

    Args:
        store: The server's tracking store; its methods that take a place are replaced.
        roots: Folders.
    """
    from mlflow.exceptions import MlflowException

    inside = [root.resolve() for root in roots]
    create, start, tag = store.create_experiment, store.start_trace, store.set_trace_tag

    def check(location: str | None) -> None:
        if location and not _lies_in(location, inside):
            raise MlflowException.invalid_parameter_value(
                f"artifacts must lie below {' or '.join(map(str, inside))}, got {location!r}"
            )

    def create_experiment(name: str, artifact_location: str | None = None, tags: Any = None) -> Any:
        check(artifact_location)
        return create(name, artifact_location, tags)

    def start_trace(trace_info: Any) -> Any:
        check(trace_info.tags.get(TRACE_LOCATION))
        return start(trace_info)

    def set_trace_tag(trace_id: str, key: str, value: str) -> Any:
        check(value if key == TRACE_LOCATION else None)
        return tag(trace_id, key, value)

    store.create_experiment, store.start_trace, store.set_trace_tag = create_experiment, start_trace, set_trace_tag


def _lies_in(location: str, roots: list[Path]) -> bool:
    decoded = urllib.parse.unquote(location)
    parts = urllib.parse.urlsplit(decoded)
    if parts.scheme == "mlflow-artifacts":
        return not parts.netloc and ".." not in parts.path.split("/")
    if parts.scheme not in ("", "file") or parts.netloc or parts.query or parts.fragment or "\0" in decoded:
        return False
    # As written and as decoded: MLflow decodes some of them.
    places = [Path(urllib.parse.urlsplit(text).path).resolve() for text in (location, decoded)]
    return all(any(place.is_relative_to(root) for root in roots) for place in places)
