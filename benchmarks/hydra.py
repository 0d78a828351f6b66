"""Workers' idle time on trials of mixed length: hpo against Hydra's own Optuna sweeper, on one Hydra application.

    python -m venv hydra && hydra/bin/pip install hydra-core==1.3.8 hydra-optuna-sweeper hydra-joblib-launcher
    python benchmarks/hydra.py --python hydra/bin/python [--rounds 3] [--trials 12] [--lengths 2 4 16]

The application sleeps as long as the next number of a list says, so that both sides have the same work in the same
order, and notes when it began and ended. Hydra runs it by its sweeper and its joblib launcher with two jobs. hpo runs
it as a command with two workers, by the Python of this script, which needs hydra-core. Both search at random.

Idle is the share of both workers' time, from the first trial's begin to the last one's end, in which they were not in
the application's function: for hpo, the start of a new process per trial is idle time too. The whole is the command's
time, start-up included. Medians of rounds, and the median of their ratios.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKERS = 2
# A setting that slows down imports; some test machines have it, users do not.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
APP = """
import fcntl, json, os, time
import hydra

HERE = os.path.dirname(os.path.abspath(__file__))

@hydra.main(version_base=None, config_path="conf", config_name="config")
def app(cfg):
    begun = time.time()
    with open(os.path.join(HERE, "lengths.json"), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        first, *rest = json.load(file)
        file.seek(0)
        file.truncate()
        json.dump(rest, file)
    time.sleep(first)
    value = cfg.x ** 2
    print(f"value={value}", flush=True)
    with open(os.path.join(HERE, "times"), "a") as file:
        file.write(f"{begun} {time.time()}\\n")
    return value

if __name__ == "__main__":
    app()
"""
STUDY = """
name = "app"
objective = ["{python}", "app.py", "{{overrides}}", "hydra.run.dir='{{folder}}'"]
metric = "value"
direction = "minimize"
space.x = {{ low = -5.0, high = 5.0 }}
reports.pattern = '^value=(?P<value>\\S+)'
sampler.name = "random"
trial.keep = "none"
budget.trials = {trials}
"""


def run(words: list[str], lengths: list[float]) -> tuple[float, float]:
    """Share of idle time, and seconds of the whole command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "conf").mkdir()
        (folder / "conf/config.yaml").write_text("x: 1.0\n")
        (folder / "app.py").write_text(APP)
        (folder / "lengths.json").write_text(repr(lengths))
        (folder / "s.toml").write_text(STUDY.format(python=sys.executable, trials=len(lengths)))
        begun = time.monotonic()
        ended = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begun
        if ended.returncode:
            sys.exit(f"{' '.join(words)}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}")
        times = [tuple(map(float, line.split())) for line in (folder / "times").read_text().splitlines()]
    assert len(times) == len(lengths), f"{len(times)} trials ran, not {len(lengths)}"
    span = max(end for _, end in times) - min(begin for begin, _ in times)
    return 1 - sum(end - begin for begin, end in times) / (WORKERS * span), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="of a venv with Hydra's sweeper and launcher")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--lengths", type=float, nargs="+", default=[2.0, 4.0, 16.0], help="seconds; each as likely")
    arguments = parser.parse_args()
    python = os.path.abspath(arguments.python)  # noqa: PTH100 - a venv's Python must not be resolved
    hydra = [
        *(python, "app.py", "--multirun", "hydra/sweeper=optuna", "hydra/sweeper/sampler=random"),
        *("hydra/launcher=joblib", f"hydra.launcher.n_jobs={WORKERS}", f"hydra.sweeper.n_jobs={WORKERS}"),
        *(f"hydra.sweeper.n_trials={arguments.trials}", "hydra.sweeper.direction=minimize", "x=interval(-5.0,5.0)"),
    ]
    hpo = [sys.executable, "-m", "hpo", "run", "s.toml", f"--workers={WORKERS}", "--tracking=none", "--quiet"]
    found: dict[str, list[tuple[float, float]]] = {"hydra": [], "hpo": []}
    print(f"load {os.getloadavg()[0]:.1f}; {arguments.trials} trials of {arguments.lengths} s, {WORKERS} workers")
    for number in range(arguments.rounds):
        lengths = random.Random(number).choices(arguments.lengths, k=arguments.trials)
        for side, words in (("hydra", hydra), ("hpo", hpo)):
            found[side].append(run(words, lengths))
            idle, seconds = found[side][-1]
            print(f"round {number + 1}: {side:5}  idle {idle:.1%}  whole {seconds:.1f} s", flush=True)
    medians = {side: [statistics.median(column) for column in zip(*rows, strict=True)] for side, rows in found.items()}
    for side, (idle, seconds) in medians.items():
        print(f"median: {side:5}  idle {idle:.1%}  whole {seconds:.1f} s")
    shares = [theirs[0] / ours[0] for theirs, ours in zip(found["hydra"], found["hpo"], strict=True)]
    times = [theirs[1] / ours[1] for theirs, ours in zip(found["hydra"], found["hpo"], strict=True)]
    print(f"hydra / hpo, median of rounds: idle {statistics.median(shares):.2f}, whole {statistics.median(times):.2f}")


if __name__ == "__main__":
    main()
