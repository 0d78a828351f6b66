"""Generated study files and ``--set`` texts: each is a search or one message, and no other study changes."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import study_files
from command_line import QUICK, CommandLine
from depth import seeds

from hpo.errors import InputError
from hpo.study import load

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(600)]

SEEDS, BATCH = seeds(1000), 50
# One of so many runs in a process of its own too, from the shell to the exit code.
SAMPLE = 25
KEPT = """
name = "kept"
objective = "small:number"
metric = "loss"
direction = "minimize"
space.lr = { low = 0.1, high = 1.0 }
budget.trials = 2
"""
# More trials than this cost time and show nothing.
FEW = 3


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_a_study_file_is_a_search_or_one_message(
    hpo: CommandLine, first: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (hpo.folder / "small.py").write_text(study_files.OBJECTIVES)
    (hpo.folder / "kept.toml").write_text(KEPT)
    hpo("run", "kept.toml", *QUICK)
    before = trials(hpo)
    ends: Counter[int] = Counter()
    for seed in range(first, min(first + BATCH, SEEDS.stop)):
        case = study_files.case(seed)
        try:
            ends[in_bounds(hpo, seed, case)] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}: {case}")
            raise
    with capsys.disabled():
        print(f"study files from seed {first}: exit codes {dict(sorted(ends.items()))}")
    assert ends[0]
    assert ends[2]
    assert trials(hpo) == before


def in_bounds(hpo: CommandLine, seed: int, case: study_files.Case) -> int:
    """Runs a case; returns its exit code."""
    (hpo.folder / "s.toml").write_bytes(case.content)
    words = ["run", "s.toml", *QUICK, *(word for text in case.overrides for word in ("--set", text))]
    try:
        study = load("s.toml", case.overrides)
    except InputError:
        study = None
    if study is not None and study.budget.most > FEW:
        words += ["--set", f"budget.trials={FEW}"]
    ledger = hpo.folder / "hpo.journal"
    before = ledger.read_bytes()

    code, err = in_a_process(hpo.folder, words) if seed % SAMPLE == 0 else in_this_process(hpo, words)

    message, _, reason = err.partition("no trial of")  # what the objective raised follows
    assert code in ((0, 1, 2) if study else (2,))
    assert code != 1 or (reason and "Traceback" not in message)
    assert code == 1 or "Traceback" not in err
    assert code == 0 or err.splitlines()
    after = ledger.read_bytes()
    assert after.startswith(before)
    assert code != 2 or after == before
    return code


def in_this_process(hpo: CommandLine, words: list[str]) -> tuple[int, str]:
    outcome = hpo(*words, code=None)
    return outcome.code, outcome.err


def in_a_process(folder: Path, words: list[str]) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "hpo", *(word.encode("utf-8", "surrogatepass") for word in words)],
        cwd=folder,
        capture_output=True,
        timeout=120,
    )
    return ended.returncode, ended.stderr.decode(errors="replace")


def trials(hpo: CommandLine) -> object:
    return hpo("show", "kept", "--json").json
