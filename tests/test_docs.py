"""The pages about study files, objectives and the command line say what is so."""

from __future__ import annotations

import ast
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


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", read(DOCS / page), re.MULTILINE | re.DOTALL)
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
    return " ".join(name for parameter in group.get_command(None, command).params for name in parameter.opts)


def commands() -> list[str]:
    from typer.main import get_command

    from hpo.cli import app

    group: Any = get_command(app)
    return sorted(group.list_commands(None))


@pytest.mark.parametrize("page", ["study-file.md", "objectives.md", "constraints.md"])
def test_every_table_in_the_pages_is_a_valid_part_of_a_study(page: str) -> None:
    for block in blocks(page, "toml"):
        study = parse(MINIMAL | tomllib.loads(block), file=page)
        assert study.space.parameters


def test_every_key_of_a_study_is_documented() -> None:
    from hpo.study import algorithms, budget, file, trials
    from hpo.study import workers as resources

    text = read(DOCS / "study-file.md")
    for fields in (
        file._STUDY,
        file._ONE,
        file._SEVERAL,
        algorithms.SAMPLING,
        budget.BUDGET,
        trials.TRIAL,
        resources.WORKERS,
    ):
        for key in fields:
            assert f"`{key}`" in text or f"[{key}]" in text, key


def test_every_sampler_and_pruner_is_documented_with_its_options() -> None:
    from hpo.study.algorithms import PRUNERS, SAMPLERS

    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*)\|$", read(DOCS / "study-file.md"), re.MULTILINE))
    for kinds in (SAMPLERS, PRUNERS):
        for name, kind in kinds.items():
            assert set(re.findall(r"(?<![(])`(\w+)`", rows[name])) == set(kind.options), name


def test_every_kind_of_figure_is_documented_with_its_keys() -> None:
    from hpo.study.figures import COMMON, KINDS

    text = read(DOCS / "study-file.md")
    section = text[text.index("## `[[figure]]`") : text.index("## Changing one key")]
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*)\|$", section, re.MULTILINE))
    everywhere = section[section.index("| key of any kind") :]
    for kind, its in KINDS.items():
        for key in {*COMMON, *(its.keys or {})} - {"kind"}:
            assert f"`{key}`" in rows[kind] or f"`{key}`" in everywhere, (kind, key)


def test_every_command_is_documented() -> None:
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"^\| `hpo ([\w-]+)", text, re.MULTILINE))) == commands()


@pytest.mark.parametrize("command", commands())
def test_the_help_of_a_command_says_what_each_argument_and_option_is(command: str) -> None:
    from typer.main import get_command

    from hpo.cli import app

    group: Any = get_command(app)
    found = group.get_command(None, command)
    assert found.help
    assert [parameter.name for parameter in found.params if not parameter.help] == []


def test_every_option_of_run_is_documented() -> None:
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE))
    assert documented == {option for option in help_of("run").split() if option.startswith("--")}


def test_every_option_of_submit_is_documented() -> None:
    cells = re.findall(r"^\| (`--[^|]*)", (DOCS / "jobs.md").read_text(encoding="utf-8"), re.MULTILINE)
    documented = {option for cell in cells for option in re.findall(r"`(--[a-z-]+)", cell)}
    assert documented == {option for option in help_of("submit").split() if option.startswith("--")}


def shape(value: Any) -> Any:
    """A value's keys and types; of a list, those of its first element."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])]
    return type(value)


@pytest.mark.processes
def test_the_json_is_as_promised(tmp_path: Path) -> None:
    (tmp_path / "quadratic.py").write_text(QUADRATIC)
    (tmp_path / "study.toml").write_text(blocks("study-file.md", "toml")[0])
    head, best, trial, *_ = map(json.loads, blocks("command-line.md", "json"))
    ran = json.loads(hpo("run", "study.toml", "--workers", "0", "--tracking", "none", "--json", folder=tmp_path))
    shown = json.loads(hpo("show", "quadratic", "--json", folder=tmp_path))
    (listed,) = json.loads(hpo("list", "--json", folder=tmp_path))
    for found in (ran, shown, listed):
        assert shape({key: found[key] for key in head}) == shape(head)
        assert {key: found[key] for key in ("name", "state", "direction", "metric", "budget", "trials")} == {
            key: head[key] for key in ("name", "state", "direction", "metric", "budget", "trials")
        }
    assert shape(json.loads(hpo("best", "quadratic", "--json", folder=tmp_path))) == shape(best)
    assert shape(json.loads(hpo("show", "quadratic", "--trial", "3", "--json", folder=tmp_path))) == shape(trial)


@pytest.mark.processes
def test_the_lines_of_python_about_a_report_run_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "quadratic.py").write_text(QUADRATIC)
    (tmp_path / "study.toml").write_text(blocks("study-file.md", "toml")[0])
    hpo("run", "study.toml", "--set", "name=fig-6-24", "--workers", "0", "--tracking", "none", folder=tmp_path)
    (code,) = blocks("report.md", "python")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "pairs.pdf").exists()


@pytest.mark.processes
def test_the_figure_of_the_page_about_study_files_is_drawn_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "quadratic.py").write_text(QUADRATIC)
    (code,) = blocks("study-file.md", "python")
    (tmp_path / "mine.py").write_text(code)
    smallest, *_, figure = (b for b in blocks("study-file.md", "toml") if b.startswith("name") or "mine:" in b)
    (tmp_path / "study.toml").write_text(f"{smallest}\n{figure}")
    few = ("--set", "budget.trials=2")  # drawing many takes seconds
    hpo("run", "study.toml", "--workers", "0", "--tracking", "none", *few, folder=tmp_path)
    hpo("report", "quadratic", folder=tmp_path)
    assert (tmp_path / "reports" / "quadratic" / "quadratic.png").exists()


@pytest.mark.processes
def test_the_messages_on_the_page_about_study_files_are_those_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "quadratic.py").write_text(QUADRATIC)
    smallest = blocks("study-file.md", "toml")[0]
    mistakes, contradiction = blocks("study-file.md", "text")
    answers = []
    for wrong in (smallest.replace("low = 0.01", "low = 0"), smallest.replace("metric ", "metrik ")):
        (tmp_path / "study.toml").write_text(wrong)
        answers.append(answer("run", "study.toml", folder=tmp_path))
    assert "".join(answers) == mistakes

    (tmp_path / "study.toml").write_text(smallest)
    hpo("run", "study.toml", "--workers", "0", "--tracking", "none", "--quiet", folder=tmp_path)
    assert answer("run", "study.toml", "--set", "space.lr.low=0.001", folder=tmp_path) == contradiction


def answer(*words: str, folder: Path) -> str:
    """What a command that refuses its input prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "hpo", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 2
    return ended.stderr


# Links and names ----------------------------------------------------------------------------------------------------

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]+`(?!\])", "", read(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^):]+)\)", prose):
        file, _, heading = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        if heading:
            assert heading in headings(linked), target


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_block_of_a_page_can_be_read_in_its_language(page: Path) -> None:
    readers = {"python": ast.parse, "toml": tomllib.loads, "json": json.loads}
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL):
        if language in readers:
            readers[language](text)


def test_the_index_lists_every_page_once() -> None:
    linked = re.findall(r"^\| \[[^\]]*\]\(([^)]+)\)", (DOCS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - {"README.md"}
    assert len(linked) == len(set(linked))
    assert pages == {page for page in linked if not page.startswith("..")}


def test_the_architecture_names_files_and_tests_that_are_there() -> None:
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", (DOCS / "architecture.md").read_text(encoding="utf-8")))
    assert len(named) > 30
    missing = [name for name in named if not ((ROOT / "hpo" / name).exists() or (ROOT / name).exists())]
    assert sorted(missing) == []


def test_the_architecture_names_functions_that_are_there() -> None:
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", read(DOCS / "architecture.md"))
    assert len(named) > 30
    sources = {file: ast.parse(read(ROOT / "hpo" / file)).body for file, _ in named}
    assert [f"{file}:{name}" for file, name in named if name not in defined(sources[file])] == []


def defined(nodes: list[ast.stmt], within: str = "") -> set[str]:
    """The names that stand at the top of a module, and those in its classes as ``Class.name``."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(within + node.name)
        if isinstance(node, ast.ClassDef):
            found |= defined(node.body, f"{within}{node.name}.")
        if isinstance(node, ast.Assign):
            found |= {within + target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_the_page_on_several_objectives_shows_what_its_study_gives(tmp_path: Path) -> None:
    page = "several-objectives.md"
    (tmp_path / "study.toml").write_text(blocks(page, "toml")[0])
    (tmp_path / "sized.py").write_text(blocks(page, "python")[0])
    hpo("run", "study.toml", "--workers", "0", "--tracking", "none", "--quiet", folder=tmp_path)
    commands = [line.split("small-and-good")[1] for line in blocks(page, "sh")[0].splitlines()[1:]]
    assert len(commands) == 2

    front = json.loads(hpo("best", "small-and-good", "--json", folder=tmp_path))
    assert shape(front) == shape(json.loads(blocks(page, "json")[0]))
    assert len(front) > 2
    table = {row[0]: row[1] for row in re.findall(r"^\| `'([^']*)'` \| ([^|]*) \|$", read(DOCS / page), re.MULTILINE)}
    assert len(table) == 3
    for preference in table:
        chosen = json.loads(hpo("best", "small-and-good", "--prefer", preference, "--json", folder=tmp_path))
        assert chosen in front
    bound = next(iter(table))
    chosen = json.loads(hpo("best", "small-and-good", "--prefer", bound, "--json", folder=tmp_path))
    assert chosen == next(trial for trial in front if trial["values"]["latency_ms"] <= 2.5)


def test_every_make_target_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        for name in re.findall(r"(?:`|^)make ([\w-]+)", read(page), re.MULTILINE):
            assert name in targets, f"{page_name(page)}: make {name}"
