"""Tables on real terminals of 60, 80 and 100 columns: no number and no word is ever broken."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest
from command_line import QUICK, CommandLine
from pseudo_terminal import drain
from small_study import small_study

from hpo.cli import text, trials
from hpo.cli.table import print_best, print_table
from hpo.trial import State, Trial

WIDTHS = (60, 80, 100)


def plain(terminal: int) -> str:
    """All that was written to a terminal, without commands to it."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drain(terminal).decode()).replace("\r\n", "\n")


@contextmanager
def terminal(width: int) -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal of so many columns."""
    master, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    try:
        yield master, end
    finally:
        os.close(master)


@pytest.fixture
def shown_on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a function prints on a terminal of so many columns."""

    def show(width: int, printed: Callable[[], None], *, columns: str | None = None) -> str:
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns is not None:
            monkeypatch.setenv("COLUMNS", columns)
        with terminal(width) as (master, end):
            out: TextIO = os.fdopen(end, "w", encoding="utf-8")
            monkeypatch.setattr(text, "_out", out)
            printed()
            out.close()
            return plain(master)

    return show


def many(parameters: int) -> list[Trial]:
    """Trials whose numbers have many digits."""
    return [
        Trial(
            number,
            {f"rate_{i}": 10.0 ** -(i % 7) / (3 + number + i) for i in range(parameters)},
            0,
            State.COMPLETE,
            values=(1 / (7 + number),),
            started=0.0,
            ended=4000.0 * number,
        )
        for number in range(5)
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("parameters", [2, 15])
@pytest.mark.parametrize("by", ["the terminal", "COLUMNS"])
def test_no_number_is_broken(parameters: int, width: int, by: str, shown_on: Callable[..., str]) -> None:
    best = many(parameters)
    size = {"width": width} if by == "the terminal" else {"width": 37, "columns": str(width)}
    shown = shown_on(printed=lambda: print_best(small_study(), best), **size)
    assert max(map(len, shown.splitlines())) <= width
    words = shown.split()
    for trial in best:
        for value in [trial.value, *trial.params.values()]:
            assert f"{value:.4g}" in words or f"{value:.3g}" in words
    assert "2 h 13 min" in shown
    heads = [line for line in shown.splitlines() if line.startswith("Best-")]
    assert len(heads) == 5
    assert (len(heads[0].split()) == 1) is (parameters == 15)  # a block's title, or a row


def test_a_table_that_nearly_fits_has_three_digits(shown_on: Callable[..., str]) -> None:
    rows = [["a", 1 / 3, 2 / 3e6], ["b", 1.0, 2.0]]
    assert "0.3333   6.667e-07" in shown_on(30, lambda: print_table(["", "x", "y"], rows))
    assert "0.333   6.67e-07" in shown_on(20, lambda: print_table(["", "x", "y"], rows))


@pytest.mark.parametrize("width", WIDTHS)
def test_words_go_on_in_the_next_line_and_stay_whole(width: int, shown_on: Callable[..., str]) -> None:
    prose = "a rank correlation that is described in considerably more words than the terminal is wide " * 2
    for columns in (["what", "evidence"], ["what", "evidence", "remark"]):
        rows = [["lr", *[prose] * (len(columns) - 1)]]
        shown = shown_on(width, lambda c=columns, r=rows: print_table(c, r, words=True))
        assert max(map(len, shown.splitlines())) <= width
        assert set(prose.split()) <= set(shown.split())


def test_a_word_that_is_wider_than_the_terminal_is_not_broken_either(shown_on: Callable[..., str]) -> None:
    path = "/a/" + "very_long_name/" * 8
    shown = shown_on(60, lambda: print_table(["", "here"], [["storage", path], ["cores", "2"]], words=True))
    assert path in shown
    assert "storage" in shown


def test_names_of_wide_characters_keep_the_columns_straight(shown_on: Callable[..., str]) -> None:
    trial = Trial(0, {f"標準{i}": 1 / 3 for i in range(15)}, 0, State.COMPLETE, values=(0.5,))
    lines = shown_on(60, lambda: print_best(small_study(), [trial])).splitlines()
    assert sum(line.count("0.3333") for line in lines) == 15
    assert lines[0] == "Best-1"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_curve_fits_the_terminal(width: int, shown_on: Callable[..., str]) -> None:
    curve = [(step, 1 / step) for step in range(1, 501)]
    shown = shown_on(width, lambda: text.write("\n".join(trials.plot(curve)) + "\n"))
    lines = shown.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["1", "|*"]
    assert lines[-2].split()[:2] == ["0.002", "|"]
    assert lines[-1].split() == ["1", "500"]


@pytest.mark.parametrize("width", [60])
def test_show_on_a_terminal_of_its_own_process(width: int, hpo: CommandLine) -> None:
    more = [f"--set=space.quite_a_long_name_{i}={{ low = 1e-6, high = 1.0, log = true }}" for i in range(15)]
    hpo("run", "s.toml", *QUICK, *more)
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"TERM": "xterm"}
    with terminal(width) as (master, end):
        words = [sys.executable, "-m", "hpo", "show", "small"]
        process = subprocess.Popen(words, cwd=hpo.folder, env=environment, stdout=end, stderr=end)
        os.close(end)
        shown = plain(master)
        assert process.wait(60) == 0
    assert max(map(len, shown.splitlines())) <= width
    for trial in hpo("show", "small", "--json").json["best"]:
        for value in trial["params"].values():
            assert f"{value:.4g}" in shown.split()
