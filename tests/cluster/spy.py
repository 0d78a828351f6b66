"""An objective that looks for what no objective should find; it fails with a list of what it found."""

import os
import socket
from pathlib import Path
from typing import Any


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 3).close()
    except OSError:
        return False
    return True


def objective(params: dict[str, Any], seed: int) -> Any:
    found = [name for name in os.environ if name.startswith(("PG", "MLFLOW_TRACKING", "HPO_STORAGE"))]
    found += [name for name in os.environ if "PASSWORD" in name or "SECRET_KEY" in name]
    found += [name for name in (".pgpass", ".mlflow/credentials") if (Path.home() / name).exists()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:  # gone, or not ours
            continue
        found += [name for name in ("PASSWORD", "SECRET_KEY") if name.encode() in words]
    doors = {"postgres": 5432, "mlflow": 5000, params["postgres"]: 5432, params["mlflow"]: 5000}
    found += [f"{host}:{port}" for host, port in doors.items() if reaches(host, port)]
    if found:
        raise RuntimeError(f"a worker finds {found}")
    yield {"sees_the_head": float(reaches("gcs", 6379)), "root": float(os.geteuid() == 0)}
