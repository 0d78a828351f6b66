"""The images of docker-compose.yml, built by Podman from nothing but Debian's packages and what pip installs.

python tests/cluster/images.py     builds them before any test asks for them
"""

from __future__ import annotations

import ast
import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from machine import Machine

ROOT = Path(__file__).parents[2]
# Lasts from one run to the next.
STORE = ROOT / "build" / "cluster"
BASE = "docker.io/library/debian:bookworm-slim"
TARGETS = {"hpo": "hpo", "postgres": "hpo-postgres"}


@contextmanager
def machine() -> Iterator[Machine]:
    """A host that has the images, the only one on their store."""
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = Machine(STORE / "images")
        try:
            _build(made)
            yield made
        finally:
            made.close()


def _build(machine: Machine) -> None:
    """Builds what is not in the machine's store of images yet, or has changed."""
    environment = machine.environment(building=True)
    if machine.run("podman", "image", "exists", BASE, check=False, environment=environment).returncode:
        tar = machine.folder / "base.tar"
        machine.run(
            *("mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", "bookworm", str(tar)),
            online=True,
            timeout=600,
            environment=environment,
        )
        machine.run("podman", "import", "--quiet", str(tar), BASE, environment=environment)
        tar.unlink()
    for target, tag in TARGETS.items():
        machine.run(
            *("podman", "build", "--pull=never", "--network=host", "--layers", f"--target={target}", f"--tag={tag}"),
            *_where_packages_come_from(machine.folder),
            ".",
            cwd=ROOT,
            online=True,
            timeout=1800,
            environment=environment,
        )


def _where_packages_come_from(folder: Path) -> list[str]:
    """Gives the build the pip configuration of this machine, and the files and folders that it names."""
    pip = [sys.executable, "-m", "pip"] if find_spec("pip") else [shutil.which("pip") or "pip3"]
    listed = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=True).stdout
    options: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        if found := re.fullmatch(r"(?:global|install|:env:)\.([a-z-]+)", key):
            options[found[1].removeprefix("default-")] = " ".join(ast.literal_eval(value).split())
    (folder / "pip.conf").write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in options.items()))
    volumes = {f"{folder}/pip.conf:/etc/pip.conf:ro"}
    for word in " ".join(options.values()).split():
        index = word.removeprefix("file://")
        path = Path(index).parent if index != word else Path(word)  # an index's links lead to its neighbours
        if path.is_absolute() and path.exists():
            volumes.add(f"{path}:{path}:ro")
    return [f"--volume={volume}" for volume in sorted(volumes)]


if __name__ == "__main__":
    with machine():
        pass
