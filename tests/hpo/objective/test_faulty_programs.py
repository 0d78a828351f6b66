"""Real programs that misbehave: killed while they write, deaf, loud, with grandchildren, talking after their end."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo.execution import Ended, Event, Job, Outcome, Printed, Reported, Task
from hpo.execution.output import HEAD, TAIL
from hpo.execution.process import Child
from hpo.objective import contract
from hpo.objective.contract import reports
from hpo.study.command import Command

pytestmark = pytest.mark.processes


def command(script: str, **how: Any) -> Command:
    text = textwrap.dedent(script).replace("{", "{{").replace("}", "}}")
    return Command((sys.executable, "-c", text), metrics=("loss",), **how)


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Callable[..., list[Event]]]:
    """All events of one attempt; ``stop_at`` is the number of reports after which it is told to stop."""
    children: list[Child] = []

    def run(given: Command, stop_at: int = 0) -> list[Event]:
        children.append(Child(Job(given, "loss", pause=0.01)))
        found: list[Event] = []
        for batch in children[-1].run(Task(0, 1, {}, 0, folder=str(tmp_path / "files"))):
            found += batch
            if stop_at and len(losses(found)) >= stop_at:
                children[-1].stop(0, 1)
        return found

    yield run
    for child in children:
        child.close()


def losses(found: list[Event]) -> list[float]:
    return [report.metrics["loss"] for event in found if isinstance(event, Reported) for report in event.reports]


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


CSV = """
    with open("m.csv", "w") as file:
        file.write("step,loss\\n1,3\\n2,2\\n3,1\\n4,0.")
"""
EVENTS = """
    from pathlib import Path
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    writer = EventFileWriter("logs")
    for step in range(1, 5):
        writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag="loss", simple_value=4 - step)])))
    writer.close()
    (file,) = Path("logs").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
"""
DEATH = """
    import os, signal, time
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("source", "where", "script"), [("csv", "m.csv", CSV), ("tensorboard", "logs", EVENTS)])
def test_what_a_killed_program_wrote_by_half_is_no_report(source: str, where: str, script: str, tmp_path: Path) -> None:
    given = command(textwrap.dedent(script) + textwrap.dedent(DEATH), source=source, where=where, workdir="own")
    heard: list[dict[str, float]] = []
    with pytest.raises(RuntimeError, match=r"^the command was ended by signal 9"):
        heard.extend(reports(contract.resolve(given), {}, 0, "loss", folder=str(tmp_path / "own")))  # what came before
    assert [report["loss"] for report in heard] == [3.0, 2.0, 1.0]


@pytest.mark.processes
def test_fifty_megabytes_of_output_cost_neither_the_report_nor_much_room(events: Callable[..., list[Event]]) -> None:
    found = events(
        command("""
            print("first")
            for number in range(50):
                print(("x" * 999 + "\\n") * 1000, end="")
            print("last")
            print('{"loss": 1}')
        """)
    )
    assert losses(found) == [1.0]
    text = b"".join(event.text for event in found if isinstance(event, Printed))
    assert text.startswith(b"first\n")
    assert text.endswith(b'last\n{"loss": 1}\n')
    assert len(text) <= HEAD + TAIL + 100
    assert b" bytes are left out]" in text


@pytest.mark.processes
def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(
    events: Callable[..., list[Event]], tmp_path: Path
) -> None:
    pid, asked = tmp_path / "pid", tmp_path / "asked"
    found = events(
        command(
            f"""
            import os, signal, time
            from pathlib import Path
            signal.signal(signal.SIGTERM, lambda *_: Path({str(asked)!r}).touch())
            Path({str(pid)!r}).write_text(str(os.getpid()))
            print('{{"loss": 1}}', flush=True)
            while True:
                time.sleep(0.1)
            """,
            grace=0.5,
        ),
        stop_at=1,
    )
    assert isinstance(found[-1], Ended)
    assert found[-1].how is Outcome.STOPPED
    assert found[-1].place is None  # its own folder is where the driver looks
    assert asked.exists()
    assert gone(int(pid.read_text()))


@pytest.mark.processes
def test_a_grandchild_that_became_a_daemon_ends_with_the_trial(
    events: Callable[..., list[Event]], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    found = events(
        command(f"""
            import os, time
            from pathlib import Path
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    Path({str(pid)!r} + ".new").write_text(str(os.getpid()))
                    os.rename({str(pid)!r} + ".new", {str(pid)!r})
                    time.sleep(600)
                os._exit(0)
            os.wait()
            while not os.path.exists({str(pid)!r}):
                time.sleep(0.01)
            print('{{"loss": 1}}', flush=True)
        """)
    )
    assert losses(found) == [1.0]
    assert gone(int(pid.read_text()))


@pytest.mark.processes
def test_what_a_stopped_program_says_last_is_in_its_log(events: Callable[..., list[Event]]) -> None:
    """Lines after the report that it was stopped at, a line without an end, and the answer to SIGTERM."""
    found = events(
        command("""
            import signal, sys, time
            def goodbye(*_):
                sys.stderr.write("saved")
                sys.exit()
            signal.signal(signal.SIGTERM, goodbye)
            print('{"loss": 1}\\nafter the report\\nbegun', end="", flush=True)
            time.sleep(600)
        """),
        stop_at=1,
    )
    assert isinstance(found[-1], Ended)
    assert found[-1].how is Outcome.STOPPED
    text = b"".join(event.text for event in found if isinstance(event, Printed))
    assert text == b'{"loss": 1}\nafter the report\nbegun\nsaved'


@pytest.mark.processes
def test_a_program_that_prints_for_ever_and_ignores_sigterm_is_killed(events: Callable[..., list[Event]]) -> None:
    found = events(
        command(
            """
            import os, signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print('{"loss": 1}', flush=True)
            while True:
                os.write(1, b"x" * 65536)
            """,
            grace=0.5,
        ),
        stop_at=1,
    )
    assert isinstance(found[-1], Ended)
    assert found[-1].how is Outcome.STOPPED
    assert losses(found) == [1.0]
    assert sum(len(event.text) for event in found if isinstance(event, Printed)) <= HEAD + TAIL + 100


@pytest.mark.processes
def test_reports_after_a_stop_are_no_reports(events: Callable[..., list[Event]], tmp_path: Path) -> None:
    said = tmp_path / "said"
    found = events(
        command(f"""
            import signal, sys, time
            from pathlib import Path
            def goodbye(*_):
                for number in range(1000):
                    print('{{"loss": 99}}', flush=True)
                Path({str(said)!r}).touch()
                sys.exit()
            signal.signal(signal.SIGTERM, goodbye)
            while True:
                print('{{"loss": 1}}', flush=True)
                time.sleep(0.05)
        """),
        stop_at=2,
    )
    assert isinstance(found[-1], Ended)
    assert found[-1].how is Outcome.STOPPED
    assert set(losses(found)) == {1.0}
    assert said.exists()
