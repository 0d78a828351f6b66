"""The command line: the only place that puts the pieces together."""

from __future__ import annotations

import atexit
import gc
import signal
import sys

import typer

from hpo.cli.compare import compare
from hpo.cli.data import fetch
from hpo.cli.doctor import doctor
from hpo.cli.evaluate import evaluate
from hpo.cli.jobs import jobs, logs, stop
from hpo.cli.report import report
from hpo.cli.run import run
from hpo.cli.studies import best, delete, list_studies, show
from hpo.cli.submit import submit
from hpo.cli.sync import sync
from hpo.cli.ui import ui
from hpo.errors import HpoError

app = typer.Typer(
    name="hpo",
    help="Hyperparameter search: Optuna asks, Ray runs, MLflow shows, one ledger remembers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(submit)
app.command()(jobs)
app.command()(logs)
app.command()(stop)
app.command("list")(list_studies)
app.command()(show)
app.command()(best)
app.command()(compare)
app.command()(evaluate)
app.command()(report)
app.command()(sync)
app.command()(ui)
app.command()(fetch)
app.command()(doctor)
app.command()(delete)


def main() -> None:
    """Runs the command line; an error made for people is one message and an exit code."""
    # As Ctrl-C: a command that does nothing else about it ends with exit code 130.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Or Python's last collection walks through all of MLflow, which takes a second.
    atexit.register(gc.freeze)
    try:
        app()
    except HpoError as error:
        sys.stderr.write(f"hpo: {error}\n")
        sys.exit(error.exit_code)
