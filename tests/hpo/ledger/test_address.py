"""Storage addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.errors import InputError
from hpo.ledger.address import parse, redact
from hpo.ledger.storage import probe


@pytest.mark.parametrize(
    ("url", "kind", "path"),
    [
        ("hpo.journal", "journal", Path("hpo.journal")),
        ("/a/b/hpo.journal", "journal", Path("/a/b/hpo.journal")),
        ("sqlite:///hpo.db", "sqlite", Path("hpo.db")),
        ("sqlite:////a/hpo.db", "sqlite", Path("/a/hpo.db")),
        ("postgresql://me@host/db", "postgresql", None),
        ("postgres://me@host/db", "postgresql", None),
    ],
)
def test_an_address_names_one_of_three_kinds(url: str, kind: str, path: Path | None) -> None:
    assert (parse(url).kind, parse(url).path) == (kind, path)


@pytest.mark.parametrize("url", ["mysql://u:secret@h/db", "sqlite://hpo.db", "sqlite:///", "http://h:80"])
def test_another_scheme_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InputError, match="must be the path of a journal file") as refusal:
        parse(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host:5432/db",
        "postgresql://me:se:secret@host/db",
        "postgresql://me:a@secret@host/db",
        "postgresql://:secret@host/db",
        "postgresql://host/db?user=me&password=secret",
        "postgresql://host/db?PASSWORD=secret&user=me",
        "http://me:secret@host:5000",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    assert "secret" not in redact(url)
    assert "host" in redact(url)


@pytest.mark.parametrize("url", ["hpo.journal", "sqlite:///a.db", "postgresql://me@host/db", "http://host:5000/a:b@c"])
def test_what_has_no_password_is_shown_as_it_is(url: str) -> None:
    assert redact(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@127.0.0.1:1/db",
        "postgresql://me:secret@127.0.0.1:port/db",
        "postgresql://me:secret@127.0.0.1/db?sslmode=secretmode&nonsense=1",
    ],
)
def test_a_server_that_cannot_be_reached_is_said_without_the_password(url: str) -> None:
    with pytest.raises(InputError, match="storage: cannot reach postgresql://me:") as refusal:
        probe(parse(url), create=True)
    assert ":secret@" not in str(refusal.value)
