"""Another process that holds a study."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpo.ledger.address import Address

HOLD = Path(__file__).with_name("hold.py")


@contextmanager
def holding(address: Address, *mode: str, name: str = "small") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the study."""
    command = [sys.executable, str(HOLD), address.url, name, *mode]
    environment = os.environ | {"PYTHONPATH": f"{HOLD.parent}:{HOLD.parents[1]}"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_done(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
