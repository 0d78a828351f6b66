"""``hpo serve``: the requests to a study over HTTP, for programs that cannot reach its ledger.

It listens on loopback alone; programs on other hosts come through a tunnel. Every request must carry a random token,
because other users of this machine reach loopback too. A page in a browser cannot send it, and is refused by the host
name that it was loaded under as well.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hpo import requests
from hpo.errors import HpoError, InputError, StorageError
from hpo.ledger import snapshots
from hpo.ledger.address import Address
from hpo.machine import no_port
from hpo.search.request import LEASE_SECONDS, ONE_OF, REQUESTS
from hpo.text import suggest

# Bytes of a request's body; seconds for which a silent client keeps a thread.
MAX_BODY_BYTES, CLIENT_TIMEOUT = 1 << 20, 30.0
HOSTS = ("127.0.0.1", "localhost")


def keep_token(file: Path) -> str:
    """The token in a file that only its user can read; a new one where there is none.

    Raises:
        InputError: When the file cannot be used, or others can read it.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor) as kept:
                status = os.fstat(descriptor)
                token = kept.read(1000).strip()
            if status.st_mode & 0o077 or status.st_uid != os.getuid():
                rule = "must be yours, and readable for you alone (chmod 600), or be deleted"
                raise InputError(f"--token-file: {file} {rule}", key="--token-file", rule=rule) from None
            if len(token) < 32:
                rule = "must hold a token of at least 32 characters, or be deleted"
                raise InputError(f"--token-file: {file} {rule}", key="--token-file", rule=rule) from None
            return token
        token = secrets.token_urlsafe(32)
        with os.fdopen(descriptor, "w") as new:
            new.write(token + "\n")
    except OSError as error:
        raise InputError(f"--token-file: {file} cannot be used: {error.strerror}", key="--token-file") from None
    return token


class Server(ThreadingHTTPServer):
    """Answers for one study; as a context manager it is closed at the end."""

    daemon_threads = True

    def __init__(self, where: Address, name: str, token: str, port: int) -> None:
        self.where, self.name, self.token = where, name, token
        super().__init__(("127.0.0.1", port), _Handler)


def server(where: Address, name: str, token: str, port: int) -> Server:
    """A server on loopback.

    Args:
        where: The ledger.
        name: The study.
        token: What every request must carry as ``Authorization: Bearer TOKEN``.
        port: Where to listen; 0 for a free port.

    Raises:
        InputError: When the port is taken.
    """
    try:
        return Server(where, name, token, port)
    except OSError as error:
        raise no_port("127.0.0.1", port, error) from None


class _Handler(BaseHTTPRequestHandler):
    """``GET /`` is the study as ``hpo show --json`` prints it, ``POST /ask`` and the others make a request."""

    server: Server
    timeout = CLIENT_TIMEOUT
    server_version, sys_version = "hpo", ""

    def do_GET(self) -> None:
        if not self._admitted():
            return
        if self.path == "/":
            self._work(lambda: snapshots.head(self.server.where, self.server.name))
        else:
            self._not_here("GET / shows the study")

    do_HEAD = do_GET

    def __getattr__(self, name: str) -> Callable[[], object]:
        """What its base class calls for the methods that have no function here."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._other_method

    def _other_method(self) -> None:
        if self._admitted():
            self._not_here("only GET, HEAD and POST are answered")

    def _not_here(self, advice: str) -> None:
        """Says that there is no such path, or with which method it is asked."""
        allowed = "GET, HEAD" if self.path == "/" else "POST" if self.path[1:] in REQUESTS else None
        if allowed is None:
            self._answer(404, {"error": f"there is no {self.path}; {advice}"})
        else:
            rule = f"the method must be {allowed.replace(', ', ' or ')}"
            self._answer(405, {"error": f"{self.path}: {rule}, got {self.command}"}, Allow=allowed)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What its base class finds wrong with a request; as JSON, like every other answer."""
        self._answer(int(code), {"error": message or HTTPStatus(code).phrase})

    def do_POST(self) -> None:
        if not self._admitted():
            return
        do = self.path.removeprefix("/")
        if do not in REQUESTS:
            self._not_here(f"POST to one of /{', /'.join(REQUESTS)}")
            return
        length = self.headers.get("Content-Length", "" if "Transfer-Encoding" in self.headers else "0")
        if not length.isdecimal() or len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES:
            self._answer(413, {"error": f"the body must say its Content-Length, of at most {MAX_BODY_BYTES} bytes"})
            return
        try:
            given = json.loads(self.rfile.read(int(length)) or b"{}")
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            self._answer(400, {"error": "the body must be a JSON object"})
            return
        if wrong := _wrong_keys(do, given):
            self._answer(400, {"error": f"POST /{do}: {wrong}"})
            return
        if do in ("ask", "renew"):
            given.setdefault("seconds", LEASE_SECONDS)
        if do == "retry":
            given.setdefault("trials", [])
        self._work(lambda: requests.ask(self.server.where, self.server.name, do, given))

    def _admitted(self) -> bool:
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if host not in HOSTS or self.headers.get("Origin") is not None:
            self._answer(403, {"error": f"the host must be one of {', '.join(HOSTS)}, and no page of a browser"})
        elif not hmac.compare_digest(given.encode("utf-8", "replace"), self.server.token.encode()):
            self._answer(401, {"error": "the token is missing or wrong: Authorization: Bearer TOKEN"})
        else:
            return True
        return False

    def _work(self, work: Any) -> None:
        try:
            self._answer(200, work())
        except HpoError as error:
            refused = isinstance(error, InputError) and not isinstance(error, StorageError)
            self._answer(400 if refused else 503, {"error": str(error)})

    def _answer(self, status: int, answer: dict[str, Any], **headers: str) -> None:
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for header, words in headers.items():
            self.send_header(header, words)
        self.send_header("Connection", "close")  # nothing reads the rest of a refused body
        with suppress(ConnectionError):  # who asked has gone
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base class's name
        """No line per request."""


def _wrong_keys(do: str, given: Mapping[str, Any]) -> str | None:
    """What is wrong with the keys of a body; None where nothing is."""
    known = REQUESTS[do]
    missing = next((key for key, needed in known.items() if needed and given.get(key) is None), None)
    if missing is not None:
        return f"the body needs the key {missing!r}; its keys are {', '.join(known)}"
    unknown = next((key for key in given if key not in known), None)
    if unknown is not None:
        return f"the body has an unknown key {unknown!r}{suggest(unknown, known)}"
    keys = ONE_OF.get(do, ())
    if keys and all(given.get(key) is None for key in keys):
        return f"the body needs one of the keys {', '.join(keys)}"
    return None
