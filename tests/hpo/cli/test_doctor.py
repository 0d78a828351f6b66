"""``hpo doctor``: what this machine has; and ``hpo fetch``'s own part."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from command_line import CommandLine


def test_doctor_says_what_there_is(hpo: CommandLine) -> None:
    facts = hpo("doctor", "--json").json
    assert facts.keys() == {
        "python",
        "cores",
        "memory_gib",
        "versions",
        "blas",
        "ray_address",
        "storage",
        "tracking",
        "mnist",
        "warnings",
    }
    assert facts["cores"] >= 1
    assert facts["storage"] == "hpo.journal: reachable"
    assert set(facts["versions"]) >= {"hpo", "numpy", "optuna", "ray", "mlflow"}
    assert "not installed" not in facts["versions"].values()
    lines = hpo("doctor").out.splitlines()
    assert [line.split()[0] for line in lines[2:11]] == [key for key in facts if key != "warnings"]
    assert not (hpo.folder / "hpo.journal").exists()


def test_doctor_says_how_to_get_what_is_missing(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_DATA_DIR", str(hpo.folder))
    assert "hpo fetch mnist" in hpo("doctor", "--json").json["mnist"]


def test_doctor_warns_of_settings_that_hold_this_machine_back(
    hpo: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(name, raising=False)
    assert hpo("doctor", "--json").json["warnings"] == []
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    first, second = hpo("doctor", "--json").json["warnings"]
    assert first.startswith("OPENBLAS_CORETYPE=Haswell is set: ")
    assert second.startswith("PYTHONDONTWRITEBYTECODE is set: ")
    assert f"warning: {first}\n" in hpo("doctor").out


def test_doctor_reports_a_storage_that_cannot_be_reached_without_its_password(hpo: CommandLine) -> None:
    ended = hpo(
        "doctor",
        "--json",
        "--storage",
        "postgresql://me:s3cret@127.0.0.1:1/x",
        "--tracking",
        "http://me:s3cret@127.0.0.1:1",
    )
    assert ended.json["storage"].startswith("storage: cannot reach postgresql://me:***@127.0.0.1:1/x: ")
    assert ended.json["tracking"].startswith("http://me:***@127.0.0.1:1: cannot be reached: ")
    assert "s3cret" not in ended.out + ended.err


@pytest.mark.parametrize(("status", "said"), [(200, "reachable"), (401, "reachable"), (500, "answers with status 500")])
def test_doctor_asks_a_tracking_server(hpo: CommandLine, status: int, said: str) -> None:
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert hpo("doctor", "--json", "--tracking", address).json["tracking"] == f"{address}: {said}"
    assert asked == ["/health"]


def test_doctor_waits_for_no_server_that_takes_a_connection_and_says_nothing(
    hpo: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.diagnosis.ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "cannot be reached: timed out" in hpo("doctor", "--json", "--tracking", address).json["tracking"]


def test_doctor_leaves_a_check_behind_that_hangs(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def hang(*_: object, **__: object) -> None:
        go.wait(60)

    monkeypatch.setattr("hpo.diagnosis.open_ledger", hang)
    monkeypatch.setattr("hpo.diagnosis.WAIT", 0.2)
    try:
        assert hpo("doctor", "--json").json["storage"] == "hpo.journal: no answer within 0.2 s"
    finally:
        go.set()


def test_doctor_tests_the_tracking_file(hpo: CommandLine) -> None:
    assert hpo("doctor", "--json").json["tracking"] == "sqlite:///mlflow.db: usable"
    (hpo.folder / "mlflow.db").write_text("Dear diary\n")
    said = "sqlite:///mlflow.db: mlflow.db is not a SQLite database; name another file"
    assert hpo("doctor", "--json").json["tracking"] == said


def test_doctor_tests_ray_address(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert hpo("doctor", "--json").json["ray_address"] == f"{address}: reachable"
    said = hpo("doctor", "--json").json["ray_address"]
    assert said.startswith(f"{address}: cannot be reached: ")
    assert "ray start --head" in said


def test_fetch_knows_its_data_sets(hpo: CommandLine) -> None:
    assert hpo("fetch", "minst", code=2).err == "hpo: fetch: there is no data set 'minst'; did you mean 'mnist'?\n"
    assert hpo("fetch", "cifar", code=2).err == "hpo: fetch: there is no data set 'cifar'; known are mnist\n"


def test_fetch_from_a_mirror_that_does_not_answer_is_one_message(
    hpo: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_DATA_DIR", str(hpo.folder))
    ended = hpo("fetch", "mnist", "--mirror", "http://127.0.0.1:1/", code=2)
    assert ended.err.startswith("hpo: fetch: ")
    assert "127.0.0.1" in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_fetch_says_where_the_data_is(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def download(mirror: str | None, *, progress: bool) -> str:
        seen.append((mirror, progress))
        return "/data/mnist"

    monkeypatch.setattr("trainer.fetch.fetch_mnist", download)
    assert hpo("fetch", "mnist").out == "mnist is in /data/mnist, checked\n"
    assert hpo("fetch", "mnist", "--mirror", "http://m", "--json").json == {"dataset": "mnist", "folder": "/data/mnist"}
    assert seen == [(None, False), ("http://m", False)]


# Data sets of other packages ----------------------------------------------------------------------------------------

PLUGIN = """
class Toys:
    def fetch(self, mirror=None, *, progress=True):
        from pathlib import Path
        return Path("/data/toys")

    def check(self):
        raise ValueError("toys are missing: hpo fetch toys")

TOYS = Toys()
"""


def test_another_package_adds_a_data_set_by_an_entry_point(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    (hpo.folder / "toy_plugin.py").write_text(PLUGIN)
    installed = hpo.folder / "toy_plugin-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[hpo.datasets]\ntoys = toy_plugin:TOYS\nlost = toy_plugin_that_is_not_there:LOST\n"
    )
    monkeypatch.syspath_prepend(hpo.folder)
    assert hpo("fetch", "toys").out == "toys is in /data/toys, checked\n"
    facts = hpo("doctor", "--json").json
    assert facts["toys"] == "toys are missing: hpo fetch toys"
    assert "toy_plugin_that_is_not_there" in facts["lost"]  # a broken package hides no other
    assert "mnist" in facts


def test_without_any_data_set_fetch_names_the_entry_points(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.datasets.entry_points", lambda group: [])
    refused = hpo("fetch", "mnist", code=2).err
    assert refused == (
        "hpo: fetch: there is no data set 'mnist'; no installed package offers any (entry points of 'hpo.datasets')\n"
    )


@pytest.mark.parametrize("address", ["sqlite:///hpo.db", "postgresql://me:secret@host/db"])
def test_only_a_journal_is_repaired(hpo: CommandLine, address: str) -> None:
    refused = hpo("doctor", "--repair", address, code=2).err
    assert refused.startswith("hpo: --repair: must be a journal; a database is repaired by its own tools")
    assert "secret" not in refused


def test_a_journal_to_repair_that_is_not_there_is_said_in_words(hpo: CommandLine) -> None:
    said = "hpo: --repair: nope.journal cannot be repaired: No such file or directory; name a journal that is there\n"
    assert hpo("doctor", "--repair", "nope.journal", code=2).err == said


def test_a_journal_is_repaired_under_the_name_that_was_typed(hpo: CommandLine) -> None:
    hpo.run()
    with (hpo.folder / "hpo.journal").open("ab") as file:
        file.write(b"{torn\n")
    assert hpo("doctor", "--repair", "hpo.journal").out.splitlines()[-1].startswith("hpo.journal: kept ")
