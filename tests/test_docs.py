"""The pages about study files, objectives and the command line say what is so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hpo.study import parse

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MINIMAL = {
    "name": "documented",
    "objective": "quadratic:objective",
    "metric": "loss",
    "direction": "minimize",
    "space": {"lr": {"low": 0.001, "high": 1.0}},
    "budget": {"trials": 1},
}
QUADRATIC = "def objective(params, seed):\n    yield {'loss': params['lr'] ** 2}\n"


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found


def hpo(*words: str, folder: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "hpo", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    return ended.stdout


def help_of(command: str) -> str:
    """A command's help, unstyled and without line breaks inside option names."""
    from typer.main import get_command

    from hpo.cli import app

    group: Any = get_command(app)
    return " ".join(name for parameter in group.commands[command].params for name in parameter.opts)


def commands() -> list[str]:
    from typer.main import get_command

    from hpo.cli import app

    group: Any = get_command(app)
    return sorted(group.commands)


@pytest.mark.parametrize("page", ["study-file.md", "objectives.md"])
def test_every_table_in_the_pages_is_a_valid_part_of_a_study(page: str) -> None:
    for block in blocks(page, "toml"):
        study = parse(MINIMAL | tomllib.loads(block), file=page)
        assert study.space.parameters


def test_every_key_of_a_study_is_documented() -> None:
    from hpo import budget, resources, study

    text = (DOCS / "study-file.md").read_text()
    for fields in (study._STUDY, study._SAMPLER, budget.BUDGET, study._TRIAL, resources.WORKERS):
        for key in fields:
            assert f"`{key}`" in text or f"[{key}]" in text, key


def test_every_sampler_and_pruner_is_documented_with_its_options() -> None:
    from hpo.pruners import PRUNERS
    from hpo.samplers import SAMPLERS

    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*)\|$", (DOCS / "study-file.md").read_text(), re.MULTILINE))
    for kinds in (SAMPLERS, PRUNERS):
        for name, kind in kinds.items():
            assert set(re.findall(r"(?<![(])`(\w+)`", rows[name])) == set(kind.options), name


def test_every_kind_of_figure_is_documented_with_its_keys() -> None:
    from hpo.drawing import KINDS

    text = (DOCS / "study-file.md").read_text()
    section = text[text.index("## `[[figure]]`") : text.index("## Changing one key")]
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*)\|$", section, re.MULTILINE))
    everywhere = section[section.index("| key of any kind") :]
    for kind, fields in KINDS.items():
        for key in fields.keys() - {"kind"}:
            assert f"`{key}`" in rows[kind] or f"`{key}`" in everywhere, (kind, key)


def test_every_command_is_documented() -> None:
    text = (DOCS / "command-line.md").read_text()
    assert sorted(set(re.findall(r"^\| `hpo (\w+)", text, re.MULTILINE))) == commands()


def test_every_option_of_run_is_documented() -> None:
    text = (DOCS / "command-line.md").read_text()
    documented = set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE))
    assert documented == {option for option in help_of("run").split() if option.startswith("--")}


def test_every_option_of_submit_is_documented() -> None:
    cells = re.findall(r"^\| (`--[^|]*)", (DOCS / "jobs.md").read_text(), re.MULTILINE)
    documented = {option for cell in cells for option in re.findall(r"`(--[a-z-]+)", cell)}
    assert documented == {option for option in help_of("submit").split() if option.startswith("--")}


def shape(value: Any) -> Any:
    """A value's keys and types; of a list, those of its first element."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])]
    return type(value)


def test_the_json_is_as_promised(tmp_path: Path) -> None:
    (tmp_path / "quadratic.py").write_text(QUADRATIC)
    (tmp_path / "study.toml").write_text(blocks("study-file.md", "toml")[0])
    head, best, *_ = map(json.loads, blocks("command-line.md", "json"))
    ran = json.loads(hpo("run", "study.toml", "--workers", "0", "--tracking", "none", "--json", folder=tmp_path))
    shown = json.loads(hpo("show", "quadratic", "--json", folder=tmp_path))
    (listed,) = json.loads(hpo("list", "--json", folder=tmp_path))
    for found in (ran, shown, listed):
        assert shape({key: found[key] for key in head}) == shape(head)
        assert {key: found[key] for key in ("name", "state", "direction", "metric", "budget", "trials")} == {
            key: head[key] for key in ("name", "state", "direction", "metric", "budget", "trials")
        }
    assert shape(json.loads(hpo("best", "quadratic", "--json", folder=tmp_path))) == shape(best)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_no_page_names_a_file_that_is_not_there(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]+`(?!\])", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert (page.parent / target).exists(), target
