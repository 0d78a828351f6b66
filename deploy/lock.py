"""Writes `deploy/hashes/ARCHITECTURE.txt`: what the image installs, each package with the hash of its file.

    python3 deploy/lock.py      on Linux, with the image's version of Python (3.11)

pip chooses the files for this machine, as constraints.txt pins them, and says which it would install; nothing is
installed. `docker build` then refuses any other file. Run it again whenever constraints.txt or pyproject.toml changes.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def lines(report: dict[str, Any]) -> list[str]:
    """The lines of a requirements file, from pip's report; hpo itself, which has no file yet, is left out."""
    found = []
    for part in report["install"]:
        hashes = part["download_info"].get("archive_info", {}).get("hashes", {})
        if "sha256" in hashes:
            name = part["metadata"]["name"].lower().replace("_", "-")
            found.append(f"{name}=={part['metadata']['version']} --hash=sha256:{hashes['sha256']}")
    return sorted(found)


def main() -> None:
    words = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report=-", "--constraint=constraints.txt"]
    words += [".[server]", "setuptools"]  # which builds hpo itself
    said = subprocess.run([sys.executable, "-m", "pip", *words], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    file = ROOT / "deploy" / "hashes" / f"{platform.machine()}.txt"
    file.write_text("\n".join(lines(json.loads(said))) + "\n", encoding="utf-8")
    print(f"{file.relative_to(ROOT)}: {len(lines(json.loads(said)))} packages")


if __name__ == "__main__":
    main()
