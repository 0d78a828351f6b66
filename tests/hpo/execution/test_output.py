"""What trials print: passed on while they run, of bounded size, from all processes that they start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.execution import Ended, Job, Outcome, Printed, Task
from hpo.execution import output as module
from hpo.execution.output import Output
from hpo.execution.process import Child


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[Output]:
    for name, value in (("HEAD", 20), ("TAIL", 20), ("MOST", 200)):
        monkeypatch.setattr(module, name, value)
    output = Output()
    yield output
    output.close()


def write(output: Output, text: str) -> None:
    os.write(output.fileno(), text.encode())


def test_what_is_printed_is_passed_on_once(output: Output) -> None:
    output.begin()
    assert output.more() == b""
    write(output, "one\n")
    assert output.more() == b"one\n"
    write(output, "two\n")
    assert output.end() == b"two\n"


def test_the_next_trial_begins_with_nothing(output: Output) -> None:
    write(output, "left over")
    output.begin()
    write(output, "new")
    assert output.end() == b"new"


def test_of_a_long_output_the_middle_is_left_out(output: Output) -> None:
    output.begin()
    text = "".join(f"{number:04}\n" for number in range(20))
    write(output, text)
    assert output.more() == text[:20].encode()
    assert output.more() == b""
    assert output.end() == b"\n[60 bytes are left out]\n" + text[-20:].encode()


def test_the_disk_does_not_fill(output: Output) -> None:
    output.begin()
    printed = 0
    head = b""
    for number in range(100):
        write(output, f"{number:09}\n")
        printed += 10
        head += output.more()
        assert os.fstat(output.fileno()).st_size <= 210
    assert head == b"000000000\n000000001\n"
    assert output.end() == b"\n[960 bytes are left out]\n000000098\n000000099\n"


def test_a_writer_goes_on_at_the_new_end_after_a_cut(output: Output) -> None:
    output.begin()
    script = "import sys\nfor i in range(60): sys.stdout.write(f'{i:09}\\n'); sys.stdout.flush()"
    subprocess.run([sys.executable, "-c", script], stdout=output.fileno(), check=True)
    output.more()
    write(output, "afterwards")
    assert output.end().endswith(b"000000059\nafterwards")


OBJECTIVE = """
import os, subprocess, sys

print("at import")

def objective(params, seed):
    print("plain")
    print("error", file=sys.stderr)
    os.write(1, b"past Python\\n")
    subprocess.run(["echo", "from a child"])
    yield 1.0
    if params["die"]:
        print("last words")
        os.abort()
    yield 0.5
"""


@pytest.mark.processes
@pytest.mark.parametrize("die", [False, True])
def test_a_trial_and_its_children_print_into_its_log(die: bool, tmp_path: Path) -> None:
    (tmp_path / "printing.py").write_text(OBJECTIVE)
    child = Child(Job("printing:objective", "loss", path=(str(tmp_path),)))
    try:
        for number in range(2):
            events = [event for batch in child.run(Task(number, 1, {"die": die}, 0)) for event in batch]
            text = b"".join(event.text for event in events if isinstance(event, Printed))
            lines = text.decode().splitlines()
            assert lines[:4] == ["plain", "error", "past Python", "from a child"]
            assert ("last words" in lines) == die
            (ended,) = [event for event in events if isinstance(event, Ended)]
            assert (events[-1], ended.how) == (ended, Outcome.LOST if die else Outcome.FINISHED)
    finally:
        child.close()
