"""hpo is installed into other projects as the README shows, and the trainer needs NumPy alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

import hpo

ROOT = Path(__file__).parents[1]
PROJECT = ("pyproject.toml", "README.md", "LICENSE", "hpo", "trainer")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def readme_block(language: str, word: str) -> str:
    (block,) = [text for text in re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S) if word in text]
    return block


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A Git repository with what the package is built from, in a folder ``hpo``."""
    folder = tmp_path / "hpo"
    folder.mkdir()
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=clone"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("line", readme_block("sh", "pip install").splitlines())
def test_each_install_command_of_the_readme_installs_a_whole_hpo(line: str, clone: Path, tmp_path: Path) -> None:
    target = tmp_path / "site-packages"
    # Packages that hpo needs are there already, and so is setuptools: nothing is downloaded.
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads a negated option the other way round
        "PIP_TARGET": str(target),
        # The clone answers for the address in the README.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{clone.parent}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://HOST/OWNER/",
    }
    subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, check=True, timeout=240)

    for file in (
        "hpo/py.typed",
        "hpo/report/page.html",
        "hpo/tracking/mlflow/tables.sql",
        "trainer/py.typed",
        "bin/hpo",
    ):
        assert (target / file).exists(), file
    (metadata,) = target.glob("hpo_service-*.dist-info")
    distribution = PathDistribution(metadata)
    assert (distribution.metadata["Name"], distribution.version) == ("hpo-service", hpo.__version__)

    ended = subprocess.run(
        [sys.executable, str(target / "bin" / "hpo"), "--help"],
        cwd=tmp_path / "site-packages",
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "run" in ended.stdout


def test_an_installed_pytorch_stays_as_it_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert not [requirement for requirement in project["dependencies"] if requirement.startswith("torch")]
    assert project["optional-dependencies"]["gp"] == ["torch"]  # any version


def test_nothing_tells_people_to_install_the_other_package_of_that_name() -> None:
    places = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Dockerfile", "Makefile", "docker-compose.yml")]
    places += [path for name in ("docs", "hpo", "deploy") for path in (ROOT / name).rglob("*") if path.is_file()]
    readable = [path for path in places if path.suffix not in (".png", ".pyc")]
    assert [
        str(path) for path in readable if re.search(r"install[^\n]*['\" ]hpo\[", path.read_text(encoding="utf-8"))
    ] == []


def test_the_constraints_name_versions_and_no_addresses() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[^\s/:]+", line), line


# Imports the whole trainer and runs the README's lines, with no module but NumPy and Python's own.
NUMPY_ALONE = """
    import importlib, pkgutil, sys
    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "trainer"}:
                raise ModuleNotFoundError(f"{name} is blocked", name=name)
    sys.meta_path.insert(0, Blocked())
    import trainer
    for module in pkgutil.walk_packages(trainer.__path__, "trainer."):
        importlib.import_module(module.name)
    exec(sys.argv[1])
"""


def test_the_trainer_and_the_readmes_lines_about_it_need_numpy_alone(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(NUMPY_ALONE), readme_block("python", "from trainer")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    *epochs, answer = ended.stdout.splitlines()
    assert len(epochs) == 20
    assert answer == "[1 0]"
    assert (tmp_path / "circle.npz").exists()
