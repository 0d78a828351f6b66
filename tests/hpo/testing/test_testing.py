"""What docs/testing.md shows runs as it stands, and the contracts find what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"
DRAW = 'random.Random(f"{self.seed} {trial.number} {param_name}")'


def files(folder: Path) -> None:
    """Writes the page's own sampler and executor, and their tests."""
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        name = re.match(r"# (\w+\.py)\n", code)
        assert name
        (folder / name[1]).write_text(code)


def run(folder: Path, *options: str, test: str = "test_mine.py") -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        test,
        *options,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)


def test_the_page_tests_a_sampler_named_by_its_import_path(tmp_path: Path) -> None:
    files(tmp_path)

    ended = run(tmp_path)

    assert ended.returncode == 0, ended.stdout
    assert re.search(r"^1\d passed", ended.stdout, re.MULTILINE)


def test_the_page_tests_an_executor(tmp_path: Path) -> None:
    files(tmp_path)

    ended = run(tmp_path, test="test_executors.py")

    assert ended.returncode == 0, ended.stdout
    assert re.search(r"^1\d passed", ended.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("right", "wrong", "found_by"),
    [
        ("return low + u * (high - low)", "return low - u", "test_a_search_ends_with_exactly_its_budget"),
        pytest.param(DRAW, "random.Random(0)", "test_another_seed_gives_another_search", marks=pytest.mark.slow),
        pytest.param(
            DRAW,
            "self.__dict__.setdefault('own', random.Random(self.seed))",
            "test_a_resumed_search_continues_exactly",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["a value outside its range", "the same value for every seed", "a value that depends on earlier calls"],
)
def test_the_contract_finds(right: str, wrong: str, found_by: str, tmp_path: Path) -> None:
    files(tmp_path)
    code = (tmp_path / "mine.py").read_text()
    assert right in code
    (tmp_path / "mine.py").write_text(code.replace(right, wrong))

    ended = run(tmp_path, "-k", found_by)

    assert ended.returncode == 1
    assert re.search(rf"^FAILED .*{found_by}", ended.stdout, re.MULTILINE)


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    without = "import sys; sys.modules['hypothesis'] = None; import hpo.testing"

    ended = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False, timeout=60)

    assert ended.stderr.splitlines()[-1].endswith(
        "hpo.testing needs hypothesis, which is not installed: pip install 'hpo-service[test]'"
    )
