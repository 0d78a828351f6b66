"""``make secrets``: random secrets for docker-compose.yml, in ``.env``, which only you can read.

Run again, it keeps existing secrets, adds missing ones, and refuses a file that others can read. It prints no secret.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

SECRETS = {
    "HPO_RAY_TOKEN": "gives the right to run code on the cluster",
    "HPO_LEDGER_PASSWORD": "PostgreSQL, role hpo",
    "HPO_MLFLOW_PASSWORD": "MLflow, user hpo: for drivers, to write runs",
    "HPO_MLFLOW_ADMIN_PASSWORD": "MLflow, user admin: for you, to log in to the UI",
    "HPO_MLFLOW_DATABASE_PASSWORD": "PostgreSQL, role mlflow",
    "HPO_MLFLOW_SECRET_KEY": "for MLflow, to sign its forms",
}
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def main(path: Path) -> str:
    """Makes or completes the file.

    Returns:
        What was done, in a sentence.
    """
    new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "r+", encoding="utf-8") as stream:
        mode = stat.S_IMODE(os.fstat(file).st_mode)
        if mode & OTHERS:
            sys.exit(f"{path} can be read by others (its mode is {mode:o}): chmod 600 {path}, and think of new secrets")
        text = stream.read()
        there = {line.partition("=")[0].strip() for line in text.splitlines() if line.partition("=")[2].strip()}
        missing = [name for name in SECRETS if name not in there]
        if text and not text.endswith("\n"):
            stream.write("\n")
        for name in missing:
            stream.write(f"# {SECRETS[name]}\n{name}={secrets.token_urlsafe(32)}\n")
    if new:
        return f"{path}: {len(missing)} new secrets, for your eyes only; it stays out of git"
    return f"{path}: {len(missing)} added, {len(SECRETS) - len(missing)} kept"


if __name__ == "__main__":
    print(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env")))
