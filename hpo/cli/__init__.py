"""The command line: arguments, words and tables."""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import hpo
from hpo.cli import text
from hpo.errors import HpoError
from hpo.machine import normalize_environment
from hpo.progress import to_stderr

# Where each command is, below this package, and what it does: no module of another command is imported for it.
COMMANDS = {
    "init": ("init:init", "Write a study file to begin with."),
    "run": ("run:run", "Run a study, or resume it."),
    "submit": ("jobs:submit", "Run a study as a job of a Ray cluster."),
    "jobs": ("jobs:jobs", "List a cluster's jobs."),
    "logs": ("jobs:logs", "Show a job's output."),
    "stop": ("jobs:stop", "Interrupt a job."),
    "list": ("studies:list_studies", "List the studies in the ledger."),
    "show": ("show:show", "Show one study: progress, best trials, effects of parameters."),
    "best": ("studies:best", "Print the best parameters."),
    "set": ("live:set_keys", "Edit a study, which may be running."),
    "add": ("live:add", "Add a trial by hand."),
    "stop-trial": ("live:stop_trial", "End one trial of a running study."),
    "discard": ("live:discard", "Mark a trial as one that does not count."),
    "retry": ("live:retry", "Run failed trials again."),
    "ask": ("asking:ask", "Lease a trial to run yourself."),
    "tell": ("asking:tell", "Tell what became of a leased trial."),
    "serve": ("asking:serve", "Offer ask and tell over HTTP."),
    "compare": ("compare:compare", "Run studies several times, and say which is better."),
    "evaluate": ("studies:evaluate", "Score the best trial on the sealed test set."),
    "report": ("studies:report", "Write figures and a page with all of them."),
    "import": ("moving:import_trials", "Import trials from a table, from Optuna or from MLflow."),
    "fork": ("moving:fork", "Begin a new study with the trials of another one."),
    "copy": ("moving:copy", "Copy studies to another ledger."),
    "export": ("moving:export", "Write a study's trials as CSV, JSON or Parquet."),
    "sync": ("studies:sync", "Update MLflow from the ledger."),
    "ui": ("ui:ui", "Start the MLflow UI, opened at a study."),
    "fetch": ("machine:fetch", "Download a data set."),
    "doctor": ("machine:doctor", "Show what this machine has, and what is wrong."),
    "delete": ("studies:delete", "Delete a study."),
}
HELP = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """The commands, each imported when it is asked for: help and a wrong study file must be answered at once."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # A name that is none is compared with all.
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = _built(name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


app = typer.Typer(
    name="hpo",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # importing Rich takes as long as everything else
    pretty_exceptions_enable=False,
    context_settings=HELP,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hpo {hpo.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hyperparameter search: Optuna asks, Ray runs, MLflow shows, one ledger remembers."""


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with standard output that belongs to it alone."""

    @functools.wraps(command)
    def guarded(**arguments: Any) -> None:
        text.own_output()
        normalize_environment()
        command(**arguments)

    return guarded


def _built(name: str) -> Any:
    module, _, function = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(f"hpo.cli.{module}"), function)
    alone = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings=HELP)
    alone.command(name)(_guarded(command))
    return typer.main.get_command(alone)


def main() -> None:
    """Runs the command line; an :class:`HpoError` becomes one message and its exit code."""
    text.harden_streams()
    if any(option.startswith("error") for option in sys.warnoptions):  # it is for the study's own code
        warnings.resetwarnings()  # what MLflow and SQLAlchemy warn of is shown
        warnings.simplefilter("default")
    # SIGTERM as Ctrl-C: a command that does not handle it ends with exit code 130.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Without this, Python's last collection walks through all of MLflow, which takes a second.
    atexit.register(gc.freeze)
    try:
        app()
    except HpoError as error:
        to_stderr(str(error))
        sys.exit(error.exit_code)
