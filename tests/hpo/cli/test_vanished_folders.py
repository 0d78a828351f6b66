"""What a search lives in goes away while it runs: its working folder, the folder ``.hpo``, its ledger."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import pytest
from command_line import CommandLine, Outcome

# Two trials are complete when the third one does the harm; a second run does none.
OBJECTIVE = """
    import os, shutil

    def objective(params, seed):
        yield {{"loss": params["x"]}}
        if params["x"] == 3 and not os.path.exists({once!r}):
            os.mkdir({once!r})
            {harm}
        yield {{"loss": params["x"]}}
"""
STUDY = """
    name = "vanishing"
    objective = "vanishing:objective"
    metric = "loss"
    direction = "minimize"

    [space]
    x = { low = 1, high = 6 }

    [sampler]
    name = "listed"
    points = [{ x = 1 }, { x = 2 }, { x = 3 }, { x = 4 }, { x = 5 }, { x = 6 }]

    [budget]
    trials = 6
"""
ALL = "vanishing: 6 complete"
LEDGERS = pytest.mark.parametrize("storage", ["hpo.journal", "sqlite:///hpo.db"])


@pytest.fixture
def work(hpo: CommandLine) -> Path:
    folder = hpo.folder / "above" / "work"
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(textwrap.dedent(STUDY))
    return folder


def run(hpo: CommandLine, work: Path, storage: str, harm: str, code: int) -> Outcome:
    """Runs the study of which one trial does harm; a second time it does none."""
    text = OBJECTIVE.format(harm=harm, once=str(hpo.folder / "harmed"))
    (work / "vanishing.py").write_text(textwrap.dedent(text))
    process = hpo.start("run", "study.toml", "--workers", "0", "--tracking", "none", "--storage", storage, at=work)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert "Traceback" not in out + err
    return Outcome(code, out, err)


@LEDGERS
@pytest.mark.parametrize(
    ("harm", "saved_in"),
    [
        ("[os.unlink(name) for name in ('hpo.journal', 'hpo.db') if os.path.exists(name)]", "above/work"),
        pytest.param("shutil.rmtree(os.getcwd())", "above", marks=pytest.mark.slow),
        pytest.param("shutil.rmtree(os.path.dirname(os.getcwd()))", ".", marks=pytest.mark.slow),
    ],
    ids=["ledger", "folder", "folder-above"],
)
def test_a_deleted_ledger_is_saved_and_can_be_put_back(
    hpo: CommandLine, work: Path, storage: str, harm: str, saved_in: str
) -> None:
    ended = run(hpo, work, storage, harm, code=1)

    found = re.search(r"what it held is saved in (\S+): move that to (\S+), and run the same command", ended.err)
    assert found is not None, ended.err
    assert Path(found[1]).parent == (hpo.folder / saved_in).resolve()
    work.mkdir(parents=True, exist_ok=True)
    (work / "study.toml").write_text(textwrap.dedent(STUDY))
    shutil.move(found[1], found[2])
    for rest in work.glob("hpo.db-*"):  # of the deleted one
        rest.unlink()
    again = run(hpo, work, storage, harm, code=0)
    assert ALL in again.out
    assert "2/6 trials" in again.err  # those that had finished were kept


@LEDGERS
def test_a_moved_folder_can_be_put_back(hpo: CommandLine, work: Path, storage: str) -> None:
    harm = "os.rename(os.getcwd(), os.getcwd() + '.moved')"

    ended = run(hpo, work, storage, harm, code=1)

    assert "it still exists under another name: put it back, and run the same command again" in ended.err
    work.with_name("work.moved").rename(work)
    again = run(hpo, work, storage, harm, code=0)
    assert ALL in again.out
    assert "2/6 trials" in again.err


@pytest.mark.parametrize(
    "harm",
    [
        "os.rename(os.getcwd(), os.getcwd() + '.moved'); os.symlink(os.getcwd(), {work!r})",
        "shutil.rmtree('.hpo')",
        "shutil.rmtree('.hpo'); open('.hpo', 'w').close()",
        "shutil.rmtree(os.environ['TMPDIR'])",
        "shutil.rmtree(os.environ['HOME'])",
    ],
    ids=["link", "no-hpo", "hpo-is-a-file", "no-tmpdir", "no-home"],
)
def test_a_search_goes_on_without_what_it_does_not_need(
    hpo: CommandLine, work: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    for name in ("TMPDIR", "HOME"):
        (hpo.folder / name).mkdir()
        monkeypatch.setenv(name, str(hpo.folder / name))

    assert ALL in run(hpo, work, "hpo.journal", harm.format(work=str(work)), code=0).out


def test_a_search_whose_ledger_is_elsewhere_outlives_its_working_folder(hpo: CommandLine, work: Path) -> None:
    storage = str(hpo.folder / "elsewhere.journal")

    assert ALL in run(hpo, work, storage, "shutil.rmtree(os.getcwd())", code=0).out


@pytest.mark.parametrize(
    "harm",
    [
        "os.truncate('hpo.journal', 0)",
        "os.truncate('hpo.journal', os.path.getsize('hpo.journal') - 10)",
        "open('hpo.journal', 'r+b').write(bytes(os.path.getsize('hpo.journal')))",
    ],
    ids=["emptied", "cut", "zeros"],
)
def test_a_journal_that_another_program_cuts_or_overwrites_is_noticed_at_the_next_write(
    hpo: CommandLine, work: Path, harm: str
) -> None:
    ended = run(hpo, work, "hpo.journal", harm, code=1)

    assert "was shortened or overwritten by another program during the search" in ended.err
    assert f"hpo doctor --repair {work / 'hpo.journal'}" in ended.err


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param("os.truncate('hpo.db', 0)", "cut or overwritten", marks=pytest.mark.slow),
        ("os.truncate('hpo.db', os.path.getsize('hpo.db') // 2 // 4096 * 4096)", "cut or overwritten"),
        pytest.param(
            "open('hpo.db', 'r+b').write(bytes(os.path.getsize('hpo.db')))",
            "cut or overwritten",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "open('hpo.db', 'wb').write(open('theirs.db', 'rb').read())", "cut or overwritten", marks=pytest.mark.slow
        ),
        ("shutil.copy('theirs.db', 'new.db'); os.replace('new.db', 'hpo.db')", "replaced by another file"),
    ],
    ids=["emptied", "halved", "zeros", "overwritten", "replaced"],
)
def test_a_sqlite_file_that_another_program_cuts_or_replaces_is_left_as_that_program_made_it(
    hpo: CommandLine, work: Path, harm: str, said: str
) -> None:
    assert ALL in run(hpo, work, "sqlite:///theirs.db", "pass", code=0).out
    shutil.rmtree(hpo.folder / "harmed")
    theirs = (work / "theirs.db").read_bytes()

    ended = run(hpo, work, "sqlite:///hpo.db", f"{harm}; shutil.copy('hpo.db', 'made.db')", code=1)

    assert f"hpo: the ledger {work / 'hpo.db'} was {said}" in ended.err.splitlines()[-1]
    assert (work / "hpo.db").read_bytes() == (work / "made.db").read_bytes()
    if "theirs" in harm:
        (head,) = hpo("list", "--json", "--storage", f"sqlite:///{work / 'hpo.db'}").json
        assert head["trials"]["complete"] == 6
        assert (work / "hpo.db").read_bytes() == theirs
