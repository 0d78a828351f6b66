"""Tables that never break a number or a word: columns where they fit the terminal, else one block per row."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from hpo.best import leading
from hpo.cli.text import line_length, out, write
from hpo.study import Study
from hpo.study.constraints import no_best
from hpo.text import duration, printable
from hpo.trial import Trial

# Significant digits of a number: as many as fit. `--json` has all of them.
DIGITS = (4, 3)
# Between two columns; before a block's lines; how narrow a column of words may become.
GAP, INDENT, NARROW = 3, 2, 16


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, words: bool = False) -> None:
    """A plain table.

    Args:
        columns: Their heads.
        rows: One value per column; real numbers are rounded as far as the terminal's width asks for.
        words: The columns hold words, which may be wrapped; without it, they hold numbers, except for the
            first.
    """
    heads = [printable(column) for column in columns]
    for digits in DIGITS:
        cells = [[_text(value, digits) for value in row] for row in rows]
        if widths := _fitting(heads, cells, words=words):
            _print_columns(heads, cells, widths, words=words)
            return
    _print_blocks(heads, [[_text(value, DIGITS[0]) for value in row] for row in rows])


def print_best(study: Study, trials: Sequence[Trial], top: int | None = None) -> None:
    """The best trials, best first; with several objectives, those of the front.

    Args:
        study: The study.
        trials: All its trials.
        top: How many are shown; None for all.
    """
    several = len(study.objectives) > 1
    found = leading(trials, study.objectives)
    if not found:
        write(f"{no_best(study.bounds, trials)}\n")
        return
    trials = found[:top]
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    came = any(t.origin for t in trials)
    rows = [
        [
            *(f"{'Front' if several else 'Best'}-{rank}", t.number, *t.values),
            *(*(t.params.get(name, "") for name in names), duration(t.seconds)),
            *([t.place if t.origin else ""] * came),
        ]
        for rank, t in enumerate(trials, start=1)
    ]
    print_table(["", "trial", *study.objectives, *names, "time", *(["from"] * came)], rows)
    if several and len(found) > len(trials):
        write(f"{len(found)} trials on the front; to see all: hpo best {study.name}\n")


def _text(value: Any, digits: int) -> str:
    text = "-" if value is None else f"{value:.{digits}g}" if isinstance(value, float) else str(value)
    return " ".join(printable(text).splitlines())


def _fitting(heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool) -> list[int] | None:
    """The columns' widths; None where they do not fit without breaking a word or a number."""
    from rich.cells import cell_len

    widths, least = [], []
    for head, *cells in zip(heads, *rows, strict=True):
        longest = [max(map(cell_len, text.split()), default=0) for text in ([head, *cells] if words else [head])]
        widths.append(max(map(cell_len, [head, *cells])))
        least.append(max(*longest, *([min(NARROW, widths[-1])] if words else map(cell_len, cells)), 0))
    excess = sum(widths) + GAP * (len(widths) - 1) - line_length()
    while excess > 0:
        index = max(range(len(widths)), key=lambda i: widths[i] if widths[i] > least[i] else -1)
        if widths[index] <= least[index]:
            return None
        widths[index] -= 1
        excess -= 1
    return widths


def _print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]], widths: list[int], *, words: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, (head, width) in enumerate(zip(heads, widths, strict=True)):
        table.add_column(escape(head), justify="right" if index and not words else "left", width=width, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(file=out(), highlight=False, width=sum(widths) + GAP * len(widths))
    with console.capture() as capture:
        console.print(table)
    write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()), safe=False)


def _print_blocks(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A title and below it the row's other values under their names, side by side where they fit."""
    for row in rows:
        write(f"{heads[0]} {row[0]}\n".lstrip())
        print_pairs([(head, cell) for head, cell in zip(heads[1:], row[1:], strict=True) if cell])
        write("\n")


def print_pairs(pairs: Sequence[tuple[str, str]], *, beside: int = 4) -> None:
    """Values behind their names, ``beside`` of them in a line where they fit; long ones are wrapped between words."""
    from rich.cells import cell_len, set_cell_size

    name = max((cell_len(head) for head, _ in pairs), default=0) + 2
    entry = name + max((cell_len(cell) for _, cell in pairs), default=0)
    beside = min(beside, (line_length() - INDENT + GAP) // (entry + GAP))
    margin = " " * INDENT
    if beside >= 1:
        texts = [set_cell_size(set_cell_size(head, name) + cell, entry) for head, cell in pairs]
        for start in range(0, len(texts), beside):
            write(margin + (" " * GAP).join(texts[start : start + beside]).rstrip() + "\n")
        return
    for head, cell in pairs:
        left = max(NARROW, line_length() - INDENT - name)
        lines = textwrap.wrap(cell, left, break_long_words=False, break_on_hyphens=False)
        write(
            f"\n{margin}{' ' * name}".join([margin + set_cell_size(head, name) + "".join(lines[:1]), *lines[1:]]) + "\n"
        )
