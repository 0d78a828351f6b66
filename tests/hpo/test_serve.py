"""`hpo serve`: asking and telling over HTTP, for those with the token alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine

from hpo import serve
from hpo.errors import InputError
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.testing import small_study

TOKEN = "t" * 40


@pytest.fixture
def address(tmp_path: Path) -> Address:
    address = parse(str(tmp_path / "hpo.journal"))
    Ledger.open(address, small_study(budget={"trials": 2})).close()
    return address


@pytest.fixture
def port(address: Address) -> Iterator[int]:
    with serve.server(address, "small", TOKEN, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def send(port: int, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """A request with the token, unless other headers are given; status and answer."""
    wanted = {"Authorization": f"Bearer {TOKEN}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=wanted)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def post(port: int, do: str, **given: Any) -> tuple[int, Any]:
    return send(port, f"/{do}", json.dumps(given).encode())


def test_a_study_is_run_over_http(port: int) -> None:
    for number in range(2):
        status, asked = post(port, "ask", seconds=60)
        assert (status, asked["number"]) == (200, number)
        assert post(port, "tell", trial=number, report={"step": 1, "score": 0.5})[1]["stop"] is False
        told = post(port, "tell", trial=number, value=0.75, lease=asked["lease"])
        assert told == (200, {"number": number, "state": "complete", "value": 0.75, "stop": False})
    why = "the budget is spent: 2 trials; to raise the budget: hpo set small budget.trials=3"
    assert post(port, "ask") == (200, {"number": None, "why": why})
    status, head = send(port, "/")
    assert (status, head["state"], head["trials"]["complete"]) == (200, "complete", 2)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/ask", b"{}", {"Authorization": "Bearer wrong"}, 401, "the token is missing or wrong"),
        ("/ask", b"{}", {"Authorization": ""}, 401, "the token is missing or wrong"),
        ("/", None, {"Authorization": "Bearer \xe9"}, 401, "the token is missing or wrong"),
        ("/ask", b"{}", {"Host": "evil.example:8266"}, 403, "the host must be one of"),
        ("/ask", b"{}", {"Origin": "http://127.0.0.1"}, 403, "no page of a browser"),
        ("/delete", b"{}", {}, 404, "POST to one of /ask, /renew, /tell"),
        ("/study", None, {}, 404, "GET / shows the study"),
        ("/ask", b"[]", {}, 400, "the body must be a JSON object"),
        ("/ask", b"{", {}, 400, "the body must be a JSON object"),
        ("/ask", b"[" * 100_000, {}, 400, "the body must be a JSON object"),
        ("/ask", b'{"seconds": -1}', {}, 400, "hpo ask small: seconds: must be"),
        ("/tell", b'{"trial": 7, "value": 1}', {}, 400, "there is no trial 7"),
        (
            "/tell",
            b'{"trial": true, "value": 1}',
            {},
            400,
            "there is no trial true; it has no trials yet",
        ),
        (
            "/tell",
            b'{"value": 1}',
            {},
            400,
            "POST /tell: the body needs the key 'trial'; its keys are trial, value, re",
        ),
        ("/tell", b'{"trial": null, "value": 1}', {}, 400, "POST /tell: the body needs the key 'trial'"),
        ("/tell", b'{"trial": 0, "valeu": 1}', {}, 400, "has an unknown key 'valeu'; did you mean 'value'"),
        (
            "/tell",
            b'{"trial": 0}',
            {},
            400,
            "POST /tell: the body needs one of the keys value, report, failed, infeasible",
        ),
        ("/add", b"{}", {}, 400, "POST /add: the body needs the key 'point'; its keys are point"),
        ("/renew", b"", {}, 400, "POST /renew: the body needs the key 'trial'"),
        ("/discard", b'{"trial": 0, "undo": "no"}', {}, 400, "there is no trial 0"),
        ("/discard", b'{"trial": 0}', {}, 400, "POST /discard: the body needs one of the keys why, undo"),
        ("/set", b"{}", {}, 400, "POST /set: the body needs one of the keys edits, reset"),
        ("/ask", None, {}, 405, "/ask: the method must be POST, got GET"),
        ("/", b"{}", {}, 405, "/: the method must be GET or HEAD, got POST"),
        ("/add", b'{"point": {"lr": NaN}}', {}, 400, "lr: must be a number in"),
        ("/add", b'{"point": 3}', {}, 400, "must be a table of parameters"),
        ("/set", b'{"edits": "x"}', {}, 400, "must be a list of KEY=VALUE"),
        ("/retry", b'{"trials": [[]]}', {}, 400, "there is no trial []"),
        ("/ask", None, {"Content-Length": "9999999999"}, 413, "of at most"),
        ("/ask", None, {"Content-Length": "9" * 5000}, 413, "of at most"),
    ],
)
def test_what_is_wrong_is_refused(
    port: int, path: str, body: bytes | None, headers: dict[str, str], status: int, said: str
) -> None:
    if "Content-Length" in headers:
        found = raw(
            port,
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Length: {headers['Content-Length']}\r\n\r\n",
        )
        assert f" {status} " in found.splitlines()[0]
        assert said in found
        return
    found_status, answer = send(port, path, body, **headers)
    assert (found_status, said in answer["error"]) == (status, True), answer


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "BREW"])
@pytest.mark.parametrize(("path", "allowed"), [("/tell", "POST"), ("/", "GET, HEAD"), ("/else", None)])
def test_another_method_is_answered_in_json(port: int, method: str, path: str, allowed: str | None) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    assert " 401 " in raw(port, f"{head}\r\n").splitlines()[0]
    found = raw(port, f"{head}Authorization: Bearer {TOKEN}\r\n\r\n")
    lines, _, body = found.partition("\r\n\r\n")
    status = 200 if (method, path) == ("HEAD", "/") else 405 if allowed else 404
    assert f" {status} " in lines.splitlines()[0]
    assert "Content-Type: application/json" in lines
    assert (f"Allow: {allowed}" in lines) == (status == 405)
    assert body == "" if method == "HEAD" else json.loads(body)["error"]


def test_what_is_no_http_is_answered_in_json(port: int) -> None:
    for text in ("GET / HTTP/9.9\r\n\r\n", "GET / HTTP/one\r\n\r\n", f"GET /{'a' * 70_000} HTTP/1.1\r\n\r\n"):
        assert json.loads(raw(port, text).splitlines()[-1])["error"]


def test_whether_to_undo_must_be_true_or_false(port: int) -> None:
    assert post(port, "ask")[0] == 200
    assert post(port, "tell", trial=0, value=1)[0] == 200
    status, answer = post(port, "discard", trial=0, undo="no")
    assert (status, answer["error"]) == (400, 'hpo discard small 0: undo: must be true or false, got "no"')
    assert post(port, "discard", trial=0, why="x", undo=False)[1]["state"] == "discarded"
    assert post(port, "discard", trial=0, undo=True)[1]["state"] == "complete"


def test_a_retry_without_a_body_is_one_of_all_failed_trials(port: int) -> None:
    assert post(port, "ask")[0] == 200
    assert post(port, "tell", trial=0, failed="no memory")[1]["state"] == "failed"
    assert post(port, "retry") == (200, {"trials": {"0": 1}})


def test_a_request_without_a_body_is_one_without_details(port: int) -> None:
    found = raw(port, f"POST /ask HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n")
    assert '"number": 0' in found


def test_a_ledger_that_is_away_is_not_the_clients_fault(port: int, address: Address) -> None:
    assert address.path is not None
    address.path.rename(address.path.with_name("away"))
    address.path.mkdir()
    status, answer = post(port, "ask")
    assert status == 503, answer


def raw(port: int, text: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(text.encode())
        return connection.makefile("rb").read().decode()


def test_a_token_is_kept_in_a_file_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "new" / "token"

    token = serve.keep_token(file)

    assert len(token) >= 43
    assert file.stat().st_mode & 0o777 == 0o600
    assert serve.keep_token(file) == token
    file.chmod(0o644)
    with pytest.raises(InputError, match="readable for you alone"):
        serve.keep_token(file)
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(InputError, match="cannot be used"):
        serve.keep_token(link)
    file.write_text("short")
    file.chmod(0o600)
    with pytest.raises(InputError, match="at least 32 characters"):
        serve.keep_token(file)


def test_a_port_that_is_taken_is_refused(address: Address, port: int) -> None:
    with pytest.raises(InputError, match=f"--port: cannot listen on 127.0.0.1:{port}: .*; choose another --port"):
        serve.server(address, "small", TOKEN, port)


@pytest.mark.processes
def test_the_command_says_where_it_listens_and_ends_with_ctrl_c(hpo: CommandLine) -> None:
    served = hpo.start("serve", "s.toml", "--port", "0")
    try:
        assert served.stdout is not None
        line = served.stdout.readline()
        port = int(line.rpartition(":")[2].strip(" /\n"))
        token = (hpo.folder / ".hpo" / "small.token").read_text().strip()
        status, asked = send(port, "/ask", b"{}", Authorization=f"Bearer {token}")
        assert (status, asked["number"]) == (200, 0)
        os.kill(served.pid, signal.SIGINT)
        assert served.wait(60) == 130
    finally:
        served.kill()
        served.communicate()
