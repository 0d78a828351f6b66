"""What of a working folder travels with a job."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from hpo.errors import InputError
from hpo.submit import package
from hpo.submit.package import pack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    write(folder, "quadratic.py", "lib/model.py", "data/small.csv")
    (folder / "study.toml").write_text('name = "quadratic"')
    return folder


def write(folder: Path, *paths: str, text: str = "x") -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def sent(folder: Path, study: str = "study.toml") -> list[str]:
    target = folder.parent / "job.zip"
    _, count, _ = pack(folder, folder / study, target)
    names = zipfile.ZipFile(target).namelist()
    assert count == len(names)
    return names


CODE = ["data/small.csv", "lib/model.py", "quadratic.py", "study.toml"]


def test_code_and_what_lies_beside_it_travel(folder: Path) -> None:
    assert sent(folder) == CODE


def test_what_a_working_folder_gathers_stays(folder: Path) -> None:
    write(
        folder, ".git/config", ".venv/bin/python", "odd-name/pyvenv.cfg", "odd-name/lib/x.py", "lib/__pycache__/m.pyc"
    )
    write(folder, "hpo.journal", "hpo.journal.lock", "mlflow.db", "mlflow.db-wal", "mlruns/0/meta.yaml")
    write(folder, ".hpo/checkpoints/1/state", "reports/quadratic/report.html")
    assert sent(folder) == CODE


def test_secrets_stay_whatever_an_ignore_file_says(folder: Path) -> None:
    write(
        folder, ".env", ".env.local", "prod.env", "lib/.netrc", ".ssh/id_rsa", "tls.key", "cert.pem", "id_ed25519.pub"
    )
    write(folder, ".hpoignore", text="!.env\n!*.key\n!.ssh/\n!**\n")
    names = sent(folder)
    assert [name for name in names if name != ".hpoignore"] == CODE


def test_ignore_files_speak_gits_language_and_the_last_word_counts(folder: Path) -> None:
    write(folder, ".gitignore", text="data/*\nlib/\n")
    assert sent(folder) == [".gitignore", "quadratic.py", "study.toml"]
    write(folder, ".hpoignore", text="# small ones are welcome\n!data/small.csv\n!lib/\nhpo.journal\n!mlruns/\n")
    write(folder, "data/large.csv", "mlruns/kept")
    kept = [name for name in sent(folder) if not name.startswith(".")]
    assert kept == ["data/small.csv", "lib/model.py", "mlruns/kept", "quadratic.py", "study.toml"]


def test_the_study_goes_along_even_when_ignored_or_elsewhere(folder: Path) -> None:
    write(folder, ".hpoignore", text="*.toml\n")
    assert "study.toml" in sent(folder)
    write(folder.parent, "elsewhere.toml")
    name, _, _ = pack(folder, folder.parent / "elsewhere.toml", folder.parent / "job.zip")
    assert name == "elsewhere.toml"
    assert name in zipfile.ZipFile(folder.parent / "job.zip").namelist()


def test_a_study_elsewhere_does_not_hide_one_of_the_same_name(folder: Path) -> None:
    write(folder.parent, "study.toml")
    with pytest.raises(InputError, match=r"lies outside the working folder, which has a file study\.toml too"):
        pack(folder, folder.parent / "study.toml", folder.parent / "job.zip")


def test_the_same_content_gives_the_same_bytes_and_modes_are_kept(folder: Path) -> None:
    (folder / "quadratic.py").chmod(0o755)
    first, second = folder.parent / "1.zip", folder.parent / "2.zip"
    pack(folder, folder / "study.toml", first)
    for path in folder.rglob("*"):
        path.touch()
    pack(folder, folder / "study.toml", second)
    assert first.read_bytes() == second.read_bytes()
    mode = zipfile.ZipFile(first).getinfo("quadratic.py").external_attr >> 16
    assert stat.S_IMODE(mode) == 0o755


def test_links_to_folders_and_dangling_links_stay(folder: Path) -> None:
    write(folder.parent, "big/file")
    (folder / "big").symlink_to(folder.parent / "big")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "linked.py").symlink_to(folder / "quadratic.py")
    assert sent(folder) == sorted([*CODE, "linked.py"])


def test_too_much_is_refused_with_the_biggest_files_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MOST_BYTES", 2**20)
    for number in range(7):
        with (folder / f"data/part{number}").open("wb") as file:
            file.truncate(2**18 * (number + 1))
    with pytest.raises(InputError) as caught:
        sent(folder)
    said = str(caught.value)
    assert "holds 7.0 MB, a job takes at most 1.0 MB; list in .hpoignore what it does not need" in said
    assert said.endswith(
        "the biggest are data/part6 (1.8 MB), data/part5 (1.5 MB), data/part4 (1.2 MB), data/part3 (1.0 MB), "
        "data/part2 (0.8 MB)"
    )
    assert not (folder.parent / "job.zip").exists()


def test_too_many_files_are_refused_before_all_are_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MOST_FILES", 3)
    with pytest.raises(InputError, match="holds more than 3 files"):
        sent(folder)


def test_an_ignore_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / ".hpoignore").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="hpoignore cannot be read"):
        sent(folder)


@pytest.mark.parametrize(
    "name",
    [
        *(
            ".git-credentials",
            ".envrc",
            "db.pgpass",
            "server.PEM",
            "ID_RSA",
            ".SSH/config",
            "a/b/Prod.Env",
            "store.P12",
        ),
        *(".PgPass", ".AWS/credentials", "lib/.Netrc", "Id_Ed25519.old", ".config/gcloud/x.db", "credentials.json"),
    ],
)
def test_secrets_are_found_in_any_case_and_said(folder: Path, name: str) -> None:
    write(folder, name)
    _, count, left_out = pack(folder, folder / "study.toml", folder.parent / "job.zip")
    assert count == len(CODE)
    assert left_out is not None
    assert left_out.startswith("left out: ")
    assert left_out.endswith(" (may hold secrets)")
    assert name.split("/")[0] in left_out


def test_a_link_to_a_secret_stays_whatever_its_own_name(folder: Path) -> None:
    write(folder.parent, ".ssh/id_rsa", "my.key")
    write(folder, "certs/server.pem")
    (folder / "notes.txt").symlink_to(folder.parent / ".ssh/id_rsa")
    (folder / "more.txt").symlink_to(folder / "certs/server.pem")
    assert sent(folder) == CODE


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    write(folder.parent, "diary.txt")
    (folder / "lib/notes.txt").symlink_to("../../diary.txt")
    with pytest.raises(InputError, match=r"lib/notes\.txt is a link to .*diary\.txt, outside the working folder"):
        sent(folder)
    write(folder, ".hpoignore", text="notes.txt\n")
    assert sent(folder) == [".hpoignore", *CODE]


def test_ignore_files_in_folders_are_heard_there(folder: Path) -> None:
    write(folder, "lib/.gitignore", text="*.bin\n/cache/\n!keep.bin\n")
    write(folder, "lib/weights.bin", "lib/keep.bin", "lib/cache/x", "lib/sub/cache/y", "weights.bin", "lib/sub/z.bin")
    write(folder, "data/.gitignore", text="*\n")
    kept = ["lib/.gitignore", "lib/keep.bin", "lib/model.py", "lib/sub/cache/y"]
    assert sent(folder) == [*kept, "quadratic.py", "study.toml", "weights.bin"]
    write(folder, ".hpoignore", text="!data/small.csv\n")  # the last word is that of .hpoignore
    assert "data/small.csv" in sent(folder)


def test_what_is_left_out_is_counted(folder: Path) -> None:
    assert pack(folder, folder / "study.toml", folder.parent / "job.zip")[2] is None
    write(folder, ".env", "hpo.journal", "lib/__pycache__/a.pyc", "lib/__pycache__/b.pyc")
    (folder / "big").symlink_to(folder.parent)
    assert pack(folder, folder / "study.toml", folder.parent / "job.zip")[2] == (
        "left out: .env (may hold secrets); 3 files and folders that are generated, linked, or in an ignore file"
    )
