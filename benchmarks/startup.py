"""How long a person waits for an answer that needs no work: ``hpo --help``, and a study file with a mistake in it.

    python benchmarks/startup.py [RUNS]

Prints the median wall time and the spread of RUNS (10) fresh processes each, beside that of Python itself.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BAD_STUDY = 'name = "a"\nobjective = "a:b"\nmetric = "m"\ndirection = "up"\nspace.x.low = 0\nbudget.trials = 1\n'
# Settings of this project's own machines that no user has, and that slow imports down.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "OPENBLAS_CORETYPE")}


def seconds(command: list[str], folder: str, code: int) -> float:
    began = time.perf_counter()
    ended = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False)
    took = time.perf_counter() - began
    assert ended.returncode == code, ended.stderr.decode()
    return took


def main(runs: int = 10) -> None:
    cases = {
        "python -c pass": (["-c", "pass"], 0),
        "hpo --help": (["-m", "hpo", "--help"], 0),
        "hpo run BAD.toml": (["-m", "hpo", "run", "bad.toml"], 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bad.toml").write_text(BAD_STUDY)
        for words, code in cases.values():
            seconds([sys.executable, *words], folder, code)  # writes byte code
        times = {name: [] for name in cases}
        for _ in range(runs):
            for name, (words, code) in cases.items():
                times[name].append(seconds([sys.executable, *words], folder, code))
    for name, took in times.items():
        print(f"{name:18} median {statistics.median(took):.3f} s of {runs} (from {min(took):.3f} to {max(took):.3f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
