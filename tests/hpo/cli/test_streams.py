"""Standard streams: whose output goes where, and what happens where it cannot go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest
from mirrored import children

from hpo.ledger import snapshots
from hpo.ledger.address import parse

LOUD = """
    import os, subprocess, sys, atexit

    def shout(text):
        print(text)
        sys.stdout.flush()
        if "SHALLOW" not in os.environ:
            os.write(1, f"{text}, past Python\\n".encode())
            subprocess.run(["echo", f"{text}, from a child"])

    shout("at import")
    atexit.register(print, "at exit")

    def objective(params, seed):
        shout("in a trial")
        os.chdir("/")
        yield {"loss": abs(params["x"])}

    objective.check = lambda params: (shout("in check"), os.chdir("/tmp"))

    def final(params, seed):
        shout("in evaluate")
        os.chdir("/")
        return {"score": 1.0}

    def hostile(params, seed):
        if params["größe"] % 2:
            raise ValueError("\\x1b]52;c;b3duZWQ=\\x07" + "\\udce9" + "x" * 50_000)
        return 0.5
"""
STUDY = """
    name = "loud"
    objective = "loud:objective"
    metric = "loss"
    direction = "minimize"
    evaluate = "loud:final"
    space.x = { low = 0.1, high = 2.0 }
    budget.trials = 3
"""
HOSTILE = """
    name = "hostile"
    objective = "loud:hostile"
    metric = "loss"
    direction = "minimize"
    sampler.name = "grid"
    budget.trials = 8
    [space]
    "größe" = { low = 1, high = 4 }
    how = { choice = ["標準 \\u001b[31mred", "naïve \\u009b2J"] }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loud.py").write_text(textwrap.dedent(LOUD), encoding="utf-8")
    (tmp_path / "s.toml").write_text(textwrap.dedent(STUDY))
    (tmp_path / "h.toml").write_text(textwrap.dedent(HOSTILE), encoding="utf-8")
    return tmp_path


def shell(folder: Path, line: str, **environment: str) -> tuple[int, str, str]:
    """Runs a line of shell, in which ``hpo`` is this hpo."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'hpo() {{ "{sys.executable}" -m hpo "$@"; }}\n{line}'],
        cwd=folder,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=120,
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


QUICK = "--workers 0 --tracking none"
# Whether Python writes compiled modules is the machine's choice; here none are to be found beside the files.
UNCOMPILED = {"PYTHONDONTWRITEBYTECODE": "1"}


def test_json_is_json_whatever_the_users_code_prints_and_wherever_it_goes(folder: Path) -> None:
    code, out, err = shell(folder, f"hpo run s.toml {QUICK} --json --verbose --storage ./a.journal", **UNCOMPILED)
    assert (code, json.loads(out)["trials"]["complete"]) == (0, 3)
    for where in ("at import", "in check", "hpo: trial 2 | in a trial"):
        assert all(f"{where}{how}\n" in err for how in ("", ", past Python", ", from a child"))
    evaluate = "hpo evaluate loud --tracking sqlite:///m.db --json --storage ./a.journal"
    code, out, err = shell(folder, evaluate, **UNCOMPILED)
    assert (code, json.loads(out)["metrics"]) == (0, {"score": 1.0})
    assert "in evaluate, past Python" in err
    # The objective, its check and the function all changed the working folder.
    assert {path.name for path in folder.iterdir()} == {"loud.py", "s.toml", "h.toml", ".hpo", "a.journal", "m.db"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("broken", ["2> /dev/full", "2>&-", "2>&1 >out | true; cat out", "<&- 2>&-"])
def test_a_search_does_not_need_standard_error(broken: str, folder: Path) -> None:
    code, out, _ = shell(folder, f"hpo run s.toml {QUICK} --json {broken}", SHALLOW="1")
    assert (code, json.loads(out)["trials"]["complete"]) == (0, 3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("as_json", ["", "--json"])
def test_results_that_cannot_be_printed_are_an_error_after_the_search(as_json: str, folder: Path) -> None:
    code, _, err = shell(folder, f"hpo run s.toml {QUICK} --quiet {as_json} > /dev/full")
    assert code == 1
    assert err.endswith("\nhpo: standard output cannot be written: No space left on device\n")
    assert "Traceback" not in err
    code, out, _ = shell(folder, "hpo show loud --json")
    assert json.loads(out)["state"] == "complete"


def test_a_reader_that_ends_early_is_no_error(folder: Path) -> None:
    shell(folder, f"hpo run s.toml {QUICK} --quiet")
    _, out, err = shell(folder, "{ sleep 1; hpo list; } | true")
    assert (out, err) == ("", "")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_every_text_can_be_shown_and_none_commands_the_terminal(encoding: str, folder: Path) -> None:
    said = []
    for line in (f"run h.toml {QUICK}", "show hostile", "best hostile", "list"):
        code, out, err = shell(folder, f"hpo {line}", PYTHONIOENCODING=encoding)
        assert code == 0, err
        said.append(out + err)
    assert not {"\x1b", "\x07", "\x9b"} & set("".join(said))
    assert r"\x1b]52;c;b3duZWQ=\x07\udce9" in said[1]
    assert max(map(len, said)) < 20_000
    code, out, _ = shell(folder, "hpo best hostile --toml", PYTHONIOENCODING=encoding.replace("latin-1", "ascii"))
    fixed: dict[str, Any] = tomllib.loads(out)["fixed"]
    assert fixed["größe"] in (2, 4)
    assert fixed["how"] in ("標準 \x1b[31mred", "naïve \x9b2J")


C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.mark.servers
@pytest.mark.parametrize(
    ("terminal", "more", "code"),
    [
        ({"PYTHONIOENCODING": "ascii:strict"}, "", 0),
        pytest.param({"PYTHONIOENCODING": "latin-1:strict"}, "--json", 0, marks=pytest.mark.slow),
        pytest.param(C_LOCALE, "--verbose", 0, marks=pytest.mark.slow),
        pytest.param({"SHALLOW": "1"}, "> /dev/full 2>&1", 1, marks=[needs_full, pytest.mark.slow]),
        pytest.param({}, "--json > /dev/full", 1, marks=[needs_full, pytest.mark.slow]),
        pytest.param({}, ">&-", 0, marks=pytest.mark.slow),
    ],
    ids=["ascii", "latin-1", "C", "full", "full-json", "closed"],
)
def test_what_cannot_be_printed_keeps_no_trial_from_mlflow(
    terminal: dict[str, str], more: str, code: int, folder: Path, empty_mlflow_database: Path
) -> None:
    shutil.copy(empty_mlflow_database, folder / "mlflow.db")
    tracking = f"sqlite:///{folder}/mlflow.db"

    ended, out, err = shell(folder, f"hpo run h.toml --workers 0 --tracking {tracking} {more}", **terminal)

    assert ended == code, err
    assert "hpo/cli/" not in out + err  # no traceback of hpo's own
    trials = snapshots.read(parse(str(folder / "hpo.journal")), "hostile").trials
    runs = children(tracking, "hostile")
    assert len(trials) == 8
    assert {number: run.data.tags["hpo.state"] for number, run in runs.items()} == {t.number: t.state for t in trials}
    assert {n: run.data.metrics.get("objective") for n, run in runs.items()} == {t.number: t.value for t in trials}


def test_paths_are_expanded_in_every_option_and_variable(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    mine = {"HOME": str(home), "RESULTS": "res"}
    code, _, err = shell(folder, f"hpo run '~/s.toml' {QUICK} --storage '$HOME/a.journal'", **mine)
    assert code == 2
    assert f"{home}/s.toml" in err
    (folder / "s.toml").rename(home / "s.toml")
    code, _, err = shell(
        folder,
        f"hpo run '~/s.toml' {QUICK} --quiet --checkpoints '~/c' "
        "&& hpo report loud --out '~/$RESULTS' --json && hpo list",
        HPO_STORAGE="~/a.journal",
        **mine,
    )
    assert code == 0, err
    assert {"a.journal", ".hpo", "res", "s.toml"} <= {path.name for path in home.iterdir()}
    assert not list(folder.glob("~*"))


def test_failed_trials_are_run_again_when_asked_for(folder: Path) -> None:
    objective = "def objective(params, seed):\n    return 1.0 if params['x'] < LIMIT else 1 / 0\n"
    (folder / "picky.py").write_text(objective.replace("LIMIT", "1.0"))
    run = f"hpo run s.toml {QUICK} --quiet --json --set objective=picky:objective --set budget.trials=6"
    before = json.loads(shell(folder, run)[1])["trials"]
    assert before["failed"] > 0
    (folder / "picky.py").write_text(objective.replace("LIMIT", "99.0"))
    assert json.loads(shell(folder, run)[1])["trials"] == before
    code, out, err = shell(folder, f"{run} --retry-failed")
    assert (code, json.loads(out)["trials"]["complete"]) == (0, 6), err
