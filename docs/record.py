"""Types the tutorial as a new user would, from a fresh clone to the UI, and writes what is seen to recording.md.

    python docs/record.py [FOLDER]      in a clone of the repository; pip downloads what hpo needs

Every block of shell in tutorial.md is run in a new project, every file in it is written there. The times are those of
the machine that runs this: by the clock, and of the processor, which a busy machine changes less.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parent
LIMIT = 600.0
# Seconds for which the project's folder is removed again while a process writes there.
PATIENCE = 60.0
# What pip says of the package index that it uses here, which is another one elsewhere.
PIPS_INDEX = r"Looking in (indexes|links): |WARNING: Location "
# Lines of one command's output that are kept.
SHOWN = 60


class Block(NamedTuple):
    """One fenced block: who runs it (None: also a test), its language and its text."""

    run_by: str | None
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    pattern = r"(?:^<!-- run by: (\S+) -->\n)?^```(\w+)\n(.*?)^```$"
    found = re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(run_by or None, language, text) for run_by, language, text in found]


def file_of(block: Block) -> str | None:
    """The name in the first line of a block that is a file."""
    name = re.match(r"# (\w+\.(?:toml|py))\n", block.text)
    return name[1] if name else None


class Recorder:
    """Runs commands in a project, and keeps what they print.

    Args:
        project: The folder.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HPO_", "MLFLOW_", "RAY_"))}
        self._environment = kept | {
            "PATH": f"{project}/.venv/bin:{kept['PATH']}",
            "HPO_REPOSITORY": str(DOCS.parent),
            "COLUMNS": "100",
        }
        self._environment.pop("VIRTUAL_ENV", None)
        self._names = [
            (str(project), "/home/me/project"),
            (str(DOCS.parent), "/home/me/hpo"),
            (socket.gethostname(), "laptop"),
        ]
        self.text: list[str] = []

    def run(self, command: str) -> None:
        """One line of shell."""
        began = _now()
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self._project,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self._keep(command, ended.stdout, began)
        if ended.returncode:
            raise SystemExit(f"{command}: exit code {ended.returncode}\n{ended.stdout}")

    def open_ui(self, command: str) -> None:
        """Starts the UI, opens its first link, and ends it as Ctrl-C does."""
        began = _now()
        process = subprocess.Popen(
            [*command.split(), "--no-browser", "--port", str(_free_port())],
            cwd=self._project,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        shown = ""
        try:
            for line in process.stdout:
                shown += line
                if "Ctrl-C" in line:
                    break
            link = re.search(r"http://\S+", shown)
            assert link, shown
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())  # the token becomes a cookie
            with browser.open(link[0].partition("#")[0], timeout=60) as answer:
                shown += f"(the page answers: {answer.status})\n"
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        self._keep(command, re.sub(r"token=[^\s&#]+", "token=...", shown), began)

    def _keep(self, command: str, output: str, began: tuple[float, float]) -> None:
        for of_this_machine, shown_as in self._names:
            output = output.replace(of_this_machine, shown_as)
        shown = [line.rstrip() for line in output.splitlines()]
        if about_index := [line for line in shown if re.match(PIPS_INDEX, line)]:
            shown = [line for line in shown if line not in about_index]
            shown.append(f"(left out: lines in which pip names its package index, {len(about_index)})")
        if len(shown) > SHOWN:
            shown[SHOWN // 2 : -SHOWN // 2] = [f"... {len(shown) - SHOWN} lines left out ..."]
        clock, processor = (now - then for now, then in zip(_now(), began, strict=True))
        self.text += [f"$ {command}", *shown, f"[{clock:.1f} s, {processor:.1f} s of the processor]", ""]
        print(*self.text[-len(shown) - 3 :], sep="\n", flush=True)

    def write(self, name: str, text: str) -> None:
        """A file of the project."""
        (self._project / name).write_text(text, encoding="utf-8")
        self.text += [f"(writes {name})", ""]


def lines(block: Block) -> Iterator[str]:
    """The commands of a block of shell, without comments."""
    for line in block.text.splitlines():
        if command := re.sub(r"\s+# .*", "", line).strip():
            yield command


def record(folder: Path) -> str:
    """Runs the tutorial in an empty folder; returns the page about it."""
    recorder, began = Recorder(folder), _now()
    for block in blocks(DOCS / "tutorial.md"):
        if name := file_of(block):
            recorder.write(name, block.text)
        for command in lines(block) if block.language == "sh" else ():
            if command.startswith("hpo ui"):
                recorder.open_ui(command)
            elif not command.startswith("source "):  # the environment is active for every command here
                recorder.run(command)
    clock, processor = (now - then for now, then in zip(_now(), began, strict=True))
    if processor > LIMIT:
        raise SystemExit(f"{processor:.0f} s: the tutorial promises less than {LIMIT:.0f} s of machine time")
    body = "\n".join(recorder.text).rstrip()
    return (
        "# A new user's first ten minutes, recorded\n\n"
        "What [tutorial.md](tutorial.md) prints, from a fresh clone to the UI, with the time that each command took.\n"
        f"Made by `python docs/record.py` on {os.cpu_count()} cores with Python {platform.python_version()}.\n"
        f"All commands together took {processor / 60:.1f} minutes of the processor, and {clock / 60:.1f} minutes by "
        f"the clock,\non a machine with a load of {os.getloadavg()[2]:.0f}.\n\n```text\n{body}\n```\n"
    )


def _now() -> tuple[float, float]:
    """Seconds by the clock, and of the processor for all commands that have ended, with what they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic(), used.ru_utime + used.ru_stime


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    place = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="hpo-tutorial-"))
    place.mkdir(parents=True, exist_ok=True)
    try:
        (DOCS / "recording.md").write_text(record(place), encoding="utf-8")
    finally:
        deadline = time.monotonic() + PATIENCE
        while len(sys.argv) < 2 and place.exists() and time.monotonic() < deadline:
            shutil.rmtree(place, ignore_errors=True)  # a search's last process may still write a report there
            time.sleep(0.5)
