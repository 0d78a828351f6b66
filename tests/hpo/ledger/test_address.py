"""Storage addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from hpo.errors import InputError
from hpo.ledger.address import parse, probe
from hpo.text import reason, redact


@pytest.mark.parametrize(
    ("url", "kind", "path"),
    [
        ("hpo.journal", "journal", Path("hpo.journal").absolute()),
        ("/a/b/hpo.journal", "journal", Path("/a/b/hpo.journal")),
        ("sqlite:///hpo.db", "sqlite", Path("hpo.db").absolute()),
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
        "postgresql://me:a/secret@host/db",
        "postgresql://me:a#secret@host/db",
        "postgresql://me:a?secret@host/db",
        "postgresql://me:a/b@c#secret@host/db?sslmode=require",
        "postgresql://me:%2Fsecret%40@host/db",
        "http://me:a/secret@host:5000",
        "postgresql://host/db?user=me&sslpassword=secret",
        "host=db user=me password=secret dbname=host",
        "host=db password='a secret' dbname=host",
        "host=db password = secret",
        "connection to postgresql://me:sec/secret@host failed: password=secret, on host",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    assert "secret" not in redact(url)
    assert "host" in redact(url)


@pytest.mark.parametrize(
    "url", ["hpo.journal", "sqlite:///a.db", "postgresql://me@host/db", "http://host:5000/a:b@c", "a b.journal"]
)
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


@pytest.mark.parametrize(
    ("password", "written"),
    [
        ("pa/ss", "pa%2Fss"),
        ("pa#s?s", "pa%23s%3Fs"),
        ("p@ss", "p%40ss"),
        ("pa%2Fss", "pa%2Fss"),
        ("plain:1!", "plain:1!"),
        ("a/b@c", "a%2Fb%40c"),
    ],
)
def test_a_password_with_the_signs_of_a_url_is_a_password(password: str, written: str) -> None:
    assert parse(f"postgresql://me:{password}@host:5432/db").url == f"postgresql://me:{written}@host:5432/db"


@pytest.mark.parametrize("url", ["postgresql://host:5432/db?user=a@b", "postgresql://me@host/db?options=a:b@c"])
def test_an_address_without_a_password_is_left_as_it_is(url: str) -> None:
    assert parse(url).url == url


@pytest.mark.parametrize(
    "dsn", ["host=db password=secret", "dbname=x user=me", "service=mine", "port = 1 password='sec ret'"]
)
def test_a_connection_string_is_no_files_name(dsn: str) -> None:
    with pytest.raises(InputError, match="write it as postgresql://USER@HOST/DATABASE") as refusal:
        parse(dsn)
    assert "sec" not in str(refusal.value)


def test_an_address_stays_where_it_is_when_the_working_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    addresses = [parse(url) for url in ("hpo.journal", "sqlite:///hpo.db", "~/x.journal", "postgresql://me@host/db")]
    monkeypatch.chdir("/")
    assert [address.path for address in addresses[:3]] == [
        tmp_path / "hpo.journal",
        tmp_path / "hpo.db",
        tmp_path / "home/x.journal",
    ]
    assert addresses[3].folder == tmp_path / ".hpo"
    assert [address.relative for address in addresses] == [True, True, False, False]


def test_a_long_reason_is_cut_behind_its_passwords() -> None:
    for length in range(240, 310):
        found = reason(OSError("x" * length + " postgresql://me:secret@host/db\nis away"))
        assert "secr" not in found
        assert len(found) <= 300


def test_the_reason_of_a_databases_error_is_without_its_statement_and_links() -> None:
    error = OperationalError("SELECT 1", {"key": "value"}, ConnectionError("the server is\n  away"))
    assert reason(error) == "(builtins.ConnectionError) the server is away"
