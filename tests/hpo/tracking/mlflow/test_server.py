"""Who may use the UI: the guard in front of MLflow's server, asked directly."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from hpo.tracking.mlflow.server import TRACE_LOCATION, Guard, confine, new_token, with_token


async def behind(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


def ask(
    path: str = "/", query: str = "", listens: str = "127.0.0.1", kind: str = "http", **headers: str
) -> dict[str, Any]:
    """What the guard sends first, with its headers as a mapping."""
    scope = {
        "type": kind,
        "method": headers.pop("method", "GET"),
        "path": path,
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in ({"host": "127.0.0.1:5000"} | headers).items()],
    }
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(behind, "secret", listens, 5000)(scope, None, send))  # type: ignore[arg-type]
    return sent[0] | {"headers": {k.decode(): v.decode() for k, v in sent[0].get("headers", [])}}


def test_tokens_differ_and_are_long() -> None:
    assert new_token() != new_token()
    assert len(new_token()) >= 43
    assert with_token("http://h:1/#/x?y", "t") == "http://h:1/?token=t#/x?y"
    assert with_token("http://h:1/", "t") == "http://h:1/?token=t"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"cookie": "hpo-ui-5000=secret"}, 200),
        ({"cookie": 'odd="; a[]=1; hpo-ui-5000=secret'}, 200),
        ({"cookie": "hpo-ui-5000=secre"}, 401),
        ({"cookie": "hpo-ui-5000=\xe9"}, 401),
        ({"cookie": "hpo-ui-5001=secret"}, 401),
        ({"authorization": "Bearer secret"}, 200),
        ({"authorization": "Basic secret"}, 401),
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer secret", "origin": "http://127.0.0.1:5000"}, 200),
        ({"authorization": "Bearer secret", "origin": "http://127.0.0.1:5001"}, 403),
        ({"authorization": "Bearer secret", "origin": "null"}, 403),
    ],
)
def test_only_the_token_lets_in(headers: dict[str, str], status: int) -> None:
    assert ask(**headers)["status"] == status
    assert ask("/health", **headers)["status"] == status


@pytest.mark.parametrize(
    ("host", "here", "everywhere"),
    [
        ("localhost:5000", 200, 200),
        ("[::1]:5000", 200, 200),
        ("127.1.2.3", 200, 200),
        ("192.168.1.7:5000", 403, 200),
        ("evil.example", 403, 403),
        ("127.0.0.1.evil.example", 403, 403),
        ("localhost.evil.example:5000", 403, 403),
        ("[", 403, 403),
        ("", 403, 403),
    ],
)
def test_a_host_name_must_be_this_machines(host: str, here: int, everywhere: int) -> None:
    headers = {"host": host, "authorization": "Bearer secret"}
    assert ask(**headers)["status"] == here
    assert ask(listens="0.0.0.0", **headers)["status"] == everywhere


def test_the_link_gives_a_cookie_and_an_address_without_the_token() -> None:
    answer = ask("/a", "x=1&token=secret")
    assert (answer["status"], answer["headers"]["location"]) == (303, "/a?x=1")
    assert answer["headers"]["set-cookie"] == "hpo-ui-5000=secret; Path=/; HttpOnly; SameSite=Lax"
    assert ask("//evil.example", "token=secret")["headers"]["location"] == "/evil.example"
    assert ask("/", "token=wrong")["status"] == 401
    assert ask("/", "token=secret", host="evil.example")["status"] == 403
    assert ask("/", "token=secret", method="POST")["status"] == 401


def test_a_socket_needs_the_cookie_too() -> None:
    assert ask(kind="websocket")["type"] == "websocket.close"
    assert ask(kind="websocket", cookie="hpo-ui-5000=secret")["type"] == "http.response.start"


@pytest.mark.parametrize(
    ("place", "taken"),
    [
        ("", True),
        ("mlruns/1", True),
        ("{}/mlruns/1", True),
        ("file://{}/mlruns/1", True),
        ("mlflow-artifacts:/1", True),
        ("mlflow-artifacts:/../..", False),
        ("mlflow-artifacts:/%2e%2e/x", False),
        ("mlflow-artifacts://host/1", False),
        ("{}", False),
        ("/", False),
        ("mlruns/../x", False),
        ("mlruns/%2e%2e/x", False),
        ("mlruns/link/x", False),
        ("file:///etc", False),
        ("s3://bucket/x", False),
        ("http://127.0.0.1:1/x", False),
    ],
)
def test_artifacts_lie_below_the_roots(
    place: str, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "link").symlink_to("/")
    store = SimpleNamespace(
        create_experiment=lambda *_: "made", start_trace=lambda _: "made", set_trace_tag=lambda *_: "made"
    )
    confine(store, [Path("mlruns")])
    place = place.format(tmp_path)
    ways = (
        lambda: store.create_experiment("e", place),
        lambda: store.start_trace(SimpleNamespace(tags={TRACE_LOCATION: place})),
        lambda: store.set_trace_tag("t", TRACE_LOCATION, place),
    )
    for way in ways:
        if taken:
            assert way() == "made"
        else:
            with pytest.raises(MlflowException, match="artifacts must lie below"):
                way()
