"""``hpo doctor``: what this machine has; and ``hpo fetch``'s own part."""

from __future__ import annotations

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
        "http://me:s3cret@host:5000",
    )
    assert ended.json["storage"].startswith("storage: cannot reach postgresql://me:***@127.0.0.1:1/x: ")
    assert ended.json["tracking"] == "http://me:***@host:5000"
    assert "s3cret" not in ended.out + ended.err


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
